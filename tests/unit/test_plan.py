"""Which slots a task has: tables of cases, and what holds for all tasks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_placement import MAX_SHIFT_DAYS
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.plan import Slot, next_slot, slots_between, walk
from taskrunner.domain.runs import runs_after, runs_before
from taskrunner.errors import SpecError
from unit.planning import EXAMPLES, at, bare, brute_force, calendar, task, utc

WEEKEND = calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]})
NIGHT = calendar(
    "night",
    timeZone="Europe/Berlin",
    exclude={"windows": [{"name": "n", "cron": "0 22 * * *", "durationSeconds": 6 * 3600}]},
)
FREEZE = calendar(
    "freeze",
    exclude={"dateRanges": [{"name": "f", "from": "2026-12-21", "to": "2027-01-03"}],
             "dates": ["2026-12-14"]},
)  # fmt: skip
HOLIDAYS = calendar(
    "holidays", timeZone="Europe/Berlin", exclude={"holidays": [{"name": "de", "country": "DE"}]}
)
MAINTENANCE = calendar(
    "maintenance",
    include={"weekdays": ["Saturday", "Wednesday"],
             "windows": [{"name": "w", "cron": "0 1 * * *", "durationSeconds": 7200}]},
)  # fmt: skip
ALWAYS = calendar("always", include={"dates": ["2000-01-01"]})
CALENDARS = [WEEKEND, NIGHT, FREEZE, HOLIDAYS, MAINTENANCE]
ACTIONS = ["Skip", "Defer", "NextBusinessDay", "PreviousBusinessDay"]


def told(slot: Slot) -> str:
    """A slot in short: `due[+arguments] [runs at] [from nominal] [reason]`."""
    parts = [utc(slot.due)]
    if slot.schedule:
        parts.append("+".join((slot.schedule, *slot.also)))
    if slot.not_before is not None:
        parts.append(f"runs {utc(slot.not_before)}")
    if slot.nominal != slot.due:
        parts.append(f"from {utc(slot.nominal)}")
    if slot.skip:
        parts.append(slot.skip)
    return " ".join(parts)


# --- cases ----------------------------------------------------------------------------------------

ONE, TWO = {"name": "one", "cron": "0 9 * * *"}, {"name": "two", "everySeconds": 43_200}
FULL = {"arguments": {"SUITE": "full"}}

CASES: list[tuple[str, dict[str, Any], str, str, list[str]]] = [
    (
        "schedules that coincide with equal arguments are one slot",
        {"schedules": [ONE, {**TWO, "everySeconds": 32_400}]},
        "2026-03-02 00:00",
        "2026-03-02 18:00",
        ["2026-03-02 09:00 one+two", "2026-03-02 18:00 two"],
    ),
    (
        "with different arguments each is a slot, in list order",
        {"schedules": [{**ONE, "cron": "0 12 * * *"}, {**TWO, **FULL}]},
        "2026-03-02 00:00",
        "2026-03-02 12:00",
        ["2026-03-02 12:00 one", "2026-03-02 12:00 two"],
    ),
    (
        "of three, the two with equal arguments are one slot",
        {"schedules": [{**ONE, "cron": "0 12 * * *"}, {**TWO, **FULL}, {**TWO, "name": "three"}]},
        "2026-03-02 00:00",
        "2026-03-02 12:00",
        ["2026-03-02 12:00 one+three", "2026-03-02 12:00 two"],
    ),
    (
        "no slot before startTime nor from endTime on",
        {
            "schedule": "0 * * * *",
            "startTime": "2026-03-02T02:00:00Z",
            "endTime": "2026-03-02T04:00:00Z",
        },
        "2026-03-02 00:00",
        "2026-03-02 09:00",
        ["2026-03-02 02:00", "2026-03-02 03:00"],
    ),
    (
        "bounds hold for many schedules, too",
        {
            "schedules": [{**ONE, "cron": "0 * * * *"}, TWO],
            "startTime": "2026-03-02T00:00:00Z",
            "endTime": "2026-03-02T02:00:00Z",
        },
        "2026-03-01 00:00",
        "2026-03-02 09:00",
        ["2026-03-02 00:00 one+two", "2026-03-02 01:00 one"],
    ),
    (
        "Skip leaves slots out and says so",
        {"schedule": "0 9 * * *", "calendars": [{"name": "weekend"}]},
        "2026-03-27 00:00",
        "2026-03-30 12:00",
        [
            "2026-03-27 09:00",
            "2026-03-28 09:00 ExcludedByCalendar",
            "2026-03-29 09:00 ExcludedByCalendar",
            "2026-03-30 09:00",
        ],
    ),
    (
        "Defer runs the last slot of a blackout when it ends",
        {"schedule": "0 */2 * * *", "calendars": [{"name": "night", "onExcluded": "Defer"}]},
        "2026-02-02 19:00",
        "2026-02-03 05:00",
        [
            "2026-02-02 20:00",
            "2026-02-02 22:00 runs 2026-02-03 03:00 Coalesced",
            "2026-02-03 00:00 runs 2026-02-03 03:00 Coalesced",
            "2026-02-03 02:00 runs 2026-02-03 03:00",
            "2026-02-03 04:00",
        ],
    ),
    (
        "Defer runs nothing twice when a slot is due as the blackout ends",
        {"schedule": "0 * * * *", "calendars": [{"name": "night", "onExcluded": "Defer"}]},
        "2026-02-03 01:30",
        "2026-02-03 03:00",
        ["2026-02-03 02:00 runs 2026-02-03 03:00 Coalesced", "2026-02-03 03:00"],
    ),
    (
        "a deferral does not swallow a run with other arguments",
        {
            "schedules": [ONE, {**ONE, "name": "full", **FULL, "cron": "0 8,9 * * *"}],
            "calendars": [{"name": "freeze", "onExcluded": "Defer"}],
        },
        "2026-12-14 00:00",
        "2026-12-14 12:00",
        [
            "2026-12-14 08:00 full runs 2026-12-15 00:00 Coalesced",
            "2026-12-14 09:00 one runs 2026-12-15 00:00",
            "2026-12-14 09:00 full runs 2026-12-15 00:00",
        ],
    ),
    (
        "a deferral that ends in another blackout goes on to its end",
        {
            "schedule": "0 21 * * 5",
            "calendars": [
                {"name": "night", "onExcluded": "Defer"},
                {"name": "weekend", "onExcluded": "Defer"},
            ],
        },
        "2026-03-06 00:00",
        "2026-03-09 00:00",
        ["2026-03-06 21:00 runs 2026-03-09 03:00"],
    ),
    (
        "a deferral into a time that is skipped is skipped",
        {
            "schedule": "0 21 * * 5",
            "calendars": [{"name": "night", "onExcluded": "Defer"}, {"name": "weekend"}],
        },
        "2026-03-06 00:00",
        "2026-03-09 00:00",
        ["2026-03-06 21:00 ExcludedByCalendar"],
    ),
    (
        "the first calendar of the list that excludes decides",
        {
            "schedule": "0 9 14 12 *",
            "calendars": [{"name": "weekend"}, {"name": "freeze", "onExcluded": "Defer"}],
        },
        "2026-12-14 00:00",
        "2026-12-15 00:00",
        ["2026-12-14 09:00 runs 2026-12-15 00:00"],
    ),
    (
        "NextBusinessDay waits until the same local time of the next business day",
        {
            "schedule": "0 9 25 * *",
            "timeZone": "Europe/Berlin",
            "calendars": [{"name": "holidays", "onExcluded": "NextBusinessDay"}],
        },
        "2026-12-20 00:00",
        "2026-12-31 00:00",
        ["2026-12-25 08:00 runs 2026-12-28 08:00"],
    ),
    (
        "the local time is kept across a change of the clock",
        {
            "schedule": "30 2 28 * *",
            "timeZone": "Europe/Berlin",
            "calendars": [{"name": "weekend", "onExcluded": "NextBusinessDay"}],
        },
        "2026-03-27 00:00",
        "2026-04-01 00:00",
        ["2026-03-28 01:30 runs 2026-03-30 00:30"],
    ),
    (
        "NextBusinessDay joins the slot that is there",
        {
            "schedule": "0 9 * * *",
            "calendars": [{"name": "weekend", "onExcluded": "NextBusinessDay"}],
        },
        "2026-03-28 00:00",
        "2026-03-30 12:00",
        [
            "2026-03-28 09:00 runs 2026-03-30 09:00 Coalesced",
            "2026-03-29 09:00 runs 2026-03-30 09:00 Coalesced",
            "2026-03-30 09:00",
        ],
    ),
    (
        "of slots that move to one day without one of its own, the latest runs",
        {
            "schedule": "0 9 * * 6,0",
            "calendars": [{"name": "weekend", "onExcluded": "NextBusinessDay"}],
        },
        "2026-03-28 00:00",
        "2026-03-30 12:00",
        [
            "2026-03-28 09:00 runs 2026-03-30 09:00 Coalesced",
            "2026-03-29 09:00 runs 2026-03-30 09:00",
        ],
    ),
    (
        "PreviousBusinessDay is due before its nominal time",
        {
            "schedule": "0 9 31 * *",
            "calendars": [{"name": "weekend", "onExcluded": "PreviousBusinessDay"}],
        },
        "2026-01-20 00:00",
        "2026-03-31 12:00",
        ["2026-01-30 09:00 from 2026-01-31 09:00", "2026-03-31 09:00"],
    ),
    (
        "of slots that move back to one day, the latest runs",
        {
            "schedule": "0 9 * * *",
            "calendars": [{"name": "weekend", "onExcluded": "PreviousBusinessDay"}],
        },
        "2026-03-27 00:00",
        "2026-03-30 12:00",
        [
            "2026-03-27 09:00 Coalesced",
            "2026-03-27 09:00 from 2026-03-28 09:00 Coalesced",
            "2026-03-27 09:00 from 2026-03-29 09:00",
            "2026-03-30 09:00",
        ],
    ),
    (
        "what is deferred first may move by days then",
        {
            "schedule": "0 23 * * *",
            "calendars": [
                {"name": "night", "onExcluded": "Defer"},
                {"name": "holidays", "onExcluded": "NextBusinessDay"},
            ],
        },
        "2026-12-24 12:00",
        "2026-12-28 00:00",
        [
            "2026-12-24 23:00 runs 2026-12-28 03:00 Coalesced",
            "2026-12-25 23:00 runs 2026-12-28 03:00 Coalesced",
            "2026-12-26 23:00 runs 2026-12-27 03:00",
            "2026-12-27 23:00 runs 2026-12-28 03:00",
        ],
    ),
    (
        "a time that a window excludes on every day has no business day",
        {
            "schedule": "0 23 1 * *",
            "calendars": [{"name": "night", "onExcluded": "NextBusinessDay"}],
        },
        "2026-03-01 00:00",
        "2026-03-02 00:00",
        ["2026-03-01 23:00 ExcludedByCalendar"],
    ),
]


@pytest.mark.parametrize(
    ("spec", "after", "until", "slots"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_slots(spec: dict[str, Any], after: str, until: str, slots: list[str]) -> None:
    names = [ref["name"] for ref in spec.get("calendars", [])]
    made = task(spec, *(each for each in CALENDARS if each.name in names))
    assert [told(slot) for slot in slots_between(made, at(after), at(until), 100)] == slots


def test_a_skipped_slot_says_which_calendar_and_why() -> None:
    made = task({"schedule": "0 9 25 12 *", "calendars": [{"name": "holidays"}]}, HOLIDAYS)
    slot = next_slot(made, at("2026-12-01"))
    assert slot is not None
    assert slot.message == 'The calendar "holidays" excludes it (Christmas Day).'


def test_a_moved_slot_says_what_moved_it() -> None:
    made = task(
        {"schedule": "30 2 29 3 *", "timeZone": "Europe/Berlin",
         "calendars": [{"name": "weekend", "onExcluded": "NextBusinessDay"}]}, WEEKEND,
    )  # fmt: skip
    slot = next_slot(made, at("2026-03-01"))
    assert slot is not None
    assert slot.notes == (
        "moved by the DST gap",
        "moved to the next business day by calendar weekend (Sunday)",
    )


def test_a_month_without_a_business_day_is_skipped() -> None:
    closed = {"name": "c", "from": "2026-03-01", "to": "2026-05-01"}
    made = task(
        {"schedule": "0 9 10 3 *", "calendars": [{"name": "c", "onExcluded": "NextBusinessDay"}]},
        calendar("c", exclude={"dateRanges": [closed]}),
    )
    slot = next_slot(made, at("2026-03-01"))
    assert slot is not None
    assert slot.skip == "ExcludedByCalendar"
    assert f"no business day within {MAX_SHIFT_DAYS} days" in slot.message


def test_a_blackout_without_end_skips() -> None:
    made = task(
        {"schedule": "0 9 * * *", "calendars": [{"name": "always", "onExcluded": "Defer"}]}, ALWAYS
    )
    slot = next_slot(made, at("2026-03-01"))
    assert slot is not None
    assert slot.skip == "ExcludedByCalendar"
    assert "all that comes after" in slot.message


def test_calendars_that_defer_to_each_other_forever_skip() -> None:
    by_turns = [
        calendar(
            name,
            exclude={"windows": [{"name": "w", "cron": cron, "durationSeconds": 3600}]},
        )
        for name, cron in (("even", "0 */2 * * *"), ("odd", "0 1-23/2 * * *"))
    ]
    made = task(
        {"schedule": "30 9 * * *",
         "calendars": [{"name": name, "onExcluded": "Defer"} for name in ("even", "odd")]},
        *by_turns,
    )  # fmt: skip
    slot = next_slot(made, at("2026-03-01"))
    assert slot is not None
    assert slot.message == "Its calendars defer it over and over."


def test_a_task_without_schedules_has_no_slots() -> None:
    made = task()
    assert next_slot(made, 0) is None
    assert list(runs_before(made, at("2026-01-01"), 0)) == []


def test_schedules_of_the_same_times_are_asked_once() -> None:
    crons = ["*/5 * * * *", "0 9 * * *", "0-55/5 * * * *", "*/5 * * * *"]
    entries = [
        {"name": f"e{index}", "cron": cron, "arguments": {"A": str(index)}}
        for index, cron in enumerate(crons)
    ]
    made = task(schedules=entries)
    assert [members for _, members in made.timelines] == [(0, 2, 3), (1,)]
    found = slots_between(made, at("2026-03-02 08:55"), at("2026-03-02 09:00"), 9)
    assert [slot.schedule for slot in found] == ["e0", "e1", "e2", "e3"]


def test_looking_back_ends_at_the_start_of_the_task() -> None:
    entries = [{"name": "a", "cron": "0 * * * *"}, {"name": "b", "cron": "30 * * * *"}]
    made = task(schedules=entries, startTime="2026-03-02T10:00:00Z")
    found = runs_before(made, at("2026-03-02 11:00"), 0)
    assert [utc(slot.due)[11:] for slot in found] == ["11:00", "10:30", "10:00"]


def test_a_one_shot_has_one_slot() -> None:
    made = task(schedules=[{"name": "launch", "atLocal": "2026-12-24T18:00:00"}])
    assert [told(slot) for slot in walk(made, 0)] == ["2026-12-24 18:00 launch"]


@pytest.mark.parametrize("more", [{}, {"jitterSeconds": 60}])
@pytest.mark.parametrize("action", ["Defer", "PreviousBusinessDay"])
def test_all_slots_of_a_schedule_that_ends_are_found(more: dict[str, Any], action: str) -> None:
    made = task(
        {"schedule": "0 9 * * *", "startTime": "2026-03-25T00:00:00Z",
         "endTime": "2026-04-01T00:00:00Z",
         "calendars": [{"name": "weekend", "onExcluded": action}], **more}, WEEKEND,
    )  # fmt: skip
    assert len(list(walk(made, 0))) == 7
    assert len(list(runs_after(made, 0))) == len(list(runs_before(made, at("2027-01-01"), 0)))


def test_when_another_calendar_takes_out_the_last_slots_an_earlier_one_is_deferred() -> None:
    late = calendar(
        "late",
        exclude={"windows": [{"name": "l", "cron": "0 2 * * *", "durationSeconds": 3600}]},
    )
    refs = [{"name": "late"}, {"name": "night", "onExcluded": "Defer"}]
    made = task({"schedule": "0 22,0,1,2 * * *", "calendars": refs}, late, NIGHT)
    found = slots_between(made, at("2026-02-02 21:30"), at("2026-02-03 04:00"), 9)
    assert [told(slot) for slot in found] == [
        "2026-02-02 22:00 runs 2026-02-03 03:00 Coalesced",
        "2026-02-03 00:00 runs 2026-02-03 03:00 Coalesced",
        "2026-02-03 01:00 runs 2026-02-03 03:00",
        "2026-02-03 02:00 ExcludedByCalendar",
    ]


def test_slots_move_out_of_a_closure_of_more_than_a_month() -> None:
    closed = {"name": "c", "from": "2026-03-01", "to": "2026-04-15"}
    made = task(
        {"schedule": "0 9 15 3,4 *", "calendars": [{"name": "c", "onExcluded": "NextBusinessDay"}]},
        calendar("c", exclude={"dateRanges": [closed]}),
    )
    found = slots_between(made, at("2026-03-01"), at("2026-05-01"), 9)
    assert [told(slot) for slot in found] == [
        "2026-03-15 09:00 ExcludedByCalendar",
        "2026-04-15 09:00 runs 2026-04-16 09:00",
    ]


def test_a_blackout_of_every_second_is_passed_over() -> None:
    made = task(
        {"schedule": "* * * * * *", "calendars": [{"name": "freeze", "onExcluded": "Skip"}]}, FREEZE
    )
    inside = at("2026-12-22")
    assert utc(next(runs_after(made, inside)).due) == "2027-01-04 00:00"
    back = next(runs_before(made, inside, at("2026-01-01")))
    assert utc(back.due) == "2026-12-20 23:59:59"


def test_the_last_slot_of_a_deferred_blackout_is_found_from_both_sides() -> None:
    made = task(
        {
            "schedules": [
                {"name": "often", "cron": "* * * * * *"},
                {"name": "once", "cron": "0 0 22 12 *", **FULL},
            ],
            "calendars": [{"name": "freeze", "onExcluded": "Defer"}],
        },
        FREEZE,
    )
    ahead = runs_after(made, at("2026-12-21 12:00"))
    assert told(next(ahead)) == "2026-12-22 00:00 once runs 2027-01-04 00:00"
    assert told(next(ahead)) == "2027-01-04 00:00 often"
    behind = runs_before(made, at("2027-01-03 12:00"), at("2026-12-01"))
    assert told(next(behind)) == "2026-12-22 00:00 once runs 2027-01-04 00:00"
    assert told(next(behind)) == "2026-12-20 23:59:59 often"


@pytest.mark.parametrize("action", ["Skip", "Defer"])
def test_a_search_in_an_endless_blackout_ends(action: str) -> None:
    made = task(
        {"schedule": "* * * * *", "calendars": [{"name": "always", "onExcluded": action}]}, ALWAYS
    )
    assert next(runs_after(made, at("2026-03-01")), None) is None
    assert next(runs_before(made, at("2026-03-01"), at("2020-01-01")), None) is None


def test_a_search_among_windows_that_leave_nothing_is_given_up() -> None:
    gaps = {"name": "w", "cron": "29,59 * * * *", "durationSeconds": 90}
    made = task(
        {"schedule": "*/30 * * * *", "calendars": [{"name": "c"}]},
        calendar("c", exclude={"windows": [gaps]}),
    )
    assert next(runs_after(made, at("2026-03-01")), None) is None
    assert next(runs_before(made, at("2026-03-01"), 0), None) is None


# --- what holds for all tasks ---------------------------------------------------------------------

CRONS = [
    "0 9 * * *", "30 23 * * 1", "*/30 2-3 * * *", "0 0 1 * *", "0 */6 * * *", "15 10 * * 1-5",
    "0 9,17 * * 6,0", "30 2 * * *", "0 9 * * MON", "10 */3 * * *",
]  # fmt: skip


@st.composite
def tasks(draw: st.DrawFn, *, jitter: bool = False) -> CompiledTask:
    """Tasks of one to four schedules that coincide often, some of them always, under up to three
    calendars."""
    zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
    pairs = st.tuples(st.sampled_from(CRONS), zones)
    times = draw(st.lists(pairs, min_size=1, max_size=3))
    entries = []
    for index in range(draw(st.integers(1, 4))):
        cron, zone = draw(st.sampled_from(times))
        arguments = draw(st.sampled_from([{}, {"A": "1"}, {"A": "2"}]))
        name = f"e{index}"
        entries.append({"name": name, "cron": cron, "timeZone": zone, "arguments": arguments})
    used: list[CompiledCalendar] = draw(
        st.lists(st.sampled_from(CALENDARS), max_size=3, unique_by=lambda each: each.name)
    )
    refs = [{"name": c.name, "onExcluded": draw(st.sampled_from(ACTIONS))} for c in used]
    spec = {"schedules": entries, "calendars": refs, "jitterSeconds": 900 if jitter else 0}
    try:
        return task(spec, *used)
    except SpecError:  # too many slots a day to be moved by days
        calmer = [{**ref, "onExcluded": "Defer"} for ref in refs]
        return task({**spec, "calendars": calmer}, *used)


TIMES = st.integers(at("2026-03-01"), at("2027-03-01"))
SPANS = st.integers(1, 15 * 86_400)
PROPERTY = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # no deadline: other processes of the machine are no counter-examples


@PROPERTY
@given(tasks(), TIMES, SPANS)
def test_slots_are_those_of_the_obvious_planner(made: CompiledTask, after: int, span: int) -> None:
    found = slots_between(made, after, after + span, 10**6)
    assert [bare(slot) for slot in found] == brute_force(made, after, after + span)


@PROPERTY
@given(tasks(jitter=True), TIMES, SPANS, st.floats(0, 1))
def test_splitting_the_time_line_anywhere_gives_the_same_slots(
    made: CompiledTask, after: int, span: int, part: float
) -> None:
    middle, until = after + int(span * part), after + span
    whole = slots_between(made, after, until, 10**6)
    assert whole == [
        *slots_between(made, after, middle, 10**6),
        *slots_between(made, middle, until, 10**6),
    ]
    assert slots_between(made, after, until, 3) == whole[:3]


@PROPERTY
@given(tasks(jitter=True), TIMES, SPANS)
def test_slots_come_in_order_and_none_twice(made: CompiledTask, after: int, span: int) -> None:
    found = slots_between(made, after, after + span, 10**6)
    assert [slot.due for slot in found] == sorted(slot.due for slot in found)
    names = [(slot.nominal, slot.schedule) for slot in found]
    assert len(set(names)) == len(names)
    running = [(s.start, tuple(s.arguments.items())) for s in found if s.skip is None]
    assert len(set(running)) == len(running) or made.jitter
    if found:
        first = next_slot(made, after)
        assert first is not None
        assert first.due == found[0].due


@PROPERTY
@given(tasks(jitter=True), TIMES, SPANS)
def test_runs_are_the_slots_that_are_not_skipped(made: CompiledTask, after: int, span: int) -> None:
    until = after + span
    expected = [slot for slot in slots_between(made, after, until, 10**6) if slot.skip is None]
    found: list[Slot] = []
    for slot in runs_after(made, after):
        if slot.due > until or len(found) > len(expected):
            break
        found.append(slot)
    assert found == expected
    back = list(runs_before(made, until, after))
    assert sorted(back, key=lambda s: (s.due, s.nominal, s.schedule)) == sorted(
        expected, key=lambda s: (s.due, s.nominal, s.schedule)
    )
