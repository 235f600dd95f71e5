"""One replica's share of the shards: take what is ours to take, give up what is too much.

Each second it looks at who is there and who holds what, and decides alone (`domain.sharding`). For
each shard that is to be its own, its holder stands for election; to give one up, that is cancelled,
which ends the term in good order: the work stops, the Shard is marked, the Lease is released.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from taskrunner.domain.election import Sighting
from taskrunner.domain.sharding import NOBODY, balance
from taskrunner.errors import ApiError
from taskrunner.kube.clock_guard import ClockGuard
from taskrunner.kube.roster import Look, Roster
from taskrunner.ports import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0


class Agreeing(Protocol):
    """`app.agreement.Agreement`."""

    async def holds(self) -> bool:
        """Whether the number of shards in force is ours. Raises ApiErrors."""
        ...

    async def reach(self) -> None:
        """Return when it is."""
        ...


class Holder(Protocol):
    """`app.shard.ShardHolder`."""

    @property
    def holds(self) -> bool:
        """Whether it has the Lease."""
        ...

    def note(self, seen: Sighting | None) -> None:
        """What was seen of its Lease."""
        ...

    async def run(self) -> None:
        """Stand for election until cancelled."""
        ...


class Balancer:
    """Runs as many of the holders, one for each shard, as are this replica's share."""

    def __init__(
        self,
        identity: str,
        holders: Sequence[Holder],
        roster: Roster,
        agreement: Agreeing,
        clocks: ClockGuard,
        clock: Clock,
        *,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._identity = identity
        self._holders = holders
        self._roster = roster
        self._agreement = agreement
        self._clocks = clocks
        self._clock = clock
        self._rng = rng
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ending: set[int] = set()
        """Shards whose task was cancelled and has not ended yet."""
        self._known = False
        """The others have had time to see that we are there."""
        self._complaint = ""

    async def run(self) -> None:
        """Take part until cancelled; then hand everything over."""
        try:
            await self._agreement.reach()
            while True:
                if self._clocks.problem:
                    await self._stand_back()
                    await self._clocks.until(trusted=True)
                if not await self._step():
                    await self._stand_back()
                    await self._agreement.reach()
                    continue
                # Not all at the same moment, although they may have been started together.
                await self._clock.sleep(LOOK_SECONDS * (0.8 + 0.4 * self._rng()))
        finally:
            await self._stand_back()

    async def _step(self) -> bool:
        """One look, and what follows from it; False when another number of shards is in force."""
        self._reap()
        try:
            wanted = self._wanted(await self._roster.look())
            if not self._known:
                # Others that begin now are told of us by this look, and we of them by the next.
                self._known = True
                return True
            for shard in sorted(set(self._running) - wanted - self._ending):
                if self._holders[shard].holds:
                    log.info("shard %d: handing it over; it is another one's share", shard)
                self._end(shard)
            # Who competes in vain may do so because the others have agreed on another number.
            lacking = [shard for shard in sorted(wanted) if not self._holders[shard].holds]
            if lacking and not await self._agreement.holds():
                return False
        except ApiError as error:
            # What is held stays held as long as its own Lease says so.
            self._complain(f"who holds which shard cannot be seen: {error}")
            return True
        self._complain("")
        for shard in lacking:
            if shard in self._running:
                continue
            self._holders[shard].note(self._roster.sighting(shard))
            self._running[shard] = asyncio.create_task(self._holders[shard].run())
        return True

    def _wanted(self, look: Look) -> set[int]:
        held = [self._holder_of(shard, seen) for shard, seen in enumerate(look.holders)]
        owners = balance(held, look.replicas | {self._identity})
        return {shard for shard, owner in enumerate(owners) if owner == self._identity}

    def _holder_of(self, shard: int, seen: str) -> str:
        """Who holds a shard; of ourselves we know it better than a look that is a moment old."""
        if shard in self._ending:
            return NOBODY
        if self._holders[shard].holds:
            return self._identity
        return seen

    def _end(self, shard: int) -> None:
        self._ending.add(shard)
        self._running[shard].cancel()

    def _reap(self) -> None:
        """Forget the tasks that have ended. Raises what one has failed with."""
        for shard, task in list(self._running.items()):
            if task.done():
                del self._running[shard]
                self._ending.discard(shard)
                if not task.cancelled():
                    task.result()

    async def _stand_back(self) -> None:
        """Hand everything over, and be gone for the others, both at the same time."""
        self._known = False
        for shard in set(self._running) - self._ending:
            self._end(shard)
        await self._roster.leave()
        if self._running:
            await asyncio.wait(self._running.values())
        self._reap()

    def _complain(self, sentence: str) -> None:
        """Say what is wrong, once for as long as it stays the same."""
        if sentence and sentence != self._complaint:
            log.warning("%s", sentence)
        self._complaint = sentence
