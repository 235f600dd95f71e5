"""The schedules of a task as one row of nominal instants, forward and back, within its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from typing import Final, NamedTuple

from taskrunner.domain.compile import CompiledTask, Entry
from taskrunner.domain.timeline import Fire, Timeline
from taskrunner.domain.zones import LATEST


class Group(NamedTuple):
    """One nominal instant, and the schedules that name it."""

    nominal: int
    members: tuple[int, ...]
    """Indexes of entries, in list order."""
    dst: dict[int, str]
    """What DST did to the slots of members, for people; those to which it did nothing are left
    out."""

    def notes(self, members: tuple[int, ...]) -> tuple[str, ...]:
        """What DST did to the slots of these members, each thing once."""
        if not self.dst:
            return ()
        return tuple(dict.fromkeys(self.dst[m] for m in members if m in self.dst))


class Row:
    """The nominal instants of a task, asked about each place once.

    It lives as long as one question. An evaluation comes by a few places over and over (watermark,
    deadline, window, present), and with fifty schedules each look there is fifty searches.
    """

    __slots__ = (
        "_after", "_ahead", "_before", "_behind", "_classes", "_counts", "_edges", "_end",
        "_first", "_firsts", "_groups", "_kinds", "_lasts", "_members", "_timelines",
    )  # fmt: skip

    def __init__(self, task: CompiledTask) -> None:
        self._first = task.first
        self._end = LATEST if task.end is None else task.end
        self._timelines = [timeline for timeline, _ in task.timelines]
        self._classes = task.classes
        self._members = [members for _, members in task.timelines]
        """The entries of each timeline …"""
        self._kinds = [[task.classes[m] for m in members] for members in self._members]
        """… and their classes."""
        self._groups: dict[int, Group] = {}
        self._after: dict[int, Group | None] = {}
        self._before: dict[int, Group | None] = {}
        self._ahead: dict[int, _Heads] = {}
        """Searches that may go on, by the instant that they have come to: forward …"""
        self._behind: dict[int, _Heads] = {}
        """… and back."""
        self._edges: dict[tuple[int, int, bool], int | None] = {}
        self._firsts: dict[int, dict[int, int]] = {}
        """For all classes at once: their first instants after an instant …"""
        self._lasts: dict[int, dict[int, int]] = {}
        """… and their last ones before it."""
        self._counts: dict[tuple[int, int], int] = {}

    def after(self, instant: int) -> Group | None:
        """The first group strictly after the instant."""
        instant = max(instant, self._first - 1)
        if instant in self._after:
            return self._after[instant]
        group = self._groups.get(instant + 1)
        if group is None:
            group = self._search_after(instant)
        self._after[instant] = group
        if group is not None and instant in self._groups:
            self._before[group.nominal] = self._groups[instant]
        return group

    def before(self, instant: int) -> Group | None:
        """The last group strictly before the instant."""
        instant = min(instant, self._end)
        if instant in self._before:
            return self._before[instant]
        group = self._groups.get(instant - 1)
        if group is None:
            group = self._search_before(instant)
        self._before[instant] = group
        if group is not None and instant in self._groups:
            self._after[group.nominal] = self._groups[instant]
        return group

    def forward(self, after: int) -> Iterator[Group]:
        """The groups after an instant, in order."""
        if len(self._timelines) == 1:
            (timeline,) = self._timelines
            fire = timeline.next_after(max(after, self._first - 1))
            while fire is not None and fire.time < self._end:
                yield self._single(fire)
                fire = timeline.next_after(fire.time)
            return
        group = self.after(after)
        while group is not None:
            yield group
            group = self.after(group.nominal)

    def backward(self, before: int) -> Iterator[Group]:
        """The groups before an instant, the latest first."""
        if len(self._timelines) == 1:
            for fire in self._timelines[0].backwards(min(before, self._end)):
                if fire.time < self._first:
                    return
                yield self._single(fire)
            return
        group = self.before(before)
        while group is not None:
            yield group
            group = self.before(group.nominal)

    def nominal_after(self, after: int, only: int | None = None) -> int | None:
        """The first nominal instant after `after`; with `only`, of that class of equal arguments:
        the index of its first entry."""
        if only is None:
            group = self.after(after)
            return None if group is None else group.nominal
        if after in self._firsts:
            return self._firsts[after].get(only)
        key = (only, after, True)
        if key not in self._edges:
            low = max(after, self._first - 1)
            fires = [timeline.next_after(low) for timeline, _ in self._of(only)]
            found = min((fire.time for fire in fires if fire is not None), default=None)
            self._edges[key] = None if found is None or found >= self._end else found
        return self._edges[key]

    def nominal_before(self, before: int, only: int | None = None) -> int | None:
        """The last nominal instant before `before`; `only` as above."""
        if only is None:
            group = self.before(before)
            return None if group is None else group.nominal
        if before in self._lasts:
            return self._lasts[before].get(only)
        key = (only, before, False)
        if key not in self._edges:
            high = min(before, self._end)
            fires = [timeline.previous_before(high) for timeline, _ in self._of(only)]
            found = max((fire.time for fire in fires if fire is not None), default=None)
            self._edges[key] = None if found is None or found < self._first else found
        return self._edges[key]

    def firsts(self, after: int) -> dict[int, int]:
        """`nominal_after` for each class that has such an instant, in one search."""
        found = self._firsts.get(after)
        if found is None:
            found = self._firsts[after] = {}
            for time, index, _ in self._heads_after(max(after, self._first - 1)):
                for kind in self._kinds[index] if time < self._end else ():
                    found[kind] = min(time, found.get(kind, LATEST))
        return found

    def lasts(self, before: int) -> dict[int, int]:
        """`nominal_before` for each class that has such an instant, in one search."""
        found = self._lasts.get(before)
        if found is None:
            found = self._lasts[before] = {}
            for order, index, _ in self._heads_before(min(before, self._end)):
                for kind in self._kinds[index] if -order >= self._first else ():
                    found[kind] = max(-order, found.get(kind, -1))
        return found

    def names(self, instant: int, only: int) -> bool:
        """Whether a class of equal arguments has a slot at the instant."""
        group = self._groups.get(instant)
        if group is not None:
            return any(self._classes[index] == only for index in group.members)
        return self.nominal_before(instant + 1, only) == instant

    def count(self, low: int, high: int, only: int | None = None) -> int:
        """Slots with low < nominal ≤ high: schedules that coincide count each."""
        low, high = max(low, self._first - 1), min(high, self._end - 1)
        if only is not None:
            return sum(
                timeline.count_between(low, high) * times for timeline, times in self._of(only)
            )
        key = (low, high)
        if key not in self._counts:
            pairs = zip(self._timelines, self._members, strict=True)
            counts = (timeline.count_between(low, high) * len(every) for timeline, every in pairs)
            self._counts[key] = sum(counts)
        return self._counts[key]

    def more_than(self, most: int, low: int, high: int) -> bool:
        """Whether there are more such slots than `most`: quicker than to count them."""
        low, high = max(low, self._first - 1), min(high, self._end - 1)
        total = 0
        for timeline, members in zip(self._timelines, self._members, strict=True):
            total += timeline.count_between(low, high) * len(members)
            if total > most:
                return True
        return False

    def _of(self, only: int) -> list[tuple[Timeline, int]]:
        """The timelines of a class, each with the number of its entries there."""
        pairs = zip(self._timelines, self._kinds, strict=True)
        return [(timeline, kinds.count(only)) for timeline, kinds in pairs if only in kinds]

    def _single(self, fire: Fire) -> Group:
        """Of the only timeline."""
        (members,) = self._members
        return Group(fire.time, members, dict.fromkeys(members, fire.note) if fire.note else {})

    def _search_after(self, instant: int) -> Group | None:
        heads = self._heads_after(instant)
        if not heads or heads[0][0] >= self._end:
            return None
        return self._group(heads[0][0], _level(heads))

    def _search_before(self, instant: int) -> Group | None:
        heads = self._heads_before(instant)
        if not heads or -heads[0][0] < self._first:
            return None
        return self._group(-heads[0][0], _level(heads))

    def _heads_after(self, instant: int) -> _Heads:
        """The first slot of each schedule after an instant: a search that has come near goes on."""
        heads = _take(self._ahead, max((at for at in self._ahead if at <= instant), default=None))
        if heads is None:
            found = enumerate(timeline.next_after(instant) for timeline in self._timelines)
            heads = [(fire.time, index, fire) for index, fire in found if fire is not None]
            heapify(heads)
        while heads and heads[0][0] <= instant:
            index = heads[0][1]
            following = self._timelines[index].next_after(instant)
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following.time, index, following))
        self._ahead[instant] = heads
        return heads

    def _heads_before(self, instant: int) -> _Heads:
        """The last slot of each schedule before an instant, likewise."""
        heads = _take(self._behind, min((at for at in self._behind if at >= instant), default=None))
        if heads is None:
            found = enumerate(timeline.previous_before(instant) for timeline in self._timelines)
            heads = [(-fire.time, index, fire) for index, fire in found if fire is not None]
            heapify(heads)
        while heads and -heads[0][0] >= instant:
            index = heads[0][1]
            earlier = self._timelines[index].previous_before(instant)
            if earlier is None:
                heappop(heads)
            else:
                heapreplace(heads, (-earlier.time, index, earlier))
        self._behind[instant] = heads
        return heads

    def _group(self, nominal: int, found: list[tuple[int, Fire]]) -> Group:
        group = self._groups.get(nominal)
        if group is None:
            members = [(m, fire.note) for index, fire in found for m in self._members[index]]
            members.sort()
            dst = {index: note for index, note in members if note}
            group = Group(nominal, tuple(index for index, _ in members), dst)
            if len(self._groups) >= REMEMBERED:
                for memory in (self._groups, self._after, self._before):
                    memory.clear()
            self._groups[nominal] = group
        return group


REMEMBERED: Final = 2048
"""Groups in memory: more than an evaluation looks at, but a preview may walk on for years."""
_Heads = list[tuple[int, int, Fire]]
"""A heap of the next slot of each schedule that has one: (order, index, slot)."""


def _take(searches: dict[int, _Heads], at: int | None) -> _Heads | None:
    return None if at is None else searches.pop(at)


def _level(heads: _Heads) -> list[tuple[int, Fire]]:
    """All that stand at the top of the heap: index and slot."""
    order, found, places = heads[0][0], list[tuple[int, Fire]](), [0]
    for place in places:
        if place < len(heads) and heads[place][0] == order:
            found.append(heads[place][1:])
            places += (2 * place + 1, 2 * place + 2)
    return found


def fires_at(entry: Entry, instant: int) -> bool:
    """Whether a schedule has a slot at the instant."""
    fire = entry.timeline.next_after(instant - 1)
    return fire is not None and fire.time == instant


def groups_after(task: CompiledTask, after: int) -> Iterator[Group]:
    """The nominal instants after `after`, in order, from the task's first to before its end."""
    return Row(task).forward(after)


def groups_before(task: CompiledTask, before: int) -> Iterator[Group]:
    """The nominal instants before `before`, the latest first, within the task's bounds."""
    return Row(task).backward(before)
