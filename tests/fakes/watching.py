"""Open watches of the fake API server."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator
from typing import Any

from fakes.selectors import matches
from fakes.server import Change, FakeServer
from taskrunner.errors import Transient
from taskrunner.kube.source import Batch, WatchEvent
from taskrunner.ports import Clock, Obj, Resource

_BOOKMARK_SECONDS = 60.0


class Stream:
    """One open watch: changes after `version`, and a bookmark each minute and at the end."""

    def __init__(
        self,
        clock: Clock,
        server: FakeServer,
        resource: Resource,
        version: int,
        *,
        namespace: str,
        label_selector: str,
        field_selector: str,
    ) -> None:
        self._clock = clock
        self._server = server
        self.resource = resource
        self._version = version
        self._namespace = namespace
        self._selectors = (label_selector, field_selector)
        self._broken: asyncio.Future[Obj | None] = asyncio.get_running_loop().create_future()
        self._dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def break_with(self, event: Obj | None, *, silently: bool) -> None:
        """End it with an ERROR event, or a broken connection (None); or let it fall silent."""
        if silently and not self._dead.done():
            self._dead.set_result(None)
        elif not silently and not self._broken.done():
            self._broken.set_result(event)

    async def batches(self, timeout: float, idle: float) -> AsyncGenerator[Batch, None]:
        end = self._clock.boot() + timeout
        changed = self._server.changed()
        while not self._dead.done():
            if self._broken.done():
                status = self._broken.result()
                if status is None:
                    raise Transient(f"watch {self.resource.plural}: the connection broke.")
                yield [("ERROR", status)]
                return
            if batch := self._news():
                yield batch
                continue
            if changed.done():
                changed = self._server.changed()
            left = end - self._clock.boot()
            if left <= 0:
                yield [self._bookmark()]
                return
            pause = min(_BOOKMARK_SECONDS, left)
            if not await first(self._clock, pause, changed, self._broken, self._dead):
                yield [self._bookmark()]
        await self._clock.sleep(idle)
        raise Transient(f"watch {self.resource.plural}: no answer in time.")

    def _news(self) -> Batch:
        history = self._server.history
        start = bisect_right(history, self._version, key=lambda change: change.version)
        changes = history[start:]
        if changes:
            self._version = changes[-1].version
        return [event for change in changes if (event := self._event(change)) is not None]

    def _bookmark(self) -> WatchEvent:
        return "BOOKMARK", {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"resourceVersion": str(max(self._version, self._server.version))},
        }

    def _event(self, change: Change) -> WatchEvent | None:
        """How this watch sees a change: what leaves its selection is deleted for it."""
        if change.resource != self.resource:
            return None
        before, now = self._selects(change.old), self._selects(change.new)
        if now and change.new is not None:
            return ("MODIFIED" if before else "ADDED"), change.new
        if before and change.old is not None:
            metadata = {**change.old["metadata"], "resourceVersion": str(change.version)}
            return "DELETED", {**change.old, "metadata": metadata}
        return None

    def _selects(self, obj: Obj | None) -> bool:
        return (
            obj is not None
            and self._namespace in ("", obj["metadata"].get("namespace", ""))
            and matches(self.resource, obj, *self._selectors)
        )


async def first(clock: Clock, seconds: float, *others: asyncio.Future[Any]) -> bool:
    """Whether one of `others` is done before the clock has moved on by `seconds`. Leaves them as
    they are."""
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({sleeper, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeper.cancel()
    return any(other.done() for other in others)
