"""Who has a place, who waits for one, and who is next.

Places are limited in pools that lie in one another: runs in a task, tasks in a TaskQueue, queues in
a namespace, namespaces in the operator. A run starts when each pool around it has room.

**Within a task** the first in order does (`queueing`). **Where pools take turns** (tasks of a
queue, queues of a namespace, namespaces), the one that has had least for its weight is next:
start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996) with the time that places are taken as
what is shared out. A pool is charged a second for each start, at once, so that ten places that
become free together do not all go to one; and the time that its places are taken, as it passes, so
that runs of an hour and runs of a second get the same part of the places. Where only starts are
limited, each start counts the same, however long it takes. What is not used cannot be saved up: a
pool that begins to wait is put level with the one that was served last. What was had too much is
not forgotten.

The virtual time of a pool grows while it has places, all by itself. The heaps hold what it was when
something last happened; as it never falls, that is a lower bound, and only what comes to the top
has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from taskrunner.domain.queueing import Line, Order
from taskrunner.domain.starts import Starts

START_SECONDS: Final = 1.0
"""What a start is charged beside the time that it takes."""
_DEBTS_KEPT: Final = 1024
_CLOSE_ENOUGH: Final = START_SECONDS / 2
"""What has been had since is only looked at from so much on: it is less than one start."""
_FIRST: Final = float("-inf")

Key = tuple[float, Order]
"""Where a pool stands in the line of pools: what it has had, and the order of its next run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for a pool."""

    most: int | None = None
    """Runs with a place at once; None for no limit."""
    weight: float = 1.0
    """Its part of what it shares with others, beside theirs."""
    turns: bool = False
    """The pools within it take turns; else their runs are one line."""
    counts_starts: bool = False
    """Its starts are counted, and it is remembered for that."""
    kept: bool = False
    """It is remembered when nobody is in it."""
    per_minute: int | None = None
    """Starts within any minute; None for no limit."""


@dataclass(eq=False, slots=True)
class _Pool:
    """Places that runs share, and the line for them. What `limits` says is copied out of it."""

    name: str
    parent: _Pool | None
    limits: Limits
    most: int | None = None
    weight: float = 1.0
    turns: bool = False
    by_starts: bool = False
    held: int = 0
    """Places taken, in the pools within it too."""
    inner: int = 0
    """Pools within it, those that nobody waits in too."""
    runs: Line[str, Order] = field(default_factory=Line)
    pools: Line[_Pool, Key] = field(default_factory=Line)
    """Pools within it that have a run which could start as far as they are concerned."""
    starts: Starts | None = None
    had: float = 0.0
    """Virtual time: what it has had for its weight, as of `at`."""
    at: float = 0.0
    turn: float = 0.0
    """Where pools take turns: the virtual time of the one that was served last."""
    debts: dict[str, float] = field(default_factory=dict)
    """Virtual times of pools that are gone, as far as they are ahead of `turn`."""

    def __post_init__(self) -> None:
        self.set_limits(self.limits)

    def set_limits(self, limits: Limits) -> None:
        self.limits = limits
        self.most, self.weight, self.turns = limits.most, limits.weight, limits.turns
        self.by_starts = limits.per_minute is not None and limits.most is None
        if limits.counts_starts:
            self.starts = self.starts or Starts()
            self.starts.most = limits.per_minute

    def has_room(self, now: float) -> bool:
        if self.most is not None and self.held >= self.most:
            return False
        return self.starts is None or self.starts.room(now)

    @property
    def empty(self) -> bool:
        kept = self.limits.kept or self.limits.counts_starts
        return not (kept or self.held or self.runs or self.inner)

    def virtual(self, now: float) -> float:
        if not self.held or (self.parent is not None and self.parent.by_starts):
            return self.had
        return self.had + self.held * (now - self.at) / self.weight

    def settle(self, now: float) -> None:
        """Let the virtual time be that of now."""
        self.had, self.at = self.virtual(now), now

    def first(self, now: float) -> tuple[Order, str | _Pool] | None:
        """What is first among its own runs and the pools within it, if it has room."""
        if not self.has_room(now):
            return None
        if not self.inner:
            return self.runs.first()
        pool = self._next_pool(now)
        run = self.runs.first()
        return pool if run is None or (pool is not None and pool[0] < run[0]) else run

    def _next_pool(self, now: float) -> tuple[Order, _Pool] | None:
        while (found := self.pools.first()) is not None:
            (had, order), pool = found
            if not self.turns:
                return order, pool
            present = pool.virtual(now)
            if present - had < _CLOSE_ENOUGH / pool.weight:
                return order, pool
            self.pools.put_back((present, order))
        return None


class Places:
    """All pools.

    Every operation is O(log n) in the number of runs that wait. It is never wrong to forget all of
    it: the objects say who runs and who waits, and since when. What is lost then is who has had how
    much; it begins anew with what runs.
    """

    def __init__(
        self, most: int | None = None, *, now: Callable[[], float] = lambda: 0.0, turns: bool = True
    ) -> None:
        self._now = now
        self._root = _Pool("", None, Limits(most, turns=turns))
        self._pools: dict[str, _Pool] = {}
        self._holding: dict[str, _Pool] = {}
        self._waiting: dict[str, _Pool] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._pools

    @property
    def most(self) -> int | None:
        """The maximum over all pools."""
        return self._root.most

    @property
    def held(self) -> int:
        """Places taken over all pools."""
        return self._root.held

    def limit(self, name: str, limits: Limits, within: str = "") -> None:
        """Say what holds for a pool; a limit that falls takes no place away.

        `within`: the pool around this one, limited before; a pool that is put into another one
        takes its runs along. Pools in which nobody is are forgotten.
        """
        pool = self._pools.get(name)
        parent = self._pools[within] if within else self._root
        if pool is None:
            self._add(name, limits, parent)
        elif pool.parent is not parent:
            self._move(pool, parent, limits)
        elif pool.limits != limits:
            pool.settle(self._now())
            pool.set_limits(limits)
            self._settle(pool)

    def hold(self, run: str, name: str) -> None:
        """A run has a place, whatever the limits say: it has started already."""
        if run in self._holding:
            return
        waiting = self._waiting.pop(run, None)
        pool = self._pool(name)
        if waiting is not None:
            waiting.runs.remove(run)
            if waiting is not pool:
                self._settle(waiting)
                self._forget_if_empty(waiting)
        self._holding[run] = pool
        self._count(pool, 1, started=True)
        if waiting is pool:
            self._settle(pool)

    def wait(self, run: str, name: str, order: Order) -> None:
        """A run joins the line, or moves in it."""
        pool = self._pool(name)
        if self._waiting.get(run, pool) is not pool:
            self._leave_line(run)
        self._waiting[run] = pool
        before = pool.runs.first()
        pool.runs.set(run, order)
        if before is None or order < before[0] or before[1] == run:
            self._settle(pool)

    def release(self, run: str, *, created: bool = True) -> None:
        """A run leaves its place or the line; unknown ones are fine. `created`: it may have a Job
        that was not seen."""
        self._leave_line(run)
        pool = self._holding.pop(run, None)
        if pool is not None:
            if (starts := self._starts(pool)) is not None:
                starts.left(run, self._now(), created=created)
            self._count(pool, -1)
            self._forget_if_empty(pool)

    def next(self) -> str | None:
        """The run that may start now and is first in order; None when there is none."""
        path = self._path()
        return None if path is None else path[1]

    def take(self) -> str | None:
        """Give the next run its place."""
        path = self._path()
        if path is None:
            return None
        pools, run = path
        now = self._now()
        for pool in pools:
            if pool.parent is not None and pool.parent.turns:
                pool.parent.turn = max(pool.parent.turn, pool.virtual(now))
        if (starts := self._starts(pools[-1])) is not None:
            starts.allow(run)
        self.hold(run, pools[-1].name)
        return run

    def refresh(self, name: str) -> None:
        """Time has passed, or something in the starts of a pool has changed."""
        if name in self._pools:
            self._settle(self._pools[name])

    def starts(self, name: str) -> Starts | None:
        """The starts of the pool around this one that counts them, or of itself."""
        pool = self._pools.get(name)
        return None if pool is None else self._starts(pool)

    def has_room(self, name: str) -> bool:
        """Whether a pool itself has a free place, the pools around it apart."""
        pool = self._pools.get(name)
        return pool is None or pool.has_room(self._now())

    def holding(self, name: str) -> int:
        """Places taken in a pool."""
        pool = self._pools.get(name)
        return pool.held if pool is not None else 0

    def waiting(self, name: str) -> int:
        """Runs in the line of a pool itself."""
        pool = self._pools.get(name)
        return len(pool.runs) if pool is not None else 0

    @property
    def in_line(self) -> int:
        """Runs that wait, over all pools."""
        return len(self._waiting)

    def _path(self) -> tuple[list[_Pool], str] | None:
        """The next run, and the pools around it from the outside in."""
        now, path = self._now(), [self._root]
        while True:
            found = path[-1].first(now)
            if found is None:
                if len(path) == 1:
                    return None
                self._settle(path[-1])  # It had room when something last happened.
                path = [self._root]
            elif isinstance(found[1], _Pool):
                path.append(found[1])
            else:
                return path, found[1]

    def _pool(self, name: str) -> _Pool:
        if name not in self._pools:
            self._add(name, Limits(), self._root)
        return self._pools[name]

    def _add(self, name: str, limits: Limits, parent: _Pool) -> None:
        pool = self._pools[name] = _Pool(name, parent, limits)
        pool.had = max(parent.turn, parent.debts.pop(name, _FIRST))
        pool.at = self._now()
        parent.inner += 1

    def _move(self, pool: _Pool, parent: _Pool, limits: Limits) -> None:
        old, held = pool.parent, pool.held
        assert old is not None
        old.pools.remove(pool)
        old.inner -= 1
        self._count(old, -held)
        self._forget_if_empty(old)
        pool.parent, pool.had, pool.at = parent, parent.turn, self._now()
        parent.inner += 1
        pool.set_limits(limits)
        self._count(parent, held)
        self._settle(pool)

    def _starts(self, pool: _Pool) -> Starts | None:
        each: _Pool | None = pool
        while each is not None:
            if each.starts is not None:
                return each.starts
            each = each.parent
        return None

    def _leave_line(self, run: str) -> None:
        pool = self._waiting.pop(run, None)
        if pool is not None:
            pool.runs.remove(run)
            self._settle(pool)
            self._forget_if_empty(pool)

    def _count(self, pool: _Pool, step: int, *, started: bool = False) -> None:
        """So many places more or less are taken in a pool and in those around it."""
        now = self._now()
        each: _Pool | None = pool
        full: list[_Pool] = []
        while each is not None:
            parent, most = each.parent, each.most
            if parent is not None and parent.turns:
                if each.held and not parent.by_starts:
                    each.had += each.held * (now - each.at) / each.weight
                each.at = now
                if started:
                    each.had += START_SECONDS / each.weight
            before = each.held
            each.held += step
            if each.starts is not None or (
                most is not None and (before >= most) != (each.held >= most)
            ):
                full.append(each)
            each = parent
        for each in full:
            self._settle(each)

    def _settle(self, pool: _Pool) -> None:
        """Tell the pools around, from the inside out, which run of this one would be next. It ends
        where that changes nothing: among pools that take turns, it matters that there is one, and
        who it is only between those that have had the same."""
        now = self._now()
        while (parent := pool.parent) is not None:
            found, known = pool.first(now), parent.pools.get(pool)
            if found is None:
                if known is None:
                    return
                parent.pools.remove(pool)
            elif known is not None and known[1] == found[0]:
                return
            elif parent.turns:
                if known is None:
                    pool.had, pool.at = max(pool.virtual(now), parent.turn), now
                parent.pools.set(pool, (pool.virtual(now), found[0]))
                if known is not None:
                    return
            else:
                parent.pools.set(pool, (0.0, found[0]))
            pool = parent

    def _forget_if_empty(self, pool: _Pool) -> None:
        while (parent := pool.parent) is not None and pool.empty:
            if self._pools.pop(pool.name, None) is None:
                return
            parent.inner -= 1
            had = pool.virtual(self._now())
            if parent.turns and had > parent.turn:
                parent.debts[pool.name] = had
                if len(parent.debts) > _DEBTS_KEPT:
                    live = {name: had for name, had in parent.debts.items() if had > parent.turn}
                    parent.debts = dict(list(live.items())[-_DEBTS_KEPT:])
            pool = parent
