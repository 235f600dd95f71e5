"""The cron dialect: text in, timeline out. docs/reference/cron.md describes it for users."""

from __future__ import annotations

import re
from fractions import Fraction

from taskrunner.domain.cron_days import bits, month_kind, month_table
from taskrunner.domain.cron_expression import CronExpression
from taskrunner.domain.cron_fields import (
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    CronError,
    day_rule,
    parse_field,
)
from taskrunner.domain.timeline import CronTimeline, DstPolicy, IntervalTimeline, Timeline
from taskrunner.domain.zones import load_zone

__all__ = ["MACROS", "MAX_LENGTH", "CronError", "CronExpression", "cron_timeline", "parse_cron"]

MAX_LENGTH = 256
"""Characters of an expression; the CRD has the same limit."""

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_SPACES = "[\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+"
"""What separates fields: white space as Go's unicode.IsSpace has it, because CronJob's does."""

_SEPARATOR = re.compile(_SPACES)
_AROUND = re.compile(f"^{_SPACES}|{_SPACES}$")
_PREFIX = re.compile(rf"(?:CRON_)?TZ=(\S*)(?:{_SPACES}(.*))?", re.IGNORECASE | re.DOTALL)

_UNITS = {
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = (2**63 - 1) // 10**9  # what Go's time.Duration holds, in seconds: 292 years


def cron_timeline(expression: str, *, zone: str, dst: DstPolicy, hash_key: str) -> Timeline:
    """The timeline of a cron string, `@every 90s` included.

    `hash_key` is namespace/name of the task and decides what `H` means. Raises CronError, or
    ZoneError for an unknown zone.
    """
    loaded = load_zone(zone)
    if _strip(expression[: MAX_LENGTH + 1]).lower().startswith("@every"):
        return IntervalTimeline(every_seconds(expression))
    return CronTimeline(parse_cron(expression, hash_key=hash_key), loaded, dst)


def parse_cron(expression: str, *, hash_key: str) -> CronExpression:
    """Parses five fields, six with leading seconds, or a macro such as `@daily`.

    Raises CronError when the expression is malformed or can never match. `@every` is no cron
    expression but an interval: see `cron_timeline`.
    """
    parsed = read_cron(expression, hash_key=hash_key)
    _check_possible(parsed)
    return parsed


def read_cron(expression: str, *, hash_key: str) -> CronExpression:
    """As `parse_cron`, but an expression that never matches is let pass."""
    text = _check_text(expression)
    fields = split_fields(text)
    kinds = (SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)
    second, minute, hour, day, month, weekday = (
        parse_field(field, kind, hash_key) for field, kind in zip(fields, kinds, strict=True)
    )
    return CronExpression(
        text=text,
        seconds=second.bits,
        minutes=minute.bits,
        hours=hour.bits,
        months=month.bits,
        days=day_rule(day, weekday),
        fixed=not (minute.wildcard or hour.wildcard),
    )


def split_fields(text: str) -> list[str]:
    """The six fields of an expression or macro, seconds first; raises CronError."""
    fields = _SEPARATOR.split(MACROS.get(text.lower(), text))
    if fields[0].startswith("@"):
        raise _unknown_macro(text)
    if len(fields) not in (5, 6):
        raise _wrong_count(text, len(fields))
    return fields if len(fields) == 6 else ["0", *fields]


def every_seconds(expression: str) -> int:
    """The seconds of `@every <duration>`, a Go duration such as `90s` or `1h30m`."""
    text = _check_text(expression)
    match = re.fullmatch(r"@every(?:\s+(\S.*))?", text, re.IGNORECASE)
    duration = (match and match[1]) or ""
    parts = list(_PART.finditer(duration))
    if not parts or "".join(part[0] for part in parts) != duration:
        if duration.startswith(("-", "+")):
            raise CronError("An interval has no sign.", f'Write "@every {duration[1:]}".', duration)
        raise CronError(
            "This is no duration.",
            'Write hours, minutes and seconds as in "@every 1h30m" or "@every 90s".',
            duration or text,
        )
    seconds = sum((Fraction(part[1].rstrip(".")) * _UNITS[part[2]] for part in parts), Fraction())
    if seconds.denominator != 1 or seconds < 1:
        raise CronError(
            "An interval is a whole number of seconds, at least one.",
            f'Write "@every {max(1, round(seconds))}s".',
            duration,
        )
    if seconds > _LONGEST:
        raise CronError("The interval is too long.", "Write at most 292 years.", duration)
    return int(seconds)


def _check_text(expression: str) -> str:
    """The expression without space around it, when its outer form is right."""
    if len(expression) > MAX_LENGTH:
        raise CronError(
            f"The expression has {len(expression)} characters.",
            f"Write at most {MAX_LENGTH}; several short schedules can replace a long one.",
            expression[:40] + "…",
        )
    text = _strip(expression)
    if not text:
        raise CronError(
            "The expression is empty.",
            'Write five fields: minute, hour, day of month, month, day of week, as in "0 2 * * *".',
            expression,
        )
    if match := _PREFIX.match(text):
        raise CronError(
            "A time zone inside the expression is not supported, as in CronJob.",
            f'Set timeZone: "{match[1]}" beside it and write "{match[2] or "0 2 * * *"}" here.',
            text,
        )
    return text


def _strip(expression: str) -> str:
    return _AROUND.sub("", expression)


def _unknown_macro(text: str) -> CronError:
    macros = ", ".join(MACROS)
    if text.lower() == "@reboot":
        return CronError(
            "@reboot has no meaning in a cluster.",
            "Create a TaskExecution to run the task now, or write a time.",
            text,
        )
    if text.lower().startswith("@every"):
        return CronError(
            "@every is an interval, not a cron expression.", "Use everySeconds here.", text
        )
    return CronError("There is no such macro.", f"Write one of {macros} or @every 90s.", text)


def _wrong_count(text: str, count: int) -> CronError:
    fields = "minute, hour, day of month, month, day of week"
    if count == 7:
        return CronError(
            "The expression has 7 fields; years are not supported.",
            "Leave the year out and bound the task with startTime and endTime.",
            text,
        )
    return CronError(
        f"The expression has {count} field{'s' if count != 1 else ''}.",
        f"Write five ({fields}), or six with seconds first.",
        text,
    )


def _check_possible(parsed: CronExpression) -> None:
    """Refuses an expression that names no day of any year."""
    table = month_table(parsed.days)
    lengths = {2: (28, 29), 4: (30,), 6: (30,), 9: (30,), 11: (30,)}
    for month in bits(parsed.months):
        for length in lengths.get(month, (31,)):
            # Every month, and 29 February, begins on each weekday at some time in 400 years.
            if any(table[month_kind(length, weekday)] for weekday in range(7)):
                return
    day, month_field, weekday_field = split_fields(parsed.text)[3:]
    value = f"{day} {month_field} {weekday_field}"
    if is_hashed(day) or is_hashed(month_field):
        raise CronError(
            "With the values that H has for this task the expression never matches.",
            "Give H a range in which every value has such a day, as in H(1-28) for a day.",
            value,
        )
    raise CronError(
        f'The expression never matches: no month of "{month_field}" has such a day.',
        'Correct the day or the month ("L" is the last day of any month); for a task that runs '
        "only by hand leave the schedule out.",
        value,
    )


def is_hashed(field: str) -> bool:
    """Whether a field draws from the task's name."""
    return any(term[:1] in {"H", "h"} for term in field.split(","))
