"""SIGKILL at every write of the usual run; what a leader loses, and what it may not write.

Every other place where it can be killed: `test_crash_points.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.ports import JOBS, LEASES, SCHEDULED_TASKS, TASK_EXECUTIONS, Resource
from world import START, World

PATH: list[tuple[str, str, Resource]] = [
    # What one run under Allow writes, in order, after the first status of the task.
    ("execution", "create", TASK_EXECUTIONS),
    ("run Lease", "create", LEASES),
    ("Job", "create", JOBS),
    ("running", "patch", TASK_EXECUTIONS),
    ("outcome", "patch", TASK_EXECUTIONS),
    ("task status", "patch", SCHEDULED_TASKS),
]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def test_the_path_of_a_run_is_the_list_of_crash_points(world: World) -> None:
    """A new write on the path fails here until it has its crash tests."""
    replica = await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(5)
    before = len(replica.api.writes)
    await world.clock.advance(60)
    assert [(c.verb, c.resource) for c in replica.api.writes[before:]] == [
        (verb, resource) for _, verb, resource in PATH
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("point", range(len(PATH)), ids=[name for name, _, _ in PATH])
@pytest.mark.parametrize("policy", ["Allow", "Forbid"])
async def test_a_leader_killed_at_any_write_loses_nothing_and_doubles_nothing(
    world: World, point: int, after: bool, policy: str
) -> None:
    first = await world.replica()
    await world.replica(lead=False)
    world.apply("hello", schedule="* * * * *", concurrencyPolicy=policy)
    await world.clock.advance(5)
    first.api.crash(at_write=point + 1, after=after)
    await world.clock.advance(50)
    assert first.api.crashed
    await first.kill()
    await world.replica()
    await world.clock.advance(130)
    assert world.started("hello") == [40, 100, 160]
    assert world.decisions("hello")[-1] == (160, "Run", "Succeeded")
    assert world.status("hello")["scheduledCount"] == 3
    assert world.status("hello")["decidedUntil"] == format_instant(START + 160)


@pytest.mark.parametrize("point", range(len(PATH) - 1), ids=[name for name, _, _ in PATH[:-1]])
@pytest.mark.parametrize("after", [False, True], ids=["not written", "written, answer lost"])
async def test_a_write_whose_answer_is_lost_is_finished_by_the_same_leader(
    world: World, point: int, after: bool
) -> None:
    replica = await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(5)
    _, verb, resource = PATH[point]
    replica.api.fail(verb, resource, after=after)
    await world.clock.advance(60)
    assert world.started("hello") == [40]
    assert world.decisions("hello") == [(40, "Run", "Succeeded")]


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("point", range(1, 6))
async def test_a_leader_killed_while_catching_up_all_starts_each_slot_once(
    world: World, point: int, after: bool
) -> None:
    world.apply("all", schedule="* * * * *", catchUp={"policy": "All"})
    await world.clock.advance(290)
    first = await world.replica(lead=False)
    first.api.crash(at_write=point, after=after)
    await first.lead()
    await world.clock.advance(1)
    await first.kill()
    await world.replica()
    await world.clock.advance(5)
    assert world.started("all") == [40, 100, 160, 220, 280]
    await world.clock.advance(10)
    assert world.status("all")["scheduledCount"] == 5


@pytest.mark.parametrize("point", range(1, 5))
async def test_a_leader_killed_between_slots_of_one_instant_starts_the_others(
    world: World, point: int
) -> None:
    schedules: list[dict[str, Any]] = [
        {"name": name, "cron": "* * * * *", "arguments": {"SUITE": name}} for name in "abc"
    ]
    first = await world.replica()
    world.apply("both", schedules=schedules)
    await world.clock.advance(5)
    first.api.crash(at_write=point)
    await world.clock.advance(40)
    await first.kill()
    await world.replica()
    await world.clock.advance(10)
    assert world.started("both") == [40, 40, 40]
    await world.clock.advance(20)
    assert world.status("both")["scheduledCount"] == 3


async def test_downtime_is_caught_up_with_the_latest_slot(world: World) -> None:
    first = await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(50)
    await first.kill()
    await world.clock.advance(600)
    await world.replica()
    await world.clock.advance(5)
    assert world.started("hello") == [40, 640]
    (record,) = [e for e in world.executions("hello") if e["spec"]["decision"]["type"] == "Miss"]
    assert record["spec"]["decision"]["count"] == 9
    assert record["spec"]["decision"]["from"] == format_instant(START + 100)


async def test_a_standby_writes_nothing(world: World) -> None:
    standby = await world.replica(lead=False)
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(120)
    assert not standby.api.writes


async def test_a_leader_whose_lease_may_have_passed_on_writes_nothing(world: World) -> None:
    replica = await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(30)
    replica.term.seconds = 0.0
    before = len(replica.api.writes)
    await world.clock.advance(120)
    assert len(replica.api.writes) == before


async def test_a_re_created_task_does_not_run_a_slot_of_the_old_one_again(world: World) -> None:
    await world.replica()
    world.server.garbage = False
    task = world.apply("hello", schedule="* * * * *")
    await world.clock.advance(42)
    world.server.delete(SCHEDULED_TASKS, "team", "hello", uid=task["metadata"]["uid"])
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(10)
    assert world.started("hello") == [40]
    world.server.garbage = True
    world.server.collect_garbage()
    await world.clock.advance(60)
    assert world.started("hello") == [40, 100]


async def test_a_task_re_created_while_its_status_is_written_does_not_inherit_it(
    world: World,
) -> None:
    replica = await world.replica()
    task = world.apply("hello", schedule="* * * * *")
    await world.clock.advance(50)

    def recreate(call: Any) -> None:
        if call.verb == "patch" and call.resource == SCHEDULED_TASKS:
            replica.api.before.remove(recreate)
            world.server.delete(SCHEDULED_TASKS, "team", "hello", uid=task["metadata"]["uid"])
            world.apply("hello", schedule="* * * * *")

    replica.api.before.append(recreate)
    await world.clock.advance(55)
    assert replica.api.before == []
    created = world.task("hello")["metadata"]["creationTimestamp"]
    assert world.status("hello")["plan"]["since"] == created
    assert world.status("hello")["scheduledCount"] <= 1


async def test_a_run_that_another_leader_started_has_its_lag_to_the_second(world: World) -> None:
    first = await world.replica()
    world.run_for["hello"] = 30
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(40.5)
    await first.kill()
    await world.replica()
    await world.clock.advance(40)
    (execution,) = world.executions("hello")
    assert execution["status"]["phase"] == "Succeeded"
    assert execution["status"]["startLagMilliseconds"] == 0


async def test_the_time_of_the_next_attempt_stands_when_the_leader_changes(world: World) -> None:
    first = await world.replica()
    world.codes["job"] = [1, 0]
    world.apply("job", retryPolicy={"maxRetries": 1, "initialDelaySeconds": 600})
    await world.clock.advance(1)
    world.run_by_hand("now", "job")
    await world.clock.advance(10)
    said = world.server.get(TASK_EXECUTIONS, "team", "now")["status"]["nextRetryTime"]
    await first.kill()
    await world.clock.advance(200)
    await world.replica()
    await world.clock.advance(10)
    assert world.server.get(TASK_EXECUTIONS, "team", "now")["status"]["nextRetryTime"] == said
    await world.clock.advance(parse_instant(said) - world.clock.now() + 0.5)
    assert world.jobs_created == ["now-1", "now-2"]
