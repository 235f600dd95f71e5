"""Runs that wait for a place, and in which order they get one.

Places are limited in pools: the runs of a task share one, all pools share the operator's, and a
pool may lie within another one (a TaskQueue between the two). A run starts when each pool around it
has a free place. Of those that could start, the first in order does.

**The order** is by priority, and a run gains one point of priority for every AGEING_SECONDS that it
has waited, so that none waits for ever. Ageing is the same for all, so the difference of two runs
never changes: `priority + waited/10 = (now + 10 * priority - since)/10`, and `now` is common to
both. What is sorted is `since - 10 * priority`, a number that is fixed when the run begins to wait.
Nothing has to be scored again as time passes.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

AGEING_SECONDS: Final = 10
"""Waiting so long is worth one point of priority."""
DEFAULT_PRIORITY: Final = 500
"""The middle of 0 to 1000, so that a task can be put before others, and behind them."""


class Order(NamedTuple):
    """Where a run stands in line; the smallest starts first."""

    rank: float
    since: float
    name: str


def rank(priority: int, since: float) -> float:
    """The part of the order that ageing is in; `since` in seconds, the smaller the sooner."""
    return since - AGEING_SECONDS * priority


def order_of(priority: int, since: float, name: str) -> Order:
    """The order of a run that waits since `since`: max(notBefore, creation)."""
    return Order(rank(priority, since), since, name)


def share(most: int | None, shard: int, shards: int) -> int | None:
    """The part of an operator-wide maximum that one of several shards may use. The parts add up to
    the maximum; only where it is smaller than the number of shards, each still has one place."""
    if most is None:
        return None
    return max(1, most // shards + (shard < most % shards))


class Line(Generic[K]):
    """A heap with one entry per item. An item that is set again moves; entries that no longer hold
    are dropped when they surface."""

    def __init__(self) -> None:
        self._orders: dict[K, Order] = {}
        self._heap: list[tuple[Order, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[K]:
        return iter(self._orders)

    def set(self, item: K, order: Order) -> None:
        """Put an item in, or to another place."""
        if self._orders.get(item) == order:
            return
        self._orders[item] = order
        self._count += 1
        heapq.heappush(self._heap, (order, self._count, item))
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._orders):
            self._heap = [(order, n, item) for n, (item, order) in enumerate(self._orders.items())]
            self._count = len(self._heap)
            heapq.heapify(self._heap)

    def remove(self, item: K) -> None:
        """Take an item out; unknown ones are fine."""
        self._orders.pop(item, None)

    def first(self) -> tuple[Order, K] | None:
        """The item that is first in order, and its order."""
        while self._heap:
            order, _, item = self._heap[0]
            if self._orders.get(item) == order:
                return order, item
            heapq.heappop(self._heap)
        return None


@dataclass(eq=False, slots=True)
class _Pool:
    """Places that runs share, and the line for them."""

    name: str
    parent: _Pool | None
    most: int | None
    held: int
    """Places taken, in the pools within it too."""
    runs: Line[str]
    pools: Line[_Pool]
    """Pools within it that have a run which could start as far as they are concerned."""

    @property
    def has_room(self) -> bool:
        return self.most is None or self.held < self.most

    @property
    def empty(self) -> bool:
        return not (self.held or self.runs or self.pools)

    def first(self) -> tuple[Order, str | _Pool] | None:
        """What is first among its own runs and the pools within it, if it has room."""
        if not self.has_room:
            return None
        run, pool = self.runs.first(), self.pools.first()
        if run is None or (pool is not None and pool[0] < run[0]):
            return pool
        return run


class Places:
    """Who has a place, who waits for one, and who is next.

    Every operation is O(log n) in the number of runs that wait. It is never wrong to forget all of
    it: the objects say who runs and who waits, and since when.
    """

    def __init__(self, most: int | None = None) -> None:
        self._root = _Pool("", None, most, 0, Line(), Line())
        self._pools: dict[str, _Pool] = {}
        self._holding: dict[str, _Pool] = {}
        self._waiting: dict[str, _Pool] = {}

    @property
    def most(self) -> int | None:
        """The maximum over all pools."""
        return self._root.most

    @property
    def held(self) -> int:
        """Places taken over all pools."""
        return self._root.held

    def limit(self, name: str, most: int | None, within: str = "") -> None:
        """Say how many runs of a pool may have a place; a limit that falls takes no place away.

        `within`: the pool around this one, limited before; it stays what it was at first. Limits of
        pools in which nobody is are forgotten.
        """
        pool = self._pools.get(name)
        if pool is None:
            parent = self._pools[within] if within else self._root
            pool = self._pools[name] = _Pool(name, parent, most, 0, Line(), Line())
        elif pool.most != most:
            pool.most = most
            self._settle(pool)

    def hold(self, run: str, name: str) -> None:
        """A run has a place, whatever the limits say: it has started already."""
        if run in self._holding:
            return
        self._leave_line(run)
        pool = self._pool(name)
        self._holding[run] = pool
        self._count(pool, 1)

    def wait(self, run: str, name: str, order: Order) -> None:
        """A run joins the line, or moves in it."""
        pool = self._pool(name)
        if self._waiting.get(run, pool) is not pool:
            self._leave_line(run)
        self._waiting[run] = pool
        pool.runs.set(run, order)
        self._settle(pool)

    def release(self, run: str) -> None:
        """A run leaves its place or the line; unknown ones are fine."""
        self._leave_line(run)
        pool = self._holding.pop(run, None)
        if pool is not None:
            self._count(pool, -1)
            self._forget_if_empty(pool)

    def next(self) -> str | None:
        """The run that may start now and is first in order; None when there is none."""
        pool = self._root
        while (found := pool.first()) is not None:
            if not isinstance(found[1], _Pool):
                return found[1]
            pool = found[1]
        return None

    def take(self) -> str | None:
        """Give the next run its place."""
        run = self.next()
        if run is not None:
            self.hold(run, self._waiting[run].name)
        return run

    def has_room(self, name: str) -> bool:
        """Whether a pool itself has a free place, the pools around it apart."""
        pool = self._pools.get(name)
        return pool is None or pool.has_room

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

    def _pool(self, name: str) -> _Pool:
        if name not in self._pools:
            self.limit(name, None)
        return self._pools[name]

    def _leave_line(self, run: str) -> None:
        pool = self._waiting.pop(run, None)
        if pool is not None:
            pool.runs.remove(run)
            self._settle(pool)
            self._forget_if_empty(pool)

    def _count(self, pool: _Pool, step: int) -> None:
        each: _Pool | None = pool
        while each is not None:
            each.held += step
            each = each.parent
        self._settle(pool)

    def _settle(self, pool: _Pool) -> None:
        """Tell the pools around, from the inside out, which run of this one would be next."""
        while pool.parent is not None:
            found = pool.first()
            if found is None:
                pool.parent.pools.remove(pool)
            else:
                pool.parent.pools.set(pool, found[0])
            pool = pool.parent

    def _forget_if_empty(self, pool: _Pool) -> None:
        while pool.parent is not None and pool.empty:
            self._pools.pop(pool.name, None)
            pool = pool.parent
