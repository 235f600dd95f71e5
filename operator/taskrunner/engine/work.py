"""Keyed work: many objects at a time, each object by one worker only, nothing polled."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

Subject = Literal["run", "task", "report", "backfill", "history", "queue"]
ORDER: tuple[Subject, ...] = ("run", "task", "report", "backfill", "history", "queue")
"""What goes first when not everything can go at once: a run that is due, then planning, then
telling people about it, then the past, then cleaning up."""


class Key(NamedTuple):
    """What to look at, and with which question: `namespace/name` of a task, of an execution or of
    a Backfill; for history, a namespace."""

    subject: Subject
    name: str


class WorkQueue:
    """Calls `handle(key)` for every key added, `limit` at a time; that may be changed.

    A key added while it is being handled is handled once more afterwards; a key added twice before
    that is handled once. `handle` must not raise: errors are the caller's to judge.

    The key with the smallest `rank` is next, as it was when the key was added; among equals, the
    one that was added first. A rank that grows with time lets none starve.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        handle: Callable[[Key], Awaitable[None]],
        *,
        limit: int,
        rank: Callable[[Key], float] = lambda key: ORDER.index(key.subject),
    ) -> None:
        self._group = group
        self._handle = handle
        self._limit = limit
        self._rank = rank
        self._waiting: list[tuple[float, int, Key]] = []
        self._count = 0
        self._queued: set[Key] = set()
        self._active: set[Key] = set()
        self._workers = 0
        self._closed = False

    def close(self) -> None:
        """Take no more keys: the group that the workers live in is ending."""
        self._closed = True

    def add(self, key: Key) -> None:
        """Have `key` handled as soon as a worker is free."""
        if key in self._queued or self._closed:
            return
        self._queued.add(key)
        if key in self._active:
            return
        self._push(key)
        if self._workers < self._limit:
            self._hire()

    @property
    def limit(self) -> int:
        """Most keys that are handled at a time. When it is lowered, what is being handled is ended
        first."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        if self._workers < limit and self._waiting and not self._closed:
            self._hire()

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._queued)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being handled."""
        return not self._queued and not self._active

    def _hire(self) -> None:
        self._workers += 1
        self._group.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._workers <= self._limit and (key := self._take()) is not None:
                self._active.add(key)
                try:
                    await self._handle(key)
                finally:
                    self._active.discard(key)
                if key in self._queued:
                    self._push(key)
        except BaseException:
            self.close()
            raise
        finally:
            self._workers -= 1

    def _push(self, key: Key) -> None:
        self._count += 1
        heapq.heappush(self._waiting, (self._rank(key), self._count, key))

    def _take(self) -> Key | None:
        if not self._waiting:
            return None
        key = heapq.heappop(self._waiting)[2]
        self._queued.discard(key)
        return key
