"""Backfills on the engine: planned once, run a few at a time beside live slots, never twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.api import Crash
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.naming import backfill_name
from taskrunner.ports import BACKFILLS, JOBS, NAMESPACES, SCHEDULED_TASKS, TASK_EXECUTIONS
from world import NS, START, Replica, World

HOUR = 3600


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def status(world: World, name: str = "past") -> dict[str, Any]:
    return dict(world.server.get(BACKFILLS, NS, name).get("status") or {})


def condition(world: World, kind: str, name: str = "past") -> tuple[str, str]:
    found = {c["type"]: c for c in status(world, name)["conditions"]}
    return found[kind]["status"], found[kind]["reason"]


def ran(world: World) -> list[int]:
    """Slots of the past for which a Job was created, in the order of creation; in seconds."""
    names = [n for n in world.jobs_created if len(n.split("-")) == 4]
    return [int(n.split("-")[1]) - START for n in names]


def hourly(world: World, **spec: Any) -> None:
    """A task with a slot every hour at 40 s after the start of the test, and before."""
    world.apply("job", schedule="14 * * * *", **spec)


PAST = [40 - HOUR * n for n in (5, 4, 3, 2, 1)]


async def test_each_slot_of_the_range_runs_once_the_oldest_first(world: World) -> None:
    await world.replica()
    hourly(world)
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[0], 40)
    await world.clock.advance(30)
    assert ran(world) == PAST
    found = status(world)
    assert (found["total"], found["done"], found["succeeded"]) == (5, 5, 5)
    assert (found["percent"], found["remaining"], found["running"]) == (100, 0, 0)
    assert condition(world, "Complete") == ("True", "Done")
    assert condition(world, "Reconciling") == ("False", "Done")
    assert "estimatedCompletionTime" not in found
    (one,) = {e["spec"]["type"] for e in world.executions("job")}
    assert one == "Backfill"


async def test_the_newest_go_first_when_asked_and_several_at_once(world: World) -> None:
    await world.replica()
    hourly(world)
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[0], 40, order="NewestFirst", maxConcurrent=2)
    await world.clock.advance(1)
    assert ran(world) == PAST[:2:-1]
    assert status(world)["total"] == 5
    await world.clock.advance(30)
    assert ran(world) == PAST[::-1]


async def test_the_end_is_estimated_and_progress_is_told(world: World) -> None:
    await world.replica()
    world.run_for["job"] = 60
    hourly(world, concurrencyPolicy="Allow")
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[0] - HOUR * 5, 40)
    await world.clock.advance(130)
    found = status(world)
    assert (found["total"], found["done"], found["running"], found["remaining"]) == (10, 2, 1, 7)
    assert found["percent"] == 20
    end = parse_instant(found["estimatedCompletionTime"]) - START
    assert 550 <= end <= 680
    assert condition(world, "Reconciling") == ("True", "InProgress")
    assert condition(world, "Ready")[0] == "True"


async def test_arguments_and_who_asked_are_on_each_run(world: World) -> None:
    await world.replica()
    entry = {"name": "full", "cron": "14 * * * *", "arguments": {"SUITE": "full", "MODE": "x"}}
    world.apply("job", schedules=[entry])
    await world.clock.advance(5)
    who = {"username": "jane", "groups": ["qa"]}
    world.backfill("past", "job", PAST[4], 40, arguments={"MODE": "repair"}, requestedBy=who)
    await world.clock.advance(10)
    (execution,) = world.executions("job")
    spec = execution["spec"]
    assert spec["arguments"] == {"SUITE": "full", "MODE": "repair"}
    assert spec["requestedBy"] == who
    assert spec["scheduledTime"] == format_instant(START + PAST[4])
    assert spec["priority"] == 0
    assert execution["metadata"]["labels"]["taskrunner.dev/backfill"] == "past"
    assert execution["metadata"]["ownerReferences"][0]["kind"] == "ScheduledTask"


async def test_the_watermark_and_the_health_of_the_task_do_not_move(world: World) -> None:
    await world.replica()
    world.fail.add("job")
    hourly(world)
    await world.clock.advance(12)
    before = world.status("job")
    world.backfill("past", "job", PAST[0], 40)
    await world.clock.advance(24)
    after = world.status("job")
    assert status(world)["failed"] == 5
    assert after["consecutiveFailures"] == 0
    for field in ("decidedUntil", "scheduledCount", "lastFailureTime", "lastScheduleTime"):
        assert after.get(field) == before.get(field), field


# --- beside live runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["Forbid", "Queue", "Replace"])
async def test_a_task_that_runs_one_at_a_time_never_runs_two_and_live_slots_go_first(
    world: World, policy: str
) -> None:
    await world.replica()
    world.run_for["job"] = 20
    world.apply("job", schedule="* * * * *", concurrencyPolicy=policy, catchUp={"policy": "All"})
    await world.clock.advance(5)
    world.backfill("past", "job", -1000, 0, maxConcurrent=5)
    most = 0
    for _ in range(400):
        await world.clock.advance(1)
        running = [j for j in world.jobs().values() if (j["status"] or {}).get("active")]
        most = max(most, len(running))
    assert most == 1
    # Each minute has its live run, at most one run of the past late.
    live = [e for e in world.executions("job") if e["spec"]["type"] == "Scheduled"]
    lags = [e["status"].get("startLagMilliseconds", 0) for e in live]
    assert max(lags) <= (0 if policy == "Replace" else 20_000) + 2_000
    assert status(world)["done"] >= 8


async def test_many_runs_of_the_past_wait_behind_live_ones_for_the_operators_places(
    world: World,
) -> None:
    world.most_active = 3
    await world.replica()
    world.run_for |= {"job": 30, "live": 5}
    hourly(world)
    world.apply("live", schedule="*/10 * * * * *")
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[0] - 20 * HOUR, 40, maxConcurrent=20)
    await world.clock.advance(100)
    live = [e for e in world.executions("live") if e["status"]["phase"] != "Pending"]
    assert [e["status"]["phase"] for e in live].count("Skipped") == 0
    assert status(world)["waiting"] > 0
    waits = [e["status"].get("startLagMilliseconds", 0) for e in live]
    # A place becomes free every ten seconds at the latest, and a live run is the first to get it.
    assert max(waits) <= 30_000


async def test_a_backfill_of_a_suspended_task_runs_and_one_in_a_paused_namespace_waits(
    world: World,
) -> None:
    await world.replica()
    hourly(world, suspend=True)
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[3], 40)
    await world.clock.advance(15)
    assert ran(world) == PAST[3:]
    paused = {"metadata": {"name": NS, "labels": {"taskrunner.dev/paused": "true"}}}
    world.server.create(NAMESPACES, "", paused)
    await world.clock.advance(1)
    world.backfill("more", "job", PAST[0], PAST[3])
    await world.clock.advance(15)
    assert ran(world) == PAST[3:]
    assert condition(world, "Ready", "more") == ("True", "Waiting")
    world.server.patch(
        NAMESPACES, "", NS, {"metadata": {"labels": {"taskrunner.dev/paused": None}}}
    )
    await world.clock.advance(25)
    assert ran(world) == PAST[3:] + PAST[:3]


# --- only what was missed -------------------------------------------------------------------------


async def missed_some(world: World) -> Replica:
    """Slots at 40, 100, …: 40 ran, nine were missed in downtime, 640 and 700 ran."""
    first = await world.replica()
    world.apply("job", schedule="* * * * *", successfulJobsHistoryLimit=50)
    await world.clock.advance(50)
    await first.kill()
    await world.clock.advance(640)
    second = await world.replica()
    await world.clock.advance(12)
    assert world.started("job") == [40, 640, 700]
    return second


MISSED = list(range(100, 640, 60))


async def test_only_what_was_missed_is_run(world: World) -> None:
    await missed_some(world)
    world.backfill("past", "job", -1000, 700, onlyMissed=True, maxConcurrent=10)
    await world.clock.advance(15)
    assert ran(world) == MISSED
    (before,) = status(world)["leftOut"]
    assert before["reason"] == "BeforeTask"
    assert before["from"] == format_instant(START - 1000)


async def test_slots_that_one_backfill_has_run_are_not_missed_for_the_next(world: World) -> None:
    await missed_some(world)
    world.apply("job", schedule="* * * * *", successfulJobsHistoryLimit=0)
    world.backfill("past", "job", 0, 300, onlyMissed=True)
    world.backfill("more", "job", 0, 700, onlyMissed=True, maxConcurrent=3)
    await world.clock.advance(150)
    assert sorted(ran(world)) == MISSED
    assert status(world, "more")["total"] == 5
    assert "OtherBackfill" in {part["reason"] for part in status(world, "more")["leftOut"]}
    world.backfill("again", "job", 0, 700, onlyMissed=True)
    await world.clock.advance(20)
    assert sorted(ran(world)) == MISSED
    assert condition(world, "Complete", "again") == ("True", "NothingToRun")


async def test_without_only_missed_every_slot_is_run_anew_once_per_backfill(world: World) -> None:
    await missed_some(world)
    world.backfill("past", "job", 0, 300)
    await world.clock.advance(40)
    world.backfill("again", "job", 0, 300)
    await world.clock.advance(40)
    assert Counter(ran(world)) == Counter([40, 100, 160, 220, 280] * 2)


# --- what stops it --------------------------------------------------------------------------------


async def test_deleting_it_cancels_what_has_not_started_and_what_runs_finishes(
    world: World,
) -> None:
    world.most_active = 2
    await world.replica()
    world.run_for["job"] = 30
    hourly(world)
    await world.clock.advance(5)
    made = world.backfill("past", "job", PAST[0], 40, maxConcurrent=4)
    await world.clock.advance(5)
    assert len(ran(world)) == 2
    world.server.delete(BACKFILLS, NS, "past", uid=made["metadata"]["uid"])
    await world.clock.advance(2)
    phases = Counter(e["status"]["phase"] for e in world.executions("job"))
    assert phases == {"Running": 2, "Cancelled": 2}
    reasons = {e["status"]["reason"] for e in world.executions("job")}
    assert "BackfillDeleted" in reasons
    await world.clock.advance(60)
    assert len(ran(world)) == 2
    past = [e for e in world.executions("job") if e["spec"]["type"] == "Backfill"]
    finished = Counter(e["status"]["phase"] for e in past)
    assert finished["Succeeded"] == 2


async def test_a_changed_schedule_stops_it_until_it_is_changed_back(world: World) -> None:
    await world.replica()
    world.run_for["job"] = 30
    hourly(world)
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[0], 40)
    await world.clock.advance(5)
    world.apply("job", schedule="15 * * * *")
    await world.clock.advance(60)
    assert ran(world) == PAST[:1]
    assert condition(world, "Stalled") == ("True", "PlanChanged")
    assert condition(world, "Ready")[0] == "False"
    assert status(world)["done"] == 1
    hourly(world)
    await world.clock.advance(160)
    assert ran(world) == PAST
    assert condition(world, "Complete")[0] == "True"


@pytest.mark.parametrize(
    ("spec", "begin", "end", "reason"),
    [
        pytest.param({}, 0, 40, "NoSchedule", id="a task without schedule"),
        pytest.param({"schedule": "* * * * * *"}, -100_000, 0, "TooManySlots", id="too many slots"),
        pytest.param({"schedule": "no cron"}, 0, 40, "InvalidSpec", id="a task that cannot be"),
    ],
)
async def test_what_cannot_be_done_is_said(
    world: World, spec: dict[str, Any], begin: int, end: int, reason: str
) -> None:
    await world.replica()
    world.apply("job", **spec)
    await world.clock.advance(5)
    world.backfill("past", "job", begin, end)
    await world.clock.advance(5)
    assert condition(world, "Stalled") == ("True", reason)
    assert ran(world) == []


async def test_a_backfill_may_come_before_its_task(world: World) -> None:
    await world.replica()
    world.backfill("past", "job", PAST[4], 40)
    await world.clock.advance(5)
    assert condition(world, "Stalled") == ("True", "TaskNotFound")
    hourly(world)
    await world.clock.advance(20)
    assert ran(world) == PAST[4:]
    assert condition(world, "Stalled") == ("False", "Done")


async def test_slots_that_the_schedule_has_yet_to_decide_are_left_to_it(world: World) -> None:
    await world.replica()
    hourly(world)
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[4], 3 * HOUR)
    await world.clock.advance(10)
    assert status(world)["total"] == 1
    (left,) = status(world)["leftOut"]
    assert left["reason"] == "NotDecided"
    await world.clock.advance(30)
    assert world.status("job")["scheduledCount"] == 1


# --- crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize(
    ("limit", "point"), [*((0, n) for n in (*range(1, 15), 20, 26, 27)), (50, 1), (50, 2), (50, 13)]
)
async def test_a_leader_killed_at_any_write_runs_each_slot_once_and_counts_it_once(
    world: World, point: int, after: bool, limit: int
) -> None:
    first = await world.replica()
    hourly(world, successfulJobsHistoryLimit=limit)
    await world.clock.advance(5)
    writes = 0

    def crash(call: Any) -> None:
        nonlocal writes
        if call.is_write and call.resource != SCHEDULED_TASKS:
            writes += 1
            if writes == point:
                first.api.crashed = True
                raise Crash(f"{call.verb} {call.resource.plural}")

    (first.api.after if after else first.api.before).append(crash)
    world.backfill("past", "job", PAST[0], 40, maxConcurrent=2)
    await world.clock.advance(30)
    await first.kill()
    await world.replica()
    await world.clock.advance(120)
    assert sorted(ran(world)) == PAST
    found = status(world)
    assert (found["total"], found["succeeded"], found["cancelled"]) == (5, 5, 0)
    assert condition(world, "Complete")[0] == "True"


async def test_records_stay_until_they_are_counted_and_then_go(world: World) -> None:
    replica = await world.replica()
    hourly(world, successfulJobsHistoryLimit=1)
    await world.clock.advance(5)
    world.backfill("past", "job", PAST[0] - 20 * HOUR, 40, maxConcurrent=5)
    await world.clock.advance(200)
    assert status(world)["succeeded"] == 25
    # One of the schedule, one of the past.
    kept = Counter(e["spec"]["type"] for e in world.executions("job"))
    assert kept == {"Scheduled": 1, "Backfill": 1}
    jobs = [call for call in replica.api.writes if call.verb == "create" and call.resource == JOBS]
    assert len({call.name for call in jobs}) == len(jobs)


async def test_a_name_that_somebody_took_is_left_alone(world: World) -> None:
    await missed_some(world)
    name = backfill_name("job", START + 100)
    world.run_by_hand(name, "job")
    await world.clock.advance(5)
    world.backfill("past", "job", 90, 170, onlyMissed=True)
    await world.clock.advance(20)
    found = status(world)
    assert (found["total"], found["succeeded"], found["cancelled"]) == (2, 1, 1)
    assert world.server.get(TASK_EXECUTIONS, NS, name)["spec"]["type"] == "Manual"
