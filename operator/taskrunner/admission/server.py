"""The HTTPS end: takes reviews, and fails open.

Whatever goes wrong here lets the object through, with a warning: a scheduler must not be the reason
why nothing can be applied. What is wrong with the object ends in its Ready condition then.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from taskrunner.admission.checks import Checker, unchanged
from taskrunner.admission.metrics import WebhookMetrics
from taskrunner.admission.review import (
    Request,
    ReviewError,
    Verdict,
    answer,
    answer_with,
    read_review,
    sentence,
)
from taskrunner.admission.stamp import stamp
from taskrunner.api.v1alpha1.names import GROUP
from taskrunner.ports import Clock

log = logging.getLogger(__name__)

PATH: Final = "/validate"
STAMP_PATH: Final = "/stamp"
LARGEST_BODY: Final = 8 * 2**20
"""Bytes. The API server takes 3 MiB a request, and a review has the object twice."""
DEFAULT_SECONDS: Final = 5.0
"""How long the API server waits, if it does not say: `timeoutSeconds` of our configuration."""
_KEEP_ALIVE: Final = 120.0
"""Longer than the 90 s of the API server's client: the one who sends closes idle connections, or
a review could meet a connection that is just being closed."""
_SHUTDOWN_SECONDS: Final = 5.0
_KINDS: Final = frozenset({"ScheduledTask", "TaskExecution", "Calendar"})


class Server:
    """Answers AdmissionReviews with the verdicts of a checker."""

    def __init__(self, checker: Checker, clock: Clock, metrics: WebhookMetrics) -> None:
        self._checker = checker
        self._clock = clock
        self._metrics = metrics

    def application(self) -> web.Application:
        """The HTTP application: `/validate` and `/stamp`."""
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_post(PATH, self._validate)
        application.router.add_post(STAMP_PATH, self._stamp)
        return application

    @asynccontextmanager
    async def serving(self, address: str, port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
        """Serve while the context is open; gives the port that is listened on."""
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, address, port, ssl_context=tls, backlog=1024)
            await site.start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def _validate(self, http: web.Request) -> web.Response:
        started = self._clock.boot()
        try:
            request = read_review(await http.read())
        except ReviewError as error:
            return web.Response(status=400, text=f"{error}\n")
        outcome, verdict = await self._judge(request, _budget(http.query.get("timeout", "")))
        kind = request.kind if request.kind in _KINDS else "other"
        self._metrics.reviews.labels(kind, outcome).inc()
        self._metrics.seconds.labels(kind).observe(self._clock.boot() - started)
        return web.Response(
            body=answer(request, verdict, group=GROUP), content_type="application/json"
        )

    async def _stamp(self, http: web.Request) -> web.Response:
        """Write who asked into the object. It takes no call and no time worth a limit."""
        try:
            request = read_review(await http.read())
        except ReviewError as error:
            return web.Response(status=400, text=f"{error}\n")
        patch = stamp(request)
        kind = request.kind if request.kind in _KINDS else "other"
        self._metrics.stamps.labels(kind).inc(bool(patch))
        return web.Response(body=answer_with(request, patch), content_type="application/json")

    async def _judge(self, request: Request, seconds: float) -> tuple[str, Verdict]:
        try:
            async with asyncio.timeout(seconds):
                verdict = await self._checker.check(request)
        except TimeoutError:
            log.warning("%s %s: no time was left to check it", request.uid, request.label)
            return "unchecked", _unchecked(request, "the checks took too long")
        except Exception:
            log.exception("%s %s: the check failed; let through", request.uid, request.label)
            return "unchecked", _unchecked(request, "an error of taskrunner's webhook")
        if not verdict.problems:
            return ("unchanged" if unchanged(request) else "allowed"), verdict
        log.info(
            "%s refused %s by %s: %s",
            request.uid,
            request.label,
            request.username,
            sentence(verdict.problems),
        )
        return "refused", verdict


def _budget(timeout: str) -> float:
    """Seconds for one review: what the API server waits for (`?timeout=5s`), less the way back."""
    found = re.fullmatch(r"(\d+)s", timeout)
    return 0.8 * (float(found[1]) if found else DEFAULT_SECONDS)


def _unchecked(request: Request, why: str) -> Verdict:
    text = (
        f"This {request.kind} was not checked ({why}; request {request.uid}). If something is wrong"
        " with it, its status will say so."
    )
    return Verdict(warnings=(text,))
