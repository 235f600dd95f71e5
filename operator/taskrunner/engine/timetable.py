"""When to look at which key: now, or at an instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from taskrunner.engine.agenda import Agenda
from taskrunner.engine.work import Key
from taskrunner.ports import Clock

READY_SECONDS: Final = 3.0
"""So long before something is due, it is said how much that will be."""
LONGEST_SLEEP_SECONDS: Final = 5.0
"""The wall clock may be set while we sleep; so often at least we look at it."""


class Timetable:
    """The agenda, and the sleep until its next entry. `wake` has a key looked at now; `ready` hears
    a little before how many keys come in the same second."""

    def __init__(
        self,
        clock: Clock,
        wake: Callable[[Key], None],
        ready: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._clock = clock
        self.wake = wake
        self._ready = ready
        self._ready_until = float("-inf")
        self._agenda: Agenda[Key] = Agenda()
        self._sooner = asyncio.Event()

    def __len__(self) -> int:
        return len(self._agenda)

    def at(self, key: Key, when: float) -> None:
        """Look at `key` at `when`, instead of any other time."""
        first = self._agenda.next_due()
        self._agenda.set(key, when)
        if first is None or when < first:
            self._sooner.set()

    def within(self, key: Key, seconds: float) -> None:
        """Look at `key` at the latest in so many seconds."""
        when = self._clock.now() + seconds
        first = self._agenda.next_due()
        self._agenda.set_earlier(key, when)
        if first is None or when < first:
            self._sooner.set()

    def forget(self, key: Key) -> None:
        """Look at `key` only when something changes."""
        self._agenda.remove(key)

    async def run(self) -> None:
        """Wake each key at its time, until cancelled."""
        while True:
            self._sooner.clear()
            for key in self._agenda.due(self._clock.now()):
                self.wake(key)
            delay = LONGEST_SLEEP_SECONDS
            if (first := self._agenda.next_due()) is not None:
                delay = min(delay, max(0.0, self._look_at(first) - self._clock.now()))
            await self._sleep(delay)

    def _look_at(self, first: float) -> float:
        """When to look next: at the first entry, or before, to get ready for it."""
        if first <= self._ready_until:
            return first
        if first - READY_SECONDS > self._clock.now():
            return first - READY_SECONDS
        self._ready_until = first + 1
        self._ready(self._agenda.count(self._ready_until))
        return first

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until something is to be looked at sooner."""
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        waiter = asyncio.ensure_future(self._sooner.wait())
        try:
            await asyncio.wait((sleeper, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (sleeper, waiter):
                waiting.cancel()
                # Not awaited itself, its CancelledError suppressed: that would swallow our own
                # when it comes just now, and the term would go on for ever.
                await asyncio.wait({waiting})
