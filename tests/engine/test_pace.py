"""Less is under way while the API server does not keep up, and all of it again when it does."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.engine.pace import LEAST, Pace
from world import World


def after(pace: Pace, *, failures: int = 0, every: float = 1.0, successes: int = 0) -> int:
    for number in range(failures):
        pace.wrote(429, number * every)
    for _ in range(successes):
        pace.wrote(201, failures * every)
    return pace.limit


@pytest.mark.parametrize(
    ("failures", "every", "limit"),
    [(1, 1.0, 64), (100, 0.001, 64), (2, 1.0, 32), (3, 1.0, 16), (50, 1.0, LEAST)],
    ids=["one", "a-hundred-at-once", "two-rounds", "three-rounds", "many"],
)
def test_each_round_of_failures_halves_it_down_to_a_least(
    failures: int, every: float, limit: int
) -> None:
    assert after(Pace(128), failures=failures, every=every) == limit


@pytest.mark.parametrize(("successes", "limit"), [(0, 8), (100, 29), (1_000, 89), (2_100, 128)])
def test_it_grows_with_what_succeeds(successes: int, limit: int) -> None:
    assert after(Pace(128), failures=50, successes=successes) == limit


def test_it_is_as_large_as_it_may_be_as_long_as_nothing_fails() -> None:
    assert after(Pace(4), successes=10) == 4
    assert after(Pace(4), failures=10) == 4, "no less than the least, and no more than the most"


@pytest.mark.parametrize(("seconds", "limit"), [(29.9, 16), (30.0, 128)])
def test_a_burst_long_after_trouble_is_not_slowed_down(seconds: float, limit: int) -> None:
    pace = Pace(128)
    after(pace, failures=3)
    pace.wrote(201, 2.0 + seconds)
    assert pace.limit == limit


@pytest.mark.parametrize(
    ("code", "limit"),
    [(0, 64), (429, 64), (500, 64), (503, 64), (504, 64)]
    + [(code, 128) for code in (200, 201, 400, 403, 404, 409, 410, 422)],
)
def test_only_what_tells_of_a_slow_server_slows_it_down(code: int, limit: int) -> None:
    pace = Pace(128)
    pace.wrote(code, 0.0)
    assert pace.limit == limit


@given(st.integers(1, 500), st.lists(st.booleans(), max_size=300))
def test_it_stays_within_its_bounds(most: int, outcomes: list[bool]) -> None:
    pace = Pace(most)
    for number, good in enumerate(outcomes):
        pace.wrote(200 if good else 0, number * 0.3)
        assert min(LEAST, most) <= pace.limit <= most


@pytest.mark.parametrize(("failed", "most"), [(0, 16), (1, 8)], ids=["kept-up", "fell-behind"])
async def test_so_much_is_under_way_and_all_of_it_is_done(failed: int, most: int) -> None:
    under_way: Counter[float] = Counter()
    async with World() as world:
        replica = await world.replica(lead=False)
        replica.pace = Pace(16)
        for _ in range(failed):
            replica.pace.wrote(503, world.clock.boot())
        await replica.lead()
        replica.api.latency = 1.0
        replica.api.before.append(lambda call: under_way.update([world.clock.boot()]))
        world.apply("many")
        for number in range(40):
            world.run_by_hand(f"run-{number}", "many")
        await world.clock.advance(120.0)
        assert {e["status"]["phase"] for e in world.executions("many")} == {"Succeeded"}
    assert max(under_way.values()) == most
