"""Kubernetes Events for people: best effort, folded, and never faster than the API server likes.

Core v1 Events, because `kubectl describe` and `kubectl get events` count repetitions of those. An
equal event (object, reason, message) raises the count of the first one instead of making another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final, Literal

from taskrunner.domain.hashing import stable_hash
from taskrunner.domain.instants import format_instant
from taskrunner.errors import ApiError, NotFound
from taskrunner.ports import Api, Clock, Obj, Resource

log = logging.getLogger(__name__)

EVENTS: Final = Resource("", "v1", "events", "Event")
COMPONENT: Final = "taskrunner"
WAITING_MOST: Final = 1_000
REMEMBERED: Final = 1_000
PER_SECOND: Final = 10.0
BURST: Final = 50.0
MESSAGE_MOST: Final = 1_024
"""The API server refuses longer messages."""


@dataclass(slots=True)
class _Posted:
    name: str
    count: int


class EventRecorder:
    """ports.Events on a real API server. `run` posts what `record` has put into the queue."""

    def __init__(self, api: Api, clock: Clock, *, identity: str) -> None:
        self._api = api
        self._clock = clock
        self._identity = identity
        self._waiting: deque[tuple[str, Obj]] = deque()
        self._some = asyncio.Event()
        self._posted: OrderedDict[str, _Posted] = OrderedDict()
        self._tokens, self._filled = BURST, clock.boot()
        self.dropped = 0
        """Events that were not posted because too many waited, or the server would not have them.
        """

    def record(
        self, regarding: Obj, *, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Queue an event about an object; drops it when too many wait."""
        if len(self._waiting) >= WAITING_MOST:
            self.dropped += 1
            return
        meta = regarding["metadata"]
        now = format_instant(self._clock.now())
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:MESSAGE_MOST],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity,
        }
        self._waiting.append((meta["namespace"], body))
        self._some.set()

    async def run(self) -> None:
        """Post events until cancelled; what waits then is dropped."""
        while True:
            await self._some.wait()
            while self._waiting:
                await self._take_token()
                namespace, body = self._waiting.popleft()
                try:
                    await self._post(namespace, body)
                except ApiError as error:
                    self.dropped += 1
                    log.debug("event %s not posted: %s", body["reason"], error)
            self._some.clear()

    async def _post(self, namespace: str, body: Obj) -> None:
        about = body["involvedObject"]
        digest = stable_hash("event", f"{about['uid']} {body['reason']} {body['message']}")
        key = f"{digest:016x}"
        posted = self._posted.get(key)
        if posted is not None:
            patch = {"count": posted.count + 1, "lastTimestamp": body["lastTimestamp"]}
            try:
                await self._api.patch(EVENTS, namespace, posted.name, patch)
            except NotFound:
                del self._posted[key]  # Events live an hour.
            else:
                posted.count += 1
                self._posted.move_to_end(key)
                return
        name = f"{about['name']}.{key}{int(self._clock.now()):x}"
        await self._api.create(EVENTS, namespace, {**body, "metadata": {"name": name}})
        self._posted[key] = _Posted(name, 1)
        if len(self._posted) > REMEMBERED:
            self._posted.popitem(last=False)

    async def _take_token(self) -> None:
        while True:
            now = self._clock.boot()
            self._tokens = min(BURST, self._tokens + (now - self._filled) * PER_SECOND)
            self._filled = now
            if self._tokens > 1 - 1e-6:  # What a rounded sleep leaves short is not slept for.
                self._tokens -= 1
                return
            await self._clock.sleep((1 - self._tokens) / PER_SECOND)
