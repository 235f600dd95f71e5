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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from taskrunner.domain.calendar_days import DAY, DayRule, day_start, local_day, weekday_of
from taskrunner.domain.timeline import Timeline, slots_a_day
from taskrunner.domain.zones import LATEST, Zone, load_zone

MAX_OPENINGS: Final = 48
"""Most times a day that windows open, those of a calendar and those of all calendars of a task:
every half an hour. It bounds the work of laying calendars out."""
PAGE_DAYS: Final = 64
"""Length of a page, at most."""
PAGE_SPANS: Final = 128
"""About how many spans the sources may have on a page."""
PAGES_KEPT: Final = 256
"""Pages of a calendar in memory, each of some KiB: over a year of one with as many windows as may
be."""
DAYS_SEARCHED: Final = 400
"""How far the end of an exclusion is looked for: over a year of closed days …"""
SEARCH_WORK: Final = 200
"""… but where windows add up to it, only so many spans, sources counted tenfold: that is two months
of a window a day, a week of the most windows there may be. It bounds the work for a calendar whose
windows leave nothing free."""

OUTSIDE: Final = "not an included time"
"""Why a calendar with `include` excludes what that does not name."""

Span = tuple[int, int, str]
"""Begin (inclusive), end (exclusive), and what the time is called ("Christmas Day")."""


class Source(Protocol):
    """Part of a calendar."""

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        """All spans that touch begin ≤ instant < end, in order; the first and the last may reach
        over these bounds."""
        ...


@dataclass(frozen=True, slots=True)
class Days:
    """Whole local days of a zone, by rule."""

    zone: Zone
    rule: DayRule

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        # Near the end of the years that are planned, a day may end beyond them.
        end = min(end, LATEST - 3 * DAY)
        day = self.rule.next_after(local_day(self.zone, begin) - 1)
        start = day_start(self.zone, day) if day is not None else end
        while day is not None and start < end:
            until = day_start(self.zone, day + 1)
            if until > begin:
                yield start, until, self.rule.label(day) or ""
            following = self.rule.next_after(day)
            if following is not None:
                start = until if following == day + 1 else day_start(self.zone, following)
            day = following


@dataclass(frozen=True, slots=True)
class Recurring:
    """A window that opens at each slot of a timeline and stays open for `duration` seconds."""

    timeline: Timeline
    duration: int
    name: str

    @property
    def per_day(self) -> int:
        """How often it opens on a day, at most."""
        return slots_a_day(self.timeline, 0)

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        if self.duration <= DAY:
            opened = self.timeline.times(begin - self.duration + 1, end)
        else:
            last = self.timeline.previous_before(begin + 1)
            opened = [last.time] if last and last.time + self.duration > begin else []
            opened += self.timeline.times(begin + 1, end)
        if not opened:
            return
        # Windows that overlap or adjoin are one span.
        since, until = opened[0], opened[0] + self.duration
        for opens in opened:
            if opens > until:
                yield since, until, self.name
                since = opens
            until = opens + self.duration
        yield since, until, self.name


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
    openings: int = field(init=False, repr=False, compare=False)
    """How often its windows open on a day, at most."""
    searched: int = field(init=False, repr=False, compare=False)
    """Pages with windows on them that are searched for the end of an exclusion."""
    _days: CompiledCalendar | None = field(init=False, repr=False, compare=False)
    """What it excludes as whole days, to pass over long closed times; None when that is all."""
    _pages: dict[int, _Page] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        sources = (*self.excluded, *(self.included or ()))
        openings = openings_of(sources)
        length = max(min(PAGE_DAYS * DAY, PAGE_SPANS * DAY // max(openings, 1)), 60)
        days = tuple(each for each in self.excluded if isinstance(each, Days))
        only = CompiledCalendar(self.name, days) if days and len(days) < len(sources) else None
        object.__setattr__(self, "_days", only)
        spans = 10 * len(sources) + openings * length // DAY
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "openings", openings)
        object.__setattr__(self, "searched", max(2, SEARCH_WORK // max(spans, 1)))

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
        _, _, begin, end = self.look(instant)
        return begin, end

    def look(self, instant: int) -> tuple[str | None, bool, int, int]:
        """What `excludes`, `closed` and `stretch` say, at once."""
        page = self._page(instant)
        starts = page.starts
        index = bisect_right(starts, instant)
        end = starts[index] if index < len(starts) else page.end
        return page.reasons[index - 1], page.closed[index - 1], starts[index - 1], end

    def free_between(self, begin: int, end: int) -> bool:
        """Whether nothing is excluded from `begin` up to and with `end`."""
        while begin <= end:
            if self.excludes(begin) is not None:
                return False
            begin = self.stretch(begin)[1]
        return True

    def end_of_exclusion(self, instant: int) -> int | None:
        """The first instant from `instant` on that is not excluded; None when none is found.

        Bounded: after DAYS_SEARCHED or SEARCH_WORK the calendar counts as excluding everything.
        """
        page = self._page(instant)
        index = bisect_right(page.starts, instant) - 1
        if page.reasons[index] is None:
            return instant
        left = self.searched
        while (found := page.free[index]) is None:
            at: int | None = page.end
            if False in page.closed:
                left -= 1
            elif self._days is not None:
                at = self._days.end_of_exclusion(page.end)
            if at is None or left <= 0 or at >= min(instant + DAYS_SEARCHED * DAY, LATEST):
                return None
            page = self._page(at)
            index = bisect_right(page.starts, at) - 1
        return found

    def start_of_exclusion(self, instant: int) -> int:
        """The first instant from which on all up to `instant`, an excluded one, is excluded; 0 when
        none is found, with the same bounds as `end_of_exclusion`."""
        page = self._page(instant)
        since = page.since[bisect_right(page.starts, instant) - 1]
        left = self.searched
        while since == page.starts[0] and since > 0:
            if False in page.closed:
                left -= 1
            elif self._days is not None and self._days.excludes(since - 1) is not None:
                since = self._days.start_of_exclusion(since - 1)
            if since <= 0 or left <= 0 or since < instant - DAYS_SEARCHED * DAY:
                return 0
            page = self._page(since - 1)
            index = bisect_right(page.starts, since - 1) - 1
            if page.reasons[index] is None:
                return since
            since = page.since[index]
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

        excluded = cut(tuple(each for each in self.excluded if isinstance(each, Days)))
        included: list[tuple[Source, list[Span]]] = []
        if not _covered(begin, end, excluded):
            # A page of closed days, as in a long freeze, needs no look at windows.
            excluded += cut(tuple(each for each in self.excluded if not isinstance(each, Days)))
            included = cut(self.included or ())
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


Action = Literal["Skip", "Defer", "NextBusinessDay", "PreviousBusinessDay"]


@dataclass(frozen=True, slots=True)
class CalendarUse:
    """A calendar of a task, and what happens to the slots that it excludes."""

    calendar: CompiledCalendar
    action: Action

    @property
    def moves_by_days(self) -> bool:
        """Whether it moves slots to business days."""
        return self.action.endswith("BusinessDay")


def openings_of(sources: Iterable[Source]) -> int:
    """How often windows among the sources open on a day, at most."""
    return sum(each.per_day for each in sources if isinstance(each, Recurring))


def _covered(begin: int, end: int, sources: list[tuple[Source, list[Span]]]) -> bool:
    """Whether the spans leave nothing free."""
    for start, until, _ in sorted(span for _, spans in sources for span in spans):
        if start > begin:
            return False
        begin = max(begin, until)
    return begin >= end


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
