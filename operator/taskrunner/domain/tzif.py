"""Reads compiled time zone files (TZif, RFC 8536) into changes of the offset from UTC.

The standard library's zoneinfo reads the same files but tells only the offset at an instant.
Planning needs the changes themselves: where a gap or an overlap begins and how long it is.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import date

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_HEADER = struct.Struct(">4sc15x6l")
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)"
_TIME = r"[+-]?\d{1,3}(?::\d{2}){0,2}"
_DATE = r"(?:M\d{1,2}\.[1-5]\.[0-6]|J?\d{1,3})"
_RULE = re.compile(
    rf"{_NAME}({_TIME})(?:{_NAME}({_TIME})?,({_DATE})(?:/({_TIME}))?,({_DATE})(?:/({_TIME}))?)?"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds after the last change in the file: the POSIX TZ string of its footer."""

    standard: int
    """Offset in seconds east of UTC."""
    daylight: int | None = None
    """Offset while daylight saving time is in force; None when the zone has none."""
    begins: tuple[str, int] = ("", 0)
    """Date rule (`M3.5.0`, `J60`, `59`) and seconds after local standard midnight."""
    ends: tuple[str, int] = ("", 0)

    def changes(self, year: int) -> list[tuple[int, int]]:
        """The changes that the rule makes in a year: (instant, new offset), in order."""
        if self.daylight is None:
            return []
        begin = _day(self.begins[0], year) * 86400 + self.begins[1] - self.standard
        end = _day(self.ends[0], year) * 86400 + self.ends[1] - self.daylight
        return sorted([(begin, self.daylight), (end, self.standard)])


def read_changes(data: bytes) -> tuple[int, list[tuple[int, int]], Rule]:
    """The first offset, the changes (instant, new offset) in order, and the rule for what follows.

    Raises ValueError when the bytes are not a TZif file of version 2 or later.
    """
    magic, version, *counts = _HEADER.unpack_from(data)
    if magic != b"TZif" or version < b"2":
        raise ValueError("not a TZif file of version 2 or later")
    # The first block has 32-bit times, for old readers; skip it.
    start = _HEADER.size + _block_length(counts, 4)
    _, _, *counts = _HEADER.unpack_from(data, start)
    _, _, _, times, types, _ = counts
    start += _HEADER.size
    end = start + _block_length(counts, 8)
    instants = struct.unpack_from(f">{times}q", data, start)
    kinds = data[start + times * 8 : start + times * 9]
    offsets = [
        struct.unpack_from(">l", data, start + times * 9 + kind * 6)[0] for kind in range(types)
    ]
    footer = data[end:].strip(b"\n").decode("ascii")
    changes = [(instant, offsets[kind]) for instant, kind in zip(instants, kinds, strict=True)]
    return offsets[0], changes, parse_rule(footer)


def _block_length(counts: list[int], width: int) -> int:
    """Bytes of a data block; `width` is that of an instant."""
    ut_flags, standard_flags, leaps, times, types, letters = counts
    body = times * (width + 1) + types * 6 + letters
    return body + leaps * (width + 4) + standard_flags + ut_flags


def parse_rule(text: str) -> Rule:
    """Parses a POSIX TZ string with the extension of RFC 8536 (hours from -167 to 167)."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a POSIX TZ rule: {text!r}")
    west, west_daylight, begins, begins_at, ends, ends_at = match.groups()
    standard = -_seconds(west)
    if begins is None:
        return Rule(standard)
    daylight = standard + 3600 if west_daylight is None else -_seconds(west_daylight)
    return Rule(
        standard,
        daylight,
        (begins, _seconds(begins_at or "2")),
        (ends, _seconds(ends_at or "2")),
    )


def _seconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    hours, minutes, seconds = [*map(int, text.lstrip("+-").split(":")), 0, 0][:3]
    return sign * (hours * 3600 + minutes * 60 + seconds)


def _day(rule: str, year: int) -> int:
    """Days since 1970-01-01 of a date rule in a year."""
    new_year = date(year, 1, 1).toordinal() - EPOCH_ORDINAL
    if rule.startswith("M"):
        month, week, weekday = map(int, rule[1:].split("."))
        first = date(year, month, 1)
        # date.weekday() counts from Monday, the rule from Sunday.
        day = 1 + (weekday - first.weekday() - 1) % 7 + 7 * (week - 1)
        following = date(year + month // 12, month % 12 + 1, 1)
        length = following.toordinal() - first.toordinal()
        return first.toordinal() - EPOCH_ORDINAL + (day if day <= length else day - 7) - 1
    if rule.startswith("J"):  # 1 … 365, never counting 29 February
        number = int(rule[1:])
        leap = date(year, 12, 31).toordinal() - EPOCH_ORDINAL - new_year == 365
        return new_year + number - 1 + (leap and number >= 60)
    return new_year + int(rule)
