"""One memory for each shard, side by side in one process: what is seen goes where it belongs.

A cycle sees the memory of its own shard and nothing else, so that it cannot act for another one.
All are filled all the time, whichever shards this replica holds, so that it can take over any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from taskrunner.domain.sharding import shard_of
from taskrunner.engine.pauses import Pauses
from taskrunner.engine.store import Store, TaskState, ignore
from taskrunner.ports import EventType, Obj, Sink


class Partition:
    """The memories of all shards. What is paused is common to them."""

    def __init__(self, shards: int) -> None:
        self.stores = tuple(Store() for _ in range(shards))
        pauses = Pauses()
        for store in self.stores:
            store.pauses = pauses

    @property
    def tasks(self) -> int:
        """ScheduledTasks in all shards."""
        return sum(len(store.tasks) for store in self.stores)

    @property
    def led(self) -> list[TaskState]:
        """The tasks of the shards that this replica acts for."""
        acting = (store for store in self.stores if store.wake is not ignore)
        return [state for store in acting for state in store.tasks.values()]

    def sink(self, make: Callable[[Store], Sink]) -> Sink:
        """One sink over those that `make` makes for each memory."""
        sinks = [make(store) for store in self.stores]
        return sinks[0] if len(sinks) == 1 else _ByNamespace(sinks)


class _ByNamespace:
    """ports.Sink that hands each object on to the sink of its namespace's shard."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there is in no shard."""
        for sink in self._sinks:
            sink.synced(present, resource_version)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        self._sinks[self._shard(obj)].seen(event, obj)

    def _shard(self, obj: Obj) -> int:
        return shard_of(obj["metadata"].get("namespace", ""), len(self._sinks))
