"""What calendars do to one slot: leave it, skip it, or move it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from taskrunner.domain.calendar import CalendarUse
from taskrunner.domain.calendar_days import DAY, instant_at
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.merge import Row
from taskrunner.domain.zones import LATEST, Zone

if TYPE_CHECKING:
    from taskrunner.domain.plan import Slot

MAX_SHIFT_DAYS: Final = 21
"""Days searched for a business day: a works' holiday of three weeks. After that it is a closed
business, and the slot is skipped."""
MAX_TRIES: Final = 5
"""Business days on which the slot's time is excluded all the same (a window at this time of day),
before it counts as excluded every day."""
LOOK_AHEAD: Final = (MAX_SHIFT_DAYS + 2) * DAY
"""No slot is due earlier than this before its nominal time; two days for changes of the clock."""
QUIET: Final = DAY + 3 * 3600
"""A day however the clock is changed meanwhile."""
FAR: Final = 100 * DAY
"""How far back the start of a blackout is looked for; beyond, it is looked for anew."""
_JOINED: Final = 8
"""Times that it is looked whether exclusions of several calendars adjoin."""
_MAX_MOVES: Final = 16
"""Deferrals of one slot from calendar to calendar, before it counts as excluded for good."""


class Joined:
    """A search, as far as it was needed, for the last slot that goes to a target."""

    __slots__ = ("candidate", "candidates", "latest")

    def __init__(self, candidates: Iterator[int]) -> None:
        self.candidates = candidates
        """Instants, the latest first."""
        self.candidate = next(candidates, -1)
        """The next one to look at."""
        self.latest: int | None = None


Wall = Callable[[int], tuple[str, int]]
"""Of a wall clock time: "free", "window" or "closed", as `Looks.day` or for no business day; and
its instant."""


class Looks:
    """The schedules and calendars of a task, asked about each instant and slot once. It lives as
    long as one question: the search for a business day comes by the same instants for the slots
    around."""

    __slots__ = (
        "_begin", "_blackout", "_closed", "_days", "_deferred", "_end", "_same", "_stretches",
        "_walls", "edges", "joined", "landings", "leaps", "open_days", "placed", "row", "slots",
        "uses",
    )  # fmt: skip

    def __init__(self, task: CompiledTask) -> None:
        self.row = Row(task)
        self.uses = task.calendars
        # The last answer, and the time in which it is the same.
        self._begin, self._end = 0, 0
        self._same: tuple[CalendarUse, str] | None = None
        self._closed = False
        """Whether it excludes whole days there."""
        self._stretches: dict[int, tuple[int, int, tuple[CalendarUse, str] | None, bool]] = {}
        """The last such answer of each day: the search for business days comes by the same days."""
        self._blackout = (0, 0)
        self._deferred: dict[int, tuple[CalendarUse, str, int | None] | None] = {}
        self._days: dict[int, Literal["free", "window", "closed"]] = {}
        self._walls: dict[tuple[str, str], dict[int, tuple[str, int]]] = {}
        self.leaps: dict[tuple[str, str, int], dict[int, int]] = {}
        """By calendar, zone and direction, for wall clock times: another such that all days between
        the two are closed."""
        self.placed: dict[tuple[str, int], Placement] = {}
        self.slots: dict[int, dict[int, Slot]] = {}
        """By nominal instant and first entry: what becomes of a slot (`plan`)."""
        self.edges: dict[int, int] = {}
        """By instant: up to which nominal time slots are due by then (`missed_many`)."""
        self.joined: dict[tuple[int, int], Joined] = {}
        """By class and target: the search for the last slot that runs there (`coalesce`)."""
        self.landings: dict[tuple[int, int], int | None] = {}
        """By class and instant: where a slot goes (`coalesce`)."""
        self.open_days: dict[str, dict[int, tuple[int, bool]]] = {}
        """By zone and wall clock time: the instant, and whether slots move no further."""

    def excluder(self, instant: int) -> tuple[CalendarUse, str] | None:
        """The first calendar that excludes the instant, and why; None when none does."""
        if self._begin <= instant < self._end:
            return self._same
        known = self._stretches.get(instant // DAY)
        if known is not None and known[0] <= instant < known[1]:
            self._begin, self._end, self._same, self._closed = known
            return self._same
        begin, end, found, closed = 0, LATEST, None, False
        for use in self.uses:
            why, closed, since, until = use.calendar.look(instant)
            begin, end = max(begin, since), min(end, until)
            if why is not None:
                found = use, why
                break
        self._begin, self._end, self._same, self._closed = begin, end, found, closed
        self._stretches[instant // DAY] = begin, end, found, closed
        return found

    def excluder_and_end(self, instant: int) -> tuple[CalendarUse, str, int | None] | None:
        """The excluder and, of one that defers, the end of its exclusion. Deferrals of many slots
        come by the same instants."""
        try:
            return self._deferred[instant]
        except KeyError:
            excluded = self.excluder(instant)
        found = None
        if excluded is not None:
            use, why = excluded
            end = use.calendar.end_of_exclusion(instant) if use.action == "Defer" else None
            found = use, why, end
        self._deferred[instant] = found
        return found

    def blackout(self, instant: int) -> tuple[int, int]:
        """As the function `blackout`; the slots around come by the same one."""
        begin, end = self._blackout
        if not begin <= instant < end:
            self._blackout = blackout(self.uses, instant)
        return self._blackout

    def day(self, instant: int) -> Literal["free", "window", "closed"]:
        """Whether nothing excludes the instant, a window does, or the whole day is excluded."""
        found = self._days.get(instant)
        if found is None:
            if self.excluder(instant) is None:
                found = "free"
            else:
                shut = self._closed or any(use.calendar.closed(instant) for use in self.uses)
                found = "closed" if shut else "window"
            self._days[instant] = found
        return found

    def walls(self, mover: CalendarUse, zone: Zone) -> Wall:
        """What wall clock times of a zone are for a calendar that moves slots by days."""
        key = (mover.calendar.name, zone.name)
        known = self._walls.setdefault(key, {})

        def wall(local: int) -> tuple[str, int]:
            found = known.get(local)
            if found is None:
                instant = instant_at(zone, local)
                day: str = self.day(instant)
                if day != "closed" and not mover.calendar.on_business_day(instant):
                    day = "closed"
                found = known[local] = day, instant
            return found

        return wall


class Placement(NamedTuple):
    """Where a slot goes. `target` is its nominal time when nothing excludes it."""

    target: int
    notes: tuple[str, ...] = ()
    excluded: str = ""
    """Why it does not run at all, as a sentence; empty when it does."""


def place(looks: Looks, zone: Zone, nominal: int) -> Placement:
    """Apply the calendars to a slot.

    The first calendar of the list that excludes the slot's time says what happens. Defer moves the
    slot to the end of that calendar's exclusion, and the whole list is asked again about the new
    time. A business day is one of that calendar's `businessDays` on which no calendar of the list
    excludes the slot's wall clock time (in `zone`); from there nothing moves the slot again.
    MAX_SHIFT_DAYS and MAX_TRIES bound the search; a slot that finds no place is excluded.
    """
    key = (zone.name, nominal)
    found = looks.placed.get(key)
    if found is None:
        found = looks.placed[key] = _place(looks, zone, nominal)
    return found


def _place(looks: Looks, zone: Zone, nominal: int) -> Placement:
    at, notes = nominal, list[str]()
    for _ in range(_MAX_MOVES):
        found = looks.excluder_and_end(at)
        if found is None:
            return Placement(at, tuple(notes))
        use, why, end = found
        name = use.calendar.name
        if use.action == "Skip":
            return Placement(nominal, excluded=f'The calendar "{name}" excludes it ({why}).')
        if use.action == "Defer":
            if end is None:
                sentence = f'The calendar "{name}" excludes it ({why}) and all that comes after.'
                return Placement(nominal, excluded=sentence)
            notes.append(f"deferred by calendar {name} ({why})")
            at = end
            continue
        forward = use.action == "NextBusinessDay"
        day = _business_day(looks, use, zone, at, 1 if forward else -1)
        if day is None:
            sentence = (
                f'The calendar "{name}" excludes it ({why}), and there is no business day within'
                f" {MAX_SHIFT_DAYS} days."
            )
            return Placement(nominal, excluded=sentence)
        which = "next" if forward else "previous"
        notes.append(f"moved to the {which} business day by calendar {name} ({why})")
        return Placement(day, tuple(notes))
    return Placement(nominal, excluded="Its calendars defer it over and over.")


def excluder(uses: tuple[CalendarUse, ...], instant: int) -> tuple[CalendarUse, str] | None:
    """The first calendar that excludes the instant, and why; None when none does."""
    for use in uses:
        why = use.calendar.excludes(instant)
        if why is not None:
            return use, why
    return None


def stretch(uses: tuple[CalendarUse, ...], instant: int) -> tuple[int, int]:
    """A span of time around the instant in which the answers of all calendars stay the same."""
    spans = [use.calendar.stretch(instant) for use in uses]
    return max(begin for begin, _ in spans), min(end for _, end in spans)


def blackout(uses: tuple[CalendarUse, ...], instant: int) -> tuple[int, int]:
    """A span of time around an excluded instant whose slots all go the same way: they are skipped,
    or deferred to its end."""
    first = uses[0]
    if first.moves_by_days or any(use.action != first.action for use in uses):
        return stretch(uses, instant)
    begin, end = instant + 1, instant
    for _ in range(_JOINED):
        earlier = begin
        for use in uses:
            if begin > 0 and use.calendar.excludes(begin - 1) is not None:
                begin = use.calendar.start_of_exclusion(begin - 1)
        if begin == earlier or begin < instant - FAR:
            break
    for _ in range(_JOINED):
        later = end
        for use in uses:
            if end < LATEST:
                found = use.calendar.end_of_exclusion(end)
                end = LATEST if found is None else found
        if end == later:
            break
    return begin, end


def exclusion_start(uses: tuple[CalendarUse, ...], instant: int) -> int:
    """The first instant from which on up to `instant` always some calendar excludes it; `instant`
    itself when none does; 0 when no start is found."""
    begin = instant
    for _ in range(_MAX_MOVES):
        earlier = begin
        for use in uses:
            if begin > 0 and use.calendar.excludes(begin - 1) is not None:
                begin = use.calendar.start_of_exclusion(begin - 1)
        if begin == earlier:
            return begin
    return 0


def quiet_before(uses: tuple[CalendarUse, ...], instant: int) -> bool:
    """Whether the day before the instant is a business day all through, for all calendars.

    Then no slot at or after the instant is moved back beyond that day: on its way it would come by
    the same wall clock time of that day and stop there.
    """
    begin = instant - QUIET
    for use in uses:
        calendar = use.calendar
        if not calendar.free_between(begin, instant):
            return False
        if not all(calendar.on_business_day(at) for at in (begin, instant - DAY, instant)):
            return False
    return True


def _business_day(
    looks: Looks, mover: CalendarUse, zone: Zone, instant: int, step: int
) -> int | None:
    tries, local = MAX_TRIES, instant + zone.offset(instant)
    wall = looks.walls(mover, zone)
    leaps = looks.leaps.setdefault((mover.calendar.name, zone.name, step), {})
    last, passed, found = local + step * MAX_SHIFT_DAYS * DAY, list[int](), None
    while tries and local != last:
        passed.append(local)
        local = leaps.get(local, local + step * DAY)
        if (local - last) * step > 0:
            break
        day, moved = wall(local)
        if day == "free":
            found = moved
            break
        if day == "window":
            leaps.update(dict.fromkeys(passed, local))
            passed.clear()
            tries -= 1
    # The slots around come by the same days.
    leaps.update(dict.fromkeys(passed, local))
    return found
