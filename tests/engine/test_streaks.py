"""Slots that are skipped in a row for one reason: one record in the end, and few writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.ports import CALENDARS, TASK_EXECUTIONS, Obj
from world import NS, START, World

STRICT: dict[str, Any] = {"concurrencyPolicy": "Forbid", "catchUp": {"policy": "None"}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def records(world: World, task: str) -> list[tuple[str, str, int, int, int]]:
    """(type, reason, first, last, count) of what did not run; seconds since the start."""
    found = []
    for execution in world.executions(task):
        decision: Obj = execution["spec"].get("decision", {})
        if decision.get("type") in ("Skip", "Miss"):
            last = execution["spec"]["scheduledTime"]
            found.append(
                (
                    decision["type"],
                    decision["reason"],
                    seconds(decision.get("from", last)),
                    seconds(last),
                    decision.get("count", 1),
                )
            )
    return found


def seconds(text: str) -> int:
    return parse_instant(text) - START


def created(replica: Any) -> int:
    return sum(c.verb == "create" and c.resource == TASK_EXECUTIONS for c in replica.api.writes)


async def test_the_first_skipped_slot_is_told_at_once_and_the_others_when_the_run_ends(
    world: World,
) -> None:
    replica = await world.replica()
    world.run_for["slow"] = 2_990
    world.apply("slow", schedule="* * * * *", **STRICT)
    await world.clock.advance(110)
    assert records(world, "slow") == [("Skip", "ConcurrentRun", 100, 100, 1)]
    await world.clock.advance(100)
    written = len(replica.api.writes)
    await world.clock.advance(2_700)
    assert len(replica.api.writes) == written
    # It ended at 3,030.
    await world.clock.advance(145)
    assert world.started("slow") == [40, 3_040]
    assert records(world, "slow")[-1] == ("Skip", "ConcurrentRun", 100, 2_980, 49)
    assert created(replica) == 4
    await world.clock.advance(40)
    assert records(world, "slow") == [("Skip", "ConcurrentRun", 100, 2_980, 49)]


async def test_a_slot_at_the_moment_the_run_ends_runs_when_it_is_due_afterwards(
    world: World,
) -> None:
    await world.replica()
    world.run_for["slow"] = 150
    world.apply("slow", schedule="* * * * *", **STRICT)
    await world.clock.advance(225)
    # The run ended at 190; 160, although only 30 s late, was due while it was active.
    assert world.started("slow") == [40, 220]
    assert records(world, "slow")[-1] == ("Skip", "ConcurrentRun", 100, 160, 2)


@pytest.mark.parametrize("at", [70, 130, 190, 195, 230])
async def test_a_streak_survives_its_leader(world: World, at: int) -> None:
    first = await world.replica()
    world.run_for["slow"] = 150
    world.apply("slow", schedule="* * * * *", **STRICT)
    await world.clock.advance(at)
    await first.kill()
    await world.replica()
    await world.clock.advance(270 - at)
    assert world.started("slow")[:2] == [40, 220]
    assert ("Skip", "ConcurrentRun", 100, 160, 2) in records(world, "slow")


async def test_streaks_never_push_out_failures(world: World) -> None:
    await world.replica()
    world.fail.add("slow")
    world.run_for["slow"] = 150
    world.apply("slow", schedule="* * * * *", **STRICT)
    await world.clock.advance(900)
    phases = [e["status"]["phase"] for e in world.executions("slow")]
    assert "Failed" in phases
    assert "Skipped" in phases


async def test_slots_that_a_calendar_excludes_share_a_record_and_cost_nothing(
    world: World,
) -> None:
    replica = await world.replica()
    # From 100 s after the start.
    window = {"name": "freeze", "cron": "15 14 21 9 *", "durationSeconds": 7_200}
    calendar = {"metadata": {"name": "freeze"}, "spec": {"exclude": {"windows": [window]}}}
    world.server.create(CALENDARS, NS, calendar)
    world.apply("often", schedule="* * * * *", calendars=[{"name": "freeze"}])
    await world.clock.advance(160)
    assert records(world, "often") == [("Skip", "ExcludedByCalendar", 100, 100, 1)]
    await world.clock.advance(40)
    written = len(replica.api.writes)
    await world.clock.advance(7_000)
    assert len(replica.api.writes) == written
    assert world.status("often")["nextRunTime"] == format_instant(START + 7_300)
    await world.clock.advance(230)
    assert world.started("often") == [40, 7_300, 7_360, 7_420]
    assert records(world, "often") == [("Skip", "ExcludedByCalendar", 100, 7_240, 120)]


async def test_a_streak_ends_with_the_run_after_it(world: World) -> None:
    await world.replica()
    windows = [
        {"name": "a", "cron": "15 14 * * *", "durationSeconds": 60},
        {"name": "b", "cron": "17 14 * * *", "durationSeconds": 60},
    ]
    calendar = {"metadata": {"name": "freeze"}, "spec": {"exclude": {"windows": windows}}}
    world.server.create(CALENDARS, NS, calendar)
    world.apply(
        "often",
        schedule="* * * * *",
        calendars=[{"name": "freeze"}],
        successfulJobsHistoryLimit=0,
    )
    await world.clock.advance(400)
    assert world.started("often") == [40, 160, 280, 340, 400]
    assert records(world, "often") == [("Skip", "ExcludedByCalendar", 220, 220, 1)]
