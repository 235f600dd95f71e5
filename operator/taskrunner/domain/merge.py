"""The schedules of a task as one row of nominal instants, forward and back, within its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace, merge
from itertools import groupby
from operator import itemgetter

from taskrunner.domain.compile import CompiledTask, Entry
from taskrunner.domain.timeline import Fire, Timeline
from taskrunner.domain.zones import LATEST


@dataclass(frozen=True, slots=True)
class Group:
    """One nominal instant, and the schedules that name it."""

    nominal: int
    members: tuple[int, ...]
    """Indexes of entries, in list order."""
    fires: tuple[Fire, ...]

    def notes(self, members: tuple[int, ...]) -> tuple[str, ...]:
        """What DST did to the slots of these members, each thing once."""
        if len(self.members) == 1:
            note = self.fires[0].note
            return (note,) if note else ()
        fires = dict(zip(self.members, self.fires, strict=True))
        return tuple(dict.fromkeys(fires[m].note for m in members if fires[m].note))


def groups_after(task: CompiledTask, after: int) -> Iterator[Group]:
    """The nominal instants after `after`, in order, from the task's first to before its end."""
    after = max(after, task.first - 1)
    end = LATEST if task.end is None else task.end
    rows = timelines(task)
    if len(rows) == 1:
        fire = rows[0].next_after(after)
        while fire is not None and fire.time < end:
            yield Group(fire.time, (0,), (fire,))
            fire = rows[0].next_after(fire.time)
        return
    found = enumerate(timeline.next_after(after) for timeline in rows)
    heads = [(fire.time, index, fire) for index, fire in found if fire is not None]
    heapify(heads)
    while heads and (nominal := heads[0][0]) < end:
        members, fires = list[int](), list[Fire]()
        while heads and heads[0][0] == nominal:
            _, index, fire = heads[0]
            members.append(index)
            fires.append(fire)
            following = rows[index].next_after(nominal)
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following.time, index, following))
        yield Group(nominal, tuple(members), tuple(fires))


def groups_before(task: CompiledTask, before: int) -> Iterator[Group]:
    """The nominal instants before `before`, the latest first, within the task's bounds."""
    before = before if task.end is None else min(before, task.end)
    rows = timelines(task)
    if len(rows) == 1:
        for fire in rows[0].backwards(before):
            if fire.time < task.first:
                return
            yield Group(fire.time, (0,), (fire,))
        return
    numbered = (_backwards(timeline, -index, before) for index, timeline in enumerate(rows))
    for nominal, same in groupby(merge(*numbered, reverse=True), key=itemgetter(0)):
        if nominal < task.first:
            return
        found = list(same)
        yield Group(nominal, tuple(-i for _, i, _ in found), tuple(fire for _, _, fire in found))


def _backwards(timeline: Timeline, number: int, before: int) -> Iterator[tuple[int, int, Fire]]:
    for fire in timeline.backwards(before):
        yield fire.time, number, fire


def timelines(task: CompiledTask, only: int | None = None) -> list[Timeline]:
    """The timelines of all schedules, or of a class of equal arguments: the index of its first."""
    if only is None:
        return [entry.timeline for entry in task.entries]
    if task.classes.count(only) == 1:
        return [task.entries[only].timeline]
    pairs = zip(task.entries, task.classes, strict=True)
    return [entry.timeline for entry, kind in pairs if kind == only]


def nominal_after(task: CompiledTask, after: int, only: int | None = None) -> int | None:
    """The first nominal instant after `after`; with `only`, of that class of equal arguments."""
    after = max(after, task.first - 1)
    fires = [timeline.next_after(after) for timeline in timelines(task, only)]
    found = min((fire.time for fire in fires if fire is not None), default=None)
    return None if found is None or (task.end is not None and found >= task.end) else found


def nominal_before(task: CompiledTask, before: int, only: int | None = None) -> int | None:
    """The last nominal instant before `before`; with `only`, of that class of equal arguments."""
    before = before if task.end is None else min(before, task.end)
    fires = [timeline.previous_before(before) for timeline in timelines(task, only)]
    found = max((fire.time for fire in fires if fire is not None), default=None)
    return None if found is None or found < task.first else found


def fires_at(entry: Entry, instant: int) -> bool:
    """Whether a schedule has a slot at the instant."""
    fire = entry.timeline.next_after(instant - 1)
    return fire is not None and fire.time == instant
