"""`H`: stable, spread evenly, and inside its bounds."""

from __future__ import annotations

from collections import Counter

import pytest

from taskrunner.domain.cron import parse_cron
from taskrunner.domain.cron_days import bits
from taskrunner.domain.hashing import spread, stable_hash


def test_hashes_are_the_same_on_every_platform_and_version() -> None:
    assert stable_hash("a", "b") == 0xFFC151170352BAA3
    assert spread(60, "cron", "minute", "qa/nightly-regression") == 17


@pytest.mark.parametrize(
    ("text", "minutes"), [("H", 1), ("H(10-19)", 1), ("H/15", 4), ("H(0-29)/10", 3), ("H,30-31", 3)]
)
def test_h_draws_from_the_name_and_stays_the_same(text: str, minutes: int) -> None:
    one, again, other = (
        parse_cron(f"{text} * * * *", hash_key=key).minutes
        for key in ("qa/nightly", "qa/nightly", "qa/smoke")
    )
    assert one == again
    assert one != other
    assert one.bit_count() == minutes


def test_h_with_a_range_stays_inside_it() -> None:
    for number in range(500):
        parsed = parse_cron("H(10-19) H(22-23) * * *", hash_key=f"team/task-{number}")
        assert all(10 <= minute <= 19 for minute in bits(parsed.minutes))
        assert all(22 <= hour <= 23 for hour in bits(parsed.hours))


def test_h_with_a_step_keeps_the_step_and_moves_the_phase() -> None:
    phases = set()
    for number in range(200):
        found = list(bits(parse_cron("H/15 * * * *", hash_key=f"team/{number}").minutes))
        assert [minute - found[0] for minute in found] == [0, 15, 30, 45]
        phases.add(found[0])
    assert phases == set(range(15))


def test_the_day_of_the_month_is_one_that_every_month_has() -> None:
    days = set()
    for number in range(1000):
        days |= set(bits(parse_cron("0 0 H * *", hash_key=f"team/{number}").days.days))
    assert days == set(range(1, 29))


def test_minutes_of_many_tasks_are_uniform() -> None:
    tasks = 6_000
    counts = Counter(
        parse_cron("H * * * *", hash_key=f"ns-{number % 7}/task-{number}").minutes.bit_length() - 1
        for number in range(tasks)
    )
    expected = tasks / 60
    chi_squared = sum((counts[minute] - expected) ** 2 / expected for minute in range(60))
    # 59 degrees of freedom: 99.9 % of uniform draws are below 98.3.
    assert chi_squared < 98.3
    # Minute and hour are drawn apart from each other.
    pairs = {
        (parsed.minutes, parsed.hours)
        for parsed in (parse_cron("H H * * *", hash_key=f"x/{n}") for n in range(3000))
    }
    assert len(pairs) > 1200
