"""What is to come: the next runs, in the order in which they start, with what moved them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from heapq import heappop, heappush
from itertools import islice

from taskrunner.domain.calendar_placement import LOOK_AHEAD
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.plan import Slot, walk
from taskrunner.domain.runs import runs_after, runs_before
from taskrunner.domain.zones import Zone, load_zone


def next_runs(
    task: CompiledTask, after: int, count: int = 5, *, left: int | None = None
) -> list[Slot]:
    """The next `count` runs that start after `after`, those that wait for the end of a blackout
    included. `left` as in `missed.undecided`."""
    return list(islice(upcoming(task, after, left=left), count))


def upcoming(
    task: CompiledTask, after: int, *, left: int | None = None, skipped: bool = False
) -> Iterator[Slot]:
    """The slots with start > after, in the order of their start; with `skipped`, also those that
    do not run, at the time of which that is decided. `left` counts runs that are due after `after`.
    """
    heap: list[tuple[int, int, int, Slot]] = []
    for waiting in _deferred_over(task, after):
        heappush(heap, (waiting.start, waiting.nominal, 0, waiting))
    slots = walk(task, after) if skipped else runs_after(task, after)
    for count, slot in enumerate(slots, 1):
        if left is not None and left <= 0:
            break
        left = left if left is None or slot.skip else left - 1
        # No slot starts before it is due, so what starts earlier than this one is due is known.
        while heap and heap[0][0] < slot.due:
            yield heappop(heap)[-1]
        begin = slot.due if slot.skip else slot.start
        heappush(heap, (begin, slot.nominal, count, slot))
    while heap:
        yield heappop(heap)[-1]


def _deferred_over(task: CompiledTask, instant: int) -> Iterator[Slot]:
    """Runs that are decided by the instant and start after it."""
    if not task.calendars:
        return
    moves = task.moves_by_days
    for slot in runs_before(task, instant, instant - LOOK_AHEAD):
        if slot.start > instant:
            yield slot
        elif not moves:
            return  # deferrals alone keep the order of slots


def zone_of(task: CompiledTask, slot: Slot) -> Zone:
    """The time zone of the schedule that a slot belongs to."""
    return next(
        (entry.zone for entry in task.entries if entry.name == slot.schedule), load_zone("UTC")
    )


def local_time(instant: int, zone: Zone) -> str:
    """RFC 3339 with the offset of the zone: `2026-03-29T03:00:00+02:00`."""
    offset = timezone(timedelta(seconds=zone.offset(instant)))
    return datetime.fromtimestamp(instant, offset).isoformat()
