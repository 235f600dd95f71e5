"""Which days the day fields name, read as tables, and every kind of month against a calendar."""

from __future__ import annotations

from calendar import isleap, timegm
from datetime import UTC, date, datetime, time

import pytest

from differential.expressions import Expressions
from differential.oracle import matches
from taskrunner.domain.cron import CronError, parse_cron

# May 2026 begins on a Friday and has 31 days; Saturdays: 2, 9, 16, 23, 30.
MAY = datetime(2026, 5, 1, tzinfo=UTC)

CASES = [
    # day of month, day of week, days of May 2026
    ("L", "*", [31]),
    ("L-3", "*", [28]),
    ("L-0", "?", [31]),
    ("LW", "*", [29]),  # the 31st is a Sunday
    ("15W", "*", [15]),
    ("16W", "*", [15]),  # Saturday: the Friday before
    ("17W", "*", [18]),  # Sunday: the Monday after
    ("2W", "*", [1]),
    ("31W", "*", [29]),  # Monday the 1st would be June
    ("30W,1W", "*", [1, 29]),
    ("*", "5L", [29]),
    ("*", "FRIL", [29]),
    ("*", "0L", [31]),
    ("*", "7L", [31]),
    ("*", "MON#1", [4]),
    ("*", "FRI#5", [29]),
    ("*", "MON#5", []),
    ("*", "1#1,3#3", [4, 20]),
    ("*", "7#2", [10]),
    ("*", "TUE,FRI#1", [1, 5, 12, 19, 26]),
    # POSIX: two restricted fields are OR-ed …
    ("1", "MON", [1, 4, 11, 18, 25]),
    ("13", "FRI#2", [8, 13]),
    ("L", "5L", [29, 31]),
    ("*/15", "MON", [1, 4, 11, 16, 18, 25, 31]),
    ("1-31", "MON", list(range(1, 32))),
    ("H(1-1)", "MON", [1, 4, 11, 18, 25]),
    # … and a field with a star or ? without a step is not restricted.
    ("*", "MON", [4, 11, 18, 25]),
    ("?", "MON", [4, 11, 18, 25]),
    ("*/1", "MON", [4, 11, 18, 25]),
    ("5,*", "MON", [4, 11, 18, 25]),
    ("13", "?", [13]),
    ("13", "*/1", [13]),
    ("13", "*/7", [3, 10, 13, 17, 24, 31]),
]


@pytest.mark.parametrize(("day", "weekday", "expected"), CASES)
def test_the_day_fields_name_these_days_of_may_2026(
    day: str, weekday: str, expected: list[int]
) -> None:
    parsed = parse_cron(f"0 0 {day} * {weekday}", hash_key="a/b")
    begin = int(MAY.timestamp())
    found = []
    at = begin
    while (slot := parsed.first(at, begin + 31 * 86_400)) is not None:
        found.append((slot - begin) // 86_400 + 1)
        at = slot + 1
    assert found == expected


def test_every_kind_of_month_agrees_with_a_calendar() -> None:
    source = Expressions(seed=5)
    # One year of each of the 14 kinds: leap or not, and the weekday it begins on.
    years = {(isleap(year), date(year, 1, 1).weekday()): year for year in range(2000, 2028)}
    days = [
        date.fromordinal(date(year, 1, 1).toordinal() + number)
        for year in years.values()
        for number in range(365 + isleap(year))
    ]
    compared = 0
    for _ in range(10):
        fields = source.dialect().split()[-3:]
        try:
            parsed = parse_cron(" ".join(["0 0", *fields]), hash_key="")
        except CronError:
            continue
        for day in days:
            local = timegm(day.timetuple())
            due = parsed.first(local, local + 1) is not None
            midnight = datetime.combine(day, time())
            assert due == matches(["0", "0", "0", *fields], midnight), (fields, day)
            compared += 1
    assert len(years) == 14
    assert compared > 40_000
