"""Agreeing on the number of shards before taking part: wait, or change it when nobody acts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from taskrunner.api.v1alpha1.names import shard_object
from taskrunner.domain.election import Acquire, Durations, Record, Sighting, campaign, sight
from taskrunner.domain.fence import Number
from taskrunner.engine.fence import Fence
from taskrunner.engine.numbers import FIRST, Numbers
from taskrunner.engine.resharding import Resharding
from taskrunner.errors import ApiError, NotFound, TermOver
from taskrunner.kube.bounded import first
from taskrunner.kube.election import Elector, Term
from taskrunner.ports import LEASES, Api, Clock
from taskrunner.settings import Settings

log = logging.getLogger(__name__)


class Agreement:
    """One replica's part in agreeing on the number of shards.

    A replica whose setting differs from the number in force does not take part. It changes the
    number when every Lease of the old one has been released or has run out: in a roll-out, when
    the last of the old pods has gone.
    """

    def __init__(self, settings: Settings, clock: Clock, client: Api, lease_client: Api) -> None:
        self._settings = settings
        self._clock = clock
        self._client = client
        self._lease_client = lease_client
        self._durations = Durations(
            settings.lock_ttl, settings.renew_deadline, settings.retry_period
        )
        self._numbers = Numbers(client, settings.namespace, settings.shards)
        self._resharding = Resharding(
            client, clock, self._numbers, self._fence, namespace=settings.namespace
        )
        self._seen: dict[int, Sighting] = {}
        self._said = ""

    async def holds(self) -> bool:
        """Whether the number in force is ours, or there is none yet. Raises ApiErrors."""
        return await self._numbers.in_force() in (None, Number(self._settings.shards))

    async def reach(self) -> None:
        """Return when the number in force is ours."""
        self._seen = {}
        while True:
            try:
                found = await self._numbers.in_force()
                if found in (None, Number(self._settings.shards)):
                    self._said = ""
                    return
                assert found is not None
                self._say(f"{self._numbers.differs(found)} Waiting until nobody acts any more.")
                if await self._are_free(found.leases):
                    await self._change(found)
            except ApiError as error:
                self._say(f"The number of shards cannot be read: {error}")
            await self._clock.sleep(self._durations.poll)

    async def _are_free(self, leases: int) -> bool:
        free = True
        for number in range(leases):
            name, record = shard_object(str(number)), None
            with suppress(NotFound):
                lease = await self._lease_client.get(LEASES, self._settings.namespace, name)
                record = Record.of(lease)
            now = self._clock.boot()
            seen = self._seen[number] = sight(self._seen.get(number), record, now)
            decision = campaign(seen, self._settings.identity, now, self._durations)
            free &= isinstance(decision, Acquire)
        return free

    async def _change(self, old: Number) -> None:
        """Take the Lease of shard 0 and do it, if nobody else does meanwhile."""
        elector = Elector(
            self._lease_client,
            self._clock,
            self._settings.namespace,
            shard_object(FIRST),
            self._settings.identity,
            self._durations,
        )
        elector.note(self._seen[0])

        async def change(term: Term) -> None:
            try:
                await self._resharding.change(term, old)
            except TermOver as over:
                log.info("the number of shards is not changed: %s", over)

        work = asyncio.ensure_future(elector.run(change))
        try:
            if await first(self._clock, self._durations.lease, work):
                work.result()
        finally:
            work.cancel()
            await asyncio.wait({work})

    def _fence(self, shard: str) -> Fence:
        return Fence(
            self._client,
            self._clock,
            namespace=self._settings.namespace,
            shard=shard,
            shards=self._settings.shards,
            probe_namespace=self._settings.watch_namespace or self._settings.namespace,
            settle_seconds=self._settings.fence_settle_seconds,
        )

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            log.warning("%s", sentence)
