"""Calendars: which times are excluded, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrunner.domain.calendar import (
    MAX_EDGES,
    CompiledCalendar,
    Days,
    Period,
    Recurring,
    Source,
)
from taskrunner.domain.calendar_days import (
    Dates,
    Weekdays,
    day_start,
    instant_at,
    local_day,
    to_date,
    to_day,
    weekday_of,
)
from taskrunner.domain.timeline import IntervalTimeline, once
from taskrunner.domain.zones import load_zone
from taskrunner.errors import SpecError
from unit.planning import at, calendar, utc

FREEZE = {"name": "freeze", "from": "2026-12-21", "to": "2027-01-03"}
NIGHT = {"name": "night", "cron": "0 22 * * *", "durationSeconds": 8 * 3600}


# --- what is excluded, and why --------------------------------------------------------------------

BERLIN = {"timeZone": "Europe/Berlin"}
HOLIDAY = {"holidays": [{"name": "de", "country": "DE"}]}


@pytest.mark.parametrize(
    ("spec", "time", "why"),
    [
        ({"exclude": {"dates": ["2026-12-24"]}}, "2026-12-24 00:00", "2026-12-24"),
        ({"exclude": {"dates": ["2026-12-24"]}}, "2026-12-25 00:00", None),
        ({**BERLIN, "exclude": {"dates": ["2026-12-24"]}}, "2026-12-23 23:00", "2026-12-24"),
        ({**BERLIN, "exclude": {"dates": ["2026-12-24"]}}, "2026-12-24 23:00", None),
        ({"exclude": {"dateRanges": [FREEZE]}}, "2027-01-03 23:59", "freeze"),
        ({"exclude": {"dateRanges": [FREEZE]}}, "2027-01-04 00:00", None),
        ({"exclude": {"weekdays": ["Saturday", "Sunday"]}}, "2026-03-28 12:00", "Saturday"),
        ({"exclude": {"weekdays": ["Saturday", "Sunday"]}}, "2026-03-27 12:00", None),
        ({"exclude": {"windows": [NIGHT]}}, "2026-03-27 22:00", "night"),
        ({"exclude": {"windows": [NIGHT]}}, "2026-03-28 05:59", "night"),
        ({"exclude": {"windows": [NIGHT]}}, "2026-03-28 06:00", None),
        ({**BERLIN, "exclude": HOLIDAY}, "2026-12-25 12:00", "Christmas Day"),
        # The reason that says most comes first.
        ({"exclude": {**HOLIDAY, "weekdays": ["Friday"]}}, "2026-12-25 12:00", "Christmas Day"),
        ({"include": {"weekdays": ["Saturday"]}}, "2026-03-27 12:00", "not an included time"),
        ({"include": {"weekdays": ["Saturday"]}}, "2026-03-28 12:00", None),
        (
            {"include": {"weekdays": ["Saturday"]}, "exclude": {"dates": ["2026-03-28"]}},
            "2026-03-28 12:00",
            "2026-03-28",
        ),
        ({"include": {}}, "2026-03-28 12:00", "not an included time"),
    ],
)
def test_an_excluded_time_has_a_reason(spec: dict[str, Any], time: str, why: str | None) -> None:
    assert calendar("c", **spec).excludes(at(time)) == why


@pytest.mark.parametrize(
    ("spec", "time", "end"),
    [
        ({"exclude": {"windows": [NIGHT]}}, "2026-03-27 23:00", "2026-03-28 06:00"),
        ({"exclude": {"windows": [NIGHT]}}, "2026-03-27 12:00", "2026-03-27 12:00"),
        # Sources that adjoin or overlap are one exclusion.
        (
            {"exclude": {"windows": [NIGHT], "weekdays": ["Saturday", "Sunday"]}},
            "2026-03-27 23:00",
            "2026-03-30 06:00",
        ),
        ({"exclude": {"dateRanges": [FREEZE]}}, "2026-12-22 10:00", "2027-01-04 00:00"),
        ({"include": {"weekdays": ["Saturday"]}}, "2026-03-29 10:00", "2026-04-04 00:00"),
        # A Sunday on which clocks go forward has 23 hours.
        (
            {"timeZone": "Europe/Berlin", "exclude": {"weekdays": ["Sunday"]}},
            "2026-03-29 10:00",
            "2026-03-29 22:00",
        ),
        ({"include": {"dates": ["2020-01-01"]}}, "2026-03-29 10:00", "-"),
        (
            {"exclude": {"weekdays": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
                                      "Saturday", "Sunday"]}},
            "2026-03-29 10:00",
            "-",
        ),
    ],
)  # fmt: skip
def test_an_exclusion_ends_when_nothing_excludes_any_more(
    spec: dict[str, Any], time: str, end: str
) -> None:
    assert utc(calendar("c", **spec).end_of_exclusion(at(time))) == end


# --- edges ----------------------------------------------------------------------------------------


def sources() -> st.SearchStrategy[Source]:
    zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Apia"])
    start = at("2026-03-20")
    moments = st.integers(start, start + 30 * 86400)
    days = st.integers(start // 86400, start // 86400 + 30)
    weekdays = st.builds(Weekdays, st.frozensets(st.integers(0, 6), min_size=1))
    dates = st.builds(Dates, st.dictionaries(days, st.just("day"), min_size=1, max_size=8))
    return st.one_of(
        st.builds(Days, zones.map(load_zone), weekdays | dates),
        st.builds(
            Recurring,
            st.builds(IntervalTimeline, st.integers(3600, 400_000), moments),
            st.integers(1, 200_000),
            st.just("window"),
        ),
        st.builds(Recurring, moments.map(once), st.integers(1, 200_000), st.just("window")),
        st.builds(lambda a, b: Period(a, a + b, "period"), moments, st.integers(1, 200_000)),
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(sources(), max_size=3),
    st.none() | st.lists(sources(), max_size=2),
    st.integers(at("2026-03-18"), at("2026-04-22")),
)
def test_answers_change_at_edges_only(
    excluded: list[Source], included: list[Source] | None, instant: int
) -> None:
    made = CompiledCalendar("c", tuple(excluded), None if included is None else tuple(included))
    answer = made.excludes(instant) is None
    begin, end = made.last_edge(instant), made.next_edge(instant)
    assert begin is None or begin <= instant
    assert end is None or end > instant
    low = at("2026-03-10") if begin is None else begin
    high = at("2026-05-01") if end is None else end
    step = max(1, (high - low) // 50)
    assert {made.excludes(other) is None for other in range(low, high, step)} == {answer}
    if begin is not None:
        assert made.last_edge(begin) == begin


def test_the_edges_of_a_single_window() -> None:
    window = Period(100, 200, "w")
    assert [window.next_edge(t) for t in (99, 100, 199, 200)] == [100, 200, 200, None]
    assert [window.last_edge(t) for t in (99, 100, 199, 200)] == [None, 100, 100, 200]
    opening = Recurring(once(100), 100, "w")
    assert [opening.next_edge(t) for t in (99, 100, 199, 200)] == [100, 200, 200, None]
    assert [opening.last_edge(t) for t in (99, 100, 199, 200)] == [None, 100, 100, 200]


def test_the_search_for_an_end_is_bounded() -> None:
    always = Recurring(IntervalTimeline(60), 60, "always")
    asked: list[int] = []

    class Counting(Recurring):
        def covers(self, instant: int) -> str | None:
            asked.append(instant)
            return always.covers(instant)

    counted = CompiledCalendar("c", (Counting(always.timeline, 60, "always"),))
    assert counted.end_of_exclusion(1_000_000) is None
    assert len(asked) <= MAX_EDGES


# --- days -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "starts"),
    [
        ("UTC", "2026-03-29", "2026-03-29 00:00"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28 23:00"),
        ("Europe/Berlin", "2026-03-30", "2026-03-29 22:00"),
        ("Asia/Beirut", "2026-03-29", "2026-03-28 22:00"),  # midnight does not exist: 01:00
        ("America/Santiago", "2026-09-06", "2026-09-06 04:00"),  # nor here
        ("Pacific/Apia", "2011-12-30", "2011-12-30 10:00"),  # the day does not exist
        ("Pacific/Apia", "2011-12-31", "2011-12-30 10:00"),
    ],
)
def test_a_local_day_begins_where_the_wall_clock_enters_it(
    zone: str, day: str, starts: str
) -> None:
    from datetime import date

    number = to_day(date.fromisoformat(day))
    assert utc(day_start(load_zone(zone), number)) == starts
    assert to_date(number).isoformat() == day


def test_a_midnight_that_comes_twice_counts_from_the_first() -> None:
    zone = load_zone("America/Havana")  # 2026-11-01: clocks go back from 01:00 to 00:00
    start = day_start(zone, to_day(to_date(local_day(zone, at("2026-11-01 12:00")))))
    assert utc(start) == "2026-11-01 04:00"


def test_a_wall_clock_time_before_the_first_day_of_planning() -> None:
    assert instant_at(load_zone("Pacific/Apia"), -100_000) <= 0


def test_weekdays_count_from_monday() -> None:
    assert weekday_of(to_day(to_date(0))) == 3  # 1970-01-01 was a Thursday
    rule = Weekdays(frozenset({0}))
    assert (rule.next_after(0), rule.previous_before(0), rule.label(4)) == (4, -3, "Monday")


def test_dates_know_their_neighbours() -> None:
    rule = Dates({10: "ten", 20: "twenty"})
    assert [rule.next_after(day) for day in (9, 10, 20)] == [10, 20, None]
    assert [rule.previous_before(day) for day in (21, 20, 10)] == [20, 10, None]
    assert (rule.label(10), rule.label(11)) == ("ten", None)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "field", "value", "remedy"),
    [
        ({"timeZone": "Europe/Berln", "exclude": {}}, "spec.timeZone", "Europe/Berln",
         'Did you mean "Europe/Berlin"'),
        ({"exclude": {"windows": [{**NIGHT, "cron": "0 25 * * *"}]}},
         "spec.exclude.windows[0].cron", "25", "from 0 to 23"),
        ({"include": {"holidays": [{"name": "x", "country": "XX"}]}},
         "spec.include.holidays[0].country", "XX", "ISO 3166-1"),
        ({"exclude": {"holidays": [{"name": "x", "country": "DE", "subdivision": "BX"}]}},
         "spec.exclude.holidays[0].subdivision", "BX", "Write one of BB, BE"),
        ({"exclude": {"holidays": [{"name": "x", "country": "DE", "subdivision": "?"}]}},
         "spec.exclude.holidays[0].subdivision", "?", "Write one of BB, BE"),
        ({"exclude": {"holidays": [{"name": "x", "country": "US", "subdivision": "NYC"}]}},
         "spec.exclude.holidays[0].subdivision", "NYC", 'Did you mean "NY"'),
        ({"exclude": {"holidays": [{"name": "x", "country": "US", "subdivision": "9"}]}},
         "spec.exclude.holidays[0].subdivision", "9", "Write e.g. "),
        ({"exclude": {"holidays": [{"name": "x", "country": "JP", "subdivision": "13"}]}},
         "spec.exclude.holidays[0].subdivision", "13", "Remove it"),
        ({"exclude": {"holidays": [{"name": "x", "country": "DE", "categories": ["bank"]}]}},
         "spec.exclude.holidays[0].categories", "bank", "Write one of"),
        ({"exclude": {"holidays": [{"name": "x", "country": "US", "names": ["Cristmas Day"]}]}},
         "spec.exclude.holidays[0].names", "Cristmas Day", 'Did you mean "Christmas Day"'),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_value_and_remedy(
    spec: dict[str, Any], field: str, value: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as error:
        calendar("c", **spec)
    (problem,) = error.value.problems
    assert (problem.field, problem.value) == (field, value)
    assert remedy in problem.remedy


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SpecError) as error:
        calendar(
            "c",
            timeZone="Nowhere",
            exclude={"windows": [{**NIGHT, "cron": "x"}]},
            include={"holidays": [{"name": "x", "country": "XX"}]},
        )
    assert len(error.value.problems) == 3


def test_the_content_changes_with_what_matters_only() -> None:
    one = calendar("c", displayName="Before", exclude={"dates": ["2026-12-24"]})
    two = calendar("c", displayName="After", exclude={"dates": ["2026-12-24"]})
    other = calendar("c", exclude={"dates": ["2026-12-25"]})
    assert one.content == two.content != other.content
