"""The waiting line, against a slow and obvious one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taskrunner.domain.places import Limits, Places
from taskrunner.domain.queueing import AGEING_SECONDS, order_of, share

NOW = 1_790_000_000


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((500, 0, "b"), (499, 0, "a"), id="the larger priority"),
        pytest.param((500, 0, "b"), (500, 1, "a"), id="then who has waited longer"),
        pytest.param((500, 0, "a"), (500, 0, "b"), id="then the name"),
        pytest.param((1000, 100, "b"), (0, 0, "a"), id="a newcomer of high priority"),
        pytest.param((0, 0, "a"), (1000, 10_001, "b"), id="but not for ever"),
        pytest.param((500, 0, "b"), (501, 11, "a"), id="eleven seconds outweigh a point"),
        pytest.param((501, 9, "a"), (500, 0, "b"), id="nine do not"),
    ],
)
def test_the_order_is_by_priority_then_age_then_name(
    first: tuple[int, int, str], second: tuple[int, int, str]
) -> None:
    assert order_of(*first) < order_of(*second)


RUNS = st.tuples(st.integers(0, 1000), st.integers(0, 20_000), st.text("ab", min_size=1))


@given(RUNS, RUNS, st.integers(0, 100_000))
def test_the_static_order_is_that_of_priority_and_age_at_any_moment(
    a: tuple[int, int, str], b: tuple[int, int, str], later: int
) -> None:
    def score(run: tuple[int, int, str]) -> tuple[float, int, str]:
        priority, since, name = run
        waited = 20_000 + later - since
        return (-(AGEING_SECONDS * priority + waited), since, name)

    assert (order_of(*a) < order_of(*b)) == (score(a) < score(b))


@pytest.mark.parametrize(
    ("most", "shards", "shares"),
    [
        (None, 3, [None, None, None]),
        (10, 1, [10]),
        (10, 3, [4, 3, 3]),
        (2, 3, [1, 1, 1]),
    ],
)
def test_shards_share_the_maximum(most: int | None, shards: int, shares: list[int | None]) -> None:
    assert [share(most, shard, shards) for shard in range(shards)] == shares


def test_a_run_of_low_priority_starts_although_others_never_cease() -> None:
    places = Places(1, turns=False)
    places.hold("busy", "t")
    places.wait("poor", "t", order_of(0, 0, "poor"))
    started, current = 0, "busy"
    for second in range(1, 20_000):
        places.wait(f"rich-{second}", "t", order_of(1000, second, f"rich-{second}"))
        places.release(current)
        current = places.take() or ""
        started += 1
        if current == "poor":
            break
    # 1,000 points of priority are 10,000 seconds of waiting.
    assert current == "poor"
    assert 9_990 <= started <= 10_010


def test_limits_of_a_task_do_not_hold_up_others() -> None:
    places = Places(3, turns=False)
    places.limit("one", Limits(1))
    for name in ("a", "b", "c"):
        places.wait(name, "one", order_of(1000, 0, name))
    places.wait("z", "other", order_of(0, 0, "z"))
    assert [places.take(), places.take(), places.take()] == ["a", "z", None]


def test_a_changed_priority_moves_a_run_in_line() -> None:
    places = Places(1, turns=False)
    for name, priority in (("a", 500), ("b", 400)):
        places.wait(name, "t", order_of(priority, 0, name))
    places.wait("b", "t", order_of(900, 0, "b"))
    assert places.take() == "b"


def test_a_raised_limit_lets_more_in_and_a_lowered_one_throws_nobody_out() -> None:
    places = Places(turns=False)
    places.limit("t", Limits(1))
    for number in range(4):
        places.wait(str(number), "t", order_of(500, number, str(number)))
    assert (places.take(), places.take()) == ("0", None)
    places.limit("t", Limits(3))
    assert (places.take(), places.take(), places.take()) == ("1", "2", None)
    places.limit("t", Limits(1))
    assert places.holding("t") == 3
    places.release("0")
    places.release("1")
    assert places.take() is None
    places.release("2")
    assert places.take() == "3"


def test_what_has_started_counts_even_beyond_the_limit() -> None:
    places = Places(1, turns=False)
    places.hold("a", "t")
    places.hold("b", "t")
    places.wait("c", "t", order_of(500, 0, "c"))
    places.release("a")
    assert places.take() is None
    places.release("b")
    assert places.take() == "c"


def test_nothing_of_a_task_is_kept_when_its_runs_are_gone() -> None:
    places = Places(10, turns=False)
    for number in range(100):
        places.limit(f"t{number}", Limits(1))
        places.wait("run", f"t{number}", order_of(500, 0, "run"))
        places.take()
        places.release("run")
    assert not places._pools
    assert len(places._root.pools) == 0


@dataclass
class Run:
    pool: str
    priority: int
    since: int
    holding: bool = False


@dataclass
class Model:
    """Sorts everything, each time."""

    limits: dict[str, int | None] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    forced: bool = False
    """A run was started beyond a limit, or a limit has fallen: more may hold than it says."""

    def held(self, pool: str) -> int:
        return sum(
            run.holding and pool in (run.pool, PARENTS[run.pool], "") for run in self.runs.values()
        )

    def room(self, pool: str) -> bool:
        most = self.limits.get(pool)
        return most is None or self.held(pool) < most

    def next(self) -> str | None:
        able = [
            (order_of(run.priority, run.since, name), name)
            for name, run in self.runs.items()
            if not run.holding and all(map(self.room, (run.pool, PARENTS[run.pool], "")))
        ]
        return min(able)[1] if able else None


PARENTS = {"a": "", "b": "", "c": "queue", "d": "queue", "queue": "", "": ""}
"""Tasks a and b are alone, c and d share a queue: the shape that a TaskQueue will have."""
TASKS = st.sampled_from("abcd")
NAMES = st.sampled_from([f"run-{n}" for n in range(12)])
LIMITS = st.one_of(st.none(), st.integers(0, 4))


class Machine(RuleBasedStateMachine):
    """Any sequence of joins, starts, ends, new priorities and new limits."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places(3, turns=False)
        self.model = Model({"": 3})

    def limited(self, pool: str) -> None:
        """As the engine does: the limit is told whenever a run joins."""
        parent = PARENTS[pool]
        if parent:
            self.places.limit(parent, Limits(self.model.limits.get(parent)))
        self.places.limit(pool, Limits(self.model.limits.get(pool)), within=parent)

    @rule(name=NAMES, pool=TASKS, priority=st.integers(0, 3), since=st.integers(0, 30))
    def join(self, name: str, pool: str, priority: int, since: int) -> None:
        known = self.model.runs.get(name)
        if known is not None and known.holding:
            return
        pool = known.pool if known else pool
        self.limited(pool)
        self.places.wait(name, pool, order_of(priority, since, name))
        self.model.runs[name] = Run(pool, priority, since)

    @rule(name=NAMES, pool=TASKS)
    def found_running(self, name: str, pool: str) -> None:
        known = self.model.runs.get(name)
        pool = known.pool if known else pool
        self.limited(pool)
        self.places.hold(name, pool)
        self.model.runs[name] = Run(pool, 0, 0, holding=True)
        self.model.forced = True

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        self.places.release(name)
        self.model.runs.pop(name, None)

    @rule(pool=st.sampled_from(["a", "b", "c", "d", "queue"]), most=LIMITS)
    def limit(self, pool: str, most: int | None) -> None:
        self.model.limits[pool] = most
        self.model.forced = True
        if pool in self.places._pools:
            self.places.limit(pool, Limits(most), within=PARENTS[pool])

    @precondition(lambda self: self.model.runs)
    @rule()
    def start(self) -> None:
        expected = self.model.next()
        assert self.places.take() == expected
        if expected is not None:
            self.model.runs[expected].holding = True

    @rule()
    def rebuild(self) -> None:
        """A new leader makes it anew from the objects, in any order."""
        self.places = Places(3, turns=False)
        for name, run in self.model.runs.items():
            self.limited(run.pool)
            if run.holding:
                self.places.hold(name, run.pool)
            else:
                self.places.wait(name, run.pool, order_of(run.priority, run.since, name))

    @invariant()
    def it_is_as_if_everything_were_sorted_each_time(self) -> None:
        assert self.places.next() == self.model.next()
        assert self.places.held == self.model.held("")
        for pool in "abcd":
            assert self.places.holding(pool) == self.model.held(pool)
            assert self.places.waiting(pool) == sum(
                run.pool == pool and not run.holding for run in self.model.runs.values()
            )

    @invariant()
    def no_limit_is_exceeded_by_a_start(self) -> None:
        if not self.model.forced:
            for pool in ("a", "b", "c", "d", "queue", ""):
                most = self.model.limits.get(pool)
                assert most is None or self.model.held(pool) <= most


TestMachine = Machine.TestCase
