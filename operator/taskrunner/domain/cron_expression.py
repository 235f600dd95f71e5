"""A parsed cron expression: the set of wall clock times it names, searched with bit arithmetic.

Times here are *local seconds*: seconds since 1970-01-01T00:00:00 of the wall clock, as if there
were no time zones. `timeline.CronTimeline` turns them into instants.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import product

from taskrunner.domain.cron_days import DayRule, month_kind, month_table
from taskrunner.domain.tzif import EPOCH_ORDINAL

DAY = 86_400
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class CronExpression:
    """Fields as bit sets (bit n: the value n matches). Made by `cron.parse_cron`."""

    text: str = field(compare=False)
    """As the user wrote it."""
    seconds: int
    minutes: int
    hours: int
    months: int
    days: DayRule
    fixed: bool
    """Neither hour nor minute is a wildcard: the DST policy applies (see `timeline.DstPolicy`)."""
    table: array[int] = field(init=False, repr=False, compare=False)
    """`month_table(days)`, at hand."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", month_table(self.days))

    @property
    def times_a_day(self) -> int:
        """How many slots a matching day has."""
        return self.hours.bit_count() * self.minutes.bit_count() * self.seconds.bit_count()

    def first(self, low: int, high: int) -> int | None:
        """The first slot in low ≤ slot < high."""
        if low >= high:
            return None
        day, second = divmod(low, DAY)
        found = self._next_day(day, high)
        if found is None:
            return None
        if found == day:
            time = self._next_time(second)
            if time is None:
                found = self._next_day(day + 1, high)
                if found is None:
                    return None
        else:
            time = None
        if time is None:
            time = _lowest(self.hours) * 3600 + _lowest(self.minutes) * 60 + _lowest(self.seconds)
        slot = found * DAY + time
        return slot if slot < high else None

    def last(self, low: int, high: int) -> int | None:
        """The last slot in low ≤ slot < high."""
        if low >= high:
            return None
        day, second = divmod(high - 1, DAY)
        found = self._previous_day(day, low)
        if found is None:
            return None
        if found == day:
            time = self._previous_time(second)
            if time is None:
                found = self._previous_day(day - 1, low)
                if found is None:
                    return None
        else:
            time = None
        if time is None:
            time = _highest(self.hours) * 3600 + _highest(self.minutes) * 60
            time += _highest(self.seconds)
        slot = found * DAY + time
        return slot if slot >= low else None

    def backwards(self, low: int, high: int) -> Iterator[int]:
        """All slots in low ≤ slot < high, the last first: quicker than asking for one by one."""
        while (slot := self.last(low, high)) is not None:
            day, second = divmod(slot, DAY)
            hour, minute = second // 3600, second % 3600 // 60
            high = slot - second % 60
            for each in bits_down(_below(self.seconds, second % 60 + 1)):
                if high + each < low:
                    return
                yield high + each
            hours = day * DAY + hour * 3600
            for each_minute in bits_down(_below(self.minutes, minute)):
                for each in bits_down(self.seconds):
                    slot = hours + each_minute * 60 + each
                    if slot < low:
                        return
                    yield slot
            high = hours

    def times(self, low: int, high: int) -> list[int]:
        """All slots in low ≤ slot < high."""
        daily = _times_of_day(self.hours, self.minutes, self.seconds)
        found: list[int] = []
        day = self._next_day(low // DAY, high) if low < high else None
        while day is not None:
            midnight = day * DAY
            if midnight >= low and midnight + DAY <= high:
                found += [midnight + time for time in daily]
            else:
                found += [midnight + time for time in daily if low <= midnight + time < high]
            day = self._next_day(day + 1, high)
        return found

    def count(self, low: int, high: int) -> int:
        """How many slots there are in low ≤ slot < high; the work grows with months only."""
        if low >= high:
            return 0
        low_day, low_second = divmod(low, DAY)
        high_day, high_second = divmod(high, DAY)
        if low_day == high_day:
            times = self._times_before(high_second) - self._times_before(low_second)
            return times if times and self._count_days(low_day, low_day + 1) else 0
        total = self._count_days(low_day, high_day) * self.times_a_day
        if low_second and self._count_days(low_day, low_day + 1):
            total -= self._times_before(low_second)
        if high_second and self._count_days(high_day, high_day + 1):
            total += self._times_before(high_second)
        return total

    def _next_time(self, second: int) -> int | None:
        """The first time of day at or after `second` (seconds since midnight)."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        if self.hours >> hour & 1:
            if self.minutes >> minute & 1 and (later := self.seconds >> second):
                return hour * 3600 + minute * 60 + second + _lowest(later)
            if later := self.minutes >> minute + 1:
                minute += 1 + _lowest(later)
                return hour * 3600 + minute * 60 + _lowest(self.seconds)
        if later := self.hours >> hour + 1:
            hour += 1 + _lowest(later)
            return hour * 3600 + _lowest(self.minutes) * 60 + _lowest(self.seconds)
        return None

    def _previous_time(self, second: int) -> int | None:
        """The last time of day at or before `second`."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        if self.hours >> hour & 1:
            if self.minutes >> minute & 1 and (earlier := _below(self.seconds, second + 1)):
                return hour * 3600 + minute * 60 + _highest(earlier)
            if earlier := _below(self.minutes, minute):
                return hour * 3600 + _highest(earlier) * 60 + _highest(self.seconds)
        if earlier := _below(self.hours, hour):
            return _highest(earlier) * 3600 + _highest(self.minutes) * 60 + _highest(self.seconds)
        return None

    def _times_before(self, second: int) -> int:
        """How many slots of a matching day come before `second`."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        seconds = self.seconds.bit_count()
        total = _below(self.hours, hour).bit_count() * self.minutes.bit_count() * seconds
        if self.hours >> hour & 1:
            total += _below(self.minutes, minute).bit_count() * seconds
            if self.minutes >> minute & 1:
                total += _below(self.seconds, second).bit_count()
        return total

    def _next_day(self, day: int, high: int) -> int | None:
        """The first matching day (since 1970-01-01) from `day` on that begins before `high`."""
        table = self.table
        start = date.fromordinal(day + EPOCH_ORDINAL)
        year, month, number = start.year, start.month, start.day
        while True:
            if self.months >> month & 1:
                first, kind = _month(year, month)
                if first * DAY >= high:
                    return None
                if later := table[kind] >> number:
                    found = first + number + _lowest(later) - 1
                    return found if found * DAY < high else None
            elif date(year, month, 1).toordinal() > high // DAY + EPOCH_ORDINAL:
                return None
            number = 1
            if later := self.months >> month + 1:
                month += 1 + _lowest(later)
            else:
                year, month = year + 1, _lowest(self.months)

    def _previous_day(self, day: int, low: int) -> int | None:
        """The last matching day up to `day` that ends after `low`."""
        table = self.table
        start = date.fromordinal(day + EPOCH_ORDINAL)
        year, month, number = start.year, start.month, start.day
        while True:
            first, kind = _month(year, month)
            if self.months >> month & 1 and (earlier := _below(table[kind], number + 1)):
                found = first + _highest(earlier) - 1
                return found if (found + 1) * DAY > low else None
            if first * DAY <= low:
                return None
            number = 31
            if earlier := _below(self.months, month):
                month = _highest(earlier)
            else:
                year, month = year - 1, _highest(self.months)

    def _count_days(self, low: int, high: int) -> int:
        """How many days match in low ≤ day < high; whole years are counted by their kind."""
        start, end = date.fromordinal(low + EPOCH_ORDINAL), date.fromordinal(high + EPOCH_ORDINAL)
        if end.year - start.year < 3:
            return self._count_months(low, high)
        years = _days_of_years(self.days, self.months)
        total = sum(years[_kind_of_year(year)] for year in range(start.year + 1, end.year))
        first, last = date(start.year + 1, 1, 1), date(end.year, 1, 1)
        total += self._count_months(low, first.toordinal() - EPOCH_ORDINAL)
        return total + self._count_months(last.toordinal() - EPOCH_ORDINAL, high)

    def _count_months(self, low: int, high: int) -> int:
        table = self.table
        start = date.fromordinal(low + EPOCH_ORDINAL)
        year, month, number = start.year, start.month, start.day
        total = 0
        while True:
            if self.months >> month & 1:
                first, kind = _month(year, month)
                if first >= high:
                    return total
                found = table[kind] >> number << number
                if first + 31 > high:
                    found = _below(found, high - first + 1)
                total += found.bit_count()
            elif date(year, month, 1).toordinal() - EPOCH_ORDINAL >= high:
                return total
            number = 1
            month += 1
            if month == 13:
                year, month = year + 1, 1


@lru_cache(maxsize=256)
def _days_of_years(days: DayRule, months: int) -> dict[int, int]:
    """How many days match in a year of each kind."""
    table, found = month_table(days), {}
    for year in range(2000, 2028):  # the calendar repeats after 28 years
        kinds = [_month(year, month)[1] for month in range(1, 13) if months >> month & 1]
        found[_kind_of_year(year)] = sum(table[kind].bit_count() for kind in kinds)
    return found


@lru_cache(maxsize=256)
def _kind_of_year(year: int) -> int:
    """The weekday of its first day, and whether it is a leap year."""
    return date(year, 1, 1).weekday() + 7 * (_month(year, 2)[1] >= month_kind(29, 0))


@lru_cache(maxsize=1024)
def _times_of_day(hours: int, minutes: int, seconds: int) -> tuple[int, ...]:
    """Seconds since midnight of all slots of a day."""
    parts = [sorted(bits_down(mask)) for mask in (hours, minutes, seconds)]
    return tuple(hour * 3600 + minute * 60 + second for hour, minute, second in product(*parts))


@lru_cache(maxsize=1024)
def _month(year: int, month: int) -> tuple[int, int]:
    """Day number of the first of a month, and the kind of the month."""
    first = date(year, month, 1).toordinal() - EPOCH_ORDINAL
    length = _LENGTHS[month]
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        length = 29
    # Day 0, 1970-01-01, was a Thursday; weekdays count from Sunday.
    return first, month_kind(length, (first + 4) % 7)


def _below(mask: int, end: int) -> int:
    """The bits of `mask` below `end`."""
    return mask & (1 << end) - 1


def bits_down(mask: int) -> Iterator[int]:
    """Positions of the set bits, largest first."""
    while mask:
        position = mask.bit_length() - 1
        yield position
        mask ^= 1 << position


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _highest(mask: int) -> int:
    return mask.bit_length() - 1
