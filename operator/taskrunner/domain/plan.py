"""Which slots a task has: the one place that says what is due when.

    schedules ──merge──▶ nominal slots ──calendars──▶ moved or skipped ──jitter──▶ due

All of it is a pure function of the compiled task, so every replica, the preview and the next leader
see the same slots. Nothing is laid out in advance and nothing is kept: each question is answered
from the schedules, with bounded work.

*Nominal* is the instant that a schedule names, after DST; it names the execution. *Due* is when the
slot is decided: nominal plus jitter, or earlier when a calendar moves it to the previous business
day. A slot that a calendar defers is decided at its nominal time and runs at `not_before`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import Final, NamedTuple

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.calendar_placement import (
    LOOK_AHEAD,
    QUIET,
    Looks,
    Placement,
    place,
    quiet_before,
)
from taskrunner.domain.coalesce import coalesces
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.hashing import spread
from taskrunner.domain.merge import REMEMBERED, Group
from taskrunner.domain.naming import execution_name
from taskrunner.domain.zones import LATEST

EXCLUDED: Final = ExecutionReason.EXCLUDED_BY_CALENDAR.value
COALESCED: Final = ExecutionReason.COALESCED.value
REQUESTED: Final = ExecutionReason.REQUESTED.value
UNKNOWN: Final = -1
"""For an instant that is looked for only when it is needed."""


class Slot(NamedTuple):
    """One slot of a task, with all that calendars and jitter do to it. Instants are UTC seconds."""

    nominal: int
    due: int
    schedule: str
    """Name of the entry; empty for the single `spec.schedule`."""
    arguments: Mapping[str, str]
    also: tuple[str, ...] = ()
    """Entries that coincide with this one and have equal arguments: one run for all."""
    not_before: int | None = None
    """When it runs, if a calendar defers it."""
    skip: str | None = None
    """The reason (EXCLUDED, COALESCED or REQUESTED) when it does not run."""
    message: str = ""
    """Why it does not run, as a sentence."""
    notes: tuple[str, ...] = ()
    """What DST, calendars and jitter did to it, for people."""

    @property
    def start(self) -> int:
        """When it runs: deadlines and lateness count from here."""
        return self.due if self.not_before is None else self.not_before


def next_slot(task: CompiledTask, after: int) -> Slot | None:
    """The first slot with due > after.

    Several slots may be due at once (different arguments): to step from slot to slot, use
    `slots_between` or `walk`.
    """
    return next(walk(task, after), None)


def slots_between(task: CompiledTask, after: int, until: int, limit: int) -> list[Slot]:
    """The first `limit` slots with after < due ≤ until, in the order of `walk`."""
    return list(islice(takewhile(lambda slot: slot.due <= until, walk(task, after)), limit))


def walk(task: CompiledTask, after: int, looks: Looks | None = None) -> Iterator[Slot]:
    """The slots with due > after, those that are skipped included, in due order; slots that are due
    at once in the order of the list of schedules.

    `looks` keeps what calendars answered, for several searches in the same time.
    """
    looks = looks or Looks(task)
    found = (
        _in_due_order(task, after, looks)
        if task.moves_back
        else (
            # Without moves, due follows the order of nominal: jitter never reaches the next slot.
            slot
            for slot in _by_nominal(task, after, looks)
            if slot.due > after
        )
    )
    return (as_asked(task, slot) for slot in found) if task.left_out else found


def as_asked(task: CompiledTask, slot: Slot) -> Slot:
    """The slot; skipped, if somebody has asked for that."""
    name = execution_name(task.name, slot.nominal, slot.schedule, bool(slot.arguments))
    if slot.skip is not None or name not in task.left_out:
        return slot
    return slot._replace(skip=REQUESTED, message="Somebody asked to skip it.")


def _by_nominal(task: CompiledTask, after: int, looks: Looks) -> Iterator[Slot]:
    """All slots in nominal order, from the first that may be due after `after`."""
    groups = looks.row.forward(_before_due(task, looks, after))
    if not task.jitter:
        for group in groups:
            yield from slots_of(task, looks, group, None)
        return
    current: Group | None = next(groups, None)
    while current is not None:
        following = next(groups, None)
        yield from slots_of(task, looks, current, following.nominal if following else None)
        current = following


def _before_due(task: CompiledTask, looks: Looks, after: int) -> int:
    """The last slot at or before `after` may still be due after it, by its jitter; none before."""
    last = looks.row.nominal_before(after + 1) if task.jitter else None
    return after if last is None else last - 1


def _in_due_order(task: CompiledTask, after: int, looks: Looks) -> Iterator[Slot]:
    """Like `walk`, when slots may be due before their nominal time: look ahead, and sort.

    What is looked at ahead is only placed; it becomes a slot when its turn comes.
    """
    heap: list[tuple[int, int, int, Slot | _Draft]] = []
    count = 0
    for group in looks.row.forward(_before_due(task, looks, after)):
        # All slots that are due before this are known.
        horizon = group.nominal - LOOK_AHEAD
        quiet = group.nominal - QUIET
        if heap and heap[0][0] < quiet and quiet_before(task.calendars, group.nominal):
            horizon = quiet
        yield from (slot for slot in _drain(task, looks, heap, horizon) if slot.due > after)
        for draft in _drafts(task, looks, group):
            count += 1
            heappush(heap, (draft.base, group.nominal, count, draft))
    yield from (slot for slot in _drain(task, looks, heap, LATEST) if slot.due > after)


def _drain(
    task: CompiledTask,
    looks: Looks,
    heap: list[tuple[int, int, int, Slot | _Draft]],
    horizon: int,
) -> Iterator[Slot]:
    """Take what is due before the horizon from the heap, in order."""
    while heap and heap[0][0] < horizon:
        due, nominal, count, found = heappop(heap)
        if isinstance(found, _Draft):
            following = looks.row.nominal_after(nominal) if task.jitter else None
            found = _finished(task, looks, found, following)
            if found.due > due:
                heappush(heap, (found.due, nominal, count, found))
                continue
        yield found


class _Draft(NamedTuple):
    """A slot of which it is known where calendars put it, but not yet whether it runs there."""

    group: Group
    members: tuple[int, ...]
    """Entries with equal arguments."""
    placement: Placement

    @property
    def base(self) -> int:
        """When it is due, without jitter."""
        return min(self.group.nominal, self.placement.target)


def _drafts(task: CompiledTask, looks: Looks, group: Group) -> Iterator[_Draft]:
    """One for each class of equal arguments, in list order."""
    excluded = bool(task.calendars) and looks.excluder(group.nominal) is not None
    classes: dict[int, tuple[int, ...]] = {}
    for index in group.members:
        kind = task.classes[index]
        classes[kind] = (*classes.get(kind, ()), index)
    for members in classes.values():
        placement = Placement(group.nominal)
        if excluded:
            placement = place(looks, task.entries[members[0]].zone, group.nominal)
        yield _Draft(group, members, placement)


def slots_of(
    task: CompiledTask,
    looks: Looks,
    group: Group,
    following: int | None,
    *,
    until: int | None = None,
) -> Iterator[Slot]:
    """The slots of one nominal instant, in list order: one for each class of equal arguments.

    `following` is the task's next nominal instant (None: none is to come, or there is no jitter;
    UNKNOWN: it is looked for if a slot runs). With `until`, those that are due later may be left
    out.
    """
    if len(group.members) == 1 and (
        not task.calendars or not (task.moves_back or looks.excluder(group.nominal))
    ):
        # Nearly all slots: no calendar moves them.
        entry, nominal = task.entries[group.members[0]], group.nominal
        notes = tuple(group.dst.values())
        if task.jitter and following == UNKNOWN:
            following = looks.row.nominal_after(nominal)
        delay = _jitter(task, nominal, nominal, following) if task.jitter else 0
        if delay:
            notes += (f"jitter +{delay} s",)
        yield Slot(nominal, nominal + delay, entry.name, entry.arguments, (), None, None, "", notes)
        return
    if len(looks.slots) >= REMEMBERED:
        looks.slots.clear()
    known = looks.slots.setdefault(group.nominal, {})
    for draft in _drafts(task, looks, group):
        if until is None or draft.base <= until:
            slot = known.get(draft.members[0])
            if slot is None:
                slot = known[draft.members[0]] = _finished(task, looks, draft, following)
            yield slot


def _finished(task: CompiledTask, looks: Looks, draft: _Draft, following: int | None) -> Slot:
    group, members, placement = draft.group, draft.members, draft.placement
    nominal, target = group.nominal, placement.target
    entry = task.entries[members[0]]
    also = tuple(task.entries[index].name for index in members[1:])
    notes = group.notes(members) + placement.notes
    due, not_before = (nominal, target) if target > nominal else (target, None)
    skip, message = None, ""
    if placement.excluded:
        skip, message = EXCLUDED, placement.excluded
    elif (target > nominal or task.moves_back) and coalesces(
        task, looks, members[0], nominal, target
    ):
        skip, message = COALESCED, "A later slot with equal arguments runs at the same time."
    elif task.jitter:
        if target != nominal or following == UNKNOWN:
            following = looks.row.nominal_after(target)
        delay = _jitter(task, nominal, target, following)
        if delay:
            notes += (f"jitter +{delay} s",)
        due, not_before = (due + delay, None) if not_before is None else (due, not_before + delay)
    return Slot(nominal, due, entry.name, entry.arguments, also, not_before, skip, message, notes)


def _jitter(task: CompiledTask, nominal: int, base: int, following: int | None) -> int:
    """Seconds from 0 to `jitterSeconds`, but never as far as the task's next slot; uniform over
    slots, and the same on each replica, after each restart and for a task that is created again."""
    most = task.jitter if following is None else min(task.jitter, following - base - 1)
    return spread(most + 1, "jitter", task.key, str(nominal)) if most > 0 else 0
