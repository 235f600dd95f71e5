"""Calendars: which times are excluded, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrunner.domain.calendar import (
    PAGES_KEPT,
    CompiledCalendar,
    Days,
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
from taskrunner.domain.zones import LATEST, load_zone
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


# --- pages ----------------------------------------------------------------------------------------


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
    )


def covers(source: Source, instant: int) -> bool:
    """The plain meaning of a source, without laying anything out."""
    if isinstance(source, Days):
        return source.rule.label(local_day(source.zone, instant)) is not None
    assert isinstance(source, Recurring)
    opened = source.timeline.previous_before(instant + 1)
    return opened is not None and instant < opened.time + source.duration


@settings(max_examples=150, deadline=None)
@given(
    st.lists(sources(), max_size=3),
    st.none() | st.lists(sources(), max_size=2),
    st.integers(at("2026-03-18"), at("2026-04-22")),
    st.sampled_from([64 * 86_400, 86_400, 3_601]),
)
def test_a_calendar_laid_out_answers_as_its_sources_do(
    excluded: list[Source], included: list[Source] | None, instant: int, length: int
) -> None:
    made = CompiledCalendar("c", tuple(excluded), None if included is None else tuple(included))
    object.__setattr__(made, "length", length)

    def out(other: int) -> bool:
        out = included is not None and not any(covers(each, other) for each in included)
        return out or any(covers(each, other) for each in excluded)

    assert (made.excludes(instant) is not None) == out(instant)
    assert made.closed(instant) == any(
        isinstance(each, Days) and covers(each, instant) for each in excluded
    )
    begin, end = made.stretch(instant)
    assert begin <= instant < end
    for other in range(begin, end, max(1, (end - begin) // 50)):
        assert out(other) == out(instant)
    free = made.end_of_exclusion(instant)
    if free is not None:
        assert not out(free)
        assert all(out(t) for t in range(instant, free, max(1, (free - instant) // 50)))
        assert free == instant or out(free - 1)
    if out(instant):
        since = made.start_of_exclusion(instant)  # 0: it was given up
        step = max(1, (instant - since) // 50)
        assert not since or all(out(t) for t in range(since, instant, step))
    until = instant + 200_000
    if made.free_between(instant, until):
        assert not any(out(t) for t in range(instant, until, 1000))
    else:
        assert free != instant or made.stretch(instant)[1] <= until


def test_an_exclusion_reaches_back_over_pages() -> None:
    made = calendar("c", exclude={"dateRanges": [{"name": "f", "from": "2026-01-01",
                                                  "to": "2026-12-31"}]})  # fmt: skip
    assert utc(made.start_of_exclusion(at("2026-12-30 12:00"))) == "2026-01-01 00:00"
    assert not made.free_between(at("2025-12-01"), at("2026-01-01"))
    assert made.free_between(at("2025-12-01"), at("2025-12-31 23:59:59"))


def test_an_exclusion_without_end_is_given_up_and_its_pages_are_bounded() -> None:
    always = CompiledCalendar("c", (Recurring(IntervalTimeline(60), 60, "always"),))
    assert always.end_of_exclusion(1_000_000) is None
    assert len(always._pages) <= always.searched + 1
    for day in range(0, 4 * PAGES_KEPT):
        always.excludes(day * 86_400)
    assert len(always._pages) <= PAGES_KEPT


def test_windows_that_overlap_are_one_span() -> None:
    windows = Recurring(IntervalTimeline(3600), 5000, "w")
    [(begin, end, name)] = windows.spans(7200, 20_000)
    assert (begin <= 7200, end >= 20_000, name) == (True, True, "w")
    gaps = Recurring(IntervalTimeline(3600), 600, "w")
    assert list(gaps.spans(3600, 7201)) == [(3600, 4200, "w"), (7200, 7800, "w")]
    assert list(gaps.spans(4199, 4201)) == [(3600, 4200, "w")]
    assert list(gaps.spans(4200, 7200)) == []


@pytest.mark.parametrize(
    ("windows", "bad"),
    [
        ([{"name": "w", "cron": "*/30 * * * *", "durationSeconds": 60}], None),
        ([{"name": "w", "cron": "*/15 * * * *", "durationSeconds": 60}], 0),
        ([{"name": "w", "cron": "* * * * * *", "durationSeconds": 7200}], 0),
        ([{"name": f"w{n}", "cron": f"{n} * * * *", "durationSeconds": 60} for n in range(3)], 2),
    ],
)
def test_a_calendar_has_not_too_many_windows(windows: list[Any], bad: int | None) -> None:
    if bad is None:
        calendar("c", exclude={"windows": windows})
        return
    with pytest.raises(SpecError) as caught:
        calendar("c", exclude={"windows": windows})
    [problem] = caught.value.problems
    assert problem.field == f"spec.exclude.windows[{bad}].cron"
    assert "at most 48" in problem.message
    assert problem.remedy == "Let windows open less often and stay open longer."


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


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Santiago"])
def test_a_calendar_answers_up_to_the_end_of_the_years_that_are_planned(zone: str) -> None:
    weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    for windows in ([], [{"name": "w", "cron": "*/30 * * * *", "durationSeconds": 60}]):
        made = calendar("c", timeZone=zone, exclude={"weekdays": weekdays, "windows": windows})
        for hours in range(-24 * 8, 24 * 8, 5):
            made.excludes(LATEST + hours * 3600)
