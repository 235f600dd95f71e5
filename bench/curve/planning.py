"""What a task costs as there are more of them: to take it in, to plan it, and to be told that it is
due. CPU time, in process; near-linear means that a task of many costs as much as a task of few."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

from bench.idle.memory import task_of
from bench.measures import Measure, median
from taskrunner.domain.plan import next_slot
from taskrunner.engine.admit import TaskSink
from taskrunner.engine.agenda import Agenda
from taskrunner.engine.progress import begin
from taskrunner.engine.store import Store

SIZES = (1_000, 3_000, 10_000, 30_000)
_NOW = 1_790_000_000


def measure() -> Iterator[Measure]:
    _round(SIZES[0])  # What is loaded once, such as time zones, is not of the first size.
    costs: dict[str, list[float]] = {}
    for size in SIZES:
        rounds = [_round(size) for _ in range(3 if size < 10_000 else 1)]
        for what in rounds[0]:
            cost = median(each[what] for each in rounds)
            costs.setdefault(what, []).append(cost)
            yield Measure(f"{what}, of {size:,}", cost, "µs", "CPU for a task")
    for what, found in costs.items():
        note = f"{SIZES[-1]:,} tasks to {SIZES[0]:,}; 1 is linear"
        yield Measure(f"{what}, growth", found[-1] / found[0], "×", note)


def _round(size: int) -> dict[str, float]:
    objects = [task_of(number) for number in range(size)]
    store = Store()
    sink = TaskSink(store)

    def take_in() -> None:
        for obj in objects:
            sink.seen("ADDED", obj)

    def plan() -> None:
        for state in store.tasks.values():
            assert state.compiled is not None
            next_slot(state.compiled, begin(state).watermark)

    found = {"take in": _cost(size, take_in), "plan": _cost(size, plan)}
    agenda: Agenda[str] = Agenda()

    def put() -> None:
        for number, key in enumerate(store.tasks):
            agenda.set(key, _NOW + number * 7919 % 86_400)

    found["note when"] = _cost(size, put)
    found["tell that it is due"] = _cost(size, lambda: list(agenda.due(_NOW + 86_400)))
    return found


def _cost(size: int, call: Callable[[], object]) -> float:
    """CPU microseconds for each of so many."""
    gc.collect()
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1e6 / size
