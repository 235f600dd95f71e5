"""Keyed work: one worker for a key, a limit for all, and nothing forgotten."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter

from taskrunner.engine.work import Key, Subject, WorkQueue


async def work_off(queue_limit: int, keys: list[Key], *, turns: int = 2) -> list[Key]:
    """Add all keys, then each once more while it is handled; the order of handling."""
    handled: list[Key] = []
    active: Counter[Key] = Counter()

    async def handle(key: Key) -> None:
        active[key] += 1
        assert active[key] == 1
        assert active.total() <= queue_limit
        handled.append(key)
        if handled.count(key) < turns:
            queue.add(key)
            queue.add(key)
        await asyncio.sleep(0)
        active[key] -= 1

    async with asyncio.TaskGroup() as group:
        queue = WorkQueue(group, handle, limit=queue_limit)
        for key in keys:
            queue.add(key)
    assert queue.idle
    return handled


def keys(subject: Subject, *names: str) -> list[Key]:
    return [Key(subject, name) for name in names]


async def test_a_key_that_is_added_while_it_is_handled_is_handled_once_more() -> None:
    assert await work_off(4, keys("task", "a")) == keys("task", "a", "a")


async def test_a_key_that_is_added_twice_before_is_handled_once() -> None:
    assert await work_off(1, keys("task", "a", "a", "b"), turns=1) == keys("task", "a", "b")


async def test_runs_go_before_planning_before_reports_before_cleaning() -> None:
    mixed = [
        *keys("history", "h"),
        *keys("report", "r"),
        *keys("task", "t"),
        *keys("run", "x"),
    ]
    # The first is taken at once; what waits is taken in order.
    order = await work_off(1, [Key("task", "first"), *mixed], turns=1)
    assert [key.subject for key in order] == ["run", "task", "task", "report", "history"]


async def test_the_smallest_rank_of_a_subject_is_next_and_the_first_of_equals() -> None:
    handled: list[str] = []

    async def handle(key: Key) -> None:
        handled.append(key.name)

    async with asyncio.TaskGroup() as group:
        queue = WorkQueue(group, handle, limit=1, rank=lambda key: float(key.name[0]))
        for name in ("2a", "1a", "3a", "2b", "1b"):
            queue.add(Key("run", name))
    assert handled == ["1a", "1b", "2a", "2b", "3a"]


async def test_a_hundred_thousand_keys_are_small_and_make_no_tasks() -> None:
    """What waits is keys; how many are being handled is bounded."""
    gate = asyncio.Event()
    most = 0

    async def handle(key: Key) -> None:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        await gate.wait()

    async with asyncio.TaskGroup() as group:
        queue = WorkQueue(group, handle, limit=128)
        names = [f"team/run-{number}" for number in range(100_000)]
        tracemalloc.start()
        for name in names:
            queue.add(Key("run", name))
        await asyncio.sleep(0)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert queue.depth == 100_000 - 128
        assert len(asyncio.all_tasks()) <= 128 + 2
        assert size / 100_000 < 400
        gate.set()
    assert queue.idle
    assert most <= 128 + 2


async def test_many_keys_share_few_workers() -> None:
    names = [str(n) for n in range(50)]
    assert Counter(await work_off(3, keys("run", *names))) == Counter(keys("run", *names, *names))


async def test_a_closed_queue_takes_nothing() -> None:
    async def handle(key: Key) -> None:
        raise AssertionError(key)

    async with asyncio.TaskGroup() as group:
        queue = WorkQueue(group, handle, limit=1)
        queue.close()
        queue.add(Key("run", "late"))
    assert queue.idle


async def test_the_limit_can_be_lowered_and_raised_while_keys_wait() -> None:
    active, most, limits = 0, list[int](), iter([4] * 4 + [1] * 6 + [3] * 10)

    async def handle(key: Key) -> None:
        nonlocal active
        active += 1
        most.append(active)
        for _ in range(3):
            await asyncio.sleep(0)
        active -= 1
        queue.limit = next(limits)

    async with asyncio.TaskGroup() as group:
        queue = WorkQueue(group, handle, limit=4)
        for number in range(20):
            queue.add(Key("run", str(number)))
    assert queue.idle
    assert most == [1, 2, 3, 4, *most[4:]]
    assert max(most[4:8]) <= 4
    assert 1 in most[8:11]
    assert max(most[12:]) == 3
