"""Warnings: what is allowed but probably not meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.warnings import warnings_for, warnings_for_calendar
from unit.planning import at, calendar, task

NOW = at("2026-03-02 12:00")
WEEKEND = calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]})
FULL = {"arguments": {"SUITE": "full"}}


def told(made: CompiledTask, now: int = NOW) -> list[tuple[str, str]]:
    return [(problem.field, problem.message) for problem in warnings_for(made, now)]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"schedule": "0 9 * * *", "timeZone": "Europe/Berlin"},
        {"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin"},
        {"schedule": "0 0 29 2 *"},
        {"schedule": "@every 90s"},
        {"schedules": [{"name": "a", "cron": "0 9 * * *"}, {"name": "b", "cron": "0 10 * * *"}]},
        {"schedules": [{"name": "a", "cron": "0 0 * * *", **FULL},
                       {"name": "b", "cron": "0 * * * *"}]},
        {"schedules": [{"name": "a", "at": "2026-12-24T18:00:00Z"}]},
        {"schedule": "30 2 * * *", "timeZone": "Asia/Tokyo"},
        {"schedule": "30 2 * * *", "timeZone": "Europe/Berlin", "endTime": "2026-03-20T00:00:00Z"},
    ],
)  # fmt: skip
def test_good_specs_are_not_warned_about(spec: dict[str, Any]) -> None:
    assert told(task(spec)) == []


@pytest.mark.parametrize(
    ("spec", "field", "message", "remedy"),
    [
        ({"schedule": "0 9 * * *", "timeZone": "US/Eastern"}, "spec.timeZone", "deprecated alias",
         "America/New_York"),
        ({"schedule": "0 0 1 1 *", "endTime": "2026-12-01T00:00:00Z"}, "spec.schedule",
         "never fires before endTime (2026-12-01)", "Correct"),
        ({"schedule": "0 9 * * *", "startTime": "2035-01-01T00:00:00Z"}, "spec.schedule",
         "never fires within five years", "Correct"),
        ({"schedules": [{"name": "a", "at": "2026-01-01T00:00:00Z"}]}, "spec.schedules[0].at",
         "in the past", "Correct"),
        ({"schedules": [{"name": "a", "atLocal": "2026-03-29T02:30:00",
                         "timeZone": "Europe/Berlin"}], "dst": {"gap": "Skip"}},
         "spec.schedules[0].atLocal", "DST gap that dst.gap skips", "Correct"),
        ({"schedules": [{"name": "a", "cron": "0 9 * * *"},
                        {"name": "b", "cron": "0 9 * * 1", "arguments": {}}]},
         "spec.schedules[1].cron", 'also one of "a", with equal arguments', "Remove it"),
        ({"schedules": [{"name": "a", "cron": "0 9 * * *"},
                        {"name": "b", "everySeconds": 86_400, "anchor": "2026-01-01T09:00:00Z",
                         **FULL}]},
         "spec.schedules[1].everySeconds", 'always coincides with "a"', "Shift"),
        ({"schedule": "30 2 * * *", "timeZone": "Europe/Berlin"}, "spec.schedule",
         "jump from 02:00 to 03:00 on 2026-03-29: a slot between them runs at 03:00 instead",
         "spec.dst.gap"),
        ({"schedule": "30 2 * * *", "timeZone": "Europe/Berlin", "dst": {"gap": "Skip"}},
         "spec.schedule", "is left out", "spec.dst.gap"),
        ({"schedules": [{"name": "a", "atLocal": "2026-03-29T02:30:00"}],
          "timeZone": "Europe/Berlin"},
         "spec.schedules[0].atLocal", "runs at 03:00 instead", "Choose"),
    ],
)  # fmt: skip
def test_a_warning_names_field_and_remedy(
    spec: dict[str, Any], field: str, message: str, remedy: str
) -> None:
    (problem,) = warnings_for(task(spec), NOW)
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy


def test_an_interval_that_always_coincides_is_told_once_per_entry() -> None:
    entries = [{"name": f"e{n}", "everySeconds": 60} for n in range(4)]
    found = told(task(schedules=entries))
    assert [field for field, _ in found] == [f"spec.schedules[{n}].everySeconds" for n in (1, 2, 3)]


def test_a_schedule_that_is_told_is_not_compared_again() -> None:
    entries = [
        {"name": "a", "cron": "0 9 * * *"},
        {"name": "b", "cron": "0 9 * * *"},
        {"name": "c", "cron": "0 8 * * *"},
    ]
    assert [field for field, _ in told(task(schedules=entries))] == ["spec.schedules[1].cron"]


def test_schedules_that_fire_once_are_compared_too() -> None:
    entries = [{"name": name, "at": "2026-12-24T18:00:00Z"} for name in ("a", "b")]
    assert [field for field, _ in told(task(schedules=entries))] == ["spec.schedules[1].at"]


def test_schedules_that_part_after_a_while_do_not_always_coincide() -> None:
    """Equal until October, and equal for 100 slots."""
    entries = [{"name": "a", "cron": "0 9 * * *"}, {"name": "b", "cron": "0 9 * 1-9 *", **FULL}]
    assert told(task(schedules=entries)) == []
    fewer = [{"name": "a", "cron": "0 9 * 1-9 *"}, {"name": "b", "cron": "0 9 * * *"}]
    assert told(task(schedules=fewer)) == []


def test_calendars_that_leave_nothing_are_told() -> None:
    made = task({"schedule": "0 9 * * 6", "calendars": [{"name": "weekend"}]}, WEEKEND)
    assert told(made) == [("spec.calendars", "The calendars leave no run within five years.")]


def test_calendars_are_not_blamed_for_a_schedule_without_slots() -> None:
    entries = [{"name": "a", "at": "2026-01-01T00:00:00Z"}]
    made = task({"schedules": entries, "calendars": [{"name": "weekend"}]}, WEEKEND)
    assert [field for field, _ in told(made)] == ["spec.schedules[0].at"]


def test_calendars_that_leave_a_run_are_not_told() -> None:
    made = task({"schedule": "0 9 * * *", "calendars": [{"name": "weekend"}]}, WEEKEND)
    assert told(made) == []


@pytest.mark.parametrize(
    ("schedule", "timeout", "policy", "warned"),
    [
        ("*/5 * * * *", 301, "Forbid", True),
        ("*/5 * * * *", 300, "Forbid", False),
        ("*/5 * * * *", 301, "Allow", False),
        ("*/5 * * * *", None, "Forbid", False),
        ("@yearly", 301, "Forbid", False),
    ],
)
def test_runs_more_frequent_than_their_timeout_under_forbid(
    schedule: str, timeout: int | None, policy: str, warned: bool
) -> None:
    made = task(schedule=schedule, concurrencyPolicy=policy, timeoutSeconds=timeout)
    found = told(made)
    assert bool(found) == warned
    if warned:
        assert found[0][0] == "spec.timeoutSeconds"
        assert "every 300 s" in found[0][1]


def test_a_single_run_is_not_too_frequent() -> None:
    once = task(schedules=[{"name": "a", "at": "2026-12-24T18:00:00Z"}], concurrencyPolicy="Forbid")
    assert told(replace(once, timeout=60)) == []


def test_an_alias_in_a_calendar_is_told() -> None:
    old = calendar("c", timeZone="US/Eastern", exclude={"weekdays": ["Sunday"]})
    (problem,) = warnings_for_calendar(old)
    assert (problem.field, problem.value) == ("spec.timeZone", "US/Eastern")
    assert warnings_for_calendar(WEEKEND) == []


def test_many_schedules_are_compared_in_bounded_work() -> None:
    entries = [{"name": f"e{n}", "cron": f"{n} * * * *"} for n in range(50)]
    assert told(task(schedules=entries)) == []
