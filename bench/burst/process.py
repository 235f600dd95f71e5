"""The CPU that our process takes for a run of a burst, beside a bare client's for the same writes.

The other side is a process of its own on loopback that answers as an API server would and lets the
watches hear of it. Its time does not count, and neither does how busy the machine is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from bench.api_server import server
from bench.bare import Bare
from bench.bed import scheduled_task
from bench.measures import Effort, Measure, median
from taskrunner.domain.fence import Writer
from taskrunner.domain.instants import format_instant
from taskrunner.engine.admit import TaskSink
from taskrunner.engine.signing import signing
from taskrunner.engine.store import ExecutionSink, JobSink, Store
from taskrunner.engine.tick import Cycle
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import Connection
from taskrunner.kube.credentials import StaticToken
from taskrunner.kube.reflector import Reflector
from taskrunner.metrics import Metrics
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS, EventType, Obj

RUNS = 1_000
_AHEAD_SECONDS = 86_400
"""The tasks are due so long after they were created; when all are planned, the clock is set on."""
_BEFORE_SECONDS = 6
"""It is set to so long before they are due."""


def measure(effort: Effort) -> Iterator[Measure]:
    rounds = []
    for _ in range(effort.rounds):
        with _connection() as connection:
            ours = uvloop.run(_ours(connection))
        with _connection() as connection:
            rounds.append((ours, uvloop.run(_bare(connection))))
    bare = median(each for _, each in rounds)
    note = f"of {RUNS:,}, CPU of the client's process"
    yield Measure("CPU of a bare client, a run", bare * 1e6 / RUNS, "µs", note)
    yield Measure("CPU of ours, a run", median(each for each, _ in rounds) * 1e6 / RUNS, "µs")
    ratios = [one / other for one, other in rounds]
    said = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    yield Measure("CPU, to a bare client", median(ratios), "×", f"rounds: {said}")


@contextmanager
def _connection() -> Iterator[Connection]:
    with server() as url:
        yield Connection(url, credentials=StaticToken("token"))


async def _bare(connection: Connection) -> float:
    async with Bare(connection, "bare") as bare:
        started = time.process_time()
        await bare.burst("three", RUNS)
        return time.process_time() - started


async def _ours(connection: Connection) -> float:
    clock, metrics, store = _Settable(), Metrics(), Store()
    done = asyncio.Event()
    async with ApiClient(connection, clock, pool=128, observe=metrics.observe_call) as client:
        due = int(clock.now()) + _AHEAD_SECONDS
        slot = [{"name": "once", "at": format_instant(due)}]
        for number in range(RUNS):
            await client.create(SCHEDULED_TASKS, "qa", scheduled_task(f"o-{number}", slot))
        watches = [
            Reflector(client, clock, SCHEDULED_TASKS, TaskSink(store)),
            Reflector(client, clock, TASK_EXECUTIONS, ExecutionSink(store)),
            Reflector(client, clock, JOBS, _Counting(store, done)),
        ]
        for watch in watches:
            await watch.refresh()
        cycle = Cycle(
            api=signing(client, Writer("0", "bench/1"), lambda refused: None),
            clock=clock,
            store=store,
            term=_Term(),
            events=_NoEvents(),
            metrics=metrics,
            shard="0",
            parallel=128,
            status_interval=60.0,
        )
        tasks = [asyncio.create_task(watch.run()) for watch in watches]
        tasks.append(asyncio.create_task(cycle.run()))
        while True:
            await asyncio.sleep(0.2)
            if all(b'"plan"' in state.status for state in store.tasks.values()):
                break
        clock.ahead = due - _BEFORE_SECONDS - time.time()
        await asyncio.sleep(_BEFORE_SECONDS - 0.5)
        started = time.process_time()
        await done.wait()
        used = time.process_time() - started
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return used


class _Settable(SystemClock):
    """The wall clock, and how far it has been set on."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class _Counting(JobSink):
    """Tells when the Jobs of all runs have been seen."""

    def __init__(self, store: Store, done: asyncio.Event) -> None:
        super().__init__(store)
        self._done = done
        self._count = 0

    def seen(self, event: EventType, obj: Obj) -> None:
        super().seen(event, obj)
        self._count += event == "ADDED"
        if self._count == RUNS:
            self._done.set()


class _Term:
    identity = "bench"
    epoch = 1

    def remaining(self) -> float:
        return 10.0


class _NoEvents:
    def record(self, regarding: Obj, *, kind: str, reason: str, message: str) -> None:
        pass
