"""Slots that calendars move to the same time: with equal arguments, only the latest one runs.

Computed from the plan alone: when a slot is decided, the later ones with the same target are looked
for, whether or not they are due yet. So no state is needed, and each replica finds the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taskrunner.domain.calendar_placement import (
    MAX_SHIFT_DAYS,
    excluder,
    place,
    shift_days,
)
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.merge import nominal_before
from taskrunner.domain.zones import Zone

_LOOKED_AT: Final = 32
"""Slots before the target that are looked at. The last one nearly always settles it; more are
needed only when another calendar takes out the last ones before a blackout ends."""


def coalesces(task: CompiledTask, index: int, nominal: int, target: int) -> bool:
    """Whether a later slot with the arguments of entry `index` runs at `target` as well."""
    kind = task.classes[index]
    if target > nominal and _is_slot(task, kind, target):
        return True  # the target's own slot: no calendar excludes a target
    candidates = _candidates(task, index, nominal, target)
    return any(_lands(task, kind, other, target) for other in candidates)


def _candidates(task: CompiledTask, index: int, nominal: int, target: int) -> Iterator[int]:
    """Later slots that may end up at `target`, whatever the action that takes them there."""
    kind = task.classes[index]
    actions = {use.action for use in task.calendars}
    if "Defer" in actions:
        other = nominal_before(task, target, kind)
        for _ in range(_LOOKED_AT):
            if other is None or other <= nominal:
                break
            yield other
            other = nominal_before(task, other, kind)
    zones = {
        e.zone.name: e.zone for e, k in zip(task.entries, task.classes, strict=True) if k == kind
    }
    for zone in zones.values():
        if "NextBusinessDay" in actions:
            yield from (d for d in _moved_days(task, zone, target, -1) if nominal < d < target)
        if "PreviousBusinessDay" in actions:
            yield from (d for d in _moved_days(task, zone, target, 1) if d > nominal)


def _moved_days(task: CompiledTask, zone: Zone, target: int, step: int) -> Iterator[int]:
    """The same wall clock time on the days around, as far as they are no business days."""
    movers = [use for use in task.calendars if use.action.endswith("BusinessDay")]
    for days in range(1, MAX_SHIFT_DAYS + 1):
        day = shift_days(zone, target, step * days)
        if excluder(task.calendars, day) is None and all(
            use.calendar.on_business_day(day) for use in movers
        ):
            return
        yield day


def _lands(task: CompiledTask, kind: int, other: int, target: int) -> bool:
    if not _is_slot(task, kind, other):
        return False
    zone = next(
        entry.zone
        for entry, each in zip(task.entries, task.classes, strict=True)
        if each == kind and (fire := entry.timeline.next_after(other - 1)) and fire.time == other
    )
    placement = place(task.calendars, zone, other)
    return not placement.excluded and placement.target == target


def _is_slot(task: CompiledTask, kind: int, instant: int) -> bool:
    return nominal_before(task, instant + 1, kind) == instant
