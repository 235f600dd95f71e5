"""Lives of runs, lived through with the leader killed at one point, or at none.

Two replicas stand for election and take turns as the program does it: Lease, epoch, settling, list,
acting (`app.shard`). The server refuses what is signed with an old epoch, as the fence does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from crash_points import Path, Point, resting_points, running_path
from fakes.api import Call, Crash, FakeApi
from fakes.clock import FakeClock
from taskrunner.api.v1alpha1.names import ANNOTATION_WRITER_EPOCH, LABEL_SHARD, shard_object
from taskrunner.app.agreement import Agreement
from taskrunner.app.shard import ShardHolder
from taskrunner.errors import Fenced, NotFound
from taskrunner.kube.clock_guard import ClockGuard
from taskrunner.kube.skew import ServerSkew
from taskrunner.ports import JOBS, SHARDS, TASK_EXECUTIONS, Obj, Resource
from taskrunner.settings import Settings
from world import Replica, World

SYSTEM = "taskrunner-system"
SHARD = "taskrunner-shard-0"
_STEP_SECONDS = 2.0
_LEASE: dict[str, Any] = {"lock_ttl": 6, "renew_deadline": 4, "retry_period": 2}


@dataclass(frozen=True)
class Kill:
    """Where the leader dies: at the first crossing of a path, before the call is carried out or
    after. A sleep has no after."""

    path: Path
    after: bool = False


@dataclass
class Crossings:
    """What the life of the first leader went through."""

    paths: dict[Path, str] = field(default_factory=dict)
    """Each path once, in order, with what was called: a verb of the API server, or sleep."""
    resting: set[Point] = field(default_factory=set)
    """Where the other tasks of the process waited when it was killed."""


class Stage:
    """A world with two replicas, of which the first one leads. Use as a context manager."""

    def __init__(self, kill: Kill | None = None) -> None:
        self.world = World()
        self.crossings = Crossings()
        self.killed = False
        self.fence_stands = True
        """The server refuses what is signed with an epoch that is not the present one."""
        self.fence_knows = True
        """It has heard of the present epoch; if not, it refuses everybody."""
        self._kill = kill
        self._begun = False
        self._second_runs = False
        self.first = Process(self, 1)
        self.second = Process(self, 2)
        self.world.server.admission.append(self._fence)

    async def __aenter__(self) -> Stage:
        asyncio.get_running_loop().set_exception_handler(_tell)
        await self.world.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for process in (self.first, self.second):
            await process.kill()
        await self.world.__aexit__(*error)

    async def begin(self) -> None:
        """Start the first replica, which leads and acts within five seconds if nothing is in its
        way. Once is enough."""
        if not self._begun:
            self._begun = True
            await self._start(self.first)
            await self.advance(5)

    async def advance(self, seconds: float) -> None:
        """Let time pass. When the first replica has died, the second one takes over as soon as the
        Lease has expired."""
        while seconds > 0:
            await self.world.clock.advance(min(seconds, _STEP_SECONDS))
            seconds -= _STEP_SECONDS
            if self.killed and not self._second_runs:
                await self.first.kill()
                await self._start(self.second)

    async def stop_first(self) -> None:
        """SIGTERM: the first replica gives back what it holds; the second one takes over."""
        await self._start(self.second)
        await self.first.stop()

    async def _start(self, process: Process) -> None:
        self._second_runs = self._second_runs or process is self.second
        await process.watch()
        process.start(process.run())

    def crossed(self, process: Process, verb: str, *, after: bool) -> None:
        """A process calls the server, or has its answer; or it goes to sleep."""
        if process is not self.first or process.api.crashed:
            return
        path = running_path()
        if not path:
            return
        self.crossings.paths.setdefault(path, verb)
        if self._kill == Kill(path, after):
            self.killed = process.api.crashed = True
            self.crossings.resting = resting_points()
            raise Crash(f"{verb} at {path[-1]}")

    def _fence(self, verb: str, resource: Resource, obj: Obj) -> None:
        meta = obj["metadata"]
        signed = verb == "create" and LABEL_SHARD in meta.get("labels", {})
        if not signed or not self.fence_stands:
            return
        try:
            name = shard_object(meta["labels"][LABEL_SHARD])
            present = self.world.server.get(SHARDS, SYSTEM, name)["spec"]["epoch"]
        except NotFound:
            present = ""
        if resource == JOBS:
            writer = meta.get("annotations", {}).get(ANNOTATION_WRITER_EPOCH)
        else:
            writer = obj["spec"].get("writer", {}).get("epoch")
        if writer != present or not self.fence_knows:
            raise Fenced("ValidatingAdmissionPolicy 'x-fence' denied request: shut out", code=403)


class Process(Replica):
    """A replica that stands for election."""

    def __init__(self, stage: Stage, number: int) -> None:
        world = stage.world
        clock = cast(FakeClock, _Sleeps(world.clock, self._sleeps))
        self._stage = stage
        super().__init__(world.server, clock, number, api=FakeApi(world.clock, world.server))
        self.api.before.append(self._calls)
        # Last of all hooks, so that what a life has the server do has been done.
        self.api.after = _Last(self._answered)
        self._number = number
        self.stand_for("0", shards=1)

    def stand_for(self, shard: str, *, shards: int) -> None:
        """The shard that this process wants to hold, of so many."""
        settings = Settings(
            namespace=SYSTEM, identity=f"replica-{self._number}", shards=shards, **_LEASE
        )
        clock, api = self.clock, cast(Any, self.api)
        self._agreement = Agreement(settings, clock, api, api)
        self._holder = ShardHolder(
            shard,
            settings,
            clock,
            cast(Any, self.api),
            cast(Any, self.api),
            self.events,
            self.metrics,
            ClockGuard(clock, ServerSkew(), _nothing),
            refresh=self.refresh,
            work=lambda shard, turn, api: self.work(turn, api),
            tasks=lambda shard: len(self.store.tasks),
        )

    async def run(self) -> None:
        """As the program does it."""
        while True:
            await self._agreement.reach()
            await self._holder.run()

    def writes_of_runs(self) -> list[Call]:
        """What it has written about executions."""
        return [call for call in self.api.writes if call.resource == TASK_EXECUTIONS]

    async def stop(self) -> None:
        """SIGTERM."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _sleeps(self) -> None:
        self._stage.crossed(self, "sleep", after=False)

    def _calls(self, call: Call) -> None:
        self._stage.crossed(self, call.verb, after=False)

    def _answered(self, call: Call) -> None:
        self._stage.crossed(self, call.verb, after=True)


class _Last(list[Callable[[Call], None]]):
    """Hooks, of which one is called after all others that are added."""

    def __init__(self, hook: Callable[[Call], None]) -> None:
        super().__init__()
        self._hook = hook

    def __iter__(self) -> Any:
        yield from list(super().__iter__())
        yield self._hook


class _Sleeps:
    """The clock of one process."""

    def __init__(self, clock: FakeClock, going: Callable[[], None]) -> None:
        self._clock = clock
        self._going = going
        self.now, self.boot = clock.now, clock.boot

    async def sleep(self, seconds: float) -> None:
        self._going()
        await self._clock.sleep(seconds)


async def _nothing() -> None:
    return None


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A process that was killed leaves tasks that nobody asks how they ended."""
    if not isinstance(context.get("exception"), Crash | BaseExceptionGroup):
        loop.default_exception_handler(context)
