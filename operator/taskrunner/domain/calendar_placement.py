"""What calendars do to one slot: leave it, skip it, or move it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_days import DAY, instant_at
from taskrunner.domain.zones import Zone

Action = Literal["Skip", "Defer", "NextBusinessDay", "PreviousBusinessDay"]

MAX_SHIFT_DAYS: Final = 31
"""Days searched for a business day. A month without one is a closed business, not a holiday: the
slot is then skipped."""
LOOK_AHEAD: Final = (MAX_SHIFT_DAYS + 2) * DAY
"""No slot is due earlier than this before its nominal time; two days for changes of the clock."""
QUIET: Final = DAY + 3 * 3600
"""A day however the clock is changed meanwhile."""
_MAX_MOVES: Final = 16
"""Deferrals of one slot from calendar to calendar, before it counts as excluded for good."""


@dataclass(frozen=True, slots=True)
class CalendarUse:
    """A calendar of a task, and what happens to the slots that it excludes."""

    calendar: CompiledCalendar
    action: Action


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a slot goes. `target` is its nominal time when nothing excludes it."""

    target: int
    notes: tuple[str, ...] = ()
    excluded: str = ""
    """Why it does not run at all, as a sentence; empty when it does."""


def place(uses: tuple[CalendarUse, ...], zone: Zone, nominal: int) -> Placement:
    """Apply the calendars to a slot.

    The first calendar of the list that excludes the slot's time says what happens. Defer moves the
    slot to the end of that calendar's exclusion, and the whole list is asked again about the new
    time. A business day is one of that calendar's `businessDays` on which no calendar of the list
    excludes the slot's wall clock time (in `zone`); from there nothing moves the slot again.
    """
    at, notes = nominal, list[str]()
    for _ in range(_MAX_MOVES):
        found = excluder(uses, at)
        if found is None:
            return Placement(at, tuple(notes))
        use, why = found
        name = use.calendar.name
        if use.action == "Skip":
            return Placement(nominal, excluded=f'The calendar "{name}" excludes it ({why}).')
        if use.action == "Defer":
            end = use.calendar.end_of_exclusion(at)
            if end is None:
                sentence = f'The calendar "{name}" excludes it ({why}) and all that comes after.'
                return Placement(nominal, excluded=sentence)
            notes.append(f"deferred by calendar {name} ({why})")
            at = end
            continue
        forward = use.action == "NextBusinessDay"
        day = _business_day(uses, use, zone, at, 1 if forward else -1)
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


def shift_days(zone: Zone, instant: int, days: int) -> int:
    """The same wall clock time so many days later; in a gap, the end of the gap."""
    return instant_at(zone, instant + zone.offset(instant) + days * DAY)


def stretch(uses: tuple[CalendarUse, ...], instant: int) -> tuple[int, int | None]:
    """The span of time around the instant in which the answers of all calendars stay the same.

    From (inclusive; 0 when open) until (exclusive; None when open).
    """
    begins = [use.calendar.last_edge(instant) for use in uses]
    ends = [use.calendar.next_edge(instant) for use in uses]
    return (
        max((edge for edge in begins if edge is not None), default=0),
        min((edge for edge in ends if edge is not None), default=None),
    )


def quiet_before(uses: tuple[CalendarUse, ...], instant: int) -> bool:
    """Whether the day before the instant is a business day all through, for all calendars.

    Then no slot at or after the instant is moved back beyond that day: on its way it would come by
    the same wall clock time of that day and stop there.
    """
    begin = instant - QUIET
    for use in uses:
        calendar = use.calendar
        if not calendar.on_business_day(begin) or not calendar.on_business_day(instant):
            return False
        if not calendar.on_business_day(instant - DAY):
            return False
        edge = calendar.next_edge(begin)
        if edge is not None and edge <= instant:
            return False
    return True


def _business_day(
    uses: tuple[CalendarUse, ...], mover: CalendarUse, zone: Zone, instant: int, step: int
) -> int | None:
    for days in range(1, MAX_SHIFT_DAYS + 1):
        day = shift_days(zone, instant, step * days)
        if mover.calendar.on_business_day(day) and excluder(uses, day) is None:
            return day
    return None
