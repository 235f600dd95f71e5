"""A cron expression in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from taskrunner.domain.cron_days import ALL_DAYS, ALL_WEEKDAYS, DayRule, bits
from taskrunner.domain.cron_expression import CronExpression
from taskrunner.domain.timeline import CronTimeline, IntervalTimeline, Timeline

_WEEKDAYS: Final = (
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
)  # fmt: skip
_MONTHS: Final = (
    "", "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_NTH: Final = ("first", "second", "third", "fourth", "fifth")
_MAX_TIMES: Final = 6
"""Times of day that are listed one by one."""


def explain(timeline: Timeline) -> str:
    """One sentence on when a schedule made by `cron_timeline` fires."""
    if isinstance(timeline, IntervalTimeline):
        return f"Every {_duration(timeline.every)}, counted from 1970-01-01T00:00:00Z."
    if not isinstance(timeline, CronTimeline):
        return "Once."
    expression = timeline.expression
    days, months = _days(expression.days), _months(expression.months)
    times = _times(expression)
    if not days and not months and times.startswith("at ") and ":" in times:
        days = "every day"
    parts = [times, days, months]
    sentence = " ".join(part for part in parts if part)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _duration(seconds: int) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}" if count > 1 else unit.removesuffix("s")
    return f"{seconds} seconds" if seconds > 1 else "second"


def _times(expression: CronExpression) -> str:
    hours, minutes, seconds = (
        list(bits(mask)) for mask in (expression.hours, expression.minutes, expression.seconds)
    )
    if len(hours) * len(minutes) * len(seconds) <= _MAX_TIMES:
        bare = seconds == [0]
        clock = [
            f"{hour:02d}:{minute:02d}" + ("" if bare else f":{second:02d}")
            for hour in hours
            for minute in minutes
            for second in seconds
        ]
        return f"at {_and(clock)}"
    units = []
    if seconds != [0]:
        units.append(_unit(seconds, "second", 60))
    if seconds == [0] or len(minutes) < 60 or not _step(seconds, 60):
        units.append(_unit(minutes, "minute", 60))
    at = "" if units[0].startswith("every") else "at "
    if len(hours) == 24 and _step(minutes, 60):
        return at + " of ".join(units)
    if _step(minutes, 60) and hours == list(range(hours[0], hours[-1] + 1)):
        return f"{at}{' of '.join(units)} from {hours[0]:02d}:00 to {hours[-1]:02d}:59"
    return at + " of ".join([*units, _unit(hours, "hour", 24)])


def _unit(values: list[int], unit: str, size: int) -> str:
    """ "every 5 minutes", "minute 5 and 35", "the hours 9 to 17"."""
    step = _step(values, size)
    if step == 1:
        return f"every {unit}"
    if step:
        start = f" from {unit} {values[0]}" if values[0] else ""
        start += " (the last step is shorter)" if size % step else ""
        return f"every {step} {unit}s{start}"
    if len(values) == 1:
        return f"{unit} {values[0]}"
    return f"the {unit}s {_and(_spans(values, str))}"


def _step(values: list[int], size: int) -> int:
    """The step of values that go through the whole unit, else 0."""
    if len(values) < 2:
        return 0
    step = values[1] - values[0]
    regular = values == list(range(values[0], size, step))
    return step if regular and values[0] < step else 0


def _days(rule: DayRule) -> str:
    of_month = []
    if rule.days not in (0, ALL_DAYS):
        of_month.append("on day " + _and(_spans(list(bits(rule.days)), str), "or"))
    of_month += [f"on the weekday nearest to day {day}" for day in bits(rule.nearest)]
    for before in bits(rule.from_end):
        days = f"{before} days before" if before > 1 else "on the day before" if before else "on"
        of_month.append(f"{days} the last day")
    if rule.last_workday:
        of_month.append("on the last Monday to Friday")
    if of_month:
        of_month[-1] += " of the month"
    of_week = []
    if rule.weekdays not in (0, ALL_WEEKDAYS):
        # Monday first, so that Saturday and Sunday stand together.
        from_monday = sorted((day - 1) % 7 for day in bits(rule.weekdays))
        of_week.append("on " + _and(_spans(from_monday, lambda day: _WEEKDAYS[(day + 1) % 7])))
    of_week += [
        f"on the {_NTH[bit // 7]} {_WEEKDAYS[bit % 7]} of the month" for bit in bits(rule.nth)
    ]
    of_week += [f"on the last {_WEEKDAYS[day]} of the month" for day in bits(rule.last)]
    return ", or ".join(of_month + of_week)


def _months(mask: int) -> str:
    months = list(bits(mask))
    return "" if len(months) == 12 else f"in {_and(_spans(months, lambda month: _MONTHS[month]))}"


def _spans(values: Sequence[int], name: Callable[[int], str]) -> list[str]:
    """Values as words, three and more in a row as "9 to 17"."""
    found: list[str] = []
    start = 0
    for end in range(1, len(values) + 1):
        if end < len(values) and values[end] == values[end - 1] + 1:
            continue
        if end - start >= 3:
            found.append(f"{name(values[start])} to {name(values[end - 1])}")
        else:
            found += [name(value) for value in values[start:end]]
        start = end
    return found


def _and(words: Iterable[str], last: str = "and") -> str:
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end
