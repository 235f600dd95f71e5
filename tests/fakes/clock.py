"""A clock that only moves when a test says so."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_TURNS = 100_000


async def settle() -> None:
    """Let the event loop run until nothing is ready any more: every task waits for something.

    Only for the standard event loop, and for code that waits on the fake clock and the fake API
    server alone. Work that never comes to rest is an error, not an endless test.
    """
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    for _ in range(_MAX_TURNS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError(f"The event loop is still busy after {_MAX_TURNS:,} turns.")


class FakeClock:
    """`taskrunner.ports.Clock`: sleepers wake in the order of their times, only in `advance`."""

    def __init__(self, now: float = 1_790_000_000.0, boot: float = 1_000.0) -> None:
        self._now = now
        self._boot = boot
        self._order = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def boot(self) -> float:
        return self._boot

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._boot + seconds, self._order, waiter))
        await waiter

    def jump(self, seconds: float) -> None:
        """Step the wall clock alone, as an administrator or NTP does. Nobody wakes."""
        self._now += seconds

    def suspend(self, seconds: float) -> None:
        """Let time pass in one go, as for a process that was paused: whoever is due afterwards
        wakes late, at the new time."""
        self._now += seconds
        self._boot += seconds

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return max(0.0, self._sleepers[0][0] - self._boot) if self._sleepers else None

    async def advance(self, seconds: float = 0.0) -> None:
        """Move both clocks on by `seconds`, stopping at every sleeper on the way and letting the
        loop come to rest there. Those who sleep until the same moment wake together."""
        target = self._boot + seconds
        await settle()
        while (pause := self.next_wake) is not None and self._boot + pause <= target:
            self._pass(pause)
            wake_at = self._sleepers[0][0]
            while self._sleepers and self._sleepers[0][0] == wake_at:
                waiter = heapq.heappop(self._sleepers)[2]
                if not waiter.done():
                    waiter.set_result(None)
            await settle()
        self._pass(target - self._boot)

    async def drive(self, work: Coroutine[Any, Any, T], *, limit: float = 3_600.0) -> T:
        """Run `work` to its end, advancing from sleeper to sleeper for at most `limit` seconds."""
        task = asyncio.ensure_future(work)
        end = self._boot + limit
        try:
            await settle()
            while not task.done():
                pause = self.next_wake
                if pause is None:
                    raise AssertionError("The work waits for something that no clock will wake.")
                if self._boot + pause > end:
                    raise AssertionError(f"The work has not ended after {limit:g} s.")
                await self.advance(pause)
        finally:
            if not task.done():
                task.cancel()
        return await task

    def _pass(self, seconds: float) -> None:
        self._now += seconds
        self._boot += seconds
