"""When a single schedule is due: cron, interval and one-shot, behind one interface.

Instants are whole UTC seconds since 1970-01-01 everywhere in the domain. Planning ends at
`zones.LATEST` (the year 2200); no timeline has a slot before 1970.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

from taskrunner.domain.cron_expression import DAY, CronExpression
from taskrunner.domain.zones import EARLIEST, LATEST, Zone

Gap = Literal["RunAfter", "Skip"]
Overlap = Literal["First", "Second", "Both"]


class Fire(NamedTuple):
    """A slot of a timeline."""

    time: int
    note: str = ""
    """What DST did to the slot, for people; empty when nothing."""


@dataclass(frozen=True, slots=True)
class DstPolicy:
    """What happens to schedules with a fixed time when the wall clock is changed.

    The default is that of Debian's cron. Schedules whose hour or minute is a wildcard follow the
    wall clock of each instant and are not changed by the policy: they lose the times of a gap and
    run in both passes of an overlap, so that the time between runs stays even.
    """

    gap: Gap = "RunAfter"
    """A time that the clock jumps over runs at the first instant after the jump, or not at all."""
    overlap: Overlap = "First"
    """Which pass of a repeated time runs."""


class Timeline(Protocol):
    """The slots of one schedule, in order and without duplicates."""

    def next_after(self, instant: int) -> Fire | None:
        """The first slot strictly after the instant; None when there is none until 2200."""
        ...

    def previous_before(self, instant: int) -> Fire | None:
        """The last slot strictly before the instant; None when there is none since 1970."""
        ...

    def backwards(self, before: int) -> Iterator[Fire]:
        """The slots strictly before the instant, the last first."""
        ...

    def times(self, low: int, high: int) -> list[int]:
        """All slots with low ≤ slot < high, at once: quicker than asking for one by one."""
        ...

    def count_between(self, after: int, until: int) -> int:
        """How many slots there are with after < slot ≤ until, without walking them."""
        ...


_FAR = 3 * DAY
"""Twice as far as any wall clock is from UTC."""
MOVED = "moved by the DST gap"
JOINED = "also runs for a time in the DST gap"
FIRST_PASS = "first pass of the DST overlap"
SECOND_PASS = "second pass of the DST overlap"


@dataclass(frozen=True, slots=True)
class CronTimeline:
    """The slots of a cron expression in a time zone.

    The zone is a row of segments of constant offset. In each of them a *window* of wall clock
    times counts: all of it, or, for fixed schedules, only what no other pass has or will have.
    A gap before a segment adds one slot at the segment's start when a fixed time lies in it.
    """

    expression: CronExpression
    zone: Zone
    dst: DstPolicy = DstPolicy()

    def next_after(self, instant: int) -> Fire | None:
        at = max(instant + 1, EARLIEST)
        if at >= LATEST:
            return None
        starts, offsets = self.zone.starts, self.zone.offsets
        index = self.zone.segment(at)
        while index < len(offsets):
            if at <= starts[index]:
                at = starts[index]
                if self._fires_for_gap(index):
                    return self._at_gap(index)
            low, high = self._window(index)
            slot = self.expression.first(max(low, at + offsets[index]), high)
            if slot is not None:
                return self._fire(index, slot)
            # No slot is near: pass over the segments, two a year, that end before the next one.
            later = self.expression.first(low - _FAR, LATEST + _FAR)
            if later is None:
                return None
            index = max(index + 1, self.zone.segment(min(later - _FAR, LATEST - 1)))
        return None

    def previous_before(self, instant: int) -> Fire | None:
        end = min(instant, LATEST)
        if end <= EARLIEST:
            return None
        starts, offsets = self.zone.starts, self.zone.offsets
        index = self.zone.segment(end - 1)
        while index >= 0:
            low, high = self._window(index)
            slot = self.expression.last(low, min(high, end + offsets[index]))
            begins = slot == starts[index] + offsets[index]
            if slot is not None and not (begins and self._fires_for_gap(index)):
                return self._fire(index, slot)
            if self._fires_for_gap(index):
                return self._at_gap(index)
            earlier = self.expression.last(EARLIEST - _FAR, low + _FAR)
            if earlier is None:
                return None
            index = min(index - 1, self.zone.segment(earlier + _FAR))
        return None

    def backwards(self, before: int) -> Iterator[Fire]:
        fire = self.previous_before(before)
        while fire is not None:
            yield fire
            index = self.zone.segment(fire.time)
            low, high = self._window(index)
            offset = self.zone.offsets[index]
            # Far from the start of the segment there is no gap, and no note when none is here.
            low = max(low, self.zone.seen[index], self.zone.starts[index] + offset + 1)
            high = min(high, self.zone.later[index], fire.time + offset)
            last = fire.time
            for local in self.expression.backwards(low, high):
                last = local - offset
                yield Fire(last)
            fire = self.previous_before(last)

    def times(self, low: int, high: int) -> list[int]:
        low, high = max(low, EARLIEST), min(high, LATEST)
        if low >= high:
            return []
        starts, offsets = self.zone.starts, self.zone.offsets
        found: list[int] = []
        for index in range(self.zone.segment(low), self.zone.segment(high - 1) + 1):
            offset = offsets[index]
            begin, end = self._window(index)
            slots = self.expression.times(max(begin, low + offset), min(end, high + offset))
            instants = [slot - offset for slot in slots]
            real = bool(instants) and instants[0] == starts[index]
            if low <= starts[index] and not real and self._fires_for_gap(index):
                found.append(starts[index])
            found += instants
        return found

    def count_between(self, after: int, until: int) -> int:
        begin, end = max(after + 1, EARLIEST), min(until + 1, LATEST)
        if begin >= end:
            return 0
        starts, offsets = self.zone.starts, self.zone.offsets
        first, last = self.zone.segment(begin), self.zone.segment(end - 1)
        count = self.expression.count
        if first == last and begin > starts[first]:
            low, high = self._window(first)
            return count(max(low, begin + offsets[first]), min(high, end + offsets[first]))
        windows: list[tuple[int, int]] = []
        for index in range(first, last + 1):
            low, high = self._window(index)
            low, high = max(low, begin + offsets[index]), min(high, end + offsets[index])
            windows.append((low, max(low, high)))
        # As if the wall clock ran evenly, and then what each change of it adds and takes.
        total = count(windows[0][0], windows[-1][1]) - count(windows[-1][1], windows[0][0])
        for (_, until), (since, _) in pairwise(windows):
            total += count(since, until) - count(until, since)
        for index in range(first, last + 1):
            if begin <= starts[index] and self._fires_for_gap(index):
                # A real slot at the same instant is already in the count: they are one.
                local = starts[index] + offsets[index]
                total += not self.expression.count(local, local + 1)
        return total

    def _window(self, index: int) -> tuple[int, int]:
        """The wall clock times that count in a segment: low ≤ time < high."""
        zone = self.zone
        offset = zone.offsets[index]
        low, high = zone.starts[index] + offset, zone.starts[index + 1] + offset
        if self.expression.fixed:
            if self.dst.overlap == "First":
                low = max(low, zone.seen[index])
            elif self.dst.overlap == "Second":
                high = min(high, zone.later[index])
        return low, high

    def _fires_for_gap(self, index: int) -> bool:
        """Whether a fixed time lies in the gap before the segment and runs after it."""
        if not self.expression.fixed or self.dst.gap == "Skip":
            return False
        local = self.zone.starts[index] + self.zone.offsets[index]
        return self.expression.first(self.zone.seen[index], local) is not None

    def _at_gap(self, index: int) -> Fire:
        instant = self.zone.starts[index]
        local = instant + self.zone.offsets[index]
        real = self.expression.first(local, local + 1) is not None
        return Fire(instant, JOINED if real else MOVED)

    def _fire(self, index: int, local: int) -> Fire:
        note = ""
        if self.expression.fixed:
            if local < self.zone.seen[index]:
                note = SECOND_PASS
            elif local >= self.zone.later[index]:
                note = FIRST_PASS
        return Fire(local - self.zone.offsets[index], note)


@dataclass(frozen=True, slots=True)
class IntervalTimeline:
    """A slot every so many elapsed seconds, counted from the anchor in both directions.

    The anchor sets the phase only, it is no start: slots neither drift nor depend on when the
    operator started. Wall clocks and DST have no part in it.
    """

    every: int
    """Seconds, at least 1."""
    anchor: int = 0

    def next_after(self, instant: int) -> Fire | None:
        after = max(instant, EARLIEST - 1)
        slot = after + self.every - (after - self.anchor) % self.every
        return Fire(slot) if slot < LATEST else None

    def previous_before(self, instant: int) -> Fire | None:
        last = min(instant, LATEST) - 1
        slot = last - (last - self.anchor) % self.every
        return Fire(slot) if slot >= EARLIEST else None

    def backwards(self, before: int) -> Iterator[Fire]:
        return _one_by_one(self, before)

    def times(self, low: int, high: int) -> list[int]:
        low, high = max(low, EARLIEST), min(high, LATEST)
        return list(range(low + (self.anchor - low) % self.every, high, self.every))

    def count_between(self, after: int, until: int) -> int:
        low, high = max(after, EARLIEST - 1), min(until, LATEST - 1)
        if low >= high:
            return 0
        return (high - self.anchor) // self.every - (low - self.anchor) // self.every


@dataclass(frozen=True, slots=True)
class OnceTimeline:
    """One-shot: the given fires and no more (two only for a wall clock time with overlap Both)."""

    fires: tuple[Fire, ...]
    instants: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "instants", tuple(fire.time for fire in self.fires))

    def next_after(self, instant: int) -> Fire | None:
        index = bisect_right(self.instants, instant)
        return self.fires[index] if index < len(self.fires) else None

    def previous_before(self, instant: int) -> Fire | None:
        index = bisect_left(self.instants, instant)
        return self.fires[index - 1] if index else None

    def backwards(self, before: int) -> Iterator[Fire]:
        return _one_by_one(self, before)

    def times(self, low: int, high: int) -> list[int]:
        return [time for time in self.instants if low <= time < high]

    def count_between(self, after: int, until: int) -> int:
        return max(0, bisect_right(self.instants, until) - bisect_right(self.instants, after))


def _one_by_one(timeline: Timeline, before: int) -> Iterator[Fire]:
    fire = timeline.previous_before(before)
    while fire is not None:
        yield fire
        fire = timeline.previous_before(fire.time)


def slots_a_day(timeline: Timeline, after: int) -> int:
    """How many slots there are on the first day that has any after the instant."""
    first = timeline.next_after(after)
    return timeline.count_between(first.time - 1, first.time - 1 + DAY) if first else 0


def once(instant: int) -> OnceTimeline:
    """`at`: one slot at an instant."""
    return OnceTimeline((Fire(instant),))


def once_local(local: int, zone: Zone, dst: DstPolicy) -> OnceTimeline:
    """`atLocal`: a wall clock time, in seconds since 1970-01-01T00:00:00 of the wall clock.

    In a gap and with gap Skip there is no slot at all.
    """
    instants = zone.instants_of(local)
    if len(instants) > 1:
        first, second = Fire(instants[0], FIRST_PASS), Fire(instants[-1], SECOND_PASS)
        chosen = {"First": (first,), "Second": (second,), "Both": (first, second)}
        return OnceTimeline(chosen[dst.overlap])
    if instants:
        return once(instants[0])
    if dst.gap == "Skip":
        return OnceTimeline(())
    after = bisect_right(zone.seen, local) - 1
    if after < 1 or local >= zone.starts[after] + zone.offsets[after]:
        return OnceTimeline(())  # outside the years that are planned
    return OnceTimeline((Fire(zone.starts[after], MOVED),))
