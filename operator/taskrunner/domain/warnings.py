"""What is allowed but probably not meant: told at admission, never a reason to refuse a task."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Final

from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_days import DAY
from taskrunner.domain.compile import CompiledTask, Entry
from taskrunner.domain.instants import format_instant
from taskrunner.domain.merge import fires_at
from taskrunner.domain.runs import runs_after
from taskrunner.domain.timeline import MOVED, CronTimeline, OnceTimeline
from taskrunner.domain.zones import LATEST, Zone, is_deprecated_alias
from taskrunner.errors import Problem

FAR: Final = 5 * 366 * DAY
"""A task without a run for five years is a mistake, or can be created later."""
YEAR: Final = 366 * DAY
_SAMPLES: Final = 100
"""Slots compared before two schedules are said to coincide always: the next ones, and as many
spread over five years."""


def warnings_for(task: CompiledTask, now: int) -> list[Problem]:
    """All warnings about a task, seen from `now`."""
    return [
        *_aliases(task),
        *_never(task, now),
        *_coinciding(task, now),
        *_gaps(task, now),
        *_outpaced(task, now),
    ]


def warnings_for_calendar(calendar: CompiledCalendar) -> list[Problem]:
    """All warnings about a calendar."""
    return list(_alias("spec.timeZone", calendar.zone))


def _aliases(task: CompiledTask) -> Iterator[Problem]:
    zones = {entry.zone_field: entry.zone for entry in task.entries}
    for field, zone in zones.items():
        yield from _alias(field, zone)


def _alias(field: str, zone: Zone) -> Iterator[Problem]:
    better = is_deprecated_alias(zone.name)
    if better is not None:
        yield Problem(
            field,
            zone.name,
            "The name is a deprecated alias in the IANA database.",
            f"Write {better}.",
        )


def _never(task: CompiledTask, now: int) -> Iterator[Problem]:
    """Schedules without a slot, then the task when calendars take out all that there is."""
    until = min(now + FAR, LATEST if task.end is None else task.end - 1)
    after = max(now, task.first - 1)
    by = "within five years" if until == now + FAR else f"before endTime ({_day(until + 1)})"
    dead = []
    for entry in task.entries:
        fire = entry.timeline.next_after(after)
        if fire is not None and fire.time <= until:
            continue
        dead.append(entry)
        if isinstance(entry.timeline, OnceTimeline) and entry.timeline.next_after(now) is None:
            skipped = "" if entry.timeline.fires else ", or in a DST gap that dst.gap skips"
            message = f"It has no slot to come: the time is in the past{skipped}."
        else:
            message = f"It never fires {by}."
        yield Problem(
            entry.field, entry.text, message, "Correct the time, or leave the schedule out."
        )
    if not task.calendars or len(dead) == len(task.entries):
        return
    run = next(runs_after(task, now), None)
    if run is None or run.due > until:
        names = ", ".join(sorted(task.calendar_names))
        yield Problem(
            "spec.calendars",
            names,
            f"The calendars leave no run {by}.",
            "Look at what they exclude, or remove those that do not fit.",
        )


def _coinciding(task: CompiledTask, now: int) -> Iterator[Problem]:
    told: set[int] = set()
    samples = _Samples(task, now)
    for second in range(len(task.entries)):
        for first in range(second):
            if first in told:
                continue
            equal = task.classes[first] == task.classes[second]
            if samples.within(second, first) and (equal or samples.within(first, second)):
                told.add(second)
                yield _coincidence(task.entries[first], task.entries[second], equal)
                break


class _Samples:
    """Slots of each schedule: the next ones, and as many spread over five years. Most pairs differ
    in the first already, so the others are laid out only where that one agrees, and once."""

    def __init__(self, task: CompiledTask, now: int) -> None:
        self._entries = task.entries
        self._now = now
        self._first = [entry.timeline.next_after(now) for entry in task.entries]
        self._all: dict[int, list[int]] = {}

    def within(self, inner: int, outer: int) -> bool:
        """Whether each slot of one schedule is one of the other, as far as samples show."""
        fire = self._first[inner]
        if fire is None or fire.time > self._now + FAR:
            return False
        other = self._entries[outer]
        return fires_at(other, fire.time) and all(fires_at(other, at) for at in self._of(inner))

    def _of(self, position: int) -> list[int]:
        if position not in self._all:
            self._all[position] = self._lay_out(self._entries[position])
        return self._all[position]

    def _lay_out(self, entry: Entry) -> list[int]:
        found: list[int] = []
        at = self._now
        while len(found) < _SAMPLES:
            fire = entry.timeline.next_after(at)
            if fire is None or fire.time > self._now + FAR:
                return found
            at = fire.time
            found.append(at)
        for start in range(self._now, self._now + FAR, FAR // _SAMPLES):
            fire = entry.timeline.next_after(start)
            if fire is not None and fire.time <= self._now + FAR:
                found.append(fire.time)
        return found


def _coincidence(one: Entry, two: Entry, equal: bool) -> Problem:
    if equal:
        message = f'Each of its slots is also one of "{one.name}", with equal arguments: one run.'
        remedy = "Remove it."
    else:
        message = f'It always coincides with "{one.name}": two runs start at the same time.'
        remedy = "Shift one of the two, or join them into one run."
    return Problem(two.field, two.text, message, remedy)


def _gaps(task: CompiledTask, now: int) -> Iterator[Problem]:
    """Fixed times that the wall clock jumps over in the coming year."""
    after = max(now, task.first - 1)
    until = min(now + YEAR, LATEST if task.end is None else task.end - 1)
    for entry in task.entries:
        timeline = entry.timeline
        if isinstance(timeline, CronTimeline):
            found = _cron_gap(timeline, after, until)
        elif isinstance(timeline, OnceTimeline):
            fires = timeline.fires
            moved = fires and fires[0].note == MOVED and after < fires[0].time <= until
            found = fires[0].time if moved else None
        else:
            found = None
        if found is not None:
            yield _gap_problem(entry, found)


def _cron_gap(timeline: CronTimeline, after: int, until: int) -> int | None:
    """The first change of the clock in the time that skips a time of the expression."""
    if not timeline.expression.fixed:
        return None
    zone = timeline.zone
    for index in range(zone.segment(after) + 1, len(zone.offsets)):
        change = zone.starts[index]
        if change > until:
            return None
        low, high = change + zone.offsets[index - 1], change + zone.offsets[index]
        if timeline.expression.first(low, high) is not None:
            return change
    return None


def _gap_problem(entry: Entry, change: int) -> Problem:
    zone = entry.zone
    before = _clock(change + zone.offset(change - 1))
    after = _clock(change + zone.offset(change))
    skips = isinstance(entry.timeline, CronTimeline) and entry.timeline.dst.gap == "Skip"
    what = "is left out" if skips else f"runs at {after} instead"
    return Problem(
        entry.field,
        entry.text,
        f"Clocks in {zone.name} jump from {before} to {after} on {_local_day(zone, change)}: a slot"
        f" between them {what}.",
        "Choose another time, a zone without DST, or the other value of spec.dst.gap.",
    )


def _outpaced(task: CompiledTask, now: int) -> Iterator[Problem]:
    """Under Forbid, slots that come while a run may still go on start late or not at all."""
    if task.timeout is None or task.concurrency_policy != "Forbid":
        return
    starts = [slot.start for slot in islice(runs_after(task, now), _SAMPLES)]
    gaps = [later - earlier for earlier, later in pairwise(sorted(set(starts)))]
    shortest = min(gaps, default=task.timeout)
    if shortest < task.timeout:
        yield Problem(
            "spec.timeoutSeconds",
            str(task.timeout),
            f"Runs come up to every {shortest} s but may take longer, and concurrencyPolicy Forbid"
            " does not start one beside another.",
            f"Set timeoutSeconds to at most {shortest}, run less often, or allow concurrent runs.",
        )


def _clock(local: int) -> str:
    return f"{local // 3600 % 24:02d}:{local // 60 % 60:02d}"


def _day(instant: int) -> str:
    return format_instant(instant)[:10]


def _local_day(zone: Zone, instant: int) -> str:
    return _day(instant + zone.offset(instant))
