"""Calendars: which instants are excluded, and until when.

A calendar is made of sources, each a set of time windows: days (dates, weekdays, public holidays)
or recurring windows (cron and a duration). An instant is excluded when a source of `exclude` covers
it, or when there is an `include` of which no source covers it.

Nothing is laid out in advance: a source answers about one instant at a time, and tells the nearest
edges, so that planning can pass over a blackout without looking at each slot in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from taskrunner.domain.calendar_days import DayRule, day_start, local_day, weekday_of
from taskrunner.domain.timeline import Timeline
from taskrunner.domain.zones import Zone, load_zone

MAX_EDGES: Final = 500
"""Edges looked at for the end of an exclusion: over a year of adjoining days. It bounds the work
for a calendar that excludes everything."""


OUTSIDE: Final = "not an included time"
"""Why a calendar with `include` excludes what that does not name."""


class Source(Protocol):
    """Part of a calendar. Edges may be more than there are changes, never fewer."""

    def covers(self, instant: int) -> str | None:
        """Why the instant is covered ("Christmas Day"), or None when it is not."""
        ...

    def next_edge(self, instant: int) -> int | None:
        """The first instant after `instant` at which coverage may change."""
        ...

    def last_edge(self, instant: int) -> int | None:
        """The last instant at or before `instant` at which coverage may have changed."""
        ...


@dataclass(frozen=True, slots=True)
class Days:
    """Whole local days of a zone, by rule."""

    zone: Zone
    rule: DayRule

    def covers(self, instant: int) -> str | None:
        return self.rule.label(local_day(self.zone, instant))

    def next_edge(self, instant: int) -> int | None:
        day = local_day(self.zone, instant)
        if self.rule.label(day) is None:
            later = self.rule.next_after(day)
            return None if later is None else day_start(self.zone, later)
        return day_start(self.zone, day + 1)

    def last_edge(self, instant: int) -> int | None:
        day = local_day(self.zone, instant)
        if self.rule.label(day) is None:
            earlier = self.rule.previous_before(day)
            return None if earlier is None else day_start(self.zone, earlier + 1)
        return day_start(self.zone, day)


@dataclass(frozen=True, slots=True)
class Recurring:
    """A window that opens at each slot of a timeline and stays open for `duration` seconds."""

    timeline: Timeline
    duration: int
    name: str

    def covers(self, instant: int) -> str | None:
        opened = self.timeline.previous_before(instant + 1)
        return self.name if opened and instant < opened.time + self.duration else None

    def next_edge(self, instant: int) -> int | None:
        opened = self.timeline.previous_before(instant + 1)
        if opened and instant < opened.time + self.duration:
            return opened.time + self.duration
        opens = self.timeline.next_after(instant)
        return opens.time if opens else None

    def last_edge(self, instant: int) -> int | None:
        opened = self.timeline.previous_before(instant + 1)
        if opened is None:
            return None
        closed = opened.time + self.duration
        return opened.time if instant < closed else closed


@dataclass(frozen=True, slots=True)
class Period:
    """One window: start ≤ instant < end."""

    start: int
    end: int
    name: str

    def covers(self, instant: int) -> str | None:
        return self.name if self.start <= instant < self.end else None

    def next_edge(self, instant: int) -> int | None:
        return next((edge for edge in (self.start, self.end) if edge > instant), None)

    def last_edge(self, instant: int) -> int | None:
        return next((edge for edge in (self.end, self.start) if edge <= instant), None)


@dataclass(frozen=True, slots=True)
class CompiledCalendar:
    """A Calendar ready to answer. `content` changes whenever an answer may change."""

    name: str
    excluded: tuple[Source, ...]
    included: tuple[Source, ...] | None = None
    zone: Zone = field(default_factory=lambda: load_zone("UTC"))
    business_days: frozenset[int] = frozenset(range(5))
    """Days of the week (0 = Monday) to which runs may be moved."""
    content: str = ""

    def excludes(self, instant: int) -> str | None:
        """Why the calendar excludes the instant, or None when it does not."""
        for source in self.excluded:
            why = source.covers(instant)
            if why is not None:
                return why
        if self.included is None or any(s.covers(instant) is not None for s in self.included):
            return None
        return OUTSIDE

    def on_business_day(self, instant: int) -> bool:
        """Whether it is one of the calendar's business days of the week, in its zone."""
        return weekday_of(local_day(self.zone, instant)) in self.business_days

    def closed(self, instant: int) -> bool:
        """Whether the calendar excludes the whole day of the instant, not only a window."""
        return any(
            isinstance(source, Days) and source.covers(instant) is not None
            for source in self.excluded
        )

    def next_edge(self, instant: int) -> int | None:
        """The first instant after `instant` at which the answer may change."""
        return _least(s.next_edge(instant) for s in self._sources())

    def last_edge(self, instant: int) -> int | None:
        """The last instant at or before `instant` at which the answer may have changed."""
        edges = [s.last_edge(instant) for s in self._sources()]
        return max((edge for edge in edges if edge is not None), default=None)

    def _sources(self) -> tuple[Source, ...]:
        return self.excluded if self.included is None else self.excluded + self.included

    def end_of_exclusion(self, instant: int) -> int | None:
        """The first instant from `instant` on that is not excluded; None when none is found.

        Bounded: after MAX_EDGES edges the calendar counts as excluding everything.
        """
        at: int | None = instant
        for _ in range(MAX_EDGES):
            if at is None or self.excludes(at) is None:
                return at
            at = self.next_edge(at)
        return None


def _least(edges: Iterable[int | None]) -> int | None:
    return min((edge for edge in edges if edge is not None), default=None)
