"""Keeps a replica whose wall clock is wrong from acting (rule 7 of exactly-once creation)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from taskrunner.domain.clocks import Clocks, Reading, first_look, look
from taskrunner.errors import ApiError
from taskrunner.kube.skew import ServerSkew
from taskrunner.ports import Clock

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_ASK_SECONDS = 5.0


class ClockGuard:
    """Looks at the clocks every second, and whenever somebody asks.

    `skew` is that of a client which calls the API server all the time; `ask` makes a call, for
    when it does not because the replica has given everything up.
    """

    def __init__(
        self, clock: Clock, skew: ServerSkew, ask: Callable[[], Awaitable[object]]
    ) -> None:
        self._clock = clock
        self._skew = skew
        self._ask = ask
        self._seen: Clocks = first_look(self._reading())
        self._changed = asyncio.Condition()
        self._said = ""

    @property
    def problem(self) -> str:
        """Why the wall clock is not believed; empty when it is. Looks now."""
        self._seen = look(self._seen, self._reading())
        return self._seen.problem

    async def run(self) -> None:
        """Look until cancelled; say what changes."""
        asked = self._clock.boot()
        while True:
            problem = self.problem
            if bool(problem) != bool(self._said):
                if problem:
                    log.error("%s Until then, this replica does not act.", problem)
                else:
                    log.info("the wall clock agrees with the API server's again")
                self._said = problem
                async with self._changed:
                    self._changed.notify_all()
            if problem and self._clock.boot() - asked >= _ASK_SECONDS:
                asked = self._clock.boot()
                try:
                    await self._ask()
                except ApiError as error:
                    log.debug("the API server's time is not known: %s", error)
            await self._clock.sleep(_LOOK_SECONDS)

    async def until(self, *, trusted: bool) -> None:
        """Return when the wall clock is believed, or is not."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self.problem) != trusted)

    def _reading(self) -> Reading:
        boot = self._clock.boot()
        return Reading(self._clock.now(), boot, self._skew.seconds(boot), self._skew.answered)
