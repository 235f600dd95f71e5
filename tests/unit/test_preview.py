"""The runs to come, in the order in which they start."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from taskrunner.domain.preview import local_time, next_runs, upcoming, zone_of
from taskrunner.domain.zones import load_zone
from unit.planning import at, calendar, task, utc

NIGHT = calendar(
    "night", exclude={"windows": [{"name": "n", "cron": "0 22 * * *", "durationSeconds": 28_800}]}
)
WEEKEND = calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]})


def uses(name: str, action: str) -> dict[str, Any]:
    return {"calendars": [{"name": name, "onExcluded": action}]}


def test_five_runs_are_shown() -> None:
    made = task(schedule="0 9 * * *")
    found = [utc(slot.start) for slot in next_runs(made, at("2026-03-02 09:00"))]
    assert found == [f"2026-03-0{day} 09:00" for day in range(3, 8)]


def test_runs_are_in_the_order_of_their_start_not_of_their_decision() -> None:
    made = task(
        {
            "schedules": [
                {"name": "deferred", "cron": "0 23 * * *"},
                {"name": "early", "at": "2026-03-03T06:30:00Z"},
                {"name": "at-once", "everySeconds": 86_400, "anchor": "2026-03-02T21:00:00Z"},
            ],
            **uses("night", "Defer"),
        },
        NIGHT,
    )
    found = [(s.schedule, utc(s.start)) for s in next_runs(made, at("2026-03-02 12:00"), 4)]
    assert found == [
        ("at-once", "2026-03-02 21:00"),
        ("deferred", "2026-03-03 06:00"),
        ("early", "2026-03-03 06:30"),
        ("at-once", "2026-03-03 21:00"),
    ]


@pytest.mark.parametrize("action", ["Defer", "NextBusinessDay"])
def test_a_run_that_waits_for_the_end_of_a_blackout_is_shown(action: str) -> None:
    made = task({"schedule": "0 9 * * 6", **uses("weekend", action)}, WEEKEND)
    sunday = at("2026-03-29 12:00")
    first = next_runs(made, sunday)[0]
    assert utc(first.nominal) == "2026-03-28 09:00"
    assert first.start > sunday
    assert all(slot.start > first.start for slot in next_runs(made, first.start))


def test_what_has_started_is_not_shown_again() -> None:
    made = task({"schedule": "0 23 * * *", **uses("night", "Defer")}, NIGHT)
    assert utc(next_runs(made, at("2026-03-03 06:00"))[0].start) == "2026-03-04 06:00"


def test_skipped_slots_are_shown_on_request() -> None:
    made = task({"schedule": "0 9 * * *", **uses("weekend", "Skip")}, WEEKEND)
    after = at("2026-03-27 12:00")
    shown = list(islice(upcoming(made, after, skipped=True), 3))
    assert [(utc(slot.due), slot.skip) for slot in shown] == [
        ("2026-03-28 09:00", "ExcludedByCalendar"),
        ("2026-03-29 09:00", "ExcludedByCalendar"),
        ("2026-03-30 09:00", None),
    ]
    assert [utc(slot.due) for slot in next_runs(made, after, 1)] == ["2026-03-30 09:00"]


def test_no_more_runs_than_are_left() -> None:
    made = task({"schedule": "0 9 * * *", **uses("weekend", "Skip")}, WEEKEND)
    after = at("2026-03-27 12:00")
    assert len(next_runs(made, after, left=2)) == 2
    assert next_runs(made, after, left=0) == []
    both = list(upcoming(made, after, left=2, skipped=True))
    assert [slot.skip is None for slot in both] == [False, False, True, True]


def test_a_task_by_hand_has_no_runs_to_come() -> None:
    assert next_runs(task(), at("2026-03-02")) == []


def test_times_are_told_in_the_zone_of_the_schedule() -> None:
    entries = [
        {"name": "a", "cron": "0 9 * * *", "timeZone": "America/New_York"},
        {"name": "b", "cron": "0 9 * * *"},
    ]
    made = task(schedules=entries, timeZone="Europe/Berlin")
    found = [
        local_time(slot.start, zone_of(made, slot))
        for slot in next_runs(made, at("2026-03-02 00:00"), 2)
    ]
    assert found == ["2026-03-02T09:00:00+01:00", "2026-03-02T09:00:00-05:00"]


def test_local_times_have_the_offset_of_their_moment() -> None:
    berlin = load_zone("Europe/Berlin")
    assert local_time(at("2026-03-29 00:59:59"), berlin) == "2026-03-29T01:59:59+01:00"
    assert local_time(at("2026-03-29 01:00:00"), berlin) == "2026-03-29T03:00:00+02:00"
    assert local_time(0, load_zone("UTC")) == "1970-01-01T00:00:00+00:00"
