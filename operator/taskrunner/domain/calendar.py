"""Calendars: which instants are excluded, and until when.

A calendar is made of sources, each a set of time spans: days (dates, weekdays, public holidays)
or recurring windows (cron and a duration). An instant is excluded when a source of `exclude` covers
it, or when there is an `include` of which no source covers it.

A calendar is laid out one page of time at a time, when a question first falls on the page, and the
pages used last are kept: planning asks about the same weeks over and over, often for many tasks.
Pages of calendars with many windows are shorter, so that laying one out is always the same work.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from taskrunner.domain.calendar_days import DAY, DayRule, day_start, local_day, weekday_of
from taskrunner.domain.timeline import Timeline, slots_a_day
from taskrunner.domain.zones import LATEST, Zone, load_zone

PAGE_DAYS: Final = 64
"""Length of a page, at most."""
PAGE_SPANS: Final = 256
"""About how many spans the sources may have on a page."""
PAGES_KEPT: Final = 256
"""Pages of a calendar in memory, each of some KiB: over a year of one with as many windows as may
be."""
DAYS_SEARCHED: Final = 400
"""How far the end of an exclusion is looked for: over a year of closed days …"""
PAGES_SEARCHED: Final = 40
"""… or so many pages, over three months when there are as many windows as a calendar may have. It
bounds the work for a calendar that excludes everything."""
PAGES_BACK: Final = 8
"""Pages looked at for the start of an exclusion."""

OUTSIDE: Final = "not an included time"
"""Why a calendar with `include` excludes what that does not name."""

Span = tuple[int, int, str]
"""Begin (inclusive), end (exclusive), and what the time is called ("Christmas Day")."""


class Source(Protocol):
    """Part of a calendar."""

    @property
    def per_day(self) -> int:
        """How many spans there are on a day, at most."""
        ...

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        """All spans that touch begin ≤ instant < end, in order; the first and the last may reach
        over these bounds."""
        ...


@dataclass(frozen=True, slots=True)
class Days:
    """Whole local days of a zone, by rule."""

    zone: Zone
    rule: DayRule

    @property
    def per_day(self) -> int:
        return 1

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        # Near the end of the years that are planned, a day may end beyond them.
        end = min(end, LATEST - 3 * DAY)
        found = self.rule.next_after(local_day(self.zone, begin) - 1)
        while found is not None:
            day = found
            start = day_start(self.zone, day)
            if start >= end:
                return
            if (until := day_start(self.zone, day + 1)) > begin:
                yield start, until, self.rule.label(day) or ""
            found = self.rule.next_after(day)


@dataclass(frozen=True, slots=True)
class Recurring:
    """A window that opens at each slot of a timeline and stays open for `duration` seconds."""

    timeline: Timeline
    duration: int
    name: str

    @property
    def per_day(self) -> int:
        # Windows that overlap are one span: two that follow each other take longer than one window.
        return min(slots_a_day(self.timeline, 0), 2 * DAY // self.duration + 2)

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        opens = self.timeline.previous_before(begin + 1)
        if opens is None or opens.time + self.duration <= begin:
            opens = self.timeline.next_after(begin)
        while opens is not None and opens.time < end:
            closes = opens.time + self.duration
            following = self.timeline.next_after(opens.time)
            if following is not None and following.time <= closes:
                closes = self._closes(closes, end)
                following = self.timeline.next_after(closes)
            yield opens.time, closes, self.name
            opens = following

    def _closes(self, closes: int, end: int) -> int:
        """When the last closes of windows that open before the one before closes; a time at or
        after `end` when it is later."""
        while closes < end:
            last = self.timeline.previous_before(closes + 1)
            if last is None or last.time + self.duration <= closes:
                break
            closes = last.time + self.duration
        return closes


@dataclass(frozen=True, slots=True)
class _Page:
    """The answers for a part of the time."""

    end: int
    starts: list[int]
    """Where the answer changes; the first is where the page begins."""
    reasons: list[str | None]
    """Why the time from each start to the next is excluded; None when it is not."""
    closed: list[bool]
    """Whether whole days are excluded there."""
    free: list[int | None]
    """The first instant from each start on, on this page, that is not excluded."""
    since: list[int]
    """From which instant on, on this page, all up to each start is excluded."""


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
    length: int = field(init=False, repr=False, compare=False)
    """Seconds of a page."""
    _pages: dict[int, _Page] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        per_day = sum(source.per_day for source in (*self.excluded, *(self.included or ())))
        length = min(PAGE_DAYS * DAY, PAGE_SPANS * DAY // max(per_day, 1))
        object.__setattr__(self, "length", max(length, 60))

    def excludes(self, instant: int) -> str | None:
        """Why the calendar excludes the instant, or None when it does not."""
        page = self._page(instant)
        return page.reasons[bisect_right(page.starts, instant) - 1]

    def closed(self, instant: int) -> bool:
        """Whether the calendar excludes the whole day of the instant, not only a window."""
        page = self._page(instant)
        return page.closed[bisect_right(page.starts, instant) - 1]

    def on_business_day(self, instant: int) -> bool:
        """Whether it is one of the calendar's business days of the week, in its zone."""
        return weekday_of(local_day(self.zone, instant)) in self.business_days

    def stretch(self, instant: int) -> tuple[int, int]:
        """A span around the instant in which the answer is the same: begin ≤ instant < end. It may
        be the same before and after as well."""
        _, begin, end = self.look(instant)
        return begin, end

    def look(self, instant: int) -> tuple[str | None, int, int]:
        """What `excludes` and `stretch` say, at once."""
        page = self._page(instant)
        starts = page.starts
        index = bisect_right(starts, instant)
        end = starts[index] if index < len(starts) else page.end
        return page.reasons[index - 1], starts[index - 1], end

    def free_between(self, begin: int, end: int) -> bool:
        """Whether nothing is excluded from `begin` up to and with `end`."""
        while begin <= end:
            if self.excludes(begin) is not None:
                return False
            begin = self.stretch(begin)[1]
        return True

    def end_of_exclusion(self, instant: int) -> int | None:
        """The first instant from `instant` on that is not excluded; None when none is found.

        Bounded: after DAYS_SEARCHED or PAGES_SEARCHED the calendar counts as excluding everything.
        """
        page = self._page(instant)
        index = bisect_right(page.starts, instant) - 1
        if page.reasons[index] is None:
            return instant
        for _ in range(PAGES_SEARCHED):
            if (found := page.free[index]) is not None:
                return found
            if page.end >= min(instant + DAYS_SEARCHED * DAY, LATEST):
                return None
            page, index = self._page(page.end), 0
        return None

    def start_of_exclusion(self, instant: int) -> int:
        """The first instant from which on all up to `instant`, an excluded one, is excluded; or a
        later one, when that is more than PAGES_BACK pages back."""
        page = self._page(instant)
        since = page.since[bisect_right(page.starts, instant) - 1]
        for _ in range(PAGES_BACK):
            if since > page.starts[0] or since <= 0:
                break
            page = self._page(since - 1)
            if page.reasons[-1] is None:
                break
            since = page.since[-1]
        return since

    def _page(self, instant: int) -> _Page:
        number = instant // self.length
        page = self._pages.get(number)
        if page is None:
            page = self._lay_out(number * self.length, (number + 1) * self.length)
            if len(self._pages) >= PAGES_KEPT:
                self._pages.pop(next(iter(self._pages)))
            self._pages[number] = page
        return page

    def _lay_out(self, begin: int, end: int) -> _Page:
        def cut(sources: tuple[Source, ...]) -> list[tuple[Source, list[Span]]]:
            return [
                (each, [(max(a, begin), min(b, end), why) for a, b, why in each.spans(begin, end)])
                for each in sources
            ]

        excluded, included = cut(self.excluded), cut(self.included or ())
        cuts = {begin, end}
        for _, spans in (*excluded, *included):
            cuts.update(*((a, b) for a, b, _ in spans))
        starts = sorted(cuts)
        place = {start: position for position, start in enumerate(starts)}
        reasons: list[str | None] = [None if self.included is None else OUTSIDE] * (len(starts) - 1)
        closed = [False] * len(reasons)
        for _, spans in included:
            for a, b, _ in spans:
                reasons[place[a] : place[b]] = [None] * (place[b] - place[a])
        # Of several sources the first gives the reason, so it is written last.
        for source, spans in reversed(excluded):
            for a, b, why in spans:
                reasons[place[a] : place[b]] = [why] * (place[b] - place[a])
                if isinstance(source, Days):
                    closed[place[a] : place[b]] = [True] * (place[b] - place[a])
        return _page(end, starts, reasons, closed)


def _page(end: int, starts: list[int], reasons: list[str | None], closed: list[bool]) -> _Page:
    """Joins neighbours of which all is the same."""
    kept = [
        index
        for index, reason in enumerate(reasons)
        if not index or reason != reasons[index - 1] or closed[index] != closed[index - 1]
    ]
    free: list[int | None] = [None] * len(kept)
    following = None
    for position in range(len(kept) - 1, -1, -1):
        if reasons[kept[position]] is None:
            following = starts[kept[position]]
        free[position] = following
    since = [starts[index] for index in kept]
    for position in range(1, len(kept)):
        if reasons[kept[position - 1]] is not None:
            since[position] = since[position - 1]
    return _Page(
        end,
        [starts[index] for index in kept],
        [reasons[index] for index in kept],
        [closed[index] for index in kept],
        free,
        since,
    )
