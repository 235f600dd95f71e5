"""The order in which runs wait for a place.

**The order** is by priority, and a run gains one point of priority for every AGEING_SECONDS that it
has waited, so that none waits for ever. Ageing is the same for all, so the difference of two runs
never changes: `priority + waited/10 = (now + 10 * priority - since)/10`, and `now` is common to
both. What is sorted is `since - 10 * priority`, a number that is fixed when the run begins to wait.
Nothing has to be scored again as time passes.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=tuple[Any, ...])

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


class Line(Generic[K, R]):
    """A heap with one entry per item. An item that is set again moves; entries that no longer hold
    are dropped when they surface."""

    def __init__(self) -> None:
        self._orders: dict[K, R] = {}
        self._heap: list[tuple[R, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[K]:
        return iter(self._orders)

    def get(self, item: K) -> R | None:
        """The order of an item; None when it is not in."""
        return self._orders.get(item)

    def set(self, item: K, order: R) -> None:
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

    def first(self) -> tuple[R, K] | None:
        """The item that is first in order, and its order."""
        while self._heap:
            order, _, item = self._heap[0]
            if self._orders.get(item) == order:
                return order, item
            heapq.heappop(self._heap)
        return None

    def put_back(self, order: R) -> None:
        """Give the item that is first another order."""
        item = self._heap[0][2]
        self._orders[item] = order
        self._count += 1
        heapq.heapreplace(self._heap, (order, self._count, item))
