"""A cron expression in words: `taskrunner explain "*/15 9-17 * * MON-FRI"`."""

from __future__ import annotations

import re

from taskrunner.domain.cron import every_seconds, is_hashed, parse_cron, read_cron, split_fields
from taskrunner.domain.cron_fields import DAY_OF_WEEK, HOUR, MINUTE, MONTH, SECOND, Kind

_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip
_WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
_DAY = Kind("day", 1, 31, hashed_high=28)
_NTH = ["", "first", "second", "third", "fourth", "fifth"]
_DRAWN = "H stands for a value drawn from the task's namespace and name; it stays the same."
_TIMES_LISTED = 6


def describe(expression: str) -> str:
    """Says in plain English when an expression is due; raises CronError when it is wrong.

    Sentences on what often surprises follow: OR-ed day fields, steps that do not divide evenly.
    """
    if expression.strip().lower().startswith("@every"):
        seconds = every_seconds(expression)
        return f"Every {_duration(seconds)}, counted from 1970-01-01T00:00:00Z."
    parsed = read_cron(expression, hash_key="")
    fields = split_fields(parsed.text)
    hashed = any(map(is_hashed, fields))
    if not hashed:  # what H stands for is known for a task only
        parse_cron(expression, hash_key="")
    second, minute, hour, day, month, weekday = fields
    days = _days(day, weekday, either=parsed.days.either)
    if not days and not _is_any(hour):
        days = "every day"
    when = ", ".join(filter(None, (_times(second, minute, hour), days, _months(month))))
    sentences = [when[0].upper() + when[1:] + "."]
    if parsed.days.either:
        sentences.append(
            "Both day fields are restricted, so a day that matches either of them counts."
        )
    if hashed:
        sentences.append(_DRAWN)
    notes = (_uneven(*pair) for pair in ((second, SECOND), (minute, MINUTE), (hour, HOUR)))
    return " ".join([*sentences, *filter(None, notes)])


def _times(second: str, minute: str, hour: str) -> str:
    """The part of the sentence on the time of day."""
    hours, minutes, seconds = map(_numbers, (hour, minute, second))
    if hours and minutes and seconds:
        times = [
            f"{h:02d}:{m:02d}" + (f":{s:02d}" if seconds != [0] else "")
            for h in hours
            for m in minutes
            for s in seconds
        ]
        if len(times) <= _TIMES_LISTED:
            return f"at {_and(times)}"
    if second == "0":
        words = _leading(minute, MINUTE)
    else:
        words = _leading(second, SECOND)
        if not _is_any(minute) or not words.startswith("every"):
            words += f" of {_values(minute, MINUTE)}"
    if match := re.fullmatch(r"(\d+)-(\d+)", hour):
        return f"{words} from {int(match[1]):02d}:00 to {int(match[2]):02d}:59"
    if _is_any(hour) and (words.startswith("every") or words.endswith("of every minute")):
        return words
    return f"{words} of {_values(hour, HOUR)}"


def _leading(field: str, kind: Kind) -> str:
    """How the sentence begins: `every 15 minutes`, `at minutes 5 and 35`."""
    if match := re.fullmatch(r"[*?]/(\d+)", field):
        step = int(match[1])
        if step > 1 and (kind.high + 1) % step == 0:
            return f"every {step} {kind.name}s"
    if match := re.fullmatch(r"H/(\d+)", field, re.IGNORECASE):
        return f"every {match[1]} {kind.name}s from {kind.name} H"
    return _values(field, kind) if _is_any(field) else f"at {_values(field, kind)}"


def _values(field: str, kind: Kind) -> str:
    """`every minute`, `every 7th minute`, `minutes 5 and 35`, `minute H`."""
    if _is_any(field):
        return f"every {kind.name}"
    terms = _terms(field)
    plain = [_span(term, kind) for term in terms if "/" not in term]
    stepped = [_stepped(term, kind) for term in terms if "/" in term]
    several = len(plain) > 1 or any(" to " in words and words[0] != "H" for words in plain)
    named = [f"{kind.name}{'s' if several else ''} {_and(plain)}"] if plain else []
    return _and(named + stepped)


def _stepped(term: str, kind: Kind) -> str:
    span, _, step = term.partition("/")
    words = f"every {_ordinal(int(step))} {kind.name}"
    if span in {"*", "?"}:
        return words if int(step) <= kind.high else f"{kind.name} {kind.low}"
    to = span.partition("-")[2]
    return f"{words} from {_span(span, kind)}" + ("" if to or span[0] in "Hh" else " on")


def _days(day: str, weekday: str, *, either: bool) -> str:
    of_month, of_week = _days_of_month(day), _weekdays(weekday)
    if either:
        return f"on {of_month} or on {of_week}"
    if not any(map(_is_any, _terms(day))):
        return f"on {of_month}"
    if any(map(_is_any, _terms(weekday))):
        return ""
    return of_week if re.fullmatch(r"\w+ to \w+", of_week) else f"on {of_week}"


def _days_of_month(field: str) -> str:
    special = []
    plain = []
    for term in _terms(field):
        upper = term.upper()
        if upper == "L":
            special.append("the last day of the month")
        elif upper == "LW":
            special.append("the last Monday to Friday of the month")
        elif match := re.fullmatch(r"L-(\d+)", upper):
            days = f"{int(match[1])} day{'s' if int(match[1]) != 1 else ''}"
            special.append(f"the day {days} before the last day of the month")
        elif match := re.fullmatch(r"(\d+)W", upper):
            special.append(f"the Monday to Friday nearest to day {int(match[1])} of the month")
        else:
            plain.append(term)
    if plain:
        special.insert(0, f"{_values(','.join(plain), _DAY)} of the month")
    return _and(special)


def _weekdays(field: str) -> str:
    words = []
    for term in _terms(field):
        if match := re.fullmatch(r"(\w+)L", term, re.IGNORECASE):
            words.append(f"the last {_name(match[1], DAY_OF_WEEK)} of the month")
        elif match := re.fullmatch(r"(\w+)#(\d+)", term):
            words.append(f"the {_NTH[int(match[2])]} {_name(match[1], DAY_OF_WEEK)} of the month")
        elif "/" in term:
            words.append(_stepped(term, DAY_OF_WEEK).replace(DAY_OF_WEEK.name, "weekday"))
        else:
            prefix = "weekday " if term[0] in "Hh" else ""
            words.append(prefix + _span(term, DAY_OF_WEEK))
    return _and(words)


def _months(field: str) -> str:
    if _is_any(field):
        return ""
    words = [
        _stepped(term, MONTH)
        if "/" in term
        else ("month " if term[0] in "Hh" else "") + _span(term, MONTH)
        for term in _terms(field)
    ]
    return f"in {_and(words)}"


def _span(term: str, kind: Kind) -> str:
    """A value or a range, without a step: `5`, `Monday to Friday`, `H (0 to 29)`."""
    if term[0] in "*?":
        return "any"
    if term[0] in "Hh":
        limits = term[2:-1].split("-") if "(" in term else []
        if not limits and kind.hashed_high:
            limits = [str(kind.low), str(kind.hashed_high)]
        return "H" + (f" ({_name(limits[0], kind)} to {_name(limits[1], kind)})" if limits else "")
    first, dash, last = term.partition("-")
    return f"{_name(first, kind)} to {_name(last, kind)}" if dash else _name(first, kind)


def _name(text: str, kind: Kind) -> str:
    """A value in words."""
    if kind is MONTH:
        return _MONTHS[MONTH.number(text) - 1]
    if kind is DAY_OF_WEEK:
        return _WEEKDAYS[DAY_OF_WEEK.number(text) % 7]
    return str(int(text))


def _uneven(field: str, kind: Kind) -> str:
    """A warning when `*/n` does not divide the hour, minute or day evenly."""
    match = re.fullmatch(r"[*?]/(\d+)", field)
    size = kind.high + 1
    if match is None or int(match[1]) <= 1 or size % int(match[1]) == 0:
        return ""
    step = int(match[1])
    whole = {"second": "minute", "minute": "hour", "hour": "day"}[kind.name]
    if step >= size:
        return f"A step of {step} is longer than the {whole}: only {kind.name} 0 matches."
    rest = size - (size - 1) // step * step
    return (
        f"Steps start over with each {whole}, so the last one before is {rest} "
        f"{kind.name}{'s' if rest != 1 else ''} long."
    )


def _terms(field: str) -> list[str]:
    return [term for term in field.split(",") if term]


def _numbers(field: str) -> list[int] | None:
    """The values of a list of plain numbers."""
    terms = _terms(field)
    return sorted({int(term) for term in terms}) if all(map(str.isdigit, terms)) else None


def _is_any(field: str) -> bool:
    return field in {"*", "?", "*/1", "?/1"}


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    parts = [(hours, "hour"), (rest // 60, "minute"), (rest % 60, "second")]
    return _and([f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in parts if count])
