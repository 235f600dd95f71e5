"""Changes of the wall clock, for tests that must see every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from taskrunner.domain.cron_differences import is_irregular
from taskrunner.domain.zones import load_zone, zone_names

YEAR_2020 = 1_577_836_800
YEAR_2036 = 2_082_758_400


@dataclass(frozen=True)
class Transition:
    """A change of the wall clock of a zone: `before` jumps to `after` (local seconds)."""

    zone: str
    instant: int
    before: int
    after: int

    @property
    def irregular(self) -> bool:
        return is_irregular(self.before, self.after)


@cache
def transitions(begin: int = YEAR_2020, end: int = YEAR_2036) -> tuple[Transition, ...]:
    """All changes in all zones of the tzdata package in begin ≤ instant < end, by zone."""
    found = []
    for name in sorted(zone_names()):
        zone = load_zone(name)
        for index in range(1, len(zone.offsets)):
            at = zone.starts[index]
            if begin <= at < end:
                found.append(
                    Transition(name, at, at + zone.offsets[index - 1], at + zone.offsets[index])
                )
    return tuple(found)
