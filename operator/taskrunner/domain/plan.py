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
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.calendar_placement import LOOK_AHEAD, QUIET, Placement, place, quiet_before
from taskrunner.domain.coalesce import coalesces
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.hashing import spread
from taskrunner.domain.merge import Group, groups_after, nominal_after, nominal_before

EXCLUDED: Final = ExecutionReason.EXCLUDED_BY_CALENDAR.value
COALESCED: Final = ExecutionReason.COALESCED.value


@dataclass(frozen=True, slots=True)
class Slot:
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
    """The reason (EXCLUDED or COALESCED) when it does not run."""
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


def walk(task: CompiledTask, after: int) -> Iterator[Slot]:
    """The slots with due > after, those that are skipped included, in due order; slots that are due
    at once in the order of the list of schedules."""
    if task.moves_back:
        return _in_due_order(task, after)
    # Without moves, due follows the order of nominal: jitter never reaches the next slot.
    return (slot for slot in _by_nominal(task, after) if slot.due > after)


def _in_due_order(task: CompiledTask, after: int) -> Iterator[Slot]:
    """Like `walk`, when slots may be due before their nominal time."""
    heap: list[tuple[int, int, int, Slot]] = []
    for count, slot in enumerate(_by_nominal(task, after)):
        # From here on, what is due before `horizon` is known.
        horizon = slot.nominal - LOOK_AHEAD
        if (
            heap
            and heap[0][0] < slot.nominal - QUIET
            and quiet_before(task.calendars, slot.nominal)
        ):
            horizon = slot.nominal - QUIET
        while heap and heap[0][0] < horizon:
            yield heappop(heap)[-1]
        if slot.due > after:
            heappush(heap, (slot.due, slot.nominal, count, slot))
    while heap:
        yield heappop(heap)[-1]


def _by_nominal(task: CompiledTask, after: int) -> Iterator[Slot]:
    """All slots in nominal order, from the first that may be due after `after`."""
    if not task.jitter:
        for only in groups_after(task, after):
            yield from slots_of(task, only, None)
        return
    # The last slot at or before `after` may still be to come, by its jitter; none before it.
    last = nominal_before(task, after + 1)
    groups = groups_after(task, after if last is None else last - 1)
    group: Group | None = next(groups, None)
    while group is not None:
        following = next(groups, None)
        yield from slots_of(task, group, following.nominal if following else None)
        group = following


def slots_of(task: CompiledTask, group: Group, following: int | None) -> Iterator[Slot]:
    """The slots of one nominal instant, in list order: one for each class of equal arguments.

    `following` is the task's next nominal instant (None: none is to come, or there is no jitter).
    """
    members = group.members
    if len(members) == 1:
        yield _slot(task, group, members, following)
        return
    classes: dict[int, list[int]] = {}
    for index in members:
        classes.setdefault(task.classes[index], []).append(index)
    for same in classes.values():
        yield _slot(task, group, tuple(same), following)


def _slot(
    task: CompiledTask, group: Group, members: tuple[int, ...], following: int | None
) -> Slot:
    nominal = group.nominal
    entry = task.entries[members[0]]
    also = tuple(task.entries[index].name for index in members[1:])
    notes = group.notes(members)
    placement = Placement(nominal)
    if task.calendars:
        placement = place(task.calendars, entry.zone, nominal)
        if placement.excluded:
            return Slot(
                nominal, nominal, entry.name, entry.arguments, also,
                skip=EXCLUDED, message=placement.excluded, notes=notes,
            )  # fmt: skip
        notes += placement.notes
    target = placement.target
    deferred = target > nominal
    due, not_before = (nominal, target) if deferred else (target, None)
    if (deferred or task.moves_back) and coalesces(task, members[0], nominal, target):
        return Slot(
            nominal, due, entry.name, entry.arguments, also,
            not_before=not_before,
            skip=COALESCED, message="A later slot with equal arguments runs at the same time.",
            notes=notes,
        )  # fmt: skip
    if task.jitter:
        if target != nominal:
            following = nominal_after(task, target)
        delay = _jitter(task, nominal, target, following)
        if delay:
            notes += (f"jitter +{delay} s",)
        if not_before is None:
            due += delay
        else:
            not_before += delay
    return Slot(nominal, due, entry.name, entry.arguments, also, not_before, notes=notes)


def _jitter(task: CompiledTask, nominal: int, base: int, following: int | None) -> int:
    """Seconds from 0 to `jitterSeconds`, but never as far as the task's next slot; uniform over
    slots, and the same on each replica, after each restart and for a task that is created again."""
    most = task.jitter if following is None else min(task.jitter, following - base - 1)
    return spread(most + 1, "jitter", task.key, str(nominal)) if most > 0 else 0
