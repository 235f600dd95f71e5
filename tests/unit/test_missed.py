"""What happens to slots since the watermark: on time, after downtime, resume and clock jumps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskrunner.domain import missed, missed_many, runs
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.missed import AT_ONCE, ON_TIME_SECONDS, WALKED, Undecided, undecided
from taskrunner.domain.plan import Slot, slots_between, slots_of
from unit.planning import EXAMPLES, at, calendar, task, utc

NIGHT = calendar(
    "night", exclude={"windows": [{"name": "n", "cron": "0 22 * * *", "durationSeconds": 28_800}]}
)
WEEKEND = calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]})
HOURLY = {"schedule": "0 * * * *"}
NOON = "2026-03-02 12:00"
YEAR = 366 * 86_400


def policy(name: str, **more: Any) -> dict[str, Any]:
    return {"catchUp": {"policy": name, **more}}


def resolved(found: Undecided) -> list[str]:
    """An answer in short: what starts, then `reason first..last count` for the rest."""
    starts = [f"start {utc(slot.start)[11:]}{' ' * bool(slot.schedule)}{slot.schedule}"
              for slot in found.start]  # fmt: skip
    return starts + [
        f"{each.reason} {utc(each.first)[11:]}..{utc(each.last)[11:]} {each.count}"
        for each in found.ranges
    ]


# --- cases ----------------------------------------------------------------------------------------

CASES: list[tuple[str, dict[str, Any], str, str, list[str]]] = [
    ("nothing is due", HOURLY, "2026-03-02 12:00", "2026-03-02 12:59:59", []),
    ("one slot is due now", HOURLY, "2026-03-02 11:00", NOON, ["start 12:00"]),
    *[
        (f"one slot is due now, catch-up {name}", {**HOURLY, **policy(name)}, "2026-03-02 11:00",
         NOON, ["start 12:00"])
        for name in ("None", "Last", "All")
    ],
    ("Last: the latest runs", {**HOURLY, **policy("Last")}, "2026-03-02 08:30",
     "2026-03-02 12:30", ["start 12:00", "Superseded 09:00..11:00 3"]),
    ("All: each runs", {**HOURLY, **policy("All")}, "2026-03-02 09:30", "2026-03-02 12:30",
     ["start 10:00", "start 11:00", "start 12:00"]),
    ("All: the latest up to the limit run", {**HOURLY, **policy("All", limit=2)},
     "2026-03-02 08:30", "2026-03-02 12:30",
     ["start 11:00", "start 12:00", "CatchUpPolicy 09:00..10:00 2"]),
    ("None: what is late does not run", {**HOURLY, **policy("None")}, "2026-03-02 10:30",
     "2026-03-02 12:30", ["CatchUpPolicy 11:00..12:00 2"]),
    ("None: half a minute late is on time", {**HOURLY, **policy("None")}, "2026-03-02 11:30",
     f"2026-03-02 12:00:{ON_TIME_SECONDS}", ["start 12:00"]),
    ("None: more than half a minute is late", {**HOURLY, **policy("None")}, "2026-03-02 11:30",
     f"2026-03-02 12:00:{ON_TIME_SECONDS + 1}", ["CatchUpPolicy 12:00..12:00 1"]),
    ("the window bounds what is caught up", {**HOURLY, **policy("All", windowSeconds=5400)},
     "2026-03-02 08:30", "2026-03-02 12:30",
     ["start 11:00", "start 12:00", "CatchUpWindow 09:00..10:00 2"]),
    ("what is exactly as old as the window runs", {**HOURLY, **policy("All", windowSeconds=1800)},
     "2026-03-02 11:30", "2026-03-02 12:30", ["start 12:00"]),
    ("past the deadline nothing runs", {**HOURLY, "startingDeadlineSeconds": 600},
     "2026-03-02 10:30", "2026-03-02 12:30", ["DeadlineExceeded 11:00..12:00 2"]),
    ("exactly at the deadline it runs", {**HOURLY, "startingDeadlineSeconds": 1800},
     "2026-03-02 11:30", "2026-03-02 12:30", ["start 12:00"]),
    ("a deadline of zero still lets a slot run in its second",
     {**HOURLY, "startingDeadlineSeconds": 0}, "2026-03-02 11:30", NOON, ["start 12:00"]),
    ("deadline before window", {**HOURLY, "startingDeadlineSeconds": 7200,
                                **policy("All", windowSeconds=3600)},
     "2026-03-02 08:30", "2026-03-02 12:30",
     ["start 12:00", "DeadlineExceeded 09:00..10:00 2", "CatchUpWindow 11:00..11:00 1"]),
    ("slots of one instant are all the latest",
     {"schedules": [{"name": "a", "cron": "0 * * * *"},
                    {"name": "b", "cron": "0 */2 * * *", "arguments": {"A": "1"}}]},
     "2026-03-02 09:30", "2026-03-02 12:30",
     ["start 12:00 a", "start 12:00 b", "Superseded 10:00..11:00 3"]),
    ("what calendars exclude is skipped, not missed",
     {**HOURLY, "calendars": [{"name": "night"}]}, "2026-03-02 04:30", "2026-03-02 08:30",
     ["start 08:00", "ExcludedByCalendar 05:00..05:00 1", "Superseded 06:00..07:00 2"]),
    ("what is deferred to a time to come is not late",
     {"schedule": "30 1,2 * * *", "calendars": [{"name": "night", "onExcluded": "Defer"}]},
     "2026-03-02 00:00", "2026-03-02 05:00",
     ["start 06:00", "Coalesced 01:30..01:30 1"]),
    ("lateness of what is deferred counts from the end of the blackout",
     {"schedule": "30 2 * * *", "startingDeadlineSeconds": 600,
      "calendars": [{"name": "night", "onExcluded": "Defer"}]},
     "2026-03-02 00:00", "2026-03-02 06:05", ["start 06:00"]),
    ("a deferred slot does not supersede what is late now",
     {"schedules": [{"name": "a", "cron": "0 21 * * *"},
                    {"name": "b", "cron": "30 22 * * *", "arguments": {"A": "1"}}],
      "calendars": [{"name": "night", "onExcluded": "Defer"}]},
     "2026-03-02 20:00", "2026-03-02 23:00", ["start 21:00 a", "start 06:00 b"]),
    ("a blackout that ends within the deadline keeps its slot in time",
     {"schedule": "30 21,22 * * *", "startingDeadlineSeconds": 600,
      "calendars": [{"name": "night", "onExcluded": "Defer"}], **policy("None")},
     "2026-03-02 20:00", "2026-03-03 06:05",
     ["DeadlineExceeded 21:30..21:30 1", "CatchUpPolicy 22:30..22:30 1"]),
    ("a blackout that ends in a time that is skipped skips its slots",
     {"schedule": "30 22,23 * * 5", "calendars": [{"name": "night", "onExcluded": "Defer"},
                                                  {"name": "weekend"}]},
     "2026-03-06 20:00", "2026-03-06 23:45", ["ExcludedByCalendar 22:30..23:30 2"]),
    ("what is deferred past the deadline is missed for the window",
     {"schedules": [{"name": "a", "cron": "0 21 * * *"},
                    {"name": "b", "cron": "30 22 * * *", "arguments": {"A": "1"}},
                    {"name": "c", "cron": "0 7 * * *", "arguments": {"A": "2"}}],
      "calendars": [{"name": "night", "onExcluded": "Defer"}],
      "startingDeadlineSeconds": 7200, **policy("All", windowSeconds=1800)},
     "2026-03-02 20:00", "2026-03-03 07:00",
     ["start 07:00 c", "DeadlineExceeded 21:00..21:00 1", "CatchUpWindow 22:30..22:30 1"]),
]  # fmt: skip


@pytest.mark.parametrize("how", ["walked", "counted"])
@pytest.mark.parametrize(
    ("spec", "watermark", "now", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_undecided(
    monkeypatch: pytest.MonkeyPatch,
    spec: dict[str, Any],
    watermark: str,
    now: str,
    expected: list[str],
    how: str,
) -> None:
    if how == "counted":
        monkeypatch.setattr(missed, "WALKED", 0)
        monkeypatch.setattr(missed, "SURELY_WALKED", 1)
    names = [ref["name"] for ref in spec.get("calendars", [])]
    made = task(spec, *(each for each in (NIGHT, WEEKEND) if each.name in names))
    found = undecided(made, at(watermark), at(now))
    assert resolved(found) == expected
    assert found.watermark == (at(now) if expected else at(watermark))
    assert found.next is not None
    assert found.next.due > at(now)
    assert not found.completed


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (policy("Last"), ["start 09:15", "Superseded 08:15..09:00 4"]),
        (policy("All"), ["start 08:15", "start 08:30", "start 08:45", "start 09:00",
                         "start 09:15"]),
        (policy("All", limit=2), ["start 09:00", "start 09:15", "CatchUpPolicy 08:15..08:45 3"]),
        (policy("All", windowSeconds=1800),
         ["start 09:00", "start 09:15", "CatchUpWindow 08:15..08:45 3"]),
        (policy("None"), ["CatchUpPolicy 08:15..09:15 5"]),
        ({**policy("All"), "startingDeadlineSeconds": 600},
         ["start 09:15", "DeadlineExceeded 08:15..09:00 4"]),
    ],
)  # fmt: skip
def test_the_table_in_the_guide_holds(spec: dict[str, Any], expected: list[str]) -> None:
    """docs/how-to/catch-up.md"""
    made = task(schedule="*/15 * * * *", **spec)
    found = undecided(made, at("2026-03-02 08:05"), at("2026-03-02 09:20"))
    assert resolved(found) == expected


@pytest.mark.parametrize("reason", ["Suspended", "PlanChanged"])
def test_the_caller_may_know_why_slots_were_missed(reason: str) -> None:
    found = undecided(task(HOURLY), at("2026-03-02 08:30"), at("2026-03-02 12:30"), reason=reason)
    assert resolved(found) == ["start 12:00", f"{reason} 09:00..11:00 3"]
    assert found.ranges[0].message.endswith(".")


def test_each_reason_has_a_sentence() -> None:
    assert all(text.endswith(".") and text[0].isupper() for text in missed.MESSAGES.values())


# --- maxExecutions and the end --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "expected", "completed"),
    [
        (0, [], True),
        (1, ["start 10:00", "ExcludedByCalendar 05:00..05:00 1"], True),
        (2, ["start 10:00", "start 11:00", "ExcludedByCalendar 05:00..05:00 1"], True),
        (9, ["start 10:00", "start 11:00", "start 12:00", "ExcludedByCalendar 05:00..05:00 1",
             "CatchUpPolicy 06:00..09:00 4"], False),
    ],
)  # fmt: skip
def test_after_the_last_run_that_is_allowed_there_are_no_slots(
    left: int, expected: list[str], completed: bool
) -> None:
    made = task({**HOURLY, **policy("All", limit=3), "calendars": [{"name": "night"}]}, NIGHT)
    found = undecided(made, at("2026-03-02 04:30"), at("2026-03-02 12:30"), left=left)
    if left in (1, 2):
        expected = [*expected, "CatchUpPolicy 06:00..09:00 4"]
    assert resolved(found) == expected
    assert found.completed == completed == (found.next is None)


def test_a_one_shot_is_completed_with_its_run() -> None:
    made = task(schedules=[{"name": "x", "at": "2026-03-02T12:00:00Z"}])
    before = undecided(made, at("2026-03-02 10:00"), at("2026-03-02 11:00"))
    assert (resolved(before), before.completed) == ([], False)
    then = undecided(made, at("2026-03-02 10:00"), at(NOON))
    assert (resolved(then), then.completed) == (["start 12:00 x"], True)
    after = undecided(made, at(NOON), at("2026-03-02 13:00"))
    assert (resolved(after), after.completed) == ([], True)


def test_a_missed_one_shot_is_completed_too() -> None:
    made = task(schedules=[{"name": "x", "at": "2026-03-02T12:00:00Z"}], startingDeadlineSeconds=60)
    found = undecided(made, at("2026-03-02 10:00"), at("2026-03-02 13:00"))
    assert (resolved(found), found.completed) == (["DeadlineExceeded 12:00..12:00 1"], True)


def test_a_clock_that_steps_back_decides_nothing() -> None:
    found = undecided(task(HOURLY), at(NOON), at("2026-03-02 09:00"))
    assert (found.start, found.ranges, found.watermark) == ((), (), at(NOON))


def test_a_deferred_run_may_be_the_last_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    uses = [{"name": "night", "onExcluded": "Defer"}]
    made = task(
        {"schedule": "30 22,23 * * *", "startingDeadlineSeconds": 600, "calendars": uses}, NIGHT
    )
    monkeypatch.setattr(missed, "WALKED", 0)
    monkeypatch.setattr(missed, "SURELY_WALKED", 1)
    found = undecided(made, at("2026-03-02 20:00"), at("2026-03-03 05:00"), left=1)
    assert resolved(found) == ["start 06:00", "Coalesced 22:30..22:30 1"]
    assert found.completed


# --- too many to look at --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (policy("Last"), ["start 12:00", "Superseded 12:00:01..11:59:59 31622399"]),
        (policy("All", limit=2),
         ["start 11:59:59", "start 12:00", "CatchUpPolicy 12:00:01..11:59:58 31622398"]),
        ({**policy("Last"), "startingDeadlineSeconds": 60},
         ["start 12:00", "DeadlineExceeded 12:00:01..11:58:59 31622339",
          "Superseded 11:59..11:59:59 60"]),
    ],
)  # fmt: skip
def test_a_year_of_seconds(spec: dict[str, Any], expected: list[str]) -> None:
    made = task({"schedule": "* * * * * *", **spec})
    now = at("2027-03-02 12:00")
    found = undecided(made, now - YEAR, now)
    assert resolved(found) == expected
    assert all(each.exact for each in found.ranges)


def test_a_slot_that_jitter_holds_back_is_not_counted_yet() -> None:
    made = task(schedule="* * * * *", jitterSeconds=59)
    slots = slots_between(made, at(NOON), at(NOON) + 90_000, 10**6)
    late = next(slot for slot in slots[-60:] if slot.due > slot.nominal)
    for now in (late.due - 1, late.due):
        found = undecided(made, at(NOON), now)
        counted = len(found.start) + sum(each.count for each in found.ranges)
        assert counted == len([slot for slot in slots if slot.due <= now])


def test_59_23_31_2_never_comes_and_29_february_does() -> None:
    made = task(schedule="0 0 29 2 *")
    found = undecided(made, at("2024-01-01"), at("2026-03-02"))
    assert [utc(slot.due) for slot in found.start] == ["2024-02-29 00:00"]
    assert found.next is not None
    assert utc(found.next.due) == "2028-02-29 00:00"


@pytest.mark.parametrize("minutes", [WALKED, WALKED + 1])
def test_a_hundred_and_a_hundred_and_one_missed_slots_are_told_alike(minutes: int) -> None:
    made = task(schedule="* * * * *")
    found = undecided(made, at(NOON), at(NOON) + minutes * 60)
    assert [each.count for each in found.ranges] == [minutes - 1]
    assert found.start[0].due == at(NOON) + minutes * 60


def test_equal_schedules_that_coincide_make_a_count_an_estimate() -> None:
    entries = [{"name": name, "everySeconds": 60} for name in ("a", "b")]
    (found,) = undecided(task(schedules=entries), at(NOON), at(NOON) + 86_400).ranges
    assert (found.exact, found.count) == (False, 2 * 1440 - 1)


@pytest.mark.parametrize("action", ["NextBusinessDay", "PreviousBusinessDay"])
def test_months_of_slots_that_move_by_days_are_estimated(action: str) -> None:
    uses = [{"name": "weekend", "onExcluded": action}]
    made = task({"schedule": "0 9,17 * * *", **policy("Last"), "calendars": uses}, WEEKEND)
    now = at("2026-12-02 12:00")
    found = undecided(made, at(NOON), now)
    assert [utc(slot.due) for slot in found.start] == ["2026-12-02 09:00"]
    assert not any(each.exact for each in found.ranges)
    real = slots_between(made, at(NOON), now, 10**6)
    counted = sum(each.count for each in found.ranges) + len(found.start)
    assert abs(counted - len(real)) <= 10


def test_late_moves_do_not_hide_what_may_still_run() -> None:
    uses = [{"name": "weekend", "onExcluded": "NextBusinessDay"}]
    made = task(
        {"schedule": "0 9,17 * * *", **policy("All", windowSeconds=86_400), "calendars": uses},
        WEEKEND,
    )
    found = undecided(made, at(NOON), at("2026-12-02 12:00"))
    assert [utc(slot.start) for slot in found.start] == ["2026-12-01 17:00", "2026-12-02 09:00"]


def test_a_calendar_of_very_many_windows_makes_counts_estimates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(missed_many, "MAX_STRETCHES", 3)
    made = task({"schedule": "* * * * *", "calendars": [{"name": "night"}]}, NIGHT)
    found = undecided(made, at(NOON), at("2026-03-20 12:00"))
    assert [each.exact for each in found.ranges] == [False, False]


def test_a_blackout_over_the_whole_time_leaves_nothing_to_miss() -> None:
    made = task({"schedule": "* * * * * *", "calendars": [{"name": "weekend"}]}, WEEKEND)
    found = undecided(made, at("2026-03-28 01:00"), at("2026-03-29 01:00"))
    assert resolved(found) == ["ExcludedByCalendar 01:00:01..01:00 86400"]


def test_an_excluded_stretch_without_slots_adds_nothing() -> None:
    entries = [{"name": "day", "cron": "* 12 * * *"},
               {"name": "rare", "cron": "0 0 1 1 *", "arguments": {"A": "1"}}]  # fmt: skip
    made = task({"schedules": entries, "calendars": [{"name": "night"}]}, NIGHT)
    found = undecided(made, at(NOON), at("2026-03-20 12:30"))
    assert {each.reason for each in found.ranges} == {"Superseded"}


# --- what holds for all tasks ---------------------------------------------------------------------

CALENDARS = [
    NIGHT,
    WEEKEND,
    calendar("maintenance", include={"weekdays": ["Saturday", "Wednesday"],
                                     "windows": [{"name": "w", "cron": "0 1 * * *",
                                                  "durationSeconds": 7200}]}),
]  # fmt: skip
CRONS = ["0 9 * * *", "*/7 * * * *", "30 23 * * 1", "0 */6 * * *", "*/20 2-3 * * *"]


@st.composite
def tasks(draw: st.DrawFn) -> CompiledTask:
    entries = [
        {
            "name": f"e{index}",
            "cron": draw(st.sampled_from(CRONS)),
            "timeZone": draw(st.sampled_from(["UTC", "Europe/Berlin"])),
            "arguments": {"A": str(index)},
        }
        for index in range(draw(st.integers(1, 3)))
    ]
    used: list[CompiledCalendar] = draw(
        st.lists(st.sampled_from(CALENDARS), max_size=2, unique_by=lambda each: each.name)
    )
    seconds = st.none() | st.sampled_from([10, 3600, 3 * 86_400])
    spec: dict[str, Any] = {
        "schedules": entries,
        "calendars": [
            {"name": each.name, "onExcluded": draw(st.sampled_from(["Skip", "Defer"]))}
            for each in used
        ],
        "catchUp": {
            "policy": draw(st.sampled_from(["None", "Last", "All"])),
            "limit": draw(st.sampled_from([1, 3, 25])),
            "windowSeconds": draw(seconds),
        },
        "startingDeadlineSeconds": draw(seconds),
        "jitterSeconds": draw(st.sampled_from([0, 600])),
    }
    return task(spec, *used)


TIMES = st.integers(at("2026-03-01"), at("2027-03-01"))
PROPERTY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@PROPERTY
@given(
    tasks(),
    TIMES,
    st.integers(1, 5 * 86_400),
    st.sampled_from(["", "Suspended"]),
    st.sampled_from([None, 1, 2, 50]),
)
def test_counting_gives_the_same_as_walking(
    monkeypatch: pytest.MonkeyPatch,
    made: CompiledTask,
    watermark: int,
    span: int,
    reason: str,
    left: int | None,
) -> None:
    answers = []
    for walked in (10**9, 0):
        with monkeypatch.context() as patch:
            patch.setattr(missed, "WALKED", walked)
            patch.setattr(missed_many, "MAX_STRETCHES", 10**6)
            patch.setattr(missed_many, "MAX_PARTS", 10**9)
            answers.append(undecided(made, watermark, watermark + span, reason=reason, left=left))
    walking, counting = answers
    assert counting == walking


@PROPERTY
@given(tasks(), TIMES, st.integers(1, 86_400))
def test_every_slot_is_started_missed_or_skipped_once(
    made: CompiledTask, watermark: int, span: int
) -> None:
    now = watermark + span
    slots = slots_between(made, watermark, now, 10**6)
    found = undecided(made, watermark, now)
    assert len(found.start) + sum(each.count for each in found.ranges) == len(slots)
    for slot in found.start:
        assert slot in slots
        assert slot.skip is None
        late = now - slot.start
        assert late <= (made.starting_deadline if made.starting_deadline is not None else late)
        assert late <= (made.catch_up.window if made.catch_up.window is not None else late)
    catching_up = [slot for slot in found.start if slot.start <= now]
    if made.catch_up.policy == "All":
        assert len(catching_up) <= made.catch_up.limit
    if made.catch_up.policy == "Last":
        assert len({slot.due for slot in catching_up}) <= 1
    assert undecided(made, watermark, now) == found
    again = undecided(made, found.watermark, now)
    assert (again.start, again.ranges, again.next) == ((), (), found.next)


MOVED = [
    WEEKEND,
    calendar("freeze", exclude={"dateRanges": [
        {"name": "f", "from": "2026-03-05", "to": "2026-06-04"},
        {"name": "g", "from": "2026-12-20", "to": "2027-01-03"}]}),
    calendar("midweek", businessDays=["Monday", "Thursday"],
             exclude={"weekdays": ["Wednesday", "Sunday"]}),
    calendar("mornings", timeZone="Europe/Berlin", exclude={
        "dates": ["2026-03-10", "2026-03-11", "2026-06-02", "2026-06-03", "2026-10-26"],
        "windows": [{"name": "w", "cron": "0 8 * * 1", "durationSeconds": 14_400}]}),
]  # fmt: skip


@st.composite
def moved_tasks(draw: st.DrawFn) -> CompiledTask:
    """Tasks whose slots are deferred, and moved by days forward and back, in any mixture."""
    crons = ["0 9 * * *", "0 2 29 * *", "0 12 5 * *", "30 9 * * 3", "0 23 * * 2", "0 0 10 3 *"]
    entries = [
        {
            "name": f"e{index}",
            "cron": cron,
            "timeZone": draw(st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago"])),
            "arguments": {"A": str(draw(st.integers(0, 1)))},
        }
        for index, cron in enumerate(draw(st.lists(st.sampled_from(crons), min_size=1, max_size=2)))
    ]
    used: list[CompiledCalendar] = draw(
        st.lists(st.sampled_from(MOVED), min_size=1, max_size=3, unique_by=lambda each: each.name)
    )
    actions = st.sampled_from(["Skip", "Defer", "Defer", "NextBusinessDay", "PreviousBusinessDay"])
    seconds = st.none() | st.sampled_from([3600, 3 * 86_400, 20 * 86_400, 60 * 86_400])
    spec: dict[str, Any] = {
        "schedules": entries,
        "calendars": [{"name": each.name, "onExcluded": draw(actions)} for each in used],
        "catchUp": {
            "policy": draw(st.sampled_from(["None", "Last", "All"])),
            "limit": draw(st.sampled_from([1, 2, 5, 25])),
            "windowSeconds": draw(seconds),
        },
        "startingDeadlineSeconds": draw(seconds),
        "jitterSeconds": draw(st.sampled_from([0, 0, 7200])),
    }
    return task(spec, *used)


@pytest.mark.parametrize("how", ["walked", "looked for"])
@pytest.mark.parametrize(
    ("uses", "entries", "more", "times", "expected"),
    [
        (  # Wednesday's slot is due on Monday, before that of Tuesday.
            {"midweek": "PreviousBusinessDay"},
            {"a": "30 9 * * 3", "b": "0 9 * * 2"},
            policy("Last"),
            ("2026-02-20", "2026-03-06"),
            ["b 2026-03-03 09:00"],
        ),
        (
            {"midweek": "PreviousBusinessDay"},
            {"a": "30 9 * * 3", "b": "0 9 * * 2"},
            policy("All", limit=1),
            ("2026-02-20", "2026-03-06"),
            ["b 2026-03-03 09:00"],
        ),
        (  # What was moved back to February is too late, what was deferred to June is not.
            {"mornings": "PreviousBusinessDay", "freeze": "Defer"},
            {"a": "0 9 10 3 *", "b": "0 9 6 3 *"},
            {"startingDeadlineSeconds": 60 * 86_400, **policy("All")},
            ("2026-02-20", "2026-06-30"),
            ["b 2026-06-05 00:00"],
        ),
    ],
    ids=["moved back, Last", "moved back, All", "moved back and deferred"],
)
def test_slots_that_are_moved_are_caught_up_on_in_the_order_of_their_times(
    monkeypatch: pytest.MonkeyPatch,
    uses: dict[str, str],
    entries: dict[str, str],
    more: dict[str, Any],
    times: tuple[str, str],
    expected: list[str],
    how: str,
) -> None:
    if how == "looked for":
        monkeypatch.setattr(missed, "WALKED", 0)
        monkeypatch.setattr(missed, "SURELY_WALKED", 1)
    spec = {
        "schedules": [
            {"name": name, "cron": cron, "arguments": {"A": name}} for name, cron in entries.items()
        ],
        "calendars": [{"name": name, "onExcluded": action} for name, action in uses.items()],
        **more,
    }
    made = task(spec, *(each for each in MOVED if each.name in uses))
    found = undecided(made, at(times[0]), at(times[1]))
    assert [f"{slot.schedule} {utc(slot.start)}" for slot in found.start] == expected


@PROPERTY
@given(
    moved_tasks(),
    TIMES,
    st.integers(1, 150 * 86_400),
    st.sampled_from([None, 1, 3]),
)
def test_what_runs_after_moves_is_the_same_looked_for_from_the_end(
    monkeypatch: pytest.MonkeyPatch,
    made: CompiledTask,
    watermark: int,
    span: int,
    left: int | None,
) -> None:
    """Slots that calendars move are neither in the order of their due times nor of their start."""
    answers = []
    for walked in (10**9, 0):
        with monkeypatch.context() as patch:
            patch.setattr(missed, "WALKED", walked)
            patch.setattr(missed, "SURELY_WALKED", 1)
            patch.setattr(runs, "MIN_LOOKS", 10**6)
            patch.setattr(runs, "MOVED_LOOKS", 10**6)
            answers.append(undecided(made, watermark, watermark + span, left=left))
    walking, looking = answers
    assert looking.start == walking.start
    assert looking.next == walking.next
    assert (looking.watermark, looking.completed) == (walking.watermark, walking.completed)


# --- more on time than one answer holds -----------------------------------------------------------

EVERY_SECOND = [
    {"name": f"e{n}", "cron": "* * * * * *", "arguments": {"A": str(n)}} for n in range(7)
]


@pytest.mark.parametrize("more", [{}, {"jitterSeconds": 1}, {"startingDeadlineSeconds": 20}])
def test_what_is_on_time_and_too_much_for_one_answer_is_left_to_the_next(
    more: dict[str, Any],
) -> None:
    made = task(schedules=EVERY_SECOND, **policy("None"), **more)
    now, watermark = at(NOON), at(NOON) - 3600
    slots = slots_between(made, watermark, now, 10**6)
    started: list[Slot] = []
    missed_, answers = 0, 0
    while watermark < now:
        found = undecided(made, watermark, now)
        assert found.next is not None
        assert found.next.due > found.watermark > watermark
        assert len(found.start) < AT_ONCE + len(EVERY_SECOND)
        started += found.start
        missed_ += sum(each.count for each in found.ranges)
        watermark, answers = found.watermark, answers + 1
    late = more.get("startingDeadlineSeconds", ON_TIME_SECONDS)
    assert started == [slot for slot in slots if slot.due >= now - late]
    assert missed_ == len(slots) - len(started)
    assert answers == -(-len(started) // (AT_ONCE + 5))


def test_what_may_not_run_any_more_is_told_at_once_however_much_is_on_time() -> None:
    made = task(schedules=EVERY_SECOND, **policy("None"))
    found = undecided(made, at(NOON) - 60, at(NOON), reason="PlanChanged", left=3, runs=False)
    assert resolved(found) == ["PlanChanged 11:59:01..12:00 420"]
    assert found.watermark == at(NOON)


def test_what_is_deferred_to_now_is_on_time_although_it_was_due_long_ago() -> None:
    entries = [{"name": "rare", "cron": "0 23 * * *", "arguments": {"A": "rare"}},
               *EVERY_SECOND]  # fmt: skip
    made = task({"schedules": entries, **policy("None"),
                 "calendars": [{"name": "night", "onExcluded": "Defer"}]}, NIGHT)  # fmt: skip
    found = undecided(made, at("2026-03-02 12:00"), at("2026-03-03 06:00:05"))
    assert next((slot.schedule, utc(slot.nominal)) for slot in found.start) == (
        "rare", "2026-03-02 23:00"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("every", "more", "runs"),
    [
        pytest.param(1, {"catchUp": {"policy": "None"}}, 11, id="policy None"),
        pytest.param(20, {"startingDeadlineSeconds": 0}, 0, id="a deadline"),
    ],
)
def test_what_is_too_late_is_not_looked_at_however_long_it_is_not_excluded(
    every: int, more: dict[str, Any], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By day one of two calendars excludes each second, in turns: too many to find their begin."""

    def half(name: str, minutes: str) -> CompiledCalendar:
        window = {"name": "w", "cron": f"{minutes} 8-17 * * *", "durationSeconds": 900}
        return calendar(name, exclude={"windows": [window]})

    uses = [{"name": name, "onExcluded": "Defer"} for name in ("even", "odd")]
    entry = {"name": "s", "everySeconds": every}
    compiled = task(
        {"schedules": [entry], **more, "calendars": uses},
        half("even", "0,30"),
        half("odd", "15,45"),
    )
    looked_at = []

    def counted(*args: Any, **more: Any) -> Iterator[Slot]:
        looked_at.append(args)
        return slots_of(*args, **more)

    monkeypatch.setattr("taskrunner.domain.runs.slots_of", counted)
    now = at("2026-03-06 18:00:10")
    found = undecided(compiled, at("2026-03-01 12:00"), now)
    assert len(found.start) == runs
    assert found.watermark == now
    assert len(looked_at) < 200
