"""One run more or less in a line of 100,000, over 1,000 tasks in 20 queues of 10 namespaces, which
take turns."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import count

from bench.measures import Measure, cpu_times, percentile
from taskrunner.domain.places import Limits, Places
from taskrunner.domain.queueing import order_of

WAITING = 100_000
TASKS = 1_000
NAMESPACES = 10
QUEUES = 20
RUNNING = 100
CALLS = 20_000
_NOW = 1_790_000_000
_OF_TASK = Limits(10)


def measure() -> Iterator[Measure]:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    places = _filled()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield Measure("memory of a waiting run", (after - before) / WAITING / 1024, "KiB")
    enqueue = cpu_times(partial(_join, places, WAITING + number) for number in range(CALLS))
    yield Measure("enqueue p99", percentile(enqueue, 99), "ms", f"{WAITING:,} waiting")
    change = cpu_times(partial(_join, places, number, 900) for number in range(CALLS))
    yield Measure("change of priority p99", percentile(change, 99), "ms")
    running = deque(f"running-{number}" for number in range(RUNNING))
    dequeue = cpu_times(partial(_next, places, running) for _ in range(CALLS))
    yield Measure("dequeue p99", percentile(dequeue, 99), "ms", "one ends, the next starts")


def _filled() -> Places:
    ticks = count()
    places = Places(RUNNING, now=lambda: next(ticks) / 10_000)
    for number in range(NAMESPACES):
        places.limit(f"team-{number}/", Limits(weight=1 + number % 3, turns=True))
    for number in range(QUEUES):
        limits = Limits(RUNNING, turns=True, counts_starts=True)
        places.limit(f"queue-{number}", limits, within=f"team-{number % NAMESPACES}/")
    for number in range(RUNNING):
        places.hold(f"running-{number}", _task(number))
    for number in range(WAITING):
        _join(places, number)
    return places


def _task(number: int) -> str:
    return f"team/task-{number % TASKS}"


def _join(places: Places, number: int, priority: int = -1) -> None:
    task, run = _task(number), f"team/run-{number}"
    priority = number * 7919 % 1001 if priority < 0 else priority
    places.limit(task, _OF_TASK, within=f"queue-{number % TASKS % QUEUES}")
    places.wait(run, task, order_of(priority, _NOW + number * 31 % 100_000, run))


def _next(places: Places, running: deque[str]) -> None:
    places.release(running.popleft())
    run = places.take()
    assert run is not None
    running.append(run)
