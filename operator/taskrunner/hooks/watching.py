"""kopf watches the objects that people write; every event is handed over and nothing is patched.

Only `on.event` handlers are used: they need no annotation, no finalizer and no write. kopf runs in
a thread of its own, with an event loop of its own, because it ends as a whole on some watch errors
and then cancels every asyncio task younger than itself; here that can only be its own. It is
started again at once, and what it missed is made good by a LIST (ports.Watch.refresh).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import kopf

from taskrunner.api.v1alpha1 import names
from taskrunner.ports import Clock, EventType, Obj, Resource

log = logging.getLogger(__name__)

RESTART_FIRST_SECONDS = 1.0
RESTART_MOST_SECONDS = 30.0
ASKS_WITHIN_SECONDS = 30.0
"""When it starts, kopf looks once for what the server has. What that did not have just then, right
after its own start or before the definitions were applied, is never asked for, nor watched."""

STEADY_SECONDS = 60.0
"""A watch that lived so long did not fail at its start: the next one begins without delay."""

Tell = Callable[[EventType, Obj], None]
"""Takes one change of an object, in the event loop that runs the `Watcher`."""

SessionFactory = Callable[[Callable[[str], None]], Awaitable[kopf.AiohttpSession]]
"""Opens a session to the API server in the event loop that calls it. What is given is told the path
and query of each request."""


class Watcher:
    """Tells of every change that kopf's watches of our own kinds see."""

    def __init__(
        self,
        tell: Mapping[Resource, Tell],
        connect: SessionFactory,
        clock: Clock,
        *,
        namespace: str = "",
    ) -> None:
        self._tell = tell
        self._connect = connect
        self._clock = clock
        self._namespace = namespace

    async def run(self, restarted: Callable[[], None]) -> None:
        """Watch until cancelled. `restarted` is called whenever events may have been missed."""
        loop = asyncio.get_running_loop()
        pause = RESTART_FIRST_SECONDS
        while True:
            began = self._clock.boot()
            await self._one_life(loop)
            if self._clock.boot() - began > STEADY_SECONDS:
                pause = RESTART_FIRST_SECONDS
            log.warning("the watch of ScheduledTasks ended; starting it again in %.0f s", pause)
            await self._clock.sleep(pause)
            pause = min(2 * pause, RESTART_MOST_SECONDS)
            restarted()

    async def _one_life(self, loop: asyncio.AbstractEventLoop) -> None:
        """From a start of kopf to its end."""
        stop, done = threading.Event(), asyncio.Event()
        unasked = {resource.plural for resource in self._tell}

        def asked(path: str) -> None:
            unasked.discard(path.partition("?")[0].rpartition("/")[2])

        def body() -> None:
            try:
                asyncio.run(self._operate(loop, stop, asked))
            except Exception:
                log.exception("kopf ended")
            finally:
                with suppress(RuntimeError):  # the main loop may be closed already
                    loop.call_soon_threadsafe(done.set)

        threading.Thread(target=body, name="kopf", daemon=True).start()
        ended = asyncio.ensure_future(done.wait())
        sleeper = asyncio.ensure_future(self._clock.sleep(ASKS_WITHIN_SECONDS))
        try:
            await asyncio.wait({ended, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and unasked:
                kinds = ", ".join(sorted(unasked))
                log.warning("nothing watches %s: the server did not have it yet", kinds)
                stop.set()
            await ended
        finally:
            stop.set()
            ended.cancel()
            sleeper.cancel()

    async def _operate(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: threading.Event,
        asked: Callable[[str], None],
    ) -> None:
        sessions: list[kopf.AiohttpSession] = []

        async def log_in(**_: Any) -> kopf.AiohttpSession:
            sessions.append(await self._connect(asked))
            return sessions[-1]

        try:
            await kopf.operator(
                registry=self._registry(loop, log_in),
                settings=_settings(),
                # Given, because kopf would ask for the user's name, and a pod's user has none.
                identity=cast(Any, "taskrunner"),
                standalone=True,
                clusterwide=not self._namespace,
                namespaces=[self._namespace] if self._namespace else [],
                stop_flag=stop,
            )
        finally:
            # kopf leaves a thread that waits for the flag, and the loop does not end before it.
            stop.set()
            for session in sessions:  # It leaves them open, too, when it ends by an error.
                if (connector := session.aiohttp_session.connector) is not None:
                    await connector.close(abort_ssl=True)

    def _registry(
        self, loop: asyncio.AbstractEventLoop, log_in: Callable[..., Awaitable[Any]]
    ) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(cast(Any, log_in))
        for resource, tell in self._tell.items():
            kopf.on.event(
                names.GROUP, names.VERSION, resource.plural, registry=registry, id="hand-over"
            )(_hand_over(tell, loop))
        return registry


def _hand_over(tell: Tell, loop: asyncio.AbstractEventLoop) -> Any:
    async def hand_over(event: kopf.RawEvent, **_: Any) -> None:
        # Objects of the first LIST come without a type.
        kind = cast(EventType, event["type"] or "ADDED")
        loop.call_soon_threadsafe(tell, kind, cast(Obj, event["object"]))

    return hand_over


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    settings.queueing.idle_timeout = 0.05
    settings.queueing.exit_timeout = 0.5
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = kopf.StatusProgressStorage(field="status.unused")
    logging.getLogger("kopf").setLevel(logging.ERROR)
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing to compare with is kept: kopf would otherwise copy every object it sees."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
