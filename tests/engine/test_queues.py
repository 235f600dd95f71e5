"""TaskQueues: limits that tasks share, turns, starts within a minute, and what is told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.ports import TASK_EXECUTIONS, TASK_QUEUES, Obj
from world import NS, START, World, phases

KEEP = {"successfulJobsHistoryLimit": 100}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def queue(world: World, name: str, **spec: Any) -> Obj:
    present = world.server.objects(TASK_QUEUES).get(name)
    if present is None:
        return world.server.create(TASK_QUEUES, NS, {"metadata": {"name": name}, "spec": spec})
    present["spec"] = spec
    return world.server.replace(TASK_QUEUES, NS, name, present)


def told(world: World, name: str) -> Obj:
    return dict(world.server.get(TASK_QUEUES, NS, name).get("status") or {})


def outcome(world: World, name: str) -> tuple[str, str]:
    status = world.server.get(TASK_EXECUTIONS, NS, name).get("status") or {}
    return status.get("phase", ""), status.get("reason", "")


def created(world: World) -> list[int]:
    """When Jobs were created, in seconds since the start of the test."""
    jobs = world.jobs().values()
    return sorted(parse_instant(job["metadata"]["creationTimestamp"]) - START for job in jobs)


async def asked(world: World, *tasks: str, runs: int = 5, **spec: Any) -> None:
    for name in tasks:
        world.apply(name, queue={"name": "shared"}, **KEEP, **spec)
    await world.clock.advance(1)
    for name in tasks:
        for number in range(runs):
            world.run_by_hand(f"{name}-{number}", name)
    await world.clock.advance(2)


async def test_tasks_of_a_queue_share_its_places_and_take_turns(world: World) -> None:
    await world.replica()
    queue(world, "shared", maxConcurrent=2)
    world.run_for.update(a=10, b=10)
    await asked(world, "a", "b")
    assert sorted(world.jobs_created) == ["a-0-1", "b-0-1"] or len(world.jobs_created) == 2
    assert outcome(world, "b-4") == ("Queued", "WaitingForQueue")
    await world.clock.advance(40)
    for at_least in (2, 4):
        first = world.jobs_created[: 2 * at_least]
        assert abs(sum(n.startswith("a") for n in first) - at_least) <= 1
    await world.clock.advance(60)
    assert phases(world.executions()) == ["Succeeded"] * 10


async def test_what_waits_for_a_queue_that_is_not_there_says_so_and_starts_when_it_comes(
    world: World,
) -> None:
    await world.replica()
    await asked(world, "a", runs=2)
    await world.clock.advance(15)
    assert outcome(world, "a-0") == ("Queued", "QueueNotFound")
    ready = world.status("a")["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "QueueNotFound")
    assert 'There is no TaskQueue "shared"' in ready["message"]
    assert not world.jobs_created
    queue(world, "shared")
    await world.clock.advance(15)
    assert phases(world.executions()) == ["Succeeded"] * 2
    ready = world.status("a")["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("True", "NoSchedule")


async def test_a_queue_that_is_deleted_lets_nothing_start_any_more(world: World) -> None:
    await world.replica()
    made = queue(world, "shared", maxConcurrent=1)
    world.run_for["a"] = 20
    await asked(world, "a", runs=3)
    world.server.delete(TASK_QUEUES, NS, "shared", uid=made["metadata"]["uid"])
    await world.clock.advance(60)
    assert [outcome(world, f"a-{n}")[0] for n in range(3)] == ["Succeeded", "Queued", "Queued"]
    queue(world, "shared", maxConcurrent=2)
    await world.clock.advance(5)
    assert outcome(world, "a-2")[0] == "Running"


async def test_a_raised_limit_and_another_queue_take_effect_at_once(world: World) -> None:
    await world.replica()
    queue(world, "shared", maxConcurrent=1)
    queue(world, "other")
    world.run_for.update(a=None, b=None)
    await asked(world, "a", "b", runs=2)
    assert len(world.jobs_created) == 1
    queue(world, "shared", maxConcurrent=2)
    await world.clock.advance(1)
    assert len(world.jobs_created) == 2
    world.apply("b", queue={"name": "other"}, **KEEP)
    await world.clock.advance(1)
    assert {"b-0-1", "b-1-1"} <= set(world.jobs_created)


async def test_the_status_tells_who_runs_and_waits_and_is_written_only_when_that_changes(
    world: World,
) -> None:
    replica = await world.replica()
    queue(world, "shared", maxConcurrent=1)
    world.run_for["a"] = None
    await asked(world, "a", runs=3)
    await world.clock.advance(12)
    status = told(world, "shared")
    assert (status["running"], status["length"]) == (1, 2)
    assert status["oldestWaitTime"] == format_instant(START + 1)
    assert status["conditions"][0]["type"] == "Ready"
    assert "at most 1 active" in status["conditions"][0]["message"]
    version = world.server.get(TASK_QUEUES, NS, "shared")["metadata"]["resourceVersion"]
    await world.clock.advance(600)
    assert world.server.get(TASK_QUEUES, NS, "shared")["metadata"]["resourceVersion"] == version
    await replica.kill()
    await world.replica()
    await world.clock.advance(60)
    assert world.server.get(TASK_QUEUES, NS, "shared")["metadata"]["resourceVersion"] == version


@pytest.mark.parametrize("kill_after", [None, 0, 20, 59, 61])
async def test_no_minute_has_more_starts_than_the_queue_allows(
    world: World, kill_after: int | None
) -> None:
    replica = await world.replica()
    queue(world, "shared", startsPerMinute=3)
    world.run_for.update(a=1, b=1)
    await asked(world, "a", "b", runs=4)
    assert outcome(world, "b-3") == ("Queued", "WaitingForQueue")
    if kill_after is not None:
        await world.clock.advance(kill_after)
        await replica.kill()
        await world.replica()
    await world.clock.advance(220)
    starts = created(world)
    assert len(starts) == 8
    assert all(later - earlier >= 60 for earlier, later in zip(starts, starts[3:], strict=False))
    assert starts[-1] <= 2 * 67  # not slower than it must be


async def test_history_keeps_what_has_started_within_the_last_minute(world: World) -> None:
    replica = await world.replica()
    queue(world, "shared", startsPerMinute=2)
    world.run_for["a"] = 1
    world.apply("a", queue={"name": "shared"}, successfulJobsHistoryLimit=0)
    await world.clock.advance(1)
    for number in range(4):
        world.run_by_hand(f"a-{number}", "a")
    await world.clock.advance(30)
    await replica.kill()
    await world.replica()
    await world.clock.advance(25)
    assert len(world.jobs_created) == 2
    await world.clock.advance(30)
    assert len(world.jobs_created) == 4


async def test_retries_count_as_starts_and_go_before_what_waits(world: World) -> None:
    await world.replica()
    queue(world, "shared", startsPerMinute=2)
    world.codes["a"] = [1, 1, 0]
    world.run_for["a"] = 1
    retry = {"maxRetries": 3, "initialDelaySeconds": 1, "jitterPercent": 0}
    await asked(world, "a", runs=1, retryPolicy=retry)
    await asked(world, "b", runs=3)
    await world.clock.advance(200)
    assert world.jobs_created[:1] == ["a-0-1"]
    starts = created(world)
    assert len(starts) == 6
    assert all(later - earlier >= 60 for earlier, later in zip(starts, starts[2:], strict=False))
    assert world.jobs_created.index("a-0-2") < world.jobs_created.index("b-2-1")


async def test_slots_at_one_moment_with_equal_arguments_are_one_run_that_names_them_all(
    world: World,
) -> None:
    await world.replica()
    at = format_instant(START + 40)
    entries: list[Obj] = [{"name": "hourly", "at": at}, {"name": "nightly", "at": at}]
    entries.append({"name": "full", "at": at, "arguments": {"SUITE": "full"}})
    world.apply("t", schedules=entries, parameters=[{"name": "SUITE", "default": "smoke"}])
    await world.clock.advance(60)
    said = {e["spec"]["decision"].get("message", "") for e in world.executions("t")}
    assert said == {"Also for nightly.", ""}
    assert len(world.jobs_created) == 2
