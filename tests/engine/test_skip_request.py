"""A person skips a slot by taking its name: what the engine makes of it, in time, late or in vain.

Slots are at 40, 100, 160 … seconds after the start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.ports import SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from world import NS, START, World

EVERY_MINUTE = "* * * * *"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def skip(world: World, second: int, task: str = "hello", name: str = "") -> str:
    """What somebody writes to skip the slot at a second; the name of it."""
    name = name or f"{task}-{START + second}"
    spec: Obj = {
        "taskRef": {"name": task},
        "type": "Scheduled",
        "decision": {"type": "Skip", "reason": "Requested"},
        "scheduledTime": format_instant(START + second),
        "requestedBy": {"username": "jane"},
    }
    world.server.create(TASK_EXECUTIONS, NS, {"metadata": {"name": name}, "spec": spec})
    return name


def undo(world: World, name: str) -> None:
    world.server.delete(TASK_EXECUTIONS, NS, name)


def said(world: World, name: str) -> Obj:
    return dict(world.server.get(TASK_EXECUTIONS, NS, name)["status"])


def next_runs(world: World, task: str = "hello") -> list[int]:
    times = [format_instant(START + second) for second in range(0, 1000, 20)]
    return [times.index(run["time"]) * 20 for run in world.status(task)["nextRuns"]]


async def test_a_slot_that_is_skipped_does_not_start_and_the_others_do(world: World) -> None:
    replica = await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE)
    await world.clock.advance(10)
    name = skip(world, 100)
    await world.clock.advance(5)
    assert (said(world, name)["phase"], said(world, name)["reason"]) == ("Skipped", "Requested")
    assert next_runs(world) == [40, 160, 220, 280, 340]
    assert world.status("hello")["nextRunTime"] == format_instant(START + 40)
    assert "lastSkippedTime" not in world.status("hello")
    await world.clock.advance(160)
    assert world.started("hello") == [40, 160]
    assert world.status("hello")["lastSkippedTime"] == format_instant(START + 100)
    assert world.status("hello")["scheduledCount"] == 2
    assert ("hello-1790000100", "Normal") in [event[:2] for event in replica.events.events]


async def test_a_skip_is_taken_back_by_deleting_it_before_the_slot_is_due(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE)
    await world.clock.advance(10)
    name = skip(world, 100)
    await world.clock.advance(60)
    assert 100 not in next_runs(world)
    undo(world, name)
    await world.clock.advance(5)
    assert next_runs(world)[0] == 100
    await world.clock.advance(50)
    assert world.started("hello") == [40, 100]


async def test_a_skip_that_is_deleted_afterwards_has_no_effect_any_more(world: World) -> None:
    first = await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE)
    name = skip(world, 40)
    await world.clock.advance(60)
    undo(world, name)
    await world.clock.advance(5)
    await first.kill()
    await world.replica()
    await world.clock.advance(60)
    assert world.started("hello") == [100]


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace", "Queue"])
async def test_under_each_policy_only_that_slot_is_left_out(world: World, policy: str) -> None:
    await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE, concurrencyPolicy=policy)
    skip(world, 100)
    await world.clock.advance(190)
    assert world.started("hello") == [40, 160]


@pytest.mark.parametrize(
    ("catch_up", "started"),
    [("Last", [220]), ("All", [40, 160, 220]), ("None", [])],
    ids=["Last: the latest that is not skipped", "All: each that is not", "None: nothing"],
)
async def test_catching_up_leaves_out_what_is_skipped(
    world: World, catch_up: str, started: list[int]
) -> None:
    world.apply("hello", schedule=EVERY_MINUTE, catchUp={"policy": catch_up})
    skip(world, 100)
    skip(world, 280)
    await world.clock.advance(320)
    await world.replica()
    await world.clock.advance(10)
    assert world.started("hello") == started


async def test_the_slot_of_a_run_that_blocks_is_skipped_while_it_runs(world: World) -> None:
    await world.replica()
    world.run_for["hello"] = 150
    world.apply("hello", schedule=EVERY_MINUTE, concurrencyPolicy="Forbid")
    await world.clock.advance(50)
    skip(world, 160)
    await world.clock.advance(145)
    # The run ends at 190: of the slots that it blocked, the latest that is not skipped starts.
    assert world.started("hello") == [40, 100]


async def test_a_task_that_is_suspended_can_be_told_to_skip_too(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE, suspend=True)
    await world.clock.advance(10)
    name = skip(world, 100)
    await world.clock.advance(5)
    assert said(world, name)["phase"] == "Skipped"
    assert [run for run in next_runs(world) if run <= 160] == [40, 160]
    world.apply("hello", schedule=EVERY_MINUTE, suspend=False)
    await world.clock.advance(160)
    assert world.started("hello") == [40, 160]


async def test_of_two_schedules_that_coincide_one_is_skipped(world: World) -> None:
    await world.replica()
    entries = [
        {"name": name, "cron": EVERY_MINUTE, "arguments": {"SUITE": name}} for name in ("a", "b")
    ]
    world.apply("hello", schedules=entries, endTime=format_instant(START + 50))
    await world.clock.advance(45)
    names = {
        e["spec"]["arguments"]["SUITE"]: e["metadata"]["name"] for e in world.executions("hello")
    }
    world.apply("other", schedules=entries, endTime=format_instant(START + 110))
    skip(world, 100, "other", names["a"].replace("hello", "other").replace("040", "100"))
    await world.clock.advance(65)
    runs = [e for e in world.executions("other") if e["spec"]["decision"]["type"] == "Run"]
    assert [e["spec"]["arguments"]["SUITE"] for e in runs] == ["b"]


async def test_a_skipped_slot_does_not_count_as_a_start(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE, maxExecutions=2)
    skip(world, 40)
    await world.clock.advance(300)
    assert world.started("hello") == [100, 160]


@pytest.mark.parametrize(
    ("second", "name", "says"),
    [
        pytest.param(
            75,
            "",
            "The task has no slot at 2026-09-21T14:14:35Z. Slots near it: 2026-09-21T14:14:00Z"
            " (hello-1790000040), 2026-09-21T14:15:00Z (hello-1790000100), 2026-09-21T14:16:00Z"
            " (hello-1790000160).",
            id="no slot at this time",
        ),
        pytest.param(
            100,
            f"hello-{START + 101}",
            'The execution of the slot at 2026-09-21T14:15:00Z is called "hello-1790000100".',
            id="the name is not that of the time",
        ),
    ],
)
async def test_a_skip_of_no_slot_says_so_blocks_nothing_and_goes(
    world: World, second: int, name: str, says: str
) -> None:
    replica = await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE)
    await world.clock.advance(10)
    name = skip(world, second, name=name)
    await world.clock.advance(5)
    found = said(world, name)
    assert (found["phase"], found["reason"]) == ("Cancelled", "NotASlot")
    assert found["message"] == f"Nothing is skipped. {says}"
    assert (name, "Normal", "NotASlot", found["message"]) in replica.events.events
    assert next_runs(world)[:2] == [40, 100]
    await world.clock.advance(120)
    assert name not in world.server.objects(TASK_EXECUTIONS)
    assert world.started("hello") == [40, 100]
    assert "lastSkippedTime" not in world.status("hello")


async def test_a_skip_that_comes_too_late_changes_nothing(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE, successfulJobsHistoryLimit=0)
    await world.clock.advance(150)
    assert not [e for e in world.executions("hello") if e["spec"]["scheduledTime"].endswith("40Z")]
    name = skip(world, 40)
    await world.clock.advance(5)
    assert said(world, name)["reason"] == "NotASlot"
    assert "decided before" in said(world, name)["message"]


async def test_skips_are_history_like_other_skips_and_never_push_out_runs(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule=EVERY_MINUTE)
    for second in (40, 160, 1000):
        skip(world, second)
    await world.clock.advance(330)
    names = {e["metadata"]["name"]: e["spec"]["decision"]["type"] for e in world.executions()}
    kept = [name for name, decision in names.items() if decision == "Skip"]
    # The one of a slot to come stays, it is needed; of those that have passed none is the latest.
    assert kept == [f"hello-{START + 1000}"]
    owners: dict[str, Any] = world.server.get(TASK_EXECUTIONS, NS, kept[0])["metadata"]
    assert owners["ownerReferences"][0]["name"] == "hello"


async def test_a_task_that_is_deleted_takes_its_skips_with_it(world: World) -> None:
    await world.replica()
    task = world.apply("hello", schedule=EVERY_MINUTE)
    skip(world, 1000)
    await world.clock.advance(90)
    world.server.delete(SCHEDULED_TASKS, NS, "hello", uid=task["metadata"]["uid"])
    await world.clock.advance(5)
    assert not world.executions()
