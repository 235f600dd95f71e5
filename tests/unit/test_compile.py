"""Compiling tasks: what is kept, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.compile import BY_HAND
from taskrunner.domain.naming import schedule_part
from taskrunner.errors import SpecError
from unit.planning import JOB, at, calendar, task

DAILY = {"schedule": "0 9 * * *"}


def schedules(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schedules": [{"name": f"e{i}", **entry} for i, entry in enumerate(entries)]}


# --- what is kept ---------------------------------------------------------------------------------


def test_a_task_is_kept_without_its_model() -> None:
    made = task(
        schedule=" 0 9 * * * ",
        timeZone="Europe/Berlin",
        startTime="2026-03-01T00:00:00Z",
        endTime="2027-01-01T00:00:00Z",
        suspend=True,
        startingDeadlineSeconds=60,
        concurrencyPolicy="Forbid",
        successfulJobsHistoryLimit=5,
        failedJobsHistoryLimit=2,
        jitterSeconds=30,
        maxExecutions=7,
        catchUp={"policy": "All", "windowSeconds": 600, "limit": 4},
        metadata={"uid": "u", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
                  "labels": {"team": "qa"}},
    )  # fmt: skip
    assert (made.key, made.namespace, made.name, made.uid) == ("qa/task", "qa", "task", "u")
    assert (made.generation, made.created) == (3, at("2026-01-01"))
    assert (made.first, made.end) == (at("2026-03-01"), at("2027-01-01"))
    assert (made.suspended, made.starting_deadline, made.concurrency_policy) == (True, 60, "Forbid")
    assert (made.successful_history_limit, made.failed_history_limit) == (5, 2)
    assert (made.jitter, made.max_executions, made.timeout) == (30, 7, None)
    assert (made.catch_up.policy, made.catch_up.window, made.catch_up.limit) == ("All", 600, 4)
    assert (made.labels, orjson.loads(made.job_template)) == ({"team": "qa"}, JOB)
    assert [(e.name, e.text, e.field, e.zone.name) for e in made.entries] == [
        ("", "0 9 * * *", "spec.schedule", "Europe/Berlin")
    ]


def test_no_slot_at_or_before_creation_nor_before_start_time() -> None:
    created = {"creationTimestamp": "2026-03-01T00:00:00Z"}
    assert task(DAILY, metadata=created).first == at("2026-03-01") + 1
    later = task(DAILY, metadata=created, startTime="2026-04-01T00:00:00Z")
    assert later.first == at("2026-04-01")
    assert task(DAILY).created == 0


@pytest.mark.parametrize(
    ("spec", "summary"),
    [
        (DAILY, "0 9 * * *"),
        ({}, BY_HAND),
        (schedules({"everySeconds": 900}), "e0"),
        (schedules({"everySeconds": 900}, {"at": "2026-01-01T00:00:00Z"}), "e0, e1"),
        (schedules({"everySeconds": 9}, {"everySeconds": 8}, {"everySeconds": 7}),
         "e0, e1 and 1 more"),
    ],
)  # fmt: skip
def test_the_schedules_in_one_line(spec: dict[str, Any], summary: str) -> None:
    assert task(spec).summary == summary


def test_entries_have_their_own_kind_zone_and_arguments() -> None:
    made = task(
        schedules(
            {"cron": "0 9 * * *", "timeZone": "America/New_York", "arguments": {"A": "1"}},
            {"everySeconds": 900, "anchor": "2026-01-01T00:00:07Z"},
            {"at": "2026-12-24T18:00:00+01:00"},
            {"atLocal": "2026-12-24T18:00:00"},
            {"cron": "@every 90s", "arguments": {"A": "1"}},
        ),
        timeZone="Europe/Berlin",
    )
    assert [entry.zone.name for entry in made.entries] == [
        "America/New_York", *["Europe/Berlin"] * 4
    ]  # fmt: skip
    assert [entry.zone_field for entry in made.entries][:2] == [
        "spec.schedules[0].timeZone", "spec.timeZone",
    ]  # fmt: skip
    assert [entry.field.rpartition(".")[2] for entry in made.entries] == [
        "cron", "everySeconds", "at", "atLocal", "cron"
    ]  # fmt: skip
    after = at("2026-12-24 12:00")
    first = [entry.timeline.next_after(after) for entry in made.entries]
    assert [fire.time if fire else None for fire in first] == [
        at("2026-12-24 14:00"),
        at("2026-12-24 12:00:07"),
        at("2026-12-24 17:00"),
        at("2026-12-24 17:00"),
        after + 90 - after % 90,
    ]
    assert made.classes == (0, 1, 1, 1, 0)


# --- the hash of the plan -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "1 9 * * *"},
        {"timeZone": "Europe/Berlin"},
        {"dst": {"gap": "Skip"}},
        {"startTime": "2026-01-01T00:00:00Z"},
        {"endTime": "2036-01-01T00:00:00Z"},
        {"jitterSeconds": 5},
        {"schedule": None, "schedules": [{"name": "a", "cron": "0 9 * * *"}]},
    ],
)
def test_the_plan_changes_with_the_timing(change: dict[str, Any]) -> None:
    assert task({**DAILY, **change}).plan_hash != task(DAILY).plan_hash


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"catchUp": {"policy": "All"}},
        {"maxExecutions": 5},
        {"startingDeadlineSeconds": 5},
        {"concurrencyPolicy": "Forbid"},
        {"description": "x"},
        {"jobTemplate": {"spec": {"other": 1}}},
    ],
)
def test_the_plan_does_not_change_with_what_happens_to_slots(change: dict[str, Any]) -> None:
    assert task({**DAILY, **change}).plan_hash == task(DAILY).plan_hash


def test_the_plan_changes_with_the_content_of_a_calendar() -> None:
    uses = {**DAILY, "calendars": [{"name": "c"}]}
    one = task(uses, calendar("c", exclude={"dates": ["2026-12-24"]}))
    same = task(uses, calendar("c", displayName="x", exclude={"dates": ["2026-12-24"]}))
    other = task(uses, calendar("c", exclude={"dates": ["2026-12-25"]}))
    assert one.plan_hash == same.plan_hash != other.plan_hash
    assert one.calendar_names == {"c"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "field", "value", "remedy"),
    [
        ({"schedule": "61 * * * *"}, "spec.schedule", "61", "from 0 to 59"),
        ({"schedule": "0 0 30 2 *"}, "spec.schedule", "30 2 *", "the last day"),
        ({**DAILY, "timeZone": "Europe/Berln"}, "spec.timeZone", "Europe/Berln", "Europe/Berlin"),
        (schedules({"everySeconds": 5}, {"cron": "x"}), "spec.schedules[1].cron", "x", ""),
        (schedules({"cron": "0 9 * * *", "timeZone": "UCT+1"}), "spec.schedules[0].timeZone",
         "UCT+1", ""),
        (schedules({"atLocal": "2026-01-01T00:00:00", "timeZone": "Moon"}),
         "spec.schedules[0].timeZone", "Moon", "Moncton"),
        ({**DAILY, "calendars": [{"name": "missing"}]}, "spec.calendars[0].name", "missing",
         "Create it"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_value_and_remedy(
    spec: dict[str, Any], field: str, value: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as error:
        task(spec)
    (problem,) = error.value.problems
    assert (problem.field, problem.value) == (field, value)
    assert remedy in problem.remedy


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SpecError) as error:
        task(
            schedules({"cron": "61 * * * *"}, {"cron": "0 25 * * *", "timeZone": "Moon"}),
            timeZone="Mars",
            calendars=[{"name": "missing"}],
        )
    assert [problem.field for problem in error.value.problems] == [
        "spec.timeZone",
        "spec.schedules[0].cron",
        "spec.schedules[1].timeZone",
        "spec.schedules[1].cron",
        "spec.calendars[0].name",
    ]


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(SpecError, match=r"metadata\.name"):
        task(DAILY, metadata={"name": "x" * 53})


def test_two_schedules_whose_executions_would_share_names_are_refused() -> None:
    names: dict[str, str] = {}
    first, second = next(
        (names[part], name)
        for number in range(100_000)
        if names.setdefault(part := schedule_part(name := f"s{number}"), name) != name
    )
    entries = [{"name": name, "everySeconds": 60, "arguments": {"A": name}} for name in
               (first, second)]  # fmt: skip
    with pytest.raises(SpecError, match="would get the same names"):
        task(schedules=entries)
    # Without arguments of their own, names have no such part.
    task(schedules=[{**entry, "arguments": {}} for entry in entries])


@pytest.mark.parametrize(
    ("cron", "action", "words"),
    [
        ("0 * * * *", "Skip", None),
        ("*/30 * * * *", "Skip", "open 96 times a day; at most 48 are supported for a task."),
        ("0 */2 * * *", "NextBusinessDay", None),
        ("0 * * * *", "NextBusinessDay", "open 48 times a day; at most 24 are supported for a"),
    ],
)
def test_the_calendars_of_a_task_have_not_too_many_windows_together(
    cron: str, action: str, words: str | None
) -> None:
    window = {"name": "w", "cron": cron, "durationSeconds": 60}
    calendars = [calendar(name, exclude={"windows": [window]}) for name in ("a", "b")]
    spec = {**DAILY, "calendars": [{"name": n, "onExcluded": action} for n in ("a", "b")]}
    if words is None:
        task(spec, *calendars)
        return
    with pytest.raises(SpecError) as error:
        task(spec, *calendars)
    (problem,) = error.value.problems
    assert (problem.field, problem.value) == ("spec.calendars", "a, b")
    assert words in problem.message
    assert problem.remedy


def test_only_a_single_schedule_without_calendars_catches_up_on_more_than_a_hundred() -> None:
    empty = CompiledCalendar("c", ())
    with_calendar = {**DAILY, "calendars": [{"name": "c"}]}
    several = schedules({"cron": "0 9 * * *"}, {"cron": "0 10 * * *"})
    most: tuple[tuple[dict[str, Any], list[CompiledCalendar], int], ...] = (
        (DAILY, [], 500),
        (several, [], 100),
        (with_calendar, [empty], 25),
    )
    for spec, calendars, limit in most:
        assert task(spec | _all_of(limit), *calendars).catch_up.limit == limit
        assert task(spec | _all_of(None), *calendars).catch_up.limit == min(100, limit)
        if limit < 500:
            with pytest.raises(SpecError) as error:
                task(spec | _all_of(limit + 1), *calendars)
            (problem,) = error.value.problems
            assert (problem.field, problem.value) == ("spec.catchUp.limit", str(limit + 1))
            assert problem.remedy


def _all_of(limit: int | None) -> dict[str, Any]:
    return {"catchUp": {"policy": "All"} | ({} if limit is None else {"limit": limit})}


@pytest.mark.parametrize("action", ["NextBusinessDay", "PreviousBusinessDay"])
def test_an_interval_whose_times_of_day_change_cannot_be_moved_by_days(action: str) -> None:
    calendar = CompiledCalendar("c", ())

    def spec(seconds: int, action: str) -> dict[str, Any]:
        return {
            **schedules({"everySeconds": seconds}),
            "calendars": [{"name": "c", "onExcluded": action}],
        }

    for seconds in (43_200, 86_400, 7 * 86_400):
        assert task(spec(seconds, action), calendar).moves_by_days
    assert task(spec(86_401, "Defer"), calendar).calendars
    with pytest.raises(SpecError) as error:
        task(spec(86_401, action), calendar)
    (problem,) = error.value.problems
    assert (problem.field, problem.value) == ("spec.calendars[0].onExcluded", action)
    assert "an interval of 86401 s has other times on each day" in problem.message


def test_calendars_that_defer_take_25_schedules() -> None:
    def spec(count: int, action: str) -> dict[str, Any]:
        entries = [{"at": f"2026-12-{1 + n:02d}T00:00:00Z"} for n in range(count)]
        return {**schedules(*entries), "calendars": [{"name": "c", "onExcluded": action}]}

    calendar = CompiledCalendar("c", ())
    assert task(spec(25, "Defer"), calendar).calendars
    assert task(spec(26, "Skip"), calendar).calendars
    with pytest.raises(SpecError) as error:
        task(spec(26, "Defer"), calendar)
    (problem,) = error.value.problems
    assert (problem.field, problem.value) == ("spec.schedules", "26 entries")
    assert "At most 25 are supported" in problem.message


@pytest.mark.parametrize("action", ["NextBusinessDay", "PreviousBusinessDay"])
def test_moves_to_business_days_take_four_calendars(action: str) -> None:
    names = "abcde"
    made = [CompiledCalendar(name, ()) for name in names]

    def refs(count: int) -> dict[str, Any]:
        found = [{"name": name, "onExcluded": "Skip"} for name in names[:count]]
        found[-1]["onExcluded"] = action
        return {**DAILY, "calendars": found}

    assert task(refs(4), *made).calendars
    with pytest.raises(SpecError) as error:
        task(refs(5), *made)
    (problem,) = error.value.problems
    assert problem.field == "spec.calendars"
    assert "at most 4 are supported" in problem.message


@pytest.mark.parametrize(
    ("action", "spec", "per_day"),
    [
        ("NextBusinessDay", {"schedule": "*/30 * * * *"}, 48),
        ("NextBusinessDay", schedules(*[{"everySeconds": 86_400}] * 9), 9),
        ("PreviousBusinessDay", {"schedule": "0 */8 * * *"}, 3),
        ("PreviousBusinessDay", schedules(*[{"everySeconds": 86_400}] * 3), 3),
    ],
)
def test_many_slots_a_day_cannot_be_moved_by_days(
    action: str, spec: dict[str, Any], per_day: int
) -> None:
    empty = CompiledCalendar("c", ())
    with pytest.raises(SpecError) as error:
        task({**spec, "calendars": [{"name": "c", "onExcluded": action}]}, empty)
    (problem,) = error.value.problems
    assert problem.field == "spec.calendars[0].onExcluded"
    assert f"has {per_day} slots on one day" in problem.message
    task({**spec, "calendars": [{"name": "c", "onExcluded": "Defer"}]}, empty)


def test_a_schedule_without_slots_can_be_moved_by_days() -> None:
    past = schedules({"at": "1990-01-01T00:00:00Z"})
    created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    uses = {**past, "calendars": [{"name": "c", "onExcluded": "PreviousBusinessDay"}]}
    assert task(uses, CompiledCalendar("c", ()), metadata=created).moves_back
