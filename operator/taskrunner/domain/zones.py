"""Time zones from the IANA database that is shipped with the program (the tzdata package).

The system's own zone files are not used: a plan must not depend on the image or the node.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cache
from importlib import resources

from taskrunner.domain.tzif import EPOCH_ORDINAL, read_changes
from taskrunner.errors import TaskrunnerError

EARLIEST = 0
"""First instant that is planned: 1970-01-01T00:00:00Z."""
LATEST_YEAR = 2200
LATEST = (date(LATEST_YEAR, 1, 1).toordinal() - EPOCH_ORDINAL) * 86400
"""End of planning: no slot at or after 2200-01-01T00:00:00Z."""

_LONGEST = 40
"""Characters of a name that may be a misspelt one; the longest zone has 32."""
_CANONICAL = frozenset({"UTC", "GMT"})
"""Short names that are links in the database but in everyone's use, so never called deprecated."""
_BETTER = {
    "Africa/Asmera": "Africa/Asmara",
    "Africa/Timbuktu": "Africa/Bamako",
    "America/Coral_Harbour": "America/Atikokan",
    "America/Virgin": "America/St_Thomas",
    "Antarctica/South_Pole": "Antarctica/McMurdo",
    "Atlantic/Jan_Mayen": "Arctic/Longyearbyen",
    "Iceland": "Atlantic/Reykjavik",
    "Pacific/Ponape": "Pacific/Pohnpei",
    "Pacific/Truk": "Pacific/Chuuk",
    "Pacific/Yap": "Pacific/Chuuk",
}
"""Where the database links over a border: the name with the same rules in the same country."""


class ZoneError(TaskrunnerError):
    """A time zone name that cannot be used; `value` is the name as given."""

    def __init__(self, message: str, remedy: str, value: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy
        self.value = value


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """A time zone as segments of constant offset, from EARLIEST to LATEST.

    Segment i holds the instants from `starts[i]` to before `starts[i + 1]`; its local time is the
    instant plus `offsets[i]`. Between segments the wall clock jumps: ahead (a gap) or back (an
    overlap). One Zone of a name exists in a process and is shared by all timelines.
    """

    name: str
    starts: array[int]
    """Instants; one more than there are segments: the last is LATEST."""
    offsets: array[int]
    """Seconds east of UTC; neighbours differ."""
    seen: array[int]
    """The largest wall clock time reached before the segment (exclusive end)."""
    later: array[int]
    """The smallest wall clock time of the segments after this one."""

    def segment(self, instant: int) -> int:
        """Index of the segment that holds the instant (EARLIEST ≤ instant < LATEST)."""
        return bisect_right(self.starts, instant) - 1

    def offset(self, instant: int) -> int:
        """Seconds east of UTC at the instant; instants out of range take the nearest segment."""
        last = len(self.offsets) - 1
        return self.offsets[min(max(self.segment(instant), 0), last)]

    def instants_of(self, local: int) -> tuple[int, ...]:
        """The instants at which the wall clock shows `local`: none in a gap, two in an overlap.

        `local` is in seconds since 1970-01-01T00:00:00 of the wall clock.
        """
        # No offset is larger than a day and a half, so only segments near by can hold it.
        near = range(
            max(self.segment(local - 129_600), 0),
            min(self.segment(local + 129_600), len(self.offsets) - 1) + 1,
        )
        candidates = ((index, local - self.offsets[index]) for index in near)
        return tuple(
            instant
            for index, instant in candidates
            if self.starts[index] <= instant < self.starts[index + 1]
        )


@cache
def tzdata_version() -> str:
    """Release of the IANA database in use, e.g. `2026f`."""
    first_line = _lines("tzdata.zi")[0]
    return first_line.removeprefix("# version ").strip()


@cache
def zone_names() -> frozenset[str]:
    """All names that `load_zone` takes."""
    listed = resources.files("tzdata").joinpath("zones").read_text("utf-8").split()
    return frozenset(listed) - {"Factory", "localtime"}


@cache
def load_zone(name: str) -> Zone:
    """The zone of an IANA name, e.g. `Europe/Berlin`.

    Raises ZoneError with the nearest names when there is no such zone.
    """
    if name not in zone_names():
        raise ZoneError(*_unknown(name), value=name[:100])
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    first, changes, rule = read_changes(file.read_bytes())
    from_year = 1970 if not changes else 1970 + max(0, changes[-1][0]) // 31_556_952
    last = changes[-1][0] if changes else EARLIEST - 1
    ruled = (
        change
        for year in range(from_year, LATEST_YEAR + 1)
        for change in rule.changes(year)
        if change[0] > last
    )
    return _build(name, first, [*changes, *ruled])


def _build(name: str, first: int, changes: Iterable[tuple[int, int]]) -> Zone:
    """Lays out the segments; changes of only the name or the DST flag are none."""
    starts, offsets = [EARLIEST], [first]
    for instant, offset in changes:
        if instant <= EARLIEST:
            offsets[0] = offset
        elif instant < LATEST and offset != offsets[-1]:
            starts.append(instant)
            offsets.append(offset)
    starts.append(LATEST)
    seen = [EARLIEST + offsets[0]]
    for index, offset in enumerate(offsets[:-1]):
        seen.append(max(seen[-1], starts[index + 1] + offset))
    later = [LATEST + offsets[-1]]
    for index in range(len(offsets) - 1, 0, -1):
        later.append(min(later[-1], starts[index] + offsets[index]))
    return Zone(name, array("q", starts), array("l", offsets), array("q", seen),
                array("q", reversed(later)))  # fmt: skip


def is_deprecated_alias(name: str) -> str | None:
    """The name to use instead when `name` is an old alias (`US/Eastern`), else None.

    Deprecated is a link of the database that its table of zones by country (zone.tab) does not
    list: Europe/Oslo is a link today but remains the name for Norway.
    """
    return _deprecated().get(name)


@cache
def _deprecated() -> dict[str, str]:
    rows = [row for row in _lines("zone.tab") if row and not row.startswith("#")]
    current = {row.split("\t")[2] for row in rows}
    links: dict[str, str] = {}
    for line in _lines("tzdata.zi"):
        if line.startswith("L "):
            _, target, link = line.split()
            links[link] = target
    old = links.keys() - current - _CANONICAL
    return {
        link: _BETTER.get(link) or _final(links, link).replace("Etc/UTC", "UTC")
        for link in old
        if not link.startswith("Etc/")
    }


def _lines(file: str) -> list[str]:
    """The lines of a table in the tzdata package."""
    table = resources.files("tzdata").joinpath("zoneinfo", file)
    return table.read_text("utf-8").splitlines()


def _final(links: dict[str, str], name: str) -> str:
    while name in links:
        name = links[name]
    return name


def _unknown(name: str) -> tuple[str, str]:
    """Message and remedy for a name that is no zone."""
    message = "This is no time zone of the IANA database."
    if not name:
        return (
            "The time zone is empty.",
            'Write an IANA name such as "Europe/Berlin", or leave it out for UTC.',
        )
    if name in {"Local", "localtime"}:
        return (
            message,
            'There is no local zone in a cluster; write an IANA name such as "Europe/Berlin".',
        )
    if offset := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?00)?", name, re.IGNORECASE):
        # POSIX counts west of Greenwich as positive, and so do these names.
        sign = "-" if offset[1] == "+" else "+"
        fixed = f"Etc/GMT{sign}{int(offset[2])}"
        if fixed in zone_names():
            return (
                message,
                f'For a fixed offset write "{fixed}" (its sign counts west of Greenwich).',
            )
    near = nearest_zones(name)
    if not near or re.fullmatch(r"[A-Z]{3,5}", name):
        # An abbreviation: what is spelled alike (CEST, EST) has nothing to do with it.
        return message, 'Write an IANA name such as "Europe/Berlin" or "UTC".'
    return message, "Did you mean " + " or ".join(f'"{zone}"' for zone in near) + "?"


def nearest_zones(name: str, count: int = 2) -> list[str]:
    """Names of zones that look like `name`, the nearest first."""
    if len(name) > _LONGEST:
        return []
    wanted = re.sub(r"[\s-]+", "_", name.strip()).lower()
    by_spelling, by_city = _spellings()
    if wanted in by_spelling:
        return [by_spelling[wanted]]
    city = wanted.rpartition("/")[2]
    if city in by_city:
        return [by_city[city]]
    # To compare with all of them takes milliseconds; few people mistake the first letters.
    cities = [each for each in by_city if each[:1] == city[:1]]
    found = [by_city[each] for each in get_close_matches(city, cities, n=6, cutoff=0.65)]
    if found and city == wanted:
        return found[:count]
    near = [zone.lower() for zone in found]
    if not near:
        near = [each for each in by_spelling if each[:2] == wanted[:2]]
    return [by_spelling[zone] for zone in get_close_matches(wanted, near, n=count, cutoff=0.6)]


@cache
def _spellings() -> tuple[dict[str, str], dict[str, str]]:
    """Names of zones by their lower-case spelling, and by that of their last part."""
    names = sorted(zone_names())
    by_spelling = {zone.lower(): zone for zone in names}
    return by_spelling, {zone.lower().rpartition("/")[2]: zone for zone in names}
