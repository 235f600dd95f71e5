"""An independent answer to "when is it due": walks the time line and looks at the wall clock.

It shares nothing with the product: zoneinfo for offsets, `datetime` and `calendar` for dates, and
a reading of the fields that asks "does this value match?" instead of building sets. Slow and plain
on purpose. It knows all of the dialect but `H`, the macros and `@every`.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

MONTHS = ["", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@cache
def zoneinfo(name: str) -> ZoneInfo:
    """The zone from the tzdata package, whatever the system has."""
    parts = name.split("/")
    with resources.files("tzdata").joinpath("zoneinfo", *parts).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def wall(instant: int, zone: ZoneInfo) -> datetime:
    """The wall clock at an instant, without its zone."""
    return datetime.fromtimestamp(instant, UTC).astimezone(zone).replace(tzinfo=None)


@dataclass(frozen=True)
class Oracle:
    """Slots of an expression in a zone, by walking."""

    expression: str
    zone: str
    gap: str = "RunAfter"
    overlap: str = "First"

    def slots(self, begin: int, end: int, step: int = 60) -> list[int]:
        """All slots in begin ≤ slot < end; both and all changes of the clock on whole `step`s."""
        return list(self._walk(begin, end, step))

    def due(self, instant: int) -> bool:
        """Whether the instant is a slot."""
        step = 60 if instant % 60 == 0 else 1
        return bool(self.slots(instant, instant + 1, step))

    def confirms_next(self, start: int, answer: int, walk: int = 6 * 3600) -> bool:
        """Whether `answer` can be the first slot after `start`: it is one, and in the first `walk`
        seconds there is none before it. For expressions without seconds."""
        begin = start - start % 60 + 60
        return self.due(answer) and not self.slots(begin, min(answer, begin + walk))

    def _walk(self, begin: int, end: int, step: int) -> Iterator[int]:
        zone = zoneinfo(self.zone)
        fields = self.expression.split()
        fields = fields if len(fields) == 6 else ["0", *fields]
        fixed = not any(
            term.startswith(("*", "?")) for field in fields[1:3] for term in field.split(",")
        )
        before = wall(begin - step, zone)
        for instant in range(begin, end, step):
            now = wall(instant, zone)
            due = matches(fields, now) and (not fixed or self._pass_counts(now, instant, zone))
            if fixed and self.gap == "RunAfter":
                skipped = before + timedelta(seconds=step)
                while skipped < now and not due:
                    due = matches(fields, skipped)
                    skipped += timedelta(seconds=step)
            if due:
                yield instant
            before = now

    def _pass_counts(self, now: datetime, instant: int, zone: ZoneInfo) -> bool:
        first = now.replace(tzinfo=zone, fold=0).timestamp()
        second = now.replace(tzinfo=zone, fold=1).timestamp()
        if self.overlap == "Both":
            return True
        return instant == (min if self.overlap == "First" else max)(first, second)


def matches(fields: list[str], now: datetime) -> bool:
    """Whether a wall clock time matches six fields."""
    second, minute, hour, day, month, weekday = fields
    return (
        _in(minute, now.minute, 0, 59)
        and _in(hour, now.hour, 0, 23)
        and _in(month, now.month, 1, 12, MONTHS)
        and _in(second, now.second, 0, 59)
        and _day(day, weekday, now.date())
    )


@cache
def _day(day: str, weekday: str, today: date) -> bool:
    free = [
        any(term in {"*", "?", "*/1", "?/1"} for term in field.split(","))
        for field in (day, weekday)
    ]
    by_day = free[0] or any(_day_term(term, today) for term in day.split(","))
    by_weekday = free[1] or any(_weekday_term(term, today) for term in weekday.split(","))
    return (by_day or by_weekday) if free == [False, False] else (by_day and by_weekday)


def _day_term(term: str, today: date) -> bool:
    term = term.upper()
    length = calendar.monthrange(today.year, today.month)[1]
    if term == "L":
        return today.day == length
    if term.startswith("L-"):
        return today.day == length - int(term[2:])
    if term.endswith("W"):
        number = length if term == "LW" else int(term[:-1])
        if number > length:
            return False
        workdays = [
            candidate
            for candidate in range(1, length + 1)
            if date(today.year, today.month, candidate).isoweekday() <= 5
        ]
        # Nearest: never further than two days off, and never as far in the other direction.
        return today.day == min(workdays, key=lambda candidate: abs(candidate - number))
    return _in(term, today.day, 1, 31)


def _weekday_term(term: str, today: date) -> bool:
    term = term.upper()
    own = today.isoweekday() % 7
    if term.endswith("L"):
        length = calendar.monthrange(today.year, today.month)[1]
        return _number(term[:-1], WEEKDAYS) % 7 == own and today.day > length - 7
    if "#" in term:
        name, nth = term.split("#")
        return _number(name, WEEKDAYS) % 7 == own and (today.day - 1) // 7 + 1 == int(nth)
    return _in(term, own, 0, 6, WEEKDAYS) or (own == 0 and _in(term, 7, 0, 6, WEEKDAYS))


def _in(field: str, value: int, low: int, high: int, names: list[str] | None = None) -> bool:
    return any(_term(term.upper(), value, low, high, names) for term in field.split(","))


@cache
def _matching(term: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    return frozenset(
        value for value in range(low, 60) if _matches_term(term, value, low, high, list(names))
    )


def _term(term: str, value: int, low: int, high: int, names: list[str] | None) -> bool:
    return value in _matching(term, low, high, tuple(names or ()))


def _matches_term(term: str, value: int, low: int, high: int, names: list[str]) -> bool:
    span, _, step = term.partition("/")
    if span in {"*", "?"}:
        begin, end = low, high
    elif "-" in span:
        begin, end = (_number(part, names) for part in span.split("-"))
    else:
        begin = _number(span, names)
        end = max(begin, high) if step else begin
    return begin <= value <= end and (value - begin) % int(step or 1) == 0


def _number(text: str, names: list[str]) -> int:
    return names.index(text) if text in names else int(text)
