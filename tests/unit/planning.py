"""Tasks and calendars for tests of planning, and a slow, obvious planner to compare with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from taskrunner.api.v1alpha1.parse import parse_calendar, parse_scheduled_task
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.calendar_placement import LOOK_AHEAD, Looks, place
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.domain.plan import COALESCED, EXCLUDED, Slot

EXAMPLES = int(os.environ.get("PLANNING_EXAMPLES", "30"))
"""Examples of each property; `PLANNING_EXAMPLES=2000 … --timeout=0` for a long look."""
JOB = {"spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}}


def at(text: str) -> int:
    """ "2026-03-29 02:30" (UTC unless an offset is given) as an instant."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def utc(instant: int | None) -> str:
    """An instant as "2026-03-29 02:30" (with seconds only if there are any); "-" for None."""
    if instant is None:
        return "-"
    text = datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return text.removesuffix(":00")


def raw_task(spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "task", "namespace": "qa", **metadata},
        "spec": {"jobTemplate": JOB, **spec},
    }


def calendar(name: str, **spec: Any) -> CompiledCalendar:
    metadata = {"name": name, "namespace": "qa"}
    return compile_calendar(parse_calendar({"metadata": metadata, "spec": spec}))


def task(
    spec: Mapping[str, Any] | None = None,
    *calendars: CompiledCalendar,
    metadata: Mapping[str, Any] | None = None,
    **fields: Any,
) -> CompiledTask:
    """Compile a task of these spec fields; the calendars must be those that it names."""
    raw = raw_task({**(spec or {}), **fields}, **(metadata or {}))
    return compile_task(parse_scheduled_task(raw), {each.name: each for each in calendars})


def nominals(compiled: CompiledTask, low: int, high: int) -> Iterator[tuple[int, list[int]]]:
    """All (instant, entries) with low < instant ≤ high, by walking each timeline to its end."""
    found: dict[int, list[int]] = {}
    for index, entry in enumerate(compiled.entries):
        fire = entry.timeline.next_after(low)
        while fire is not None and fire.time <= high:
            if fire.time >= compiled.first and (compiled.end is None or fire.time < compiled.end):
                found.setdefault(fire.time, []).append(index)
            fire = entry.timeline.next_after(fire.time)
    yield from sorted(found.items())


def brute_force(compiled: CompiledTask, after: int, until: int) -> list[Slot]:
    """All slots with after < due ≤ until: lay out everything around, then move, join and sort.

    Jitter is left out; tests of jitter look at it alone.
    """
    laid_out = []
    latest: dict[tuple[int, int], int] = {}
    looks = Looks(compiled)
    margin = LOOK_AHEAD + 86400
    for nominal, members in nominals(compiled, after - margin, until + margin):
        for kind in dict.fromkeys(compiled.classes[index] for index in members):
            same = [index for index in members if compiled.classes[index] == kind]
            placement = place(looks, compiled.entries[same[0]].zone, nominal)
            laid_out.append((nominal, kind, same, placement))
            if not placement.excluded:
                latest[kind, placement.target] = nominal
    slots = []
    for nominal, kind, same, placement in laid_out:
        entry = compiled.entries[same[0]]
        deferred = not placement.excluded and placement.target > nominal
        skip = None
        if placement.excluded:
            skip = EXCLUDED
        elif latest[kind, placement.target] != nominal:
            skip = COALESCED
        slots.append(
            Slot(
                nominal,
                min(nominal, placement.target),
                entry.name,
                entry.arguments,
                tuple(compiled.entries[index].name for index in same[1:]),
                placement.target if deferred else None,
                skip,
            )
        )
    slots = [slot for slot in slots if after < slot.due <= until]
    return sorted(slots, key=lambda slot: (slot.due, slot.nominal))


def bare(slot: Slot) -> Slot:
    """A slot without what is only for people."""
    return Slot(
        slot.nominal, slot.due, slot.schedule, slot.arguments, slot.also, slot.not_before, slot.skip
    )
