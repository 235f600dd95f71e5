"""List and watch of one kind of object, kept up through everything that breaks watches.

The rules are client-go's (tools/cache/reflector.go), with two of our own: a comparison with a fresh
LIST every ten minutes, because a watch that has silently lost a delete cannot tell; and `refresh`,
a LIST on demand beside the running watch. Both need to know which of two results is newer, so
resourceVersions are compared as integers, as Kubernetes allows since KEP-5504.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple, cast

from taskrunner.errors import ApiError, Gone, NotFound, Transient
from taskrunner.kube.answers import error_from_event
from taskrunner.kube.shared_refresh import SharedRefresh
from taskrunner.kube.source import Batch, Source
from taskrunner.ports import Clock, EventType, Obj, Resource, Sink

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
# A resourceVersion that the server keeps refusing (one of a history that was restored from a
# backup, say) would be refused for ever: so many failures in a row, and a LIST asks for a new one.
_TRUST = 3
_SHORTEST_WATCH = 1.0
_COUNTS: dict[EventType, int] = {"LISTED": 0, "ADDED": 1, "MODIFIED": 0, "DELETED": -1}
# More objects than these are not listed where a watch, in some three seconds, can tell as well.
_LONG = 2_000
_SHORT_WATCH_SECONDS = 5
# Seconds for which a list may keep the event loop to itself.
_TURN = 0.005


class _Seen(NamedTuple):
    version: int
    type: EventType
    uid: str


class _Listing:
    """One LIST under way, beside a watch that goes on."""

    def __init__(self) -> None:
        self.version = 0
        """Of the list; 0 until its first page has come."""
        self.present: dict[str, str] = {}
        """The uids of what has been delivered of it, by `namespace/name`."""
        self._delivered: dict[str, int] = {}
        """The version of the list that has delivered it; the list may have begun anew."""
        self.later: dict[str, _Seen] = {}
        """The last change of each object that the watch has told of meanwhile."""

    def begin(self, version: int) -> None:
        """A first page has come; by a list that began before, too, some may be delivered."""
        self.version, self.present = version, {}

    def take(self, obj: Obj) -> bool:
        """Note an object of the list; whether the sink has had nothing newer of it."""
        key = _key(obj)
        self.present[key] = obj["metadata"]["uid"]
        self._delivered[key] = self.version
        seen = self.later.get(key)
        return seen is None or seen.version <= self.version

    def knows(self, key: str, version: int) -> bool:
        """Whether a change is older than what a list has delivered of the object."""
        return version <= self._delivered.get(key, 0)

    def end(self) -> dict[str, str]:
        """What is there now: all of the list, with the changes since then."""
        for key, seen in self.later.items():
            if seen.version <= self.version:
                continue
            if seen.type == "DELETED":
                self.present.pop(key, None)
            else:
                self.present[key] = seen.uid
        return self.present


class Reflector:
    """`taskrunner.ports.Watch`: keeps `sink` up to date with the selected objects.

    `trim` takes away what the sink does not need before it is kept; it must leave
    `metadata.namespace`, `name` and `uid`. A watch lives about `watch_seconds` (the server ends
    it), and is given up when nothing comes for `idle_seconds`; the server sends a bookmark each
    minute.

    The sink never hears of a change older than what it has had of the object.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        resource: Resource,
        sink: Sink,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        relist_seconds: float = 600.0,
        watch_seconds: float = 300.0,
        idle_seconds: float = 100.0,
        trim: Callable[[Obj], Obj] | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._clock = clock
        self._resource = resource
        self._sink = sink
        self._where = {
            "namespace": namespace,
            "label_selector": label_selector,
            "field_selector": field_selector,
        }
        self._relist_seconds = relist_seconds
        self._watch_seconds = watch_seconds
        self._idle_seconds = idle_seconds
        self._trim = trim
        self._rng = rng
        self._resume: int | None = None  # Where the next watch starts; None: a LIST is needed.
        self._synced = 0  # The sink has had a complete list of this version.
        self._newest = 0  # The newest version that the sink has had in any way.
        self._count = 0  # Objects, as far as is known.
        self._listing: _Listing | None = None
        self._shared = SharedRefresh(self._list)
        self._shared_catch_up = SharedRefresh(self._catch_up)
        self._failures = 0  # In a row, without anything received in between.
        self._complaint = ""

    async def run(self) -> None:
        """Keep the sink up to date; returns only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._compare())

    async def refresh(self) -> None:
        """LIST now, or wait for a list that begins later; returns when it has been delivered.
        Raises ApiErrors: it was delivered in part or not at all, ask again."""
        await self._shared()

    async def catch_up(self) -> None:
        """Returns when everything that had happened before the call has been delivered: by a watch
        where a LIST would be long, because of a long one an API server that has just come back has
        enough already. Raises ApiErrors, as `refresh` does."""
        await self._shared_catch_up()

    def seen(self, event: EventType, obj: Obj) -> None:
        """Deliver a change that another watch of the same objects has told of, for a reflector that
        only lists: unless a list has told of something newer."""
        version = int(obj["metadata"]["resourceVersion"])
        if version <= self._synced:
            return
        self._newest = max(version, self._newest)
        self._count += _COUNTS[event]
        if self._listing is not None:
            key = _key(obj)
            if self._listing.knows(key, version):
                return
            self._listing.later[key] = _Seen(version, event, obj["metadata"]["uid"])
        self._sink.seen(event, self._trim(obj) if self._trim else obj)

    # --- the list -------------------------------------------------------------------------------

    async def _list(self) -> None:
        self._listing = _Listing()
        try:
            await self._read(self._listing)
        finally:
            self._listing = None

    async def _read(self, listing: _Listing) -> None:
        """Deliver a LIST page by page. What breaks off is no harm: the sink has had objects as they
        were, has been told of nothing that is gone, and the watch goes on from where it was."""
        floor = self._newest
        pages = self._source.list_pages(self._resource, trim=self._trim, **self._where)
        async with aclosing(pages):
            async for page in pages:
                version = int(page.resource_version)
                if version < floor:
                    # A LIST is at least as new as the moment it was asked for: the server's
                    # history went back, as after a restore of etcd. What it says now is the truth.
                    log.warning("%s: the server's history went back; starting over.", self._name)
                    self._resume, self._newest, floor = version, 0, 0
                    listing.later.clear()
                if version != listing.version:
                    listing.begin(version)
                await self._deliver(page.items, listing)
        present = listing.end()
        self._newest = self._synced = max(listing.version, self._newest)
        self._resume = max(listing.version, self._resume or 0)
        self._count = len(present)
        self._sink.synced(present, self._synced)

    async def _deliver(self, items: list[Obj], listing: _Listing) -> None:
        since = self._clock.boot()
        for obj in items:
            if listing.take(obj):
                self._sink.seen("LISTED", obj)
            if self._clock.boot() - since > _TURN:
                # The Lease has to be renewed, and slots are due, however long the list is.
                await self._clock.sleep(0.0)
                since = self._clock.boot()

    async def _compare(self) -> None:
        while True:
            await self._clock.sleep(self._relist_seconds * (0.9 + 0.2 * self._rng()))
            try:
                await self.refresh()
            except ApiError as error:
                # The watch meets the same trouble and deals with it; the next turn comes anyway.
                log.info("%s: the periodic LIST failed: %s", self._name, error)

    # --- the watch ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            opened, listed = self._clock.boot(), self._resume is None
            try:
                if self._resume is None:
                    await self.refresh()
                    self._recovered()
                await self._stream()
                if self._clock.boot() - opened < _SHORTEST_WATCH:
                    raise Transient(f"watch {self._resource.plural}: the server ended it at once.")
            except ApiError as error:
                self._failures += 1
                if isinstance(error, Gone) or self._failures % _TRUST == 0:
                    self._resume = None
                loops = listed and self._clock.boot() - opened < _SHORTEST_WATCH
                if isinstance(error, Gone) and not loops:
                    log.debug("%s: %s; listing again.", self._name, error)
                    continue
                self._complain(error)
                await self._clock.sleep(self._pause(error))

    async def _stream(self) -> None:
        """Deliver one watch's events until the server ends it. Raises ApiErrors."""
        seconds = max(1, round(self._watch_seconds * (0.8 + 0.4 * self._rng())))
        async with aclosing(self._watch(seconds)) as stream:
            async for batch in stream:
                for kind, obj in batch:
                    self._take(kind, obj)

    async def _catch_up(self) -> None:
        if self._resume is not None and self._count > _LONG:
            try:
                if await self._has_caught_up():
                    return
            except ApiError as error:
                log.info("%s: not caught up by a watch: %s; listing.", self._name, error)
        await self.refresh()

    async def _has_caught_up(self) -> bool:
        """Whether a short watch, beside the one that runs, gets as far as a LIST would be now. A
        bookmark tells how far it is: the server sends one two seconds before it ends a watch."""
        version = await self._source.latest_version(self._resource, **self._where)
        if self._is_at(version):
            return True
        async with aclosing(self._watch(_SHORT_WATCH_SECONDS)) as stream:
            async for batch in stream:
                for kind, obj in batch:
                    self._take(kind, obj)
                if self._is_at(version):
                    return True
        return False

    def _is_at(self, version: int) -> bool:
        return self._resume is not None and self._resume >= version

    def _watch(self, seconds: int) -> AsyncGenerator[Batch, None]:
        return self._source.watch(
            self._resource,
            resource_version=str(self._resume),
            timeout_seconds=seconds,
            idle_seconds=self._idle_seconds,
            **self._where,
        )

    def _take(self, kind: str, obj: Obj) -> None:
        if kind == "ERROR":
            self._resume = None
            raise error_from_event(f"watch {self._resource.plural}", obj)
        self._failures = 0
        self._recovered()
        version = int(obj["metadata"]["resourceVersion"])
        self._resume = max(version, self._resume or 0)
        # Of two watches the one that is behind tells what the other has told.
        if kind != "BOOKMARK" and version > self._newest:
            self.seen(cast(EventType, kind), obj)

    # --- trouble --------------------------------------------------------------------------------

    def _pause(self, error: ApiError) -> float:
        """Seconds before the next try: doubling, at least as long as the server asks for."""
        pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures - 1, 10))
        return max(pause * (0.5 + self._rng() / 2), error.retry_after or 0.0)

    def _complain(self, error: ApiError) -> None:
        """Say what is wrong, once for as long as it stays the same."""
        if (text := str(error)) == self._complaint:
            return
        self._complaint = text
        if isinstance(error, NotFound):
            log.warning(
                "%s: the server does not serve this kind. Are the CRDs installed? Trying again "
                "every %g s.",
                self._name,
                _LONGEST_PAUSE,
            )
        else:
            log.warning("%s: %s; trying again.", self._name, text.rstrip("."))

    def _recovered(self) -> None:
        if self._complaint:
            self._complaint = ""
            log.info("%s: up to date again.", self._name)

    @property
    def _name(self) -> str:
        group = f".{self._resource.group}" if self._resource.group else ""
        return f"{self._resource.plural}{group}"


def _key(obj: Obj) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
