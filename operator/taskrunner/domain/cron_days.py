"""Which days of a month a cron expression names.

A month is one of 28 kinds: 28 to 31 days long, beginning on one of seven weekdays. The days that
match are worked out once for each kind and kept as bits, so that planning only looks them up.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

ALL_DAYS = (1 << 32) - 2
"""Bits 1 to 31."""
ALL_WEEKDAYS = (1 << 7) - 1
"""Bits 0 (Sunday) to 6 (Saturday)."""
_EVERY_SEVENTH = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28


@dataclass(frozen=True, slots=True)
class DayRule:
    """The day-of-month and day-of-week fields, as bits."""

    days: int = ALL_DAYS
    """Bit d: day d."""
    nearest: int = 0
    """Bit d: the weekday (Monday to Friday) nearest to day d within the month (`15W`)."""
    from_end: int = 0
    """Bit n: n days before the last day (`L`, `L-3`)."""
    last_workday: bool = False
    """The last Monday to Friday of the month (`LW`)."""
    weekdays: int = ALL_WEEKDAYS
    """Bit w: every weekday w, Sunday is 0."""
    nth: int = 0
    """Bit 7 × (n - 1) + w: the nth weekday w (`MON#1`)."""
    last: int = 0
    """Bit w: the last weekday w (`5L`)."""
    either: bool = False
    """Both fields are restricted: a day that matches one of them matches (POSIX)."""


def month_kind(length: int, first_weekday: int) -> int:
    """Index of a kind of month in the table; weekdays count from Sunday, 0."""
    return (length - 28) * 7 + first_weekday


@lru_cache(maxsize=1024)
def month_table(rule: DayRule) -> array[int]:
    """For each kind of month, the matching days as bits 1 to 31. Shared; do not change it."""
    return array("L", [_matching(rule, 28 + kind // 7, kind % 7) for kind in range(28)])


def bits(mask: int) -> Iterator[int]:
    """Positions of the set bits, smallest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _matching(rule: DayRule, length: int, first_weekday: int) -> int:
    by_day = _by_day_of_month(rule, length, first_weekday)
    by_weekday = _by_weekday(rule, length, first_weekday)
    return by_day | by_weekday if rule.either else by_day & by_weekday


def _by_day_of_month(rule: DayRule, length: int, first_weekday: int) -> int:
    month = (1 << length + 1) - 2
    found = rule.days & month
    for day in bits(rule.nearest & month):
        found |= 1 << nearest_workday(day, length, first_weekday)
    for before in bits(rule.from_end):
        if before < length:
            found |= 1 << length - before
    if rule.last_workday:
        found |= 1 << nearest_workday(length, length, first_weekday)
    return found


def _by_weekday(rule: DayRule, length: int, first_weekday: int) -> int:
    month = (1 << length + 1) - 2
    found = 0
    for weekday in bits(rule.weekdays):
        found |= _EVERY_SEVENTH << 1 + (weekday - first_weekday) % 7
    for position in bits(rule.nth):
        found |= 1 << 1 + (position % 7 - first_weekday) % 7 + position // 7 * 7
    for weekday in bits(rule.last):
        first = 1 + (weekday - first_weekday) % 7
        found |= 1 << first + (length - first) // 7 * 7
    return found & month


def nearest_workday(day: int, length: int, first_weekday: int) -> int:
    """The Monday to Friday nearest to a day, never leaving the month (as in Quartz)."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == 6:  # Saturday: the Friday before, or in a month's first days the Monday after
        return day - 1 if day > 1 else day + 2
    if weekday == 0:  # Sunday: the Monday after, or at the month's end the Friday before
        return day + 1 if day < length else day - 2
    return day
