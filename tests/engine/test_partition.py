"""What is seen goes into the memory of its namespace's shard, whole and nowhere else."""

from __future__ import annotations

from typing import Any

from taskrunner.domain.sharding import shard_of
from taskrunner.engine.admit import TaskSink
from taskrunner.engine.partition import Partition
from taskrunner.engine.pause_sinks import NamespaceSink
from taskrunner.engine.work import Key
from world import TEMPLATE

NAMESPACES = [f"team-{number}" for number in range(20)]
SHARDS = 4


def task(namespace: str, version: int = 1) -> dict[str, Any]:
    meta = {
        "namespace": namespace,
        "name": "t",
        "uid": f"uid-{namespace}",
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-09-21T14:00:00Z",
    }
    return {"metadata": meta, "spec": {"schedule": "* * * * *", "jobTemplate": TEMPLATE}}


def present(namespaces: list[str]) -> dict[str, str]:
    return {f"{namespace}/t": f"uid-{namespace}" for namespace in namespaces}


def held(memory: Partition) -> list[set[str]]:
    return [{state.namespace for state in store.tasks.values()} for store in memory.stores]


def belonging(namespaces: list[str]) -> list[set[str]]:
    return [{n for n in namespaces if shard_of(n, SHARDS) == shard} for shard in range(SHARDS)]


def test_a_list_is_taken_apart_and_what_is_gone_is_gone_everywhere() -> None:
    memory = Partition(SHARDS)
    sink = memory.sink(TaskSink)
    for namespace in NAMESPACES:
        sink.seen("LISTED", task(namespace))
    sink.synced(present(NAMESPACES), 5)
    assert held(memory) == belonging(NAMESPACES)
    assert memory.tasks == len(NAMESPACES)
    sink.synced(present(NAMESPACES[:3]), 6)
    assert held(memory) == belonging(NAMESPACES[:3])
    sink.synced({}, 7)
    assert memory.tasks == 0


def test_a_change_is_told_to_its_own_shard_only() -> None:
    memory = Partition(SHARDS)
    woken: list[tuple[int, Key]] = []
    for shard, store in enumerate(memory.stores):
        store.wake = lambda key, shard=shard: woken.append((shard, key))  # type: ignore[misc]
    sink = memory.sink(TaskSink)
    for namespace in NAMESPACES:
        sink.seen("ADDED", task(namespace))
    keys = [(shard_of(n, SHARDS), Key("task", f"{n}/t")) for n in NAMESPACES]
    assert woken == keys
    sink.seen("DELETED", task(NAMESPACES[0]))
    assert woken[len(keys) :] == keys[:1]
    assert memory.tasks == len(NAMESPACES) - 1


def test_a_pause_holds_in_every_shard_and_is_told_to_those_it_concerns() -> None:
    memory = Partition(SHARDS)
    sink = memory.sink(TaskSink)
    for namespace in NAMESPACES:
        sink.seen("ADDED", task(namespace))
    woken: list[Key] = []
    for store in memory.stores:
        store.wake = woken.append
    NamespaceSink(*memory.stores).seen("ADDED", {"metadata": {"name": NAMESPACES[7]}})
    assert woken == [Key("task", f"{NAMESPACES[7]}/t")]
    assert all(store.pauses.why(NAMESPACES[7]) for store in memory.stores)


def test_with_one_shard_nothing_is_taken_apart() -> None:
    memory = Partition(1)
    assert isinstance(memory.sink(TaskSink), TaskSink)
