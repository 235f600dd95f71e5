"""Jitter: deterministic, uniform, and never at or past the next slot."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrunner.domain.plan import next_slot, slots_between
from unit.planning import at, calendar, task

MINUTE = {"schedule": "* * * * *"}
START = at("2026-03-02")


def delays(spec: dict[str, Any], count: int, name: str = "task") -> list[int]:
    made = task(spec, metadata={"name": name})
    slots = slots_between(made, START - 1, START + 10**9, count)
    return [slot.due - slot.nominal for slot in slots]


def test_the_delay_is_the_same_on_each_replica_and_after_re_creation() -> None:
    hourly = {"schedule": "0 * * * *", "jitterSeconds": 300}
    created_again = task(
        hourly, metadata={"uid": "other", "creationTimestamp": "2026-01-01T00:00:00Z"}
    )
    slots = slots_between(created_again, START - 1, START + 10**6, 5)
    assert [slot.due - slot.nominal for slot in slots] == delays(hourly, 5)
    # Pinned: with another function, the slots of the day of an upgrade would move.
    assert delays(hourly, 5) == [2, 194, 62, 47, 157]


def test_tasks_do_not_share_their_delays() -> None:
    hourly = {"schedule": "0 * * * *", "jitterSeconds": 300}
    assert delays(hourly, 5, "one") != delays(hourly, 5, "two")


def test_the_delay_never_reaches_the_next_slot_of_any_schedule() -> None:
    spec = {
        "schedules": [{"name": "a", "cron": "0 * * * *"}, {"name": "b", "cron": "7 * * * *"}],
        "jitterSeconds": 86_400,
    }
    slots = slots_between(task(spec), START, START + 20 * 86_400, 10**6)
    assert len(slots) > 900
    for slot, following in pairwise(slots):
        assert slot.nominal <= slot.due < following.nominal
    after_a = [slot.due - slot.nominal for slot in slots if slot.schedule == "a"]
    assert max(after_a) == 7 * 60 - 1


def test_schedules_without_a_gap_have_no_delay() -> None:
    assert delays({"schedule": "* * * * * *", "jitterSeconds": 60}, 20) == [0] * 20


def test_the_last_slot_may_take_the_whole_delay() -> None:
    spec = {"schedules": [{"name": "x", "at": "2026-03-02T09:00:00Z"}], "jitterSeconds": 300}
    assert 0 <= delays(spec, 1)[0] <= 300


def test_a_note_tells_the_delay() -> None:
    slots = slots_between(task({**MINUTE, "jitterSeconds": 30}), START, START + 600, 9)
    assert all(
        slot.notes == ((f"jitter +{slot.due - slot.nominal} s",) if slot.due > slot.nominal else ())
        for slot in slots
    )


@pytest.mark.parametrize(
    ("spec", "most"),
    [
        ({"schedule": "0 * * * *", "jitterSeconds": 299}, 299),
        ({"schedule": "*/5 * * * *", "jitterSeconds": 3600}, 299),
    ],
)
def test_delays_are_uniform_over_slots(spec: dict[str, Any], most: int) -> None:
    """Chi-square over 30 classes: 58.3 is the 0.1 % point for 29 degrees of freedom. The hash has
    no seed, so the same 3,000 slots are drawn in every run."""
    found = delays(spec, 3000)
    assert min(found) == 0
    assert max(found) == most
    classes = [0] * 30
    for delay in found:
        classes[delay * 30 // (most + 1)] += 1
    assert sum((each - 100) ** 2 / 100 for each in classes) < 58.3


def test_delays_are_uniform_over_tasks() -> None:
    daily = {"schedule": "0 9 * * *", "jitterSeconds": 299}
    found = [delays(daily, 1, f"task-{number}")[0] for number in range(600)]
    classes = [0] * 30
    for delay in found:
        classes[delay // 10] += 1
    assert sum((each - 20) ** 2 / 20 for each in classes) < 58.3


def test_what_a_blackout_defers_does_not_start_all_at_once() -> None:
    """Jitter spreads the end of a blackout; it is decided at its nominal time all the same."""
    night = calendar(
        "night",
        exclude={"windows": [{"name": "n", "cron": "0 22 * * *", "durationSeconds": 28_800}]},
    )
    uses = [{"name": "night", "onExcluded": "Defer"}]
    spec = {"schedule": "0 23 * * *", "jitterSeconds": 600, "calendars": uses}
    starts = set()
    for number in range(20):
        slot = next_slot(task(spec, night, metadata={"name": f"t{number}"}), START)
        assert slot is not None
        assert slot.due == slot.nominal == at("2026-03-02 23:00")
        assert slot.not_before is not None
        assert 0 <= slot.not_before - at("2026-03-03 06:00") <= 600
        starts.add(slot.not_before)
    assert len(starts) > 10


def test_what_moves_to_the_previous_business_day_has_its_delay_there() -> None:
    weekend = calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]})
    uses = [{"name": "weekend", "onExcluded": "PreviousBusinessDay"}]
    spec = {"schedule": "0 9 31 * *", "jitterSeconds": 600, "calendars": uses}
    slot = next_slot(task(spec, weekend), at("2026-01-20"))
    assert slot is not None
    assert 0 < slot.due - at("2026-01-30 09:00") <= 600


def test_slots_under_moves_and_jitter_are_in_due_order() -> None:
    weekend = calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]})
    uses = [{"name": "weekend", "onExcluded": "PreviousBusinessDay"}]
    entries = [
        {"name": "a", "cron": "0 9 * * *"},
        {"name": "b", "cron": "0 9 * * *", "arguments": {"A": "1"}},
    ]
    made = task({"schedules": entries, "jitterSeconds": 600, "calendars": uses}, weekend)
    slots = slots_between(made, START, START + 30 * 86_400, 10**6)
    assert [slot.due for slot in slots] == sorted(slot.due for slot in slots)
    assert len(slots) > 50


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(60, 4000), min_size=1, max_size=3, unique=True),
    st.integers(1, 5000),
    st.integers(START, START + 10**7),
)
def test_bounds_and_order_hold_for_any_schedules(
    periods: list[int], jitter: int, after: int
) -> None:
    entries = [{"name": f"e{period}", "everySeconds": period} for period in periods]
    made = task(schedules=entries, jitterSeconds=jitter)
    slots = slots_between(made, after, after + 40_000, 200)
    for slot, following in pairwise(slots):
        most = min(jitter, following.nominal - slot.nominal - 1)
        assert 0 <= slot.due - slot.nominal <= most
        assert slot.due < following.due
