"""How long lists hold up the event loop: 10,000 tasks with 40,000 executions and their Jobs, all
three listed at once as in a take-over. A Lease is renewed, and slots start, only between two turns
of the loop. CPU time of the thread, from the pages' bytes to the store; no network."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import pairwise

import orjson

from bench.idle.memory import HISTORY, TASKS, execution_of, job_of, task_of
from bench.measures import Measure
from taskrunner.engine.admit import TaskSink
from taskrunner.engine.slim import slim_execution, slim_job
from taskrunner.engine.store import ExecutionSink, JobSink, Store
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.source import Batch, Page
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj, Resource, Sink

PAGE = 500


def measure() -> Iterator[Measure]:
    yield from asyncio.run(_measure())


async def _measure() -> list[Measure]:
    executions = [execution_of(number, slot) for number in range(TASKS) for slot in range(HISTORY)]
    tasks, jobs = [task_of(number) for number in range(TASKS)], [job_of(e) for e in executions]
    source = _Source({SCHEDULED_TASKS: tasks, TASK_EXECUTIONS: executions, JOBS: jobs})
    del tasks, jobs, executions
    gc.collect()
    store = Store()

    def reflector(resource: Resource, sink: Sink, trim: Callable[[Obj], Obj] | None) -> Reflector:
        return Reflector(source, SystemClock(), resource, sink, trim=trim)

    reflectors = [
        reflector(SCHEDULED_TASKS, TaskSink(store), None),
        reflector(TASK_EXECUTIONS, ExecutionSink(store), slim_execution),
        reflector(JOBS, JobSink(store), slim_job),
    ]
    found = []
    for what in ("first list", "list again"):
        longest, total = await _longest_turn(reflectors)
        found.append(Measure(f"{what}, longest turn", longest * 1000, "ms", f"of {total:.1f} s"))
        gc.collect()
        gc.freeze()  # As the operator does when it is in sync for the first time.
    if len(store.tasks) != TASKS or len(store.jobs) != TASKS * HISTORY:
        raise RuntimeError("not everything was listed; nothing was measured")
    source.forget()
    longest, total = await _longest_turn(reflectors)
    found.append(Measure("all gone, longest turn", longest * 1000, "ms", f"of {total:.1f} s"))
    return found


async def _longest_turn(reflectors: list[Reflector]) -> tuple[float, float]:
    """CPU seconds of the longest turn of the loop, and of all, while everything is listed."""
    turns: list[float] = []

    async def renew() -> None:
        while True:
            turns.append(time.thread_time())
            await asyncio.sleep(0)

    beside = asyncio.create_task(renew())
    await asyncio.sleep(0)
    await asyncio.gather(*(reflector.refresh() for reflector in reflectors))
    await asyncio.sleep(0)
    beside.cancel()
    longest = max(after - before for before, after in pairwise(turns))
    return longest, turns[-1] - turns[0]


class _Source:
    """The answers of an API server, as bytes."""

    def __init__(self, objects: dict[Resource, list[Obj]]) -> None:
        self._version = 100_000
        self._pages = {
            resource: [orjson.dumps(each[n : n + PAGE]) for n in range(0, len(each), PAGE)]
            for resource, each in objects.items()
        }

    def forget(self) -> None:
        """Everything is deleted."""
        self._version += 1
        self._pages = {resource: [b"[]"] for resource in self._pages}

    async def list_pages(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        trim: Callable[[Obj], Obj] | None = None,
    ) -> AsyncGenerator[Page, None]:
        for page in self._pages[resource]:
            await asyncio.sleep(0)
            items: list[Obj] = orjson.loads(page)
            yield Page([trim(item) for item in items] if trim else items, str(self._version))

    async def latest_version(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> int:
        return self._version

    def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        timeout_seconds: int,
        idle_seconds: float,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[Batch, None]:
        raise NotImplementedError
