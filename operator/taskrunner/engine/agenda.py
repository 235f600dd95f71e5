"""What is to be looked at when: a heap of instants with one entry per key."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    """Keyed heap. Setting a key again moves it; stale heap entries are dropped when they surface.

    An entry leaves only through `due` or `remove`: whoever takes a key looks at it and sets it
    again, also after an error, so that nothing is forgotten.
    """

    def __init__(self) -> None:
        self._when: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._when)

    def set(self, key: K, when: float) -> None:
        """Look at `key` at `when` (seconds since the epoch), instead of any other time."""
        if self._when.get(key) == when:
            return
        self._when[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._when):
            self._compact()

    def set_earlier(self, key: K, when: float) -> None:
        """As `set`, unless the key is to be looked at sooner already."""
        present = self._when.get(key)
        if present is None or when < present:
            self.set(key, when)

    def remove(self, key: K) -> None:
        """Forget a key; unknown ones are fine."""
        self._when.pop(key, None)

    def next_due(self) -> float | None:
        """The earliest instant, or None when the agenda is empty."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def count(self, until: float) -> int:
        """How many keys are to be looked at by then."""
        return sum(when <= until for when in self._when.values())

    def due(self, now: float) -> Iterator[K]:
        """Take out every key whose instant has come, earliest first."""
        while True:
            self._drop_stale()
            if not self._heap or self._heap[0][0] > now:
                return
            _, _, key = heapq.heappop(self._heap)
            del self._when[key]
            yield key

    def _drop_stale(self) -> None:
        while self._heap and self._when.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)

    def _compact(self) -> None:
        self._heap = [(when, n, key) for n, (key, when) in enumerate(self._when.items())]
        self._count = len(self._heap)
        heapq.heapify(self._heap)
