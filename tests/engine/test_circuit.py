"""The circuit breaker: opens, tries one run, closes; the same after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.ports import TASK_EXECUTIONS
from world import NS, START, Replica, World

BREAKER = {"circuitBreaker": {"failureThreshold": 2, "resetSeconds": 150}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def condition(world: World, task: str) -> dict[str, Any]:
    found = world.status(task).get("conditions", ())
    return next((c for c in found if c["type"] == "CircuitOpen"), {})


def told(replica: Replica) -> list[str]:
    return [reason for _, _, reason, _ in replica.events.events if reason.startswith("Circuit")]


async def failing(world: World, **spec: Any) -> None:
    """Slots 40 and 100 fail, at 43 and 103: open from then until 253."""
    world.fail.add("f")
    limits = {"failedJobsHistoryLimit": 50, "successfulJobsHistoryLimit": 50}
    world.apply("f", schedule="* * * * *", **BREAKER, **limits, **spec)
    await world.clock.advance(115)


async def restarted(world: World, replica: Replica, restart: bool) -> Replica:
    if not restart:
        return replica
    await replica.kill()
    return await world.replica()


@pytest.mark.parametrize("restart", [False, True], ids=["one leader", "a new leader"])
@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace", "Queue"])
async def test_it_opens_after_the_threshold_and_slots_are_skipped(
    world: World, policy: str, restart: bool
) -> None:
    replica = await world.replica()
    await failing(world, concurrencyPolicy=policy)
    assert condition(world, "f")["status"] == "True"
    assert "last 2 runs failed" in condition(world, "f")["message"]
    assert told(replica) == ["CircuitOpened"]
    await restarted(world, replica, restart)
    await world.clock.advance(120)
    assert world.started("f") == [40, 100]
    record = world.executions("f")[-1]
    assert record["spec"]["decision"]["type"] == "Skip"
    assert record["status"]["reason"] == "CircuitOpen"
    assert "run the task by hand" in record["status"]["message"]


@pytest.mark.parametrize("restart", [False, True], ids=["one leader", "a new leader"])
@pytest.mark.parametrize(
    ("fails", "started"),
    [
        # 253: half-open. The slot of 280 is tried.
        pytest.param(True, [40, 100, 280, 460], id="which fails: it is open again"),
        pytest.param(False, [40, 100, 280, 340, 400, 460], id="which succeeds: it is closed"),
    ],
)
async def test_after_the_reset_time_one_run_is_tried(
    world: World, fails: bool, started: list[int], restart: bool
) -> None:
    replica = await world.replica()
    await failing(world)
    if not fails:
        world.fail.clear()
    await world.clock.advance(150)
    replica = await restarted(world, replica, restart)
    await world.clock.advance(210)
    assert world.started("f") == started
    assert condition(world, "f")["status"] == str(fails)
    if not fails:
        assert told(replica)[-1:] == ["CircuitClosed"]
        assert world.status("f")["consecutiveFailures"] == 0


async def test_slots_while_the_run_is_tried_are_skipped(world: World) -> None:
    await world.replica()
    await failing(world)
    world.fail.clear()
    world.run_for["f"] = 100
    await world.clock.advance(240)
    assert world.started("f") == [40, 100, 280]
    await world.clock.advance(60)
    assert world.started("f") == [40, 100, 280, 400]


async def test_a_run_by_hand_starts_while_it_is_open_and_closes_it(world: World) -> None:
    await world.replica()
    await failing(world)
    world.fail.clear()
    world.run_by_hand("mended", "f")
    await world.clock.advance(5)
    assert world.server.get(TASK_EXECUTIONS, NS, "mended")["status"]["phase"] == "Succeeded"
    await world.clock.advance(60)
    assert condition(world, "f")["status"] == "False"
    assert f"f-{START + 160}-1" in world.jobs_created


async def test_runs_that_wait_when_it_opens_are_skipped_and_those_by_hand_are_not(
    world: World,
) -> None:
    await world.replica()
    world.fail.add("f")
    world.run_for["f"] = 30
    entries = [
        {"name": name, "at": format_instant(START + 10), "arguments": {"N": name}}
        for name in "abcd"
    ]
    world.apply(
        "f", schedules=entries, concurrencyPolicy="Queue", failedJobsHistoryLimit=9, **BREAKER
    )
    await world.clock.advance(15)
    world.run_by_hand("by-hand", "f")
    await world.clock.advance(60)
    slots = [e for e in world.executions("f") if e["spec"]["type"] == "Scheduled"]
    ends = sorted((e["status"]["phase"], e["status"]["reason"]) for e in slots)
    assert ends == [("Failed", "JobFailed")] * 2 + [("Skipped", "CircuitOpen")] * 2
    assert world.server.get(TASK_EXECUTIONS, NS, "by-hand")["status"]["phase"] == "Running"


async def test_without_a_breaker_any_more_the_condition_says_so(world: World) -> None:
    await world.replica()
    await failing(world)
    world.apply("f", schedule="* * * * *")
    await world.clock.advance(60)
    assert condition(world, "f")["reason"] == "NoCircuitBreaker"
    assert 160 in world.started("f")


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("point", range(1, 7))
async def test_a_leader_killed_around_the_opening_leaves_it_open(
    world: World, point: int, after: bool
) -> None:
    first = await world.replica()
    world.fail.add("f")
    world.apply("f", schedule="* * * * *", failedJobsHistoryLimit=50, **BREAKER)
    await world.clock.advance(99)
    first.api.crash(at_write=point, after=after)
    await world.clock.advance(20)
    await first.kill()
    await world.replica()
    await world.clock.advance(110)
    assert world.started("f") == [40, 100]
    assert condition(world, "f")["status"] == "True"
