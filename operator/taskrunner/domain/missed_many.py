"""Counting slots that nobody looks at one by one: a year of a schedule that fires each second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from taskrunner.domain.calendar import Action
from taskrunner.domain.calendar_placement import Looks, place, stretch
from taskrunner.domain.coalesce import coalesces
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.merge import Row, fires_at
from taskrunner.domain.plan import COALESCED, EXCLUDED, Slot, slots_of

MAX_STRETCHES: Final = 24
"""Stretches between the edges of calendars that are looked at; beyond, counts are estimates. Those
of moves by days are estimates anyhow, of which a third as many are enough."""
MAX_PARTS: Final = 40
"""Likewise, stretches times schedules: with more schedules than this, what is skipped is not told
apart from what is missed."""


@dataclass(slots=True)
class Count:
    """How many slots there are for one reason, and the nominal instants they lie between."""

    count: int = 0
    first: int = 0
    last: int = 0

    def add(self, other: Count) -> None:
        """Take in slots of another stretch."""
        self.first = min(self.first, other.first) if self.count else other.first
        self.last = max(self.last, other.last)
        self.count += other.count


@dataclass(frozen=True, slots=True)
class Counts:
    """The slots with after < due ≤ until: all of them, and those that are skipped by reason."""

    total: int
    skipped: dict[str, Count]
    exact: bool


def count_slots(task: CompiledTask, after: int, until: int, looks: Looks) -> Counts:
    """Count without walking. `exact` is False when entries with equal arguments may coincide (they
    count each), when calendars move slots to business days, or have too many windows."""
    low, high = _nominal_edge(task, looks, after), _nominal_edge(task, looks, until)
    exact = len(set(task.classes)) == len(task.classes)
    skipped = {EXCLUDED: Count(), COALESCED: Count()}
    if task.calendars:
        complete = _count_skipped(task, looks, low, high, skipped)
        exact = exact and complete and not task.moves_by_days
    return Counts(looks.row.count(low, high), skipped, exact)


def how_many(task: CompiledTask, after: int, until: int) -> int:
    """About how many slots there are: jitter and moves may carry some over the edges."""
    return Row(task).count(after, until)


def slot_at(task: CompiledTask, looks: Looks, nominal: int, reason: str | None) -> Slot:
    """The last slot in list order at a nominal instant that has one; with `reason`, the last that
    is skipped for it if there is one."""
    group = looks.row.before(nominal + 1)
    assert group is not None
    following = looks.row.nominal_after(group.nominal) if task.jitter else None
    slots = list(slots_of(task, looks, group, following))
    return next((slot for slot in reversed(slots) if slot.skip == reason), slots[-1])


def _nominal_edge(task: CompiledTask, looks: Looks, instant: int) -> int:
    """The instant up to which slots are nominal if and only if they are due up to `instant`: the
    last slot before it may be due after it, by its jitter."""
    found = looks.edges.get(instant)
    if found is None:
        found = instant
        group = looks.row.before(instant + 1) if task.jitter else None
        if group is not None:
            following = looks.row.nominal_after(group.nominal)
            *_, last = slots_of(task, looks, group, following)
            found = instant if last.due <= instant else group.nominal - 1
        looks.edges[instant] = found
    return found


def _count_skipped(
    task: CompiledTask, looks: Looks, low: int, high: int, skipped: dict[str, Count]
) -> bool:
    """Add up what calendars skip, one stretch at a time. False when there are too many."""
    at = max(low + 1, task.first)
    most = MAX_STRETCHES // 3 if task.moves_by_days else MAX_STRETCHES
    for _ in range(min(most, MAX_PARTS // len(task.entries))):
        if at > high:
            return True
        found = looks.excluder(at)
        span = stretch(task.calendars, at) if found is None else looks.blackout(at)
        end = min(span[1], high + 1)
        if found is not None:
            for reason, count in _skipped_in(task, looks, at, end, found[0].action):
                skipped[reason].add(count)
        at = end
    return at > high


def _skipped_in(
    task: CompiledTask, looks: Looks, begin: int, end: int, action: Action
) -> Iterator[tuple[str, Count]]:
    """The slots skipped in an excluded stretch, by class, with the reason.

    All slots of a class in the stretch go the same way but for the last: under Defer it may run.
    """
    firsts, lasts = looks.row.firsts(begin - 1), looks.row.lasts(end)
    for kind in dict.fromkeys(task.classes):
        first = firsts.get(kind)
        if first is None or first >= end:
            continue
        last = lasts.get(kind, first)
        count = looks.row.count(begin - 1, end - 1, kind)
        if action == "Skip":
            yield EXCLUDED, Count(count, first, last)
        elif action != "Defer":
            yield COALESCED, Count(count, first, last)  # an estimate: most join another slot
        elif (reason := _skip_reason(task, looks, kind, last)) is not None:
            yield reason, Count(count, first, last)
        elif (before := looks.row.nominal_before(last, kind)) is not None and before >= first:
            yield COALESCED, Count(count - 1, first, before)


def _skip_reason(task: CompiledTask, looks: Looks, kind: int, nominal: int) -> str | None:
    """Why the slot of a class does not run, or None when it does."""
    indexes = [index for index, each in enumerate(task.classes) if each == kind]
    index = next(i for i in indexes if len(indexes) == 1 or fires_at(task.entries[i], nominal))
    placement = place(looks, task.entries[index].zone, nominal)
    if placement.excluded:
        return EXCLUDED
    return COALESCED if coalesces(task, looks, index, nominal, placement.target) else None
