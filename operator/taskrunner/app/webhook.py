"""The composition root of the webhook: a process of its own, so that its memory and its load are
not the scheduler's."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Final

from taskrunner.admission.checks import Checker
from taskrunner.admission.keeper import FileKeeper, Keeper, SecretKeeper, keep
from taskrunner.admission.metrics import WebhookMetrics
from taskrunner.admission.server import PATH, Server
from taskrunner.admission.settings import WebhookSettings
from taskrunner.admission.tls import ServingTls
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import Connection
from taskrunner.kube.probes import serve_probes

log = logging.getLogger(__name__)

_POOL: Final = 32
"""Connections to the API server: dry runs under way at once; others wait for their turn."""


class Webhook:
    """One replica of the webhook."""

    def __init__(self, settings: WebhookSettings, connection: Connection) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = WebhookMetrics()
        self._tls = ServingTls()
        # Certificates are looked after over a connection of their own: not behind a burst.
        self._keeper_client = ApiClient(connection, self._clock, pool=1)
        self._client = ApiClient(
            connection,
            self._clock,
            pool=_POOL,
            timeout=settings.call_timeout,
            observe=self._metrics.observe_call,
        )
        self._keeper = self._new_keeper()
        self._server = Server(
            Checker(self._client, self._clock, call_timeout=settings.call_timeout),
            self._clock,
            self._metrics,
        )
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and `drain_period` seconds longer."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        settings = self._settings
        async with (
            self._client,
            self._keeper_client,
            serve_probes(
                address=settings.probe_address,
                port=settings.probe_port,
                registry=self._metrics.registry,
                alive=lambda: "",
                ready=self._ready,
            ) as probe_port,
            self._server.serving(settings.address, settings.port, self._tls.context) as port,
        ):
            log.info("serving %s on port %d; probes and metrics on port %d", PATH, port, probe_port)
            work = asyncio.create_task(
                keep(self._keeper, self._clock, settings.check_interval, self._note)
            )
            stopped = asyncio.create_task(self._stopping.wait())
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # Not ready any more: Services stop sending, and what they sent is still answered.
                log.info("stopping in %g s", settings.drain_period)
                await self._clock.sleep(settings.drain_period)
                work.cancel()
            await asyncio.wait((work,))
            if not work.cancelled():
                work.result()

    def _new_keeper(self) -> Keeper:
        if self._settings.cert_dir:
            return FileKeeper(Path(self._settings.cert_dir), self._tls)
        return SecretKeeper(self._keeper_client, self._clock, self._settings, self._tls)

    def _note(self) -> None:
        if self._tls.expires is not None:
            self._metrics.certificate_expiry.set(self._tls.expires)

    def _ready(self) -> str:
        return "The process is stopping." if self._stopping.is_set() else self._keeper.problem()
