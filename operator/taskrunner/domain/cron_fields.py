"""Parses one field of a cron expression into bits.

The grammar is that of CronJob (robfig/cron v3) for what it has: names, ranges, lists, steps
(`N/step` runs to the field's end), `?` as another `*`. On top come `H` and, in the day fields,
`L`, `W` and `#`. Terms of a list are joined; empty ones are ignored, as CronJob does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from taskrunner.domain.cron_days import ALL_DAYS, ALL_WEEKDAYS, DayRule
from taskrunner.domain.hashing import spread
from taskrunner.errors import TaskrunnerError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LARGEST_STEP = 2**63 - 1  # CronJob reads numbers into 64 bits

_HASHED = re.compile(r"H(?:\(([^()]*)\))?(?:/([^/]*))?", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?](?:/([^/]*))?")
_RANGE = re.compile(r"([0-9A-Z]+)(?:-([0-9A-Z]+))?(?:/([^/]*))?", re.IGNORECASE)
_NEAREST = re.compile(r"([0-9]+)W", re.IGNORECASE)
_FROM_END = re.compile(r"L-([0-9]+)", re.IGNORECASE)
_NTH = re.compile(r"([0-9A-Z]+)#([0-9]+)", re.IGNORECASE)
_LAST = re.compile(r"([0-9]+|[A-Z]{3})L", re.IGNORECASE)


class CronError(TaskrunnerError):
    """A cron expression that cannot be used.

    `message` says what is wrong and `remedy` what to write instead, both as sentences; `value` is
    the part of the expression that they speak of.
    """

    def __init__(self, message: str, remedy: str, value: str) -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.message = message
        self.remedy = remedy
        self.value = value


Special = Callable[[str, DayRule], DayRule | None]
"""Adds a term that only a day field has to the rule; None when the term is something else."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is allowed in a field."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Names of the values from `low` on."""
    top: int = 0
    """The largest number that may be written, when it is not `high`: 7 for Sunday."""
    hashed_high: int = 0
    """The largest value of a plain `H`, when it is not `high`: every month has 28 days."""
    special: Special | None = None

    @property
    def largest(self) -> int:
        return self.top or self.high

    def number(self, text: str) -> int:
        """The value of a number or name."""
        if text.isdigit() and text.isascii():
            value = int(text)
            if self.low <= value <= self.largest:
                return value
            remedy = f"Write {self._allowed()}."
            if self.name == "day-of-week" and 1970 <= value < 2200:
                remedy = (
                    "Six fields start with seconds and none is for years: leave the year out, and"
                    " bound the task with startTime and endTime."
                )
            raise CronError(f"{text[:20]} is out of range in the {self.name} field.", remedy, text)
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        raise CronError(
            f"This cannot be read as a value of the {self.name} field.",
            _hint(text, self) or f"Write {self._allowed()}.",
            text,
        )

    def _allowed(self) -> str:
        allowed = f"a number from {self.low} to {self.largest}"
        if self.names:
            allowed += f" or a name from {self.names[0]} to {self.names[-1]}"
        return allowed


_NO_SPECIAL = DayRule(days=0, weekdays=0)


@dataclass(frozen=True, slots=True)
class Field:
    """A parsed field."""

    bits: int
    """Bit n: the value n matches. Sunday is bit 0 only."""
    wildcard: bool = False
    """A term begins with `*`, `?` or `H/`: for DST the schedule follows elapsed time."""
    unrestricted: bool = False
    """A term is `*` or `?` without a step: for the rule of the day fields."""
    special: DayRule = _NO_SPECIAL
    """`L`, `W` and `#` of the day fields."""


def parse_field(text: str, kind: Kind, hash_key: str) -> Field:
    """Parses a field; raises CronError naming the field and the part that is wrong."""
    mask, wildcard, unrestricted, special = 0, False, False, _NO_SPECIAL
    found_term = False
    for term in text.split(","):
        if not term:
            continue
        found_term = True
        if kind.special and (added := kind.special(term, special)):
            special = added
            continue
        values, wild, free = _term(term, kind, hash_key)
        mask |= values
        wildcard = wildcard or wild
        unrestricted = unrestricted or free
    if not found_term:
        raise CronError(f"The {kind.name} field is empty.", 'Write "*" for any value.', text)
    return Field(mask, wildcard, unrestricted, special)


def day_rule(days: Field, weekdays: Field) -> DayRule:
    """Joins the day fields: a field with `*` or `?` says nothing, two that speak are OR-ed."""
    of_month, of_week = days.special, weekdays.special
    return DayRule(
        days=ALL_DAYS if days.unrestricted else days.bits,
        nearest=of_month.nearest,
        from_end=of_month.from_end,
        last_workday=of_month.last_workday,
        weekdays=ALL_WEEKDAYS if weekdays.unrestricted else weekdays.bits,
        nth=of_week.nth,
        last=of_week.last,
        either=not days.unrestricted and not weekdays.unrestricted,
    )


def _term(term: str, kind: Kind, hash_key: str) -> tuple[int, bool, bool]:
    """Bits of a term, whether it is a wildcard, and whether it leaves the field unrestricted."""
    if match := _WILDCARD.fullmatch(term):
        step = _step(match[1], kind)
        return _range_bits(kind, kind.low, kind.high, step), True, step == 1
    if match := _HASHED.fullmatch(term):
        return _hashed_bits(match[1], match[2], kind, hash_key, term), _plain_step(match), False
    if match := _RANGE.fullmatch(term):
        low = kind.number(match[1])
        if match[2] is not None:
            high = kind.number(match[2])
            _check_order(low, high, match[1], match[2], kind)
        elif match[3] is not None:  # N/step runs to the end of the field
            high = max(low, kind.high)
        else:
            high = low
        return _range_bits(kind, low, high, _step(match[3], kind)), False, False
    raise CronError(
        f"This cannot be read as a part of the {kind.name} field.",
        _hint(term, kind)
        or 'Write numbers, ranges "1-5", steps "*/15" and lists "1,15", no spaces.',
        term,
    )


def _plain_step(match: re.Match[str]) -> bool:
    """`H/15` is the hashed form of `*/15`; `H` and `H(0-30)/15` name fixed values."""
    return match[1] is None and match[2] is not None


def _range_bits(kind: Kind, low: int, high: int, step: int) -> int:
    if step == 1:
        mask = (2 << high) - (1 << low)
    else:
        mask = sum(1 << value for value in range(low, high + 1, step))
    if kind.top and mask >> kind.top & 1:  # 7 is Sunday, too
        mask = mask ^ 1 << kind.top | 1
    return mask


def _hashed_bits(
    limits: str | None, step_text: str | None, kind: Kind, hash_key: str, term: str
) -> int:
    """`H`: one value drawn from the hash; `H/n`: every nth, the first drawn from the hash."""
    low, high = kind.low, kind.hashed_high or kind.high
    if limits is not None:
        first, separator, second = limits.partition("-")
        if not separator:
            raise CronError(
                "The parentheses after H hold a range.", 'Write it as in "H(0-29)".', term
            )
        low, high = kind.number(first), kind.number(second)
        _check_order(low, high, first, second, kind)
    size = high - low + 1
    if step_text is None:
        value = low + spread(size, "cron", kind.name, hash_key)
        return _range_bits(kind, value, value, 1)
    step = _step(step_text, kind)
    if step > size:
        raise CronError(
            f"The step {step_text[:20]} is larger than the {size} values it goes through.",
            f"Write a step from 1 to {size}, or H alone for one value.",
            term,
        )
    return _range_bits(kind, low + spread(step, "cron", kind.name, hash_key), high, step)


def _step(text: str | None, kind: Kind) -> int:
    if text is None:
        return 1
    if text.isdigit() and text.isascii() and 0 < (step := int(text)) <= _LARGEST_STEP:
        return step
    raise CronError(
        f"The step in the {kind.name} field is not a positive number.",
        'Write it as in "*/15".',
        f"/{text}",
    )


def _check_order(low: int, high: int, first: str, second: str, kind: Kind) -> None:
    if low > high:
        wrapped = f"{first}-{kind.high},{kind.low}-{second}"
        raise CronError(
            f"The range in the {kind.name} field ends before it begins.",
            f'Ranges do not wrap around; write "{wrapped}".',
            f"{first}-{second}",
        )


def _day_term(term: str, rule: DayRule) -> DayRule | None:
    """`L`, `L-3`, `15W`, `LW` of the day-of-month field."""
    upper = term.upper()
    if upper == "L":
        return replace(rule, from_end=rule.from_end | 1)
    if upper == "LW":
        return replace(rule, last_workday=True)
    if match := _FROM_END.fullmatch(term):
        before = int(match[1])
        if before > 30:
            raise CronError("No month has so many days.", "Write L-1 to L-30.", term)
        return replace(rule, from_end=rule.from_end | 1 << before)
    if match := _NEAREST.fullmatch(term):
        return replace(rule, nearest=rule.nearest | 1 << DAY_OF_MONTH.number(match[1]))
    return None


def _weekday_term(term: str, rule: DayRule) -> DayRule | None:
    """`5L`, `FRIL` and `MON#1` of the day-of-week field."""
    if match := _LAST.fullmatch(term):
        return replace(rule, last=rule.last | 1 << DAY_OF_WEEK.number(match[1]) % 7)
    if match := _NTH.fullmatch(term):
        weekday, nth = DAY_OF_WEEK.number(match[1]) % 7, int(match[2])
        if not 1 <= nth <= 5:
            raise CronError("A month has each weekday four or five times.", "Write #1 to #5.", term)
        return replace(rule, nth=rule.nth | 1 << 7 * (nth - 1) + weekday)
    return None


SECOND = Kind("second", 0, 59)
MINUTE = Kind("minute", 0, 59)
HOUR = Kind("hour", 0, 23)
DAY_OF_MONTH = Kind("day-of-month", 1, 31, hashed_high=28, special=_day_term)
MONTH = Kind("month", 1, 12, names=_MONTHS)
DAY_OF_WEEK = Kind("day-of-week", 0, 6, names=_WEEKDAYS, top=7, special=_weekday_term)


def _hint(term: str, kind: Kind) -> str | None:
    """What the user may have meant by a term of another dialect or another field."""
    upper = term.upper()
    if kind is DAY_OF_WEEK and upper == "L":
        return 'Write the weekday with it, as in "5L" or "FRIL" for the last Friday.'
    if kind is DAY_OF_WEEK and re.fullmatch(r"L[0-7]", upper):
        return f'Write "{upper[1]}L" for the last of that weekday.'
    if re.search(r"[LW#]", upper) and not upper.isalpha():
        return (
            "L and W belong in the day-of-month field (L, L-3, LW, 15W); L and # with a weekday "
            "in the day-of-week field (5L, MON#1)."
        )
    if "~" in term:
        return 'For a stable value drawn per task write "H" or "H(0-29)".'
    return None
