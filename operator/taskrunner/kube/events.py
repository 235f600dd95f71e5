"""Kubernetes Events: told to people, never waited for.

events.k8s.io/v1 rather than core/v1, because repetition is part of it: `kubectl describe` and
`kubectl events` show a series as "x5 over 2m" (KEP-383). What an overload or a broken server costs
is events, counted in `dropped`, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from taskrunner.domain.election import micro_time
from taskrunner.errors import AlreadyExists, ApiError, NotFound, Transient
from taskrunner.kube.answers import shortened
from taskrunner.kube.bounded import first
from taskrunner.ports import EVENTS, Api, Clock, Obj

log = logging.getLogger(__name__)

CONTROLLER = "taskrunner.dev/operator"

_NOTE = 1_024  # The API server's own limit.
_SERIES_SECONDS = 360.0
"""A repetition later than this begins a new event, as in client-go."""
_SERIES_PAUSE = 10.0
"""Repetitions are written at most so often, each time with the count of all."""
_REMEMBERED = 4_096
_FOREVER = 3_600.0


@dataclass(slots=True)
class _Bucket:
    """A token bucket: `burst` at once, then `rate` a second."""

    rate: float
    burst: float
    tokens: float
    at: float

    def wait(self, now: float) -> float:
        """Seconds until a token is there."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, (1 - self.tokens) / self.rate)

    def take(self) -> None:
        self.tokens -= 1


@dataclass(slots=True)
class _Entry:
    """One event and its repetitions."""

    key: tuple[str, ...]
    body: Obj
    seen: float
    """Boot time of the last repetition; `last` is its wall time."""
    last: str
    count: int = 1
    written: int = 0
    """The count that the server has; 0: no event yet."""
    patch_at: float = 0.0


class EventRecorder:
    """`taskrunner.ports.Events`: `record` notes, `run` posts.

    At most `rate` posts a second after a burst, over all objects; 25 different ones about one
    object, and one more a minute. At most `queue` wait to be posted. `dropped` counts what was
    left out, `on_drop` is called with the number that are dropped then.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        instance: str,
        queue: int = 1_000,
        rate: float = 10.0,
        burst: float = 50.0,
        on_drop: Callable[[int], None] | None = None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._instance = instance
        self._limit = queue
        self._on_drop = on_drop
        self._known: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._new: deque[_Entry] = deque()
        self._repeated: dict[tuple[str, ...], _Entry] = {}
        self._bucket = _Bucket(rate, burst, burst, clock.boot())
        self._objects: OrderedDict[str, _Bucket] = OrderedDict()
        self._wake = asyncio.Event()
        self._complaint = ""
        self.dropped = 0

    def record(
        self, regarding: Obj, *, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Note an event about an object (`regarding` needs apiVersion, kind and metadata)."""
        now, note = self._clock.boot(), shortened(message, _NOTE)
        uid = str(regarding["metadata"].get("uid", ""))
        key = (uid, kind, reason, note)
        entry = self._known.get(key)
        if entry is not None and now - entry.seen < _SERIES_SECONDS:
            entry.count += 1
            entry.seen, entry.last = now, micro_time(self._clock.now())
            self._known.move_to_end(key)
            if entry.written:
                self._repeated[key] = entry
        elif len(self._new) < self._limit and self._may(uid, now):
            body = self._body(regarding, kind, reason, note)
            self._known[key] = entry = _Entry(key, body, seen=now, last=body["eventTime"])
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            self._new.append(entry)
        else:
            self._drop()
        self._wake.set()

    async def run(self) -> None:
        """Post what was recorded; returns only by cancellation. What is left then is lost."""
        while True:
            self._wake.clear()
            entry, pause = self._next()
            if entry is None:
                woken = asyncio.ensure_future(self._wake.wait())
                await first(self._clock, pause, woken)
                woken.cancel()
                continue
            await self._clock.sleep(self._bucket.wait(self._clock.boot()))
            self._bucket.wait(self._clock.boot())
            self._bucket.take()
            await self._post(entry)

    def _next(self) -> tuple[_Entry | None, float]:
        """What to write now; or None and the seconds until something is due."""
        if self._new:
            return self._new.popleft(), 0.0
        if not self._repeated:
            return None, _FOREVER
        entry = min(self._repeated.values(), key=lambda other: other.patch_at)
        pause = entry.patch_at - self._clock.boot()
        if pause > 0:
            return None, pause
        del self._repeated[entry.key]
        return entry, 0.0

    async def _post(self, entry: _Entry) -> None:
        try:
            if entry.written:
                await self._extend(entry)
            else:
                await self._create(entry)
            self._complaint = ""
        except ApiError as error:
            # Whoever could read it should not wait for it. A repetition is told by the next one.
            self._drop()
            if not entry.written:
                self._known.pop(entry.key, None)
            if (text := str(error)) != self._complaint:
                self._complaint = text
                log.warning("An event could not be posted: %s", text)

    async def _create(self, entry: _Entry) -> None:
        namespace = entry.body["metadata"]["namespace"]
        count = entry.count
        if count > 1:
            entry.body["series"] = {"count": count, "lastObservedTime": entry.last}
        try:
            await self._api.create(EVENTS, namespace, entry.body)
        except Transient as error:
            await self._clock.sleep(error.retry_after or 1.0)
            # The first post may have arrived although its answer did not.
            with suppress(AlreadyExists):
                await self._api.create(EVENTS, namespace, entry.body)
        self._written(entry, count)

    async def _extend(self, entry: _Entry) -> None:
        metadata, count = entry.body["metadata"], entry.count
        series = {"count": count, "lastObservedTime": entry.last}
        try:
            await self._api.patch(
                EVENTS, metadata["namespace"], metadata["name"], {"series": series}
            )
            self._written(entry, count)
        except NotFound:  # Events live an hour.
            metadata["name"] = _name(entry.body["regarding"]["name"])
            await self._create(entry)

    def _written(self, entry: _Entry, count: int) -> None:
        entry.written = count
        entry.patch_at = self._clock.boot() + _SERIES_PAUSE
        if entry.count > count:  # Repeated while it was being written.
            self._repeated[entry.key] = entry

    def _may(self, uid: str, now: float) -> bool:
        bucket = self._objects.setdefault(uid, _Bucket(1 / 60, 25, 25, now))
        self._objects.move_to_end(uid)
        if len(self._objects) > _REMEMBERED:
            self._objects.popitem(last=False)
        if bucket.wait(now) > 0:
            return False
        bucket.take()
        return True

    def _drop(self) -> None:
        self.dropped += 1
        if self._on_drop is not None:
            self._on_drop(1)

    def _body(self, regarding: Obj, kind: str, reason: str, note: str) -> Obj:
        metadata = regarding["metadata"]
        # Events about objects without a namespace live in `default`.
        namespace = metadata.get("namespace") or "default"
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": _name(metadata["name"]), "namespace": namespace},
            "eventTime": micro_time(self._clock.now()),
            "reportingController": CONTROLLER,
            "reportingInstance": shortened(self._instance, 128),
            "action": reason,
            "reason": reason,
            "type": kind,
            "note": note,
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": metadata.get("uid", ""),
            },
        }


def _name(regarding: str) -> str:
    return f"{regarding[:236]}.{secrets.token_hex(8)}"
