"""Holding one shard: hold the Lease, raise the epoch, let it settle, list, act; and end well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from taskrunner.domain.election import Durations, Sighting
from taskrunner.domain.fence import Finding, Writer
from taskrunner.domain.instants import format_instant
from taskrunner.domain.shard_status import Figures, shard_status
from taskrunner.domain.sharding import LABEL, SHARD
from taskrunner.engine.fence import Fence, Turn
from taskrunner.engine.signing import signing
from taskrunner.errors import ApiError, Fenced, OtherNumber, TermOver
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock_guard import ClockGuard
from taskrunner.kube.creations import Creations
from taskrunner.kube.election import Elector, Term
from taskrunner.metrics import Metrics
from taskrunner.ports import SHARDS, Api, Clock, Events, Obj
from taskrunner.settings import Settings

log = logging.getLogger(__name__)

INSPECT_SECONDS: Final = 60.0
"""Between two looks at the fence, and two updates of the Shard's status if it has changed."""


class Work(Protocol):
    """What is done in a term: `engine.tick.Cycle`."""

    @property
    def agenda(self) -> int:
        """Instants that are waited for."""
        ...

    async def run(self) -> None:
        """Act until cancelled."""
        ...


class ShardHolder:
    """One replica's part in one shard: it stands for election, and acts in the terms it wins."""

    def __init__(
        self,
        shard: str,
        settings: Settings,
        clock: Clock,
        client: ApiClient,
        lease_client: ApiClient,
        events: Events,
        metrics: Metrics,
        clocks: ClockGuard,
        *,
        refresh: Callable[[], Awaitable[None]],
        work: Callable[[str, Turn, Api], Work],
        tasks: Callable[[str], int],
    ) -> None:
        self._shard = shard
        self._settings = settings
        self._clock = clock
        self._client = client
        self._events = events
        self._metrics = metrics
        # From the beginning, so that a shard for which nobody acts can be told from none.
        metrics.leading.labels(shard).set(0)
        self._mine = metrics.of_shard(shard)
        self._creations = Creations(clock)
        self._clocks = clocks
        self._refresh = refresh
        self._work = work
        self._tasks = tasks
        self._fence = Fence(
            client,
            clock,
            namespace=settings.namespace,
            shard=shard,
            shards=settings.shards,
            probe_namespace=settings.watch_namespace or settings.namespace,
            settle_seconds=settings.fence_settle_seconds,
        )
        self._elector = Elector(
            lease_client,
            clock,
            settings.namespace,
            self._fence.name,
            settings.identity,
            Durations(settings.lock_ttl, settings.renew_deadline, settings.retry_period),
            # One by itself needs not be found among others.
            labels={LABEL: SHARD} if settings.shards > 1 else None,
        )
        self._other_number = False
        self._finding: Finding | None = None
        self._status: Obj = {}

    @property
    def name(self) -> str:
        """Of the Lease and of the Shard."""
        return self._fence.name

    @property
    def holds(self) -> bool:
        """Whether this replica holds the Lease."""
        return self._elector.term is not None

    def note(self, seen: Sighting | None) -> None:
        """What has been seen of the Lease already. Only while this does not run."""
        if seen is not None:
            self._elector.note(seen)

    @property
    def problem(self) -> str:
        """Why this replica, although it holds the Lease, does not act; empty when it does."""
        if self._elector.term is None or self._finding is None:
            return ""
        return "" if self._finding.standing in ("Active", "Unknown") else self._finding.message

    async def run(self) -> None:
        """Stand for election until cancelled; returns when another number of shards is in force."""
        self._other_number = False
        while True:
            await self._clocks.until(trusted=True)
            await self._elector.run(self._lead)
            if self._other_number:
                return
            # The term was given up: let another replica try first.
            await self._clock.sleep(2 * self._settings.retry_period)

    # --- one term -------------------------------------------------------------------------------

    async def _lead(self, term: Term) -> None:
        """Act for one term. The order makes a take-over safe; a crash anywhere leaves a Lease that
        expires, and an epoch that the next holder raises."""
        started = self._clock.now()
        turn: Turn | None = None
        settled = False
        self._finding, self._status = None, {}
        try:
            turn = await self._fence.raise_epoch(self._bounded(term))
            log.info("leading shard %s, epoch %s", self._shard, turn.text)
            self._metrics.terms.labels(self._shard).inc()
            await self._fence.settle(turn)
            settled = True
            await self._fence.stand(turn, required=self._settings.fence_required, tell=self._found)
            await self._refresh()
            took = self._clock.now() - started
            log.info("in sync at %s, %.1f s after the Lease; acting", self._now(), took)
            await self._act(turn, started)
        except TermOver as over:
            self._other_number = isinstance(over, OtherNumber)
            why = self._clocks.problem or str(over)
            log.warning("shard %s: %s Giving the Lease up.", self._shard, why)
            if self._clocks.problem and self._fence.shard_object:
                shard = self._fence.shard_object
                message = f"{self._settings.identity} gives the shard up. {why}"
                self._events.record(
                    shard, kind="Warning", reason="ClockNotTrusted", message=message
                )
        finally:
            log.info("no longer leading shard %s", self._shard)
            self._metrics.leading.labels(self._shard).set(0)
            self._mine.rest()
            with suppress(KeyError):
                self._metrics.fenced.remove(self._shard)
            # Before it has settled, something of an earlier epoch may be under way.
            if turn is not None and settled and self._creations.all_answered():
                await self._fence.release(turn)

    def _bounded(self, term: Term) -> Term:
        """The term, over at once when the wall clock is not believed: it is asked before each
        write, so that nothing is started by a clock that has just jumped."""

        def remaining() -> float:
            return 0.0 if self._clocks.problem else term.remaining()

        return Term(term.epoch, term.identity, remaining)

    async def _act(self, turn: Turn, started: float) -> None:
        refusals: asyncio.Queue[Fenced] = asyncio.Queue()
        api = self._creations.counting(self._client)
        api = signing(api, Writer(self._shard, turn.text), refusals.put_nowait)
        work = self._work(self._shard, turn, api)
        self._metrics.leading.labels(self._shard).set(1)
        over: TermOver | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._guard(turn, refusals))
                group.create_task(self._watch_clocks())
                group.create_task(self._report(turn, started, work))
                await work.run()
        except* TermOver as found:
            over = TermOver(str(found.exceptions[0]))
        if over is not None:
            raise over

    async def _guard(self, turn: Turn, refusals: asyncio.Queue[Fenced]) -> None:
        """End the term when the fence shuts us out. A refusal alone does not prove that: an API
        server may not have heard of our epoch yet. The Shard itself tells."""
        while True:
            refused = await refusals.get()
            while not refusals.empty():
                refusals.get_nowait()
            over = not await self._fence.is_ours(turn)
            outcome = "term-over" if over else "retried"
            self._metrics.fence_refusals.labels(self._shard, outcome).inc()
            if over:
                raise TermOver(f"Somebody else has the shard. The API server says: {refused}.")
            log.warning("shard %s: refused by the fence, trying again: %s", self._shard, refused)

    async def _watch_clocks(self) -> None:
        await self._clocks.until(trusted=False)
        raise TermOver(self._clocks.problem)

    # --- telling --------------------------------------------------------------------------------

    def _found(self, finding: Finding) -> None:
        before, self._finding = self._finding, finding
        self._metrics.fenced.labels(self._shard).set(finding.standing == "Active")
        if before is not None and before.standing == finding.standing:
            return
        if finding.standing == "Active":
            log.info("shard %s: the fence stands", self._shard)
            return
        log.warning("shard %s: %s", self._shard, finding.message)
        if self._fence.shard_object:
            self._events.record(
                self._fence.shard_object,
                kind="Warning",
                reason=f"Fence{finding.standing}",
                message=finding.message,
            )

    async def _report(self, turn: Turn, started: float, work: Work) -> None:
        """Keep the Shard's status, and look at the fence from time to time. Best effort."""
        acting = self._clock.now()
        while True:
            longest = self._mine.start_lag.take_longest()
            figures = Figures(
                holder=turn.identity,
                acquired=started,
                acting=acting,
                tasks=self._tasks(self._shard),
                agenda=work.agenda,
                lag_milliseconds=None if longest is None else round(longest * 1000),
            )
            status = shard_status(figures, self._finding, self._status, self._clock.now())
            try:
                if status is not None:
                    await self._client.patch(
                        SHARDS,
                        self._settings.namespace,
                        self._fence.name,
                        {"status": status},
                        subresource="status",
                    )
                    self._status = status
                await self._clock.sleep(INSPECT_SECONDS)
                finding = await self._fence.inspect(turn)
                self._found(finding)
                if finding.standing != "Active" and not await self._fence.is_ours(turn):
                    # Without a write that is refused, nobody would notice.
                    raise TermOver("Somebody else has the shard, or has deleted it.")
            except ApiError as error:
                log.info("shard %s: its status is not written: %s", self._shard, error)
                await self._clock.sleep(INSPECT_SECONDS)

    def _now(self) -> str:
        return format_instant(self._clock.now())
