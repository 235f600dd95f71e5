"""Replicas that share shards over one fake server, wired as the program wires them.

Only reflectors, clock and client are the tests' own; the server refuses what is signed with an old
epoch, as the fence does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from fakes.api import Call, Crash, FakeApi
from taskrunner.api.v1alpha1.names import ANNOTATION_WRITER_EPOCH, LABEL_SHARD, shard_object
from taskrunner.app.agreement import Agreement
from taskrunner.app.balance import Balancer
from taskrunner.app.shard import ShardHolder
from taskrunner.domain.election import Durations, Record
from taskrunner.engine.admit import CalendarSink, TaskSink
from taskrunner.engine.fence import Turn
from taskrunner.engine.partition import Partition
from taskrunner.engine.pod_sinks import PodSink, slim_pod
from taskrunner.engine.store import ExecutionSink, JobSink
from taskrunner.engine.tick import Cycle
from taskrunner.errors import Fenced, NotFound
from taskrunner.kube.clock_guard import ClockGuard
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.roster import Roster
from taskrunner.kube.skew import ServerSkew
from taskrunner.metrics import Metrics
from taskrunner.ports import (
    CALENDARS,
    JOBS,
    LEASES,
    PODS,
    SCHEDULED_TASKS,
    SHARDS,
    TASK_EXECUTIONS,
    Api,
    Obj,
    Resource,
)
from taskrunner.settings import Settings
from world import TEMPLATE, Recorded, World

SYSTEM = "taskrunner-system"
DURATIONS = Durations(15, 10, 2)


class Fleet:
    """A world with any number of replicas. Use as a context manager."""

    def __init__(self) -> None:
        self.world = World()
        self.replicas: list[Member] = []
        self.world.server.admission.append(self._fence)

    async def __aenter__(self) -> Fleet:
        asyncio.get_running_loop().set_exception_handler(_tell)
        await self.world.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for replica in self.replicas:
            await replica.kill()
        await self.world.__aexit__(*error)

    async def start(self, *, shards: int = 4, count: int = 1) -> list[Member]:
        """So many more replicas, all at the same moment."""
        found = [Member(self.world, len(self.replicas) + n + 1, shards) for n in range(count)]
        self.replicas += found
        for replica in found:
            replica.start()
        await self.advance(0)
        return found

    async def advance(self, seconds: float) -> None:
        await self.world.clock.advance(seconds)

    def apply(self, namespace: str, name: str, **spec: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"jobTemplate": TEMPLATE, **spec}}
        self.world.server.create(SCHEDULED_TASKS, namespace, body)

    @property
    def acting(self) -> dict[str, list[int]]:
        """By replica, the shards that it acts for."""
        return {r.name: r.acting for r in self.replicas if not r.api.crashed and r.acting}

    @property
    def counts(self) -> list[int]:
        """How many shards each replica that acts acts for, in order of size."""
        return sorted(len(shards) for shards in self.acting.values())

    def shard(self, number: int) -> Obj:
        return dict(self.world.server.get(SHARDS, SYSTEM, shard_object(str(number))))

    def holder(self, number: int) -> str:
        lease = self.world.server.get(LEASES, SYSTEM, shard_object(str(number)))
        return Record.of(lease).holder

    def leases(self, prefix: str) -> list[str]:
        found = self.world.server.objects(LEASES)
        return sorted(name for name in found if name.startswith(prefix))

    def _fence(self, verb: str, resource: Resource, obj: Obj) -> None:
        meta = obj["metadata"]
        if verb != "create" or LABEL_SHARD not in meta.get("labels", {}):
            return
        try:
            shard = self.shard(int(meta["labels"][LABEL_SHARD]))
        except NotFound:
            shard = {"spec": {"epoch": ""}}
        if resource == JOBS:
            writer = meta.get("annotations", {}).get(ANNOTATION_WRITER_EPOCH)
        else:
            writer = obj["spec"].get("writer", {}).get("epoch")
        if writer != shard["spec"]["epoch"]:
            raise Fenced("ValidatingAdmissionPolicy 'x-fence' denied request: shut out", code=403)


class Member:
    """One process."""

    def __init__(self, world: World, number: int, shards: int) -> None:
        clock = self.clock = world.clock
        self.name = f"replica-{number}"
        self.api = FakeApi(clock, world.server)
        self.events = Recorded()
        self.metrics = Metrics()
        self.memory = Partition(shards)
        self.max_concurrent: int | None = None
        settings = Settings(namespace=SYSTEM, identity=self.name, shards=shards)
        sinks = {
            CALENDARS: self.memory.sink(CalendarSink),
            SCHEDULED_TASKS: self.memory.sink(TaskSink),
            TASK_EXECUTIONS: self.memory.sink(ExecutionSink),
            JOBS: self.memory.sink(JobSink),
        }
        self._watches = [
            Reflector(self.api, clock, resource, sink, rng=lambda: 0.5)
            for resource, sink in sinks.items()
        ]
        pods = self.memory.sink(PodSink)
        self._watches.append(Reflector(self.api, clock, PODS, pods, trim=slim_pod, rng=lambda: 0.5))
        self._clocks = ClockGuard(clock, ServerSkew(), _nothing)
        self.holders = [
            ShardHolder(
                str(shard),
                settings,
                clock,
                cast(Any, self.api),
                cast(Any, self.api),
                self.events,
                self.metrics,
                self._clocks,
                refresh=self._refresh,
                work=self._work,
                tasks=lambda shard: len(self.memory.stores[int(shard)].tasks),
            )
            for shard in range(shards)
        ]
        self._agreement = Agreement(settings, clock, self.api, self.api)
        roster = Roster(self.api, clock, SYSTEM, self.name, shards, DURATIONS)
        self._balancer = Balancer(
            self.name,
            self.holders,
            roster,
            self._agreement,
            self._clocks,
            clock,
            rng=lambda: number / 10,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._part: asyncio.Task[None] | None = None

    @property
    def acting(self) -> list[int]:
        """The shards that it acts for."""
        value = self.metrics.registry.get_sample_value
        return [
            shard
            for shard in range(len(self.holders))
            if value("taskrunner_leading", {"shard": str(shard)})
        ]

    def start(self) -> None:
        """As the program begins, with the caches kept up to date."""
        for watch in self._watches:
            self._tasks.append(asyncio.ensure_future(_until_dead(watch.run)))
        self._part = asyncio.ensure_future(_until_dead(self._take_part))
        self._tasks.append(self._part)

    async def terminate(self) -> None:
        """SIGTERM: as the program ends."""
        assert self._part is not None
        for task in self._tasks:
            task.cancel()
        part = self._part

        async def ended() -> None:
            await asyncio.wait({part})

        await self.clock.drive(ended())
        self.api.crashed = True

    async def kill(self) -> None:
        """SIGKILL: nothing of it writes any more."""
        self.api.crashed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _refresh(self) -> None:
        for watch in self._watches:
            await watch.refresh()

    async def _take_part(self) -> None:
        if len(self.holders) > 1:
            await self._balancer.run()
        while True:
            await self._agreement.reach()
            await self.holders[0].run()

    def _work(self, shard: str, turn: Turn, api: Api) -> Cycle:
        return Cycle(
            api=api,
            clock=self.clock,
            store=self.memory.stores[int(shard)],
            term=turn,
            events=self.events,
            metrics=self.metrics,
            shard=shard,
            parallel=16,
            status_interval=10.0,
        )


async def _until_dead(work: Callable[[], Any]) -> None:
    with suppress(Crash):
        try:
            await work()
        except BaseExceptionGroup as group:
            if group.subgroup(Crash) is None:
                raise


async def _nothing() -> None:
    return None


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A process that was killed leaves tasks that nobody asks how they ended."""
    if not isinstance(context.get("exception"), Crash | BaseExceptionGroup):
        loop.default_exception_handler(context)


def is_creation(call: Call) -> bool:
    """Of a run or a Job."""
    return call.is_write and call.verb == "create" and call.resource in (JOBS, TASK_EXECUTIONS)
