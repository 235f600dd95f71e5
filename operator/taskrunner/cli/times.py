"""Times and lengths of time on the command line, as people write and read them."""

from __future__ import annotations

import re
from typing import Any

from taskrunner.cli.shared import fail
from taskrunner.domain.instants import parse_instant
from taskrunner.errors import Problem

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+)([smhdw])")
_LENGTH = re.compile(r"(?:\d+[smhdw])+")


def seconds_option(option: str, text: str | None, *, least: int = 1) -> int | None:
    """The length of time of an option, in seconds: `90`, `90s`, `1h30m`, `7d`."""
    if text is None:
        return None
    cleaned = text.strip().lower()
    if cleaned.isascii() and cleaned.isdigit():
        found = int(cleaned)
    elif _LENGTH.fullmatch(cleaned):
        found = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(cleaned))
    else:
        message = "This is not a length of time."
        fail(str(Problem(option, text, message, 'Write e.g. "90s", "15m", "1h30m" or "7d".')))
    if found < least:
        fail(str(Problem(option, text, "It is too short.", f"Write at least {least}s.")))
    return found


def length(seconds: float) -> str:
    """`45s`, `12m`, `3h5m`, `2d4h`: the two largest units.

    >>> length(11_100)
    '3h5m'
    """
    left = max(0, int(seconds))
    if left < 120:
        return f"{left}s"
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
        elif parts:
            break
    return "".join(parts[:2])


def instant(value: Any) -> int | None:
    """The instant of a field, or None where it is unset or not a time."""
    try:
        return parse_instant(value) if value else None
    except (TypeError, ValueError):
        return None


def since(value: Any, now: float) -> str:
    """How long ago a field's time was; empty where it is unset."""
    found = instant(value)
    return "" if found is None else length(now - found)


def milliseconds(value: Any) -> str:
    """`37ms`, `1.4s`, `2m`; empty where it is unset."""
    if not isinstance(value, int):
        return ""
    if value < 1000:
        return f"{value}ms"
    return f"{value / 1000:.1f}s" if value < 120_000 else length(value / 1000)
