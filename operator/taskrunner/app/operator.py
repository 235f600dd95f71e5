"""The composition root: everything is made and wired here, and nowhere else.

One process is one replica. Each keeps its memory up to date all the time; the one that holds the
Lease of a shard acts on it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import kopf

from taskrunner.api.v1alpha1 import names
from taskrunner.api.v1alpha1.names import shard_object
from taskrunner.app.agreement import Agreement
from taskrunner.app.balance import Balancer
from taskrunner.app.pauses import PauseWatches
from taskrunner.app.shard import ShardHolder
from taskrunner.app.task_metrics import TaskMetrics
from taskrunner.domain.election import Durations
from taskrunner.domain.queueing import share
from taskrunner.engine.admit import BackfillSink, CalendarSink, TaskSink
from taskrunner.engine.fence import Turn
from taskrunner.engine.pace import Pace
from taskrunner.engine.partition import Partition
from taskrunner.engine.pod_sinks import NOTICES, NoticeSink, PodSink, slim_notice, slim_pod
from taskrunner.engine.queues import TaskQueueSink
from taskrunner.engine.slim import slim_execution, slim_job
from taskrunner.engine.store import ExecutionSink, JobSink
from taskrunner.engine.tick import Cycle
from taskrunner.errors import ApiError, NotFound
from taskrunner.hooks.watching import Watcher
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.clock_guard import ClockGuard
from taskrunner.kube.config import Connection
from taskrunner.kube.events import EventRecorder
from taskrunner.kube.probes import serve_probes
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.roster import Roster
from taskrunner.kube.sessions import open_session
from taskrunner.metrics import Metrics
from taskrunner.ports import (
    BACKFILLS,
    CALENDARS,
    EVENTS,
    JOBS,
    LEASES,
    PODS,
    SCHEDULED_TASKS,
    TASK_EXECUTIONS,
    TASK_QUEUES,
    Api,
    Obj,
    Resource,
    Sink,
)
from taskrunner.settings import Settings

log = logging.getLogger(__name__)

LOOP_STALLED_SECONDS: Final = 30.0
_BEAT_SECONDS: Final = 1.0
_OURS: Final = f"{names.LABEL_MANAGED_BY}={names.MANAGER}"


class Operator:
    """One replica of the operator."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._memory = Partition(settings.shards)
        self._pace = Pace(settings.parallel_writes)
        self._client = ApiClient(
            connection,
            self._clock,
            pool=settings.parallel_writes,
            observe=self._observe,
        )
        # Leases are renewed over connections of their own: they must not wait behind a burst.
        pool = 2 if settings.shards == 1 else 4
        self._lease_client = ApiClient(connection, self._clock, pool=pool)
        self._events = EventRecorder(self._client, self._clock, instance=settings.identity)
        self._tasks = self._reflector(SCHEDULED_TASKS, self._memory.sink(TaskSink))
        self._queues = self._reflector(TASK_QUEUES, self._memory.sink(TaskQueueSink))
        self._calendars = self._reflector(CALENDARS, self._memory.sink(CalendarSink))
        self._backfills = self._reflector(BACKFILLS, self._memory.sink(BackfillSink))
        self._watches = [
            self._reflector(TASK_EXECUTIONS, self._memory.sink(ExecutionSink), trim=slim_execution),
            self._reflector(JOBS, self._memory.sink(JobSink), label_selector=_OURS, trim=slim_job),
            self._reflector(PODS, self._memory.sink(PodSink), label_selector=_OURS, trim=slim_pod),
        ]
        self._notices = [
            self._reflector(
                EVENTS, self._memory.sink(NoticeSink), field_selector=selector, trim=slim_notice
            )
            for selector in NOTICES
        ]
        self._pauses = PauseWatches(settings, self._client, self._clock, *self._memory.stores)
        self._watcher = Watcher(
            {
                SCHEDULED_TASKS: self._tasks.seen,
                CALENDARS: self._calendars.seen,
                BACKFILLS: self._backfills.seen,
                TASK_QUEUES: self._queues.seen,
            },
            self._kopf_session,
            self._clock,
            namespace=settings.watch_namespace,
        )
        lease = shard_object("0")
        self._clocks = ClockGuard(
            self._clock,
            self._lease_client.skew,
            lambda: self._lease_client.get(LEASES, settings.namespace, lease),
        )
        self._holders = [
            ShardHolder(
                str(number),
                settings,
                self._clock,
                self._client,
                self._lease_client,
                self._events,
                self._metrics,
                self._clocks,
                refresh=self._catch_up,
                work=self._cycle,
                tasks=lambda shard: len(self._memory.stores[int(shard)].tasks),
            )
            for number in range(settings.shards)
        ]
        self._agreement = Agreement(settings, self._clock, self._client, self._lease_client)
        self._metrics.clock_skew.set_function(lambda: self._lease_client.server_skew() or 0.0)
        self._metrics.clock_trusted.set_function(lambda: float(not self._clocks.problem))
        self._metrics.tasks.set_function(lambda: self._memory.tasks)
        if settings.task_metrics:
            self._metrics.registry.register(TaskMetrics(lambda: self._memory.led))
        self._synced = False
        self._stale = asyncio.Event()
        """Set when a watch may have missed something."""
        self._beat = self._clock.boot()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; then stop acting, and release the Lease."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        settings = self._settings
        async with (
            self._client,
            self._lease_client,
            serve_probes(
                address=settings.probe_address,
                port=settings.probe_port,
                registry=self._metrics.registry,
                alive=self._alive,
                ready=self._ready,
            ) as port,
        ):
            log.info("probes and metrics are on port %d", port)
            work = asyncio.create_task(self._work())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
            work.cancel()
            await asyncio.wait((work,))
            if not work.cancelled():
                work.result()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beating())
            await self._refresh()
            # What is in memory now is there to stay: the garbage collector would go through all of
            # it each time there is a quarter more, for a quarter of a second with 40,000 runs.
            gc.collect()
            gc.freeze()
            self._synced = True
            group.create_task(self._events.run())
            group.create_task(self._pauses.run())
            for watch in (*self._watches, *self._notices):
                group.create_task(watch.run())
            group.create_task(self._watcher.run(self._stale.set))
            group.create_task(self._comparing())
            group.create_task(self._clocks.run())
            group.create_task(self._take_part())

    async def _take_part(self) -> None:
        """Hold the shard, or a share of the shards, until cancelled."""
        settings, tasks = self._settings, self._memory.tasks
        if settings.shards > 1:
            log.info("in sync: %d tasks; taking a share of %d shards", tasks, settings.shards)
            durations = Durations(settings.lock_ttl, settings.renew_deadline, settings.retry_period)
            roster = Roster(
                self._lease_client,
                self._clock,
                settings.namespace,
                settings.identity,
                settings.shards,
                durations,
            )
            await Balancer(
                settings.identity,
                self._holders,
                roster,
                self._agreement,
                self._clocks,
                self._clock,
            ).run()
        (holder,) = self._holders
        name = holder.name
        log.info("in sync: %d tasks; waiting for the Lease %s/%s", tasks, settings.namespace, name)
        while True:
            await self._agreement.reach()
            await holder.run()

    def _observe(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """A call to the API server has ended."""
        self._metrics.observe_call(verb, resource, code, seconds)
        if verb not in ("get", "list"):
            self._pace.wrote(code, self._clock.boot())

    def _cycle(self, shard: str, turn: Turn, api: Api) -> Cycle:
        """What is done in one term of holding a shard."""
        return Cycle(
            api=api,
            clock=self._clock,
            store=self._memory.stores[int(shard)],
            term=turn,
            events=self._events,
            metrics=self._metrics,
            shard=shard,
            parallel=self._settings.parallel_writes,
            pace=self._pace,
            status_interval=self._settings.status_interval,
            most_active=share(
                self._settings.max_concurrent_executions or None,
                int(shard),
                self._settings.shards,
            ),
            default_retries=self._settings.default_retry_count,
            dead_letters=self._settings.dead_letter_limit,
        )

    async def _refresh(self) -> None:
        """Consistent LISTs of everything."""
        await asyncio.gather(
            self._refresh_ours(),
            self._insist(self._pauses.refresh),
            *(self._insist(watch.refresh) for watch in self._watches),
        )

    async def _catch_up(self) -> None:
        """Everything that had happened before the call is in memory: what kopf watches by LISTs."""
        await asyncio.gather(
            self._refresh_ours(),
            self._insist(self._pauses.refresh),
            *(self._insist(watch.catch_up) for watch in self._watches),
        )

    async def _refresh_ours(self) -> None:
        """Consistent LISTs of what kopf watches, calendars before the tasks that use them."""
        await self._insist(self._calendars.refresh)
        others = (self._tasks, self._backfills, self._queues)
        await asyncio.gather(*(self._insist(other.refresh) for other in others))

    async def _insist(self, read: Callable[[], Awaitable[None]]) -> None:
        """Returns when it has succeeded: each kind is asked for again by itself."""
        said = ""
        while True:
            try:
                await read()
            except NotFound:
                problem = "the definitions of taskrunner.dev are missing; apply crds/"
            except ApiError as error:
                problem = f"cannot list: {error}"
            else:
                return
            if problem != said:
                log.warning("%s; trying again", problem)
                said = problem
            await self._clock.sleep(self._settings.retry_period)

    async def _comparing(self) -> None:
        """kopf's watch may lose a delete in a gap; a LIST cannot. The other watches list when they
        have to."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stale.wait(), self._settings.queue_check_interval)
            self._stale.clear()
            await self._refresh_ours()

    async def _beating(self) -> None:
        while True:
            self._beat = self._clock.boot()
            await self._clock.sleep(_BEAT_SECONDS)
            self._metrics.loop_delay.observe(self._clock.boot() - self._beat - _BEAT_SECONDS)

    def _alive(self) -> str:
        stalled = self._clock.boot() - self._beat
        if stalled > LOOP_STALLED_SECONDS:
            return f"The event loop stalled for {stalled:.0f} s."
        return ""

    def _ready(self) -> str:
        """In sync, and free to act for each shard that is held. A replica that holds none, or waits
        for another number of shards to be changed, is ready: a roll-out goes on."""
        if not self._synced:
            return "The caches are not in sync yet."
        return " ".join(dict.fromkeys(h.problem for h in self._holders if h.problem))

    def _reflector(
        self,
        resource: Resource,
        sink: Sink,
        *,
        label_selector: str = "",
        field_selector: str = "",
        trim: Callable[[Obj], Obj] | None = None,
    ) -> Reflector:
        return Reflector(
            self._client,
            self._clock,
            resource,
            sink,
            namespace=self._settings.watch_namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            trim=trim,
            relist_seconds=self._settings.queue_check_interval,
        )

    async def _kopf_session(self, asked: Callable[[str], None]) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=self._connection.server,
            aiohttp_session=open_session(self._connection, self._clock, asked=asked),
            default_namespace=self._settings.namespace,
        )
