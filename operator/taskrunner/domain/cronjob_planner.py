"""When a CronJob runs: the rules of its controller's parser, apart from our own planning.

The importer runs it beside our planner to show what would change. It follows robfig/cron v3.0.1 to
the letter, its behaviour when clocks change included; a test compares it with that program.
https://github.com/robfig/cron/blob/v3.0.1/spec.go
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from taskrunner.domain.zones import Zone

_MONTH_NAMES: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS: Final = {name: number for number, name in enumerate(_DAY_NAMES)}
_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_YEARS: Final = 5
"""So far the parser looks ahead before it says that an expression never fires."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotACronJob(ValueError):
    """CronJob's parser refuses the expression, or its slots depend on when it was created."""


@dataclass(frozen=True, slots=True)
class CronJobSchedule:
    """The fields of an expression, each as the set of its values."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool
    """Whether a day must be in both sets: one of them is a star."""

    def runs_on(self, day: datetime) -> bool:
        """Whether the day, by its date, is one of the schedule."""
        found = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return all(found) if self.both_days else any(found)


def parse_as_cronjob(expression: str) -> CronJobSchedule:
    """Raises NotACronJob; also for `@every`, which counts from the last run."""
    text = expression.strip()
    fields = _MACROS.get(text, text).split()
    if text.startswith("@") and text not in _MACROS:
        raise NotACronJob(f'The slots of "{text}" cannot be told from the expression.')
    if len(fields) != 5:
        raise NotACronJob(f"It has {len(fields)} fields instead of 5.")
    minutes, _ = _field(fields[0], 0, 59, {})
    hours, _ = _field(fields[1], 0, 23, {})
    days, any_day = _field(fields[2], 1, 31, {})
    months, _ = _field(fields[3], 1, 12, _MONTHS)
    weekdays, any_weekday = _field(fields[4], 0, 6, _DAYS)
    return CronJobSchedule(minutes, hours, days, months, weekdays, any_day or any_weekday)


def _field(text: str, least: int, most: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """The values, and whether one of the parts is a star."""
    found: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            values, is_star = _range(part, least, most, names)
            found |= set(values)
            star = star or is_star
    return frozenset(found), star


def _range(text: str, least: int, most: int, names: dict[str, int]) -> tuple[range, bool]:
    bounds, slash, step_text = text.partition("/")
    step = _number(step_text, {}) if slash else 1
    low, hyphen, high = bounds.partition("-")
    if low in ("*", "?"):
        start, end, star = least, most, step <= 1
    else:
        start, star = _number(low, names), False
        end = _number(high, names) if hyphen else most if slash else start
    if not least <= start <= end <= most or step < 1:
        raise NotACronJob(f'"{text}" is out of bounds.')
    return range(start, end + 1, step), star


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"\+?[0-9]{1,9}", text):
        raise NotACronJob(f'"{text}" is not a number.')
    return int(text)


def cronjob_slots(schedule: CronJobSchedule, zone: Zone, after: int) -> Iterator[int]:
    """The instants at which a CronJob runs, beginning after `after`."""
    clock = _Clock(zone)
    found = _next(schedule, clock, after)
    while found is not None:
        yield found
        found = _next(schedule, clock, found)


class _Clock:
    """Local times of a zone, as Go's time package knows them."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def local(self, instant: int) -> datetime:
        """What a clock shows then; its tzinfo means nothing."""
        return _EPOCH + timedelta(seconds=instant + self._zone.offset(instant))

    def is_steady(self, begin: int, end: int) -> bool:
        """Whether the clock does not change in between."""
        return self._zone.segment(begin) == self._zone.segment(end)

    def instant(self, local: datetime) -> int:
        """As Go's `time.Date`: in a gap or an overlap, one of the two that are possible."""
        unix = int((local - _EPOCH).total_seconds())
        starts, offsets = self._zone.starts, self._zone.offsets
        index = max(0, bisect_right(starts, unix) - 1)
        utc = unix - offsets[index]
        end = starts[index + 1] if index + 1 < len(starts) else None
        if utc < starts[index] or (end is not None and utc >= end):
            return unix - self._zone.offset(utc)
        return utc


def _next(schedule: CronJobSchedule, clock: _Clock, after: int) -> int | None:
    """`SpecSchedule.Next`: each field is brought forward to a value that fits, and what is smaller
    begins anew the first time that happens. When a field wraps around, all begin from the largest;
    a clock that jumps over the point where it would is not noticed, as there."""
    step = _Step(clock, after + 1)
    last_year = step.now.year + _YEARS
    while step.now.year <= last_year:
        if _settled(schedule, step):
            return step.t
    return None


def _settled(schedule: CronJobSchedule, step: _Step) -> bool:
    """Bring the fields forward, one after the other; False when one has wrapped around."""
    while step.now.month not in schedule.months:
        step.to_next_month()
        if step.now.month == 1:
            return False
    while not schedule.runs_on(step.now):
        step.to_next_day()
        if step.now.day == 1:
            return False
    while step.now.hour not in schedule.hours:
        step.to_next_hour(schedule.hours)
        if step.now.hour == 0:
            return False
    while step.now.minute not in schedule.minutes:
        step.to_next_minute(schedule.minutes)
        if step.now.minute == 0:
            return False
    if step.now.second:
        step.move(step.t + 60 - step.now.second)
        step.fresh = True
        return False
    return True


class _Step:
    """The moment under consideration. `fresh`: smaller fields have begun anew already."""

    def __init__(self, clock: _Clock, t: int) -> None:
        self._clock = clock
        self.fresh = False
        self.move(t)

    def move(self, t: int) -> None:
        """To another instant."""
        self.t, self.now = t, self._clock.local(t)

    def to_next_month(self) -> None:
        """Its first day the first time, the same day later on."""
        if not self.fresh:
            self._anew(self.now.replace(day=1, hour=0, minute=0, second=0))
        self.move(self._clock.instant(_month_later(self.now)))

    def to_next_day(self) -> None:
        """Its midnight, or what the parser takes for it where there is none."""
        if not self.fresh:
            self._anew(self.now.replace(hour=0, minute=0, second=0))
        self.move(self._clock.instant(self.now + timedelta(days=1)))
        if self.now.hour:
            hours = 24 - self.now.hour if self.now.hour > 12 else -self.now.hour
            self.move(self.t + hours * 3600)

    def to_next_hour(self, wanted: frozenset[int]) -> None:
        """An hour on; or, while clocks do not change, all those at once that do not fit."""
        if not self.fresh:
            self._anew(self.now.replace(minute=0, second=0))
        self._forward(3600, self.now.hour, wanted, 24)

    def to_next_minute(self, wanted: frozenset[int]) -> None:
        """A minute on, in the same way."""
        if not self.fresh:
            self.fresh = True
            self.move(self.t - self.t % 60)
        self._forward(60, self.now.minute, wanted, 60)

    def _forward(self, unit: int, value: int, wanted: frozenset[int], end: int) -> None:
        following = next((v for v in range(value + 1, end) if v in wanted), end)
        later = self.t + unit * (following - value)
        self.move(later if self._clock.is_steady(self.t, later) else self.t + unit)

    def _anew(self, local: datetime) -> None:
        self.fresh = True
        self.move(self._clock.instant(local))


def _month_later(local: datetime) -> datetime:
    """Days that the next month does not have go over into the one after, as in Go."""
    year, month = divmod(local.year * 12 + local.month, 12)
    return local.replace(year=year, month=month + 1, day=1) + timedelta(days=local.day - 1)
