"""Lanes: one shard each, taken over again and again, under fire from the holder before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from taskrunner.domain.fence import Writer, probes, signed
from taskrunner.engine.fence import Fence, Turn
from taskrunner.errors import ApiError, Fenced
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.ports import JOBS, TASK_EXECUTIONS, Obj, Resource

EPOCH_LABEL = "fence-attack/epoch"
LANE_LABEL = "fence-attack/lane"
BEFORE_SECONDS = 0.05
"""Writes of the old holder begin so long before the raise: they are accepted, and rightly so."""
AFTER_SECONDS = 0.3
"""They go on so long after the new holder has listed."""
HOLDER_WRITES = 4


@dataclass(frozen=True, slots=True)
class Held:
    """A Lease that the attack does not lose: it is the fence that is attacked, not the Lease."""

    identity: str
    epoch: int

    def remaining(self) -> float:
        return 60.0


@dataclass(slots=True)
class Tally:
    """What was counted."""

    take_overs: int = 0
    stale_sent: int = 0
    slipped_in: int = 0
    """Stale writes that were sent after the raise was acknowledged, and accepted."""
    longest_lag: float = 0.0
    """Seconds from the raise being acknowledged to the latest such write being sent."""
    after_settle: int = 0
    """Of those: sent after the new holder began to act. None may be."""
    unseen: int = 0
    """Stale objects that exist and were not in the new holder's list. None may be."""
    holder_writes: int = 0
    holder_refused: int = 0
    """Writes of the present holder that the fence refused after it began to act. None may be."""
    terms_ended: int = 0
    """Terms that ended because their Shard was deleted while the holder wrote."""
    longest_take_over: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.after_settle or self.unseen or self.holder_refused)

    def __str__(self) -> str:
        return (
            f"{self.take_overs} take-overs (longest {self.longest_take_over:.1f} s);"
            f" stale writes sent {self.stale_sent},"
            f" slipped in before the holder acted {self.slipped_in}"
            f" (latest {self.longest_lag * 1000:.0f} ms after the raise), accepted later"
            f" {self.after_settle}, not in the list {self.unseen};"
            f" holder's writes {self.holder_writes}, refused {self.holder_refused}"
            + (f", Shards deleted under a holder {self.terms_ended}" if self.terms_ended else "")
        )


class Lane:
    """One shard."""

    def __init__(
        self,
        client: ApiClient,
        attacker: ApiClient,
        tally: Callable[[], Tally],
        *,
        namespace: str,
        shard: str,
        settle_seconds: float,
        senders: int,
    ) -> None:
        self._client = client
        self._attacker = attacker
        self._tally = tally
        self._namespace = namespace
        self._shard = shard
        self._senders = senders
        self._clock = SystemClock()
        self._numbers = count(1)
        self._terms = count(1)
        self._turn: Turn | None = None
        self._fence = Fence(
            client,
            self._clock,
            namespace=namespace,
            shard=shard,
            shards=1,
            probe_namespace=namespace,
            settle_seconds=settle_seconds,
        )

    async def take_over(self) -> None:
        """One take-over in the operator's own order, under fire."""
        tally, old = self._tally(), self._turn
        number = next(self._terms)
        shots: list[tuple[float, bool]] = []
        fire = [asyncio.create_task(self._fire(old, shots)) for _ in range(self._senders)]
        try:
            await self._clock.sleep(BEFORE_SECONDS)
            started = self._clock.boot()
            turn = await self._fence.raise_epoch(Held(f"lane-{self._shard}-{number}", number))
            raised = self._clock.boot()
            await self._fence.settle(turn)
            await self._fence.stand(turn, required=True, tell=lambda finding: None)
            listed = await self._stale(old)
            acting = self._clock.boot()
            await self._act(turn, tally)
            await self._clock.sleep(AFTER_SECONDS)
        finally:
            for task in fire:
                task.cancel()
            await asyncio.gather(*fire, return_exceptions=True)
        self._turn = turn
        tally.take_overs += 1
        tally.longest_take_over = max(tally.longest_take_over, acting - started)
        tally.stale_sent += len(shots)
        for sent, accepted in shots:
            if accepted and sent > raised:
                tally.slipped_in += 1
                tally.longest_lag = max(tally.longest_lag, sent - raised)
                tally.after_settle += sent > acting
        late = await self._stale(old) - listed
        tally.unseen += len(late)
        if late:
            tally.problems.append(f"not in the list of {turn.text}: {sorted(late)[:5]}")
        await self._tidy()

    # --- the old holder ---------------------------------------------------------------------------

    async def _fire(self, old: Turn | None, shots: list[tuple[float, bool]]) -> None:
        """Send prepared writes of the old holder until cancelled."""
        if old is None:
            return
        while True:
            resource, body = self._prepared(old, next(self._numbers))
            sent = self._clock.boot()
            try:
                await self._attacker.create(resource, self._namespace, body, timeout=10)
            except Fenced:
                shots.append((sent, False))
            except ApiError:
                # No answer: whether it was done is found by listing, at the end.
                await self._clock.sleep(0.02)
            else:
                shots.append((sent, True))

    def _prepared(self, turn: Turn, number: int) -> tuple[Resource, Obj]:
        execution, job = probes(self._namespace)
        body, resource = (execution, TASK_EXECUTIONS) if number % 2 else (job, JOBS)
        metadata = body["metadata"]
        labels = {**metadata["labels"], EPOCH_LABEL: str(turn.epoch), LANE_LABEL: self._shard}
        name = f"lane-{self._shard}-{turn.epoch}-{number}"
        body = {**body, "metadata": {**metadata, "name": name, "labels": labels}}
        return resource, signed(body, Writer(self._shard, turn.text))

    async def _stale(self, old: Turn | None) -> set[str]:
        if old is None:
            return set()
        selector = f"{LANE_LABEL}={self._shard},{EPOCH_LABEL}={old.epoch}"
        found: set[str] = set()
        for resource in (TASK_EXECUTIONS, JOBS):
            items = await self._client.list(
                resource, namespace=self._namespace, label_selector=selector
            )
            found |= {f"{resource.kind}/{item['metadata']['name']}" for item in items}
        return found

    # --- the new holder ---------------------------------------------------------------------------

    async def _act(self, turn: Turn, tally: Tally) -> None:
        for _ in range(HOLDER_WRITES):
            resource, body = self._prepared(turn, next(self._numbers))
            tally.holder_writes += 1
            try:
                await self._client.create(resource, self._namespace, body, timeout=10)
            except Fenced as error:
                # As in the operator, the Shard tells whether that was a mistake. Its definition may
                # have been deleted just now, and the Shard with it: then the term is over.
                if not await self._fence.is_ours(turn):
                    tally.terms_ended += 1
                    return
                tally.holder_refused += 1
                tally.problems.append(f"{turn.text} refused: {error}")

    async def _tidy(self) -> None:
        """What this lane has made so far goes; the old epoch's names are never used again."""
        for resource in (TASK_EXECUTIONS, JOBS):
            await self._client.delete_selected(
                resource, self._namespace, label_selector=f"{LANE_LABEL}={self._shard}"
            )
