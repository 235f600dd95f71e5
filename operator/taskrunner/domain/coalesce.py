"""Slots that calendars move to the same time: with equal arguments, only the latest one runs.

Computed from the plan alone: when a slot is decided, the later ones with the same target are looked
for, whether or not they are due yet. So no state is needed, and each replica finds the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from typing import Final

from taskrunner.domain.calendar_days import DAY, instant_at
from taskrunner.domain.calendar_placement import (
    MAX_SHIFT_DAYS,
    Joined,
    Looks,
    place,
)
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.merge import fires_at
from taskrunner.domain.zones import Zone

_LOOKED_AT: Final = 32
"""Slots before the end of a blackout that are looked at. The last one nearly always settles it;
more are needed only when another calendar takes out the last ones."""


def coalesces(task: CompiledTask, looks: Looks, index: int, nominal: int, target: int) -> bool:
    """Whether a later slot with the arguments of entry `index` runs at `target` as well."""
    kind = task.classes[index]
    if target > nominal and looks.row.names(target, kind):
        return True  # the target's own slot: no calendar excludes a target
    # All slots that go to a target ask about the same later ones: they are looked at once.
    joined = looks.joined.get((kind, target))
    if joined is None:
        joined = looks.joined[kind, target] = Joined(_candidates(task, looks, kind, target))
    while joined.latest is None and joined.candidate > nominal:
        if _lands(task, looks, kind, joined.candidate, target):
            joined.latest = joined.candidate
        joined.candidate = next(joined.candidates, -1)
    return joined.latest is not None and joined.latest > nominal


def _candidates(task: CompiledTask, looks: Looks, kind: int, target: int) -> Iterator[int]:
    """Instants of slots that may end up at `target`, whichever action takes them there; the latest
    first, and others than slots among them."""
    actions = {use.action for use in task.calendars} - {"Skip"}
    if actions == {"Defer"}:
        return _slots_back(looks, kind, target, _LOOKED_AT)
    days: set[int] = set()
    for zone in _zones(task, kind):
        if "NextBusinessDay" in actions:
            days.update(_days_off(looks, zone, target, -1))
        if "PreviousBusinessDay" in actions:
            days.update(_days_off(looks, zone, target, 1))
    latest = sorted(days, reverse=True)
    if "Defer" not in actions:
        return iter(latest)
    # A slot may be deferred first and moved by days then. Moves by days are for schedules with few
    # slots a day (`compile_limits.MAX_MOVED_PER_DAY`), so all slots around can be looked at.
    last = max(target, *days) if days else target
    return merge(latest, _slots_back(looks, kind, last + 1, None), reverse=True)


def _slots_back(looks: Looks, kind: int, before: int, most: int | None) -> Iterator[int]:
    """Slots of the class before an instant, the latest first; at most so many."""
    other = looks.row.nominal_before(before, kind)
    while other is not None and most != 0:
        yield other
        most = None if most is None else most - 1
        other = looks.row.nominal_before(other, kind)


def _days_off(looks: Looks, zone: Zone, target: int, step: int) -> list[int]:
    """The wall clock time of `target` on the days next to it, up to the first business day."""
    found: list[int] = []
    local, known = target + zone.offset(target), looks.open_days.setdefault(zone.name, {})
    for days in range(1, MAX_SHIFT_DAYS + 1):
        there = local + step * days * DAY
        if there not in known:
            known[there] = _open_day(looks, instant_at(zone, there))
        day, is_open = known[there]
        if is_open:
            break
        found.append(day)
    return found


def _open_day(looks: Looks, instant: int) -> tuple[int, bool]:
    """The instant, and whether slots move to it and not beyond."""
    movers = (use.calendar for use in looks.uses if use.moves_by_days)
    is_open = looks.day(instant) == "free" and all(m.on_business_day(instant) for m in movers)
    return instant, is_open


def _zones(task: CompiledTask, kind: int) -> list[Zone]:
    """The time zones of the entries of a class."""
    pairs = zip(task.entries, task.classes, strict=True)
    return list({entry.zone.name: entry.zone for entry, each in pairs if each == kind}.values())


def _lands(task: CompiledTask, looks: Looks, kind: int, other: int, target: int) -> bool:
    key = (kind, other)
    if key not in looks.landings:
        looks.landings[key] = _landing(task, looks, kind, other)
    return looks.landings[key] == target


def _landing(task: CompiledTask, looks: Looks, kind: int, other: int) -> int | None:
    """Where the slot of a class at an instant goes; None when there is none, or it does not run."""
    if not looks.row.names(other, kind):
        return None
    entries = [
        entry for entry, each in zip(task.entries, task.classes, strict=True) if each == kind
    ]
    entry = next(e for e in entries if len(entries) == 1 or fires_at(e, other))
    placement = place(looks, entry.zone, other)
    return None if placement.excluded else placement.target
