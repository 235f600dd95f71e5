"""Taking turns: each pool gets its part, nobody starves, and no limit is exceeded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrunner.domain.places import Limits, Places
from taskrunner.domain.queueing import order_of

Work = dict[str, tuple[float, float]]
"""For each pool its weight, and how long its runs take."""


@dataclass
class Sim:
    """Pools that always have more to do, in simulated time."""

    work: Work
    most: int | None = None
    per_minute: int | None = None
    now: float = 0.0
    taken: Counter[str] = field(default_factory=Counter)
    """Starts."""
    spent: Counter[str] = field(default_factory=Counter)
    """Seconds for which places were taken."""
    held_most: int = 0

    def __post_init__(self) -> None:
        self.places = Places(now=lambda: self.now)
        limits = Limits(self.most, turns=True, counts_starts=True, per_minute=self.per_minute)
        self.places.limit("queue", limits)
        self.running: list[tuple[float, str]] = []
        self.count = 0
        self.starts: list[float] = []
        for pool in self.work:
            self.join(pool)

    def join(self, pool: str) -> None:
        self.count += 1
        self.places.limit(pool, Limits(weight=self.work[pool][0]), within="queue")
        self.places.wait(f"{pool}/{self.count}", pool, order_of(500, self.now, str(self.count)))

    def run(self, until: float) -> None:
        starts = self.places.starts("queue")
        assert starts is not None
        while True:
            while (run := self.places.take()) is not None:
                pool = run.partition("/")[0]
                self.join(pool)
                self.taken[pool] += 1
                self.starts.append(self.now)
                starts.started(run, self.now)
                heappush(self.running, (self.now + self.work[pool][1], run))
            self.held_most = max(self.held_most, self.places.held)
            frees = starts.frees(self.now)
            events = [self.running[0][0]] if self.running else []
            events += [] if frees is None else [frees]
            if not events or min(events) > until:
                return
            self.now = min(events)
            while self.running and self.running[0][0] <= self.now:
                _, run = heappop(self.running)
                pool = run.partition("/")[0]
                self.spent[pool] += round(self.work[pool][1])
                self.places.release(run)
            self.places.refresh("queue")


def parts(found: Counter[str], work: Work) -> list[float]:
    """What each pool got for its weight, as a part of what it is to get."""
    whole, weights = sum(found.values()), sum(weight for weight, _ in work.values())
    return [found[pool] / whole / (weight / weights) for pool, (weight, _) in work.items()]


@pytest.mark.parametrize("most", [1, 2, 5, 20])
@pytest.mark.parametrize(
    "work",
    [
        pytest.param({"a": (1, 10), "b": (1, 10)}, id="two alike"),
        pytest.param({"a": (3, 10), "b": (1, 10)}, id="three to one"),
        pytest.param({"a": (3, 10), "b": (2, 10), "c": (1, 10)}, id="three weights"),
        pytest.param({"a": (1, 100), "b": (1, 5)}, id="long runs beside short ones"),
        pytest.param({"a": (1, 100), "b": (4, 5)}, id="long ones beside heavy short ones"),
    ],
)
def test_the_time_that_places_are_taken_is_parted_by_weight(work: Work, most: int) -> None:
    sim = Sim(work, most)
    sim.run(5_000)
    assert sim.held_most == most
    # Each start counts as a second beside the time that it takes.
    assert parts(sim.spent + sim.taken, work) == pytest.approx([1.0] * len(work), rel=0.05)


@pytest.mark.parametrize("work", [{"a": (1.0, 50.0), "b": (1.0, 1.0)}, {"a": (3, 1), "b": (1, 1)}])
def test_where_starts_are_short_they_are_parted_by_weight(work: Work) -> None:
    sim = Sim(work, per_minute=7)
    sim.run(20_000)
    assert parts(sim.taken, work) == pytest.approx([1.0] * len(work), rel=0.05)
    late = zip(sim.starts, sim.starts[7:], strict=False)
    assert all(later - earlier >= 60 for earlier, later in late)
    assert len(sim.starts) >= 7 * 20_000 / 60 - 7


def test_who_comes_late_is_put_level_and_is_owed_nothing() -> None:
    sim = Sim({"a": (1, 10), "b": (1, 10)}, most=1)
    sim.places.release("b/2")
    sim.run(1_000)
    before = sim.taken["a"]
    assert before >= 100
    sim.join("b")
    sim.run(1_200)
    assert sim.taken["b"] == pytest.approx(10, abs=1)


def test_who_has_had_too_much_does_not_begin_anew_by_going_away() -> None:
    now = 0.0
    places = Places(1, now=lambda: now)
    taken: Counter[str] = Counter()
    for number in range(40):
        for name in ("small", "big"):
            if not places.waiting(name):
                places.limit(name, Limits(weight=3 if name == "big" else 1))
                places.wait(f"{name}-{number}", name, order_of(500, number, name))
        run = places.take()
        assert run is not None
        taken[run.partition("-")[0]] += 1
        now += 10
        places.release(run)
    assert taken["small"] == pytest.approx(10, abs=1)


def test_a_pool_that_moves_takes_its_runs_along() -> None:
    places = Places(turns=False)
    for name in ("one", "two"):
        places.limit(name, Limits(1, turns=True))
    places.limit("t", Limits(), within="one")
    for run in ("a", "b", "c"):
        places.wait(run, "t", order_of(500, 0, run))
    assert [places.take(), places.take()] == ["a", None]
    places.limit("t", Limits(), within="two")
    assert (places.holding("one"), places.holding("two")) == (0, 1)
    places.limit("two", Limits(2, turns=True))
    assert [places.take(), places.take()] == ["b", None]
    for run in ("a", "b", "c"):
        places.release(run)
    assert places.held == 0
    assert not places._pools


JOIN, START, END, SHIFT, TIME = range(5)
TASKS = st.integers(0, 5)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([JOIN, JOIN, START, START, END, SHIFT, TIME]), TASKS)),
    st.integers(1, 4),
)
def test_nothing_is_lost_and_no_limit_exceeded_whatever_happens(  # noqa: C901 - many small steps
    steps: list[tuple[int, int]], most: int
) -> None:
    now = 0.0
    places = Places(most, now=lambda: now)
    queue_of = {task: task % 3 for task in range(6)}
    waiting: dict[str, int] = {}
    holding: dict[str, int] = {}
    for namespace in range(2):
        places.limit(f"ns{namespace}", Limits(weight=namespace + 1, turns=True, kept=True))
    for queue in range(3):
        limits = Limits(queue + 1, weight=queue + 1, turns=True, counts_starts=True)
        places.limit(f"q{queue}", limits, within=f"ns{queue % 2}")

    def able() -> list[str]:
        held = Counter(queue_of[task] for task in holding.values())
        if len(holding) >= most:
            return []
        return [run for run, task in waiting.items() if held[queue_of[task]] <= queue_of[task]]

    for number, (what, task) in enumerate(steps):
        if what == JOIN:
            run = f"r{number}"
            places.limit(f"t{task}", Limits(weight=task + 1), within=f"q{queue_of[task]}")
            places.wait(run, f"t{task}", order_of(500, number, run))
            waiting[run] = task
        elif what == START:
            found, possible = places.take(), able()
            assert (found in possible) if possible else found is None
            if found is not None:
                holding[found] = waiting.pop(found)
                # In a task, always by order.
                same = [r for r, t in waiting.items() if t == holding[found]]
                assert all(int(found[1:]) < int(r[1:]) for r in same)
        elif what == END and holding:
            gone = sorted(holding)[task % len(holding)]
            del holding[gone]
            places.release(gone)
        elif what == SHIFT:
            held = Counter(queue_of[t] for t in holding.values())
            target = (queue_of[task] + 1) % 3
            moved = sum(t == task for t in holding.values())
            if held[target] + moved <= target + 1 and f"t{task}" in places:
                queue_of[task] = target
                places.limit(f"t{task}", Limits(weight=task + 1), within=f"q{target}")
        elif what == TIME:
            now += task * 0.7
        assert places.held == len(holding)
        assert places.in_line == len(waiting)
        for queue in range(3):
            inside = sum(queue_of[t] == queue for t in holding.values())
            assert places.holding(f"q{queue}") == inside
    # Nobody starves: with all others gone, each that waits starts at last.
    for run in list(holding):
        places.release(run)
    for _ in range(len(waiting)):
        run_now = places.take()
        assert run_now is not None
        del waiting[run_now]
        places.release(run_now)
    assert not waiting
