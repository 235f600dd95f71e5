"""Local days: where they begin on the time line, and rules that pick some of them.

A day is its proleptic ordinal less that of 1970-01-01, as in the wall clock's seconds // 86400.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol

from taskrunner.domain.zones import Zone

DAY: Final = 86_400
EPOCH: Final = date(1970, 1, 1)
WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip
_FAR: Final = 3 * DAY // 2
"""More than any offset from UTC."""
HOLIDAY_YEARS_AHEAD: Final = 3
"""Years searched for the next holiday of a country; each has several in every year."""


def local_day(zone: Zone, instant: int) -> int:
    """The day that the wall clock shows at the instant."""
    return (instant + zone.offset(instant)) // DAY


def day_start(zone: Zone, day: int) -> int:
    """The first instant of a local day.

    Midnight may not exist (Beirut, Santiago: the day begins at 01:00) or come twice (then the first
    counts). A day that a zone left out (Apia, 2011-12-30) begins and ends where the next begins.
    """
    return instant_at(zone, day * DAY)


def instant_at(zone: Zone, local: int) -> int:
    """The instant at which the wall clock first shows `local`, or the end of the gap it lies in."""
    if local >= zone.starts[-1] - _FAR:
        return local - zone.offsets[-1]  # the end of the years that are planned
    index = max(zone.segment(local), 0)
    if zone.starts[index] + _FAR <= local < zone.starts[index + 1] - _FAR:
        return local - zone.offsets[index]  # far from any change of the clock
    found = zone.instants_of(local)
    if found:
        return found[0]
    # The last segment before which the wall clock had not passed `local` is the one after the gap.
    return zone.starts[max(bisect_right(zone.seen, local) - 1, 0)]


def to_local(wall_clock: datetime) -> int:
    """A naive wall clock time as seconds since 1970-01-01T00:00:00 of the wall clock."""
    return int(wall_clock.replace(tzinfo=UTC).timestamp())


def to_date(day: int) -> date:
    """The calendar date of a day number."""
    return EPOCH + timedelta(days=day)


def to_day(value: date) -> int:
    """The day number of a calendar date."""
    return (value - EPOCH).days


def weekday_of(day: int) -> int:
    """0 = Monday … 6 = Sunday; 1970-01-01 was a Thursday."""
    return (day + 3) % 7


class DayRule(Protocol):
    """A set of days."""

    def label(self, day: int) -> str | None:
        """What the day is called when it is in the set, else None."""
        ...

    def next_after(self, day: int) -> int | None:
        """The first day of the set after `day`."""
        ...

    def previous_before(self, day: int) -> int | None:
        """The last day of the set before `day`."""
        ...


@dataclass(frozen=True, slots=True)
class Weekdays:
    """Days of the week, 0 = Monday."""

    days: frozenset[int]

    def label(self, day: int) -> str | None:
        weekday = weekday_of(day)
        return WEEKDAYS[weekday] if weekday in self.days else None

    def next_after(self, day: int) -> int | None:
        for later in range(day + 1, day + 8):
            if (later + 3) % 7 in self.days:
                return later
        return None

    def previous_before(self, day: int) -> int | None:
        return next((d for d in range(day - 1, day - 8, -1) if weekday_of(d) in self.days), None)


@dataclass(frozen=True, slots=True)
class Dates:
    """Single dates, each with its name."""

    names: dict[int, str]
    days: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "days", tuple(sorted(self.names)))

    def label(self, day: int) -> str | None:
        return self.names.get(day)

    def next_after(self, day: int) -> int | None:
        index = bisect_right(self.days, day)
        return self.days[index] if index < len(self.days) else None

    def previous_before(self, day: int) -> int | None:
        index = bisect_left(self.days, day)
        return self.days[index - 1] if index else None


@dataclass(frozen=True, slots=True)
class Holidays:
    """Public holidays of a country or one of its subdivisions, from the `holidays` library."""

    country: str
    subdivision: str | None
    categories: tuple[str, ...]
    only: frozenset[str] = frozenset()
    """Names of the holidays that count; empty for all."""

    def label(self, day: int) -> str | None:
        return self._of(to_date(day).year).names.get(day)

    def next_after(self, day: int) -> int | None:
        year = to_date(day).year
        for later in range(year, year + HOLIDAY_YEARS_AHEAD):
            if (found := self._of(later).next_after(day)) is not None:
                return found
        return None

    def previous_before(self, day: int) -> int | None:
        year = to_date(day).year
        for earlier in range(year, year - HOLIDAY_YEARS_AHEAD, -1):
            if (found := self._of(earlier).previous_before(day)) is not None:
                return found
        return None

    def _of(self, year: int) -> Dates:
        return holidays_in(self.country, self.subdivision, self.categories, self.only, year)


@lru_cache(maxsize=256)
def holidays_in(
    country: str,
    subdivision: str | None,
    categories: tuple[str, ...],
    only: frozenset[str],
    year: int,
) -> Dates:
    """The holidays of one year, with English names where the library has them.

    A year is kept, because the library needs milliseconds to make it. `holidays` is imported here:
    it costs 10 MB or more, which only those who use holidays should pay. The language is given
    because the library would otherwise take it from the environment. Raises NotImplementedError for
    an unknown country or subdivision, ValueError for a category that the country does not have.
    """
    import holidays

    found = holidays.country_holidays(
        country,
        subdiv=subdivision,
        years=year,
        categories=categories or None,
        language="en_US",
        expand=False,
    )
    return Dates(
        {
            to_day(day): name
            for day, name in found.items()
            if day.year == year and (not only or not only.isdisjoint(name.split("; ")))
        }
    )
