"""History: what is kept, when it goes, and what deleting it costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.api import Call
from taskrunner.domain.instants import format_instant
from taskrunner.ports import TASK_EXECUTIONS, Obj
from world import NS, START, TEMPLATE, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def with_job_ttl(seconds: int) -> Obj:
    return {"spec": {**TEMPLATE["spec"], "ttlSecondsAfterFinished": seconds}}


def deletes(api: Any) -> list[tuple[str, str]]:
    return [
        (call.verb, call.resource.plural) for call in api.writes if call.verb.startswith("delete")
    ]


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        pytest.param({}, [280, 340, 400], id="by default the last three"),
        pytest.param({"successfulJobsHistoryLimit": 1}, [400], id="one"),
        pytest.param({"successfulJobsHistoryLimit": 0}, [], id="none"),
        pytest.param(
            {"successfulJobsHistoryLimit": 9, "ttlSecondsAfterFinished": 130},
            [400],
            id="those younger than their time to live",
        ),
        pytest.param({"ttlSecondsAfterFinished": 0}, [], id="no time to live"),
    ],
)
async def test_history_holds_a_minute_after_the_last_run(
    world: World, limits: dict[str, Any], left: list[int]
) -> None:
    await world.replica()
    end = format_instant(START + 410)
    world.apply("hello", schedule="* * * * *", endTime=end, **limits)
    await world.clock.advance(475)
    assert [slot for slot, _, _ in world.decisions("hello")] == left
    assert len(world.jobs()) == len(left)
    assert world.started("hello") == [40, 100, 160, 220, 280, 340, 400]


async def test_a_new_leader_makes_up_for_what_others_left_lying(world: World) -> None:
    """With terms of half a minute and more to do than can be done, nobody would ever come to it,
    and lists would grow for ever."""
    first = await world.replica()
    every = [{"name": "often", "everySeconds": 1}]
    end = format_instant(START + 130)
    keep = {"successfulJobsHistoryLimit": 1000}
    world.run_for["a"] = 0
    world.apply("a", schedules=every, endTime=end, **keep)
    await world.clock.advance(140)
    await first.kill()
    assert len(world.executions("a")) > 120
    world.apply("a", schedules=every, endTime=end, successfulJobsHistoryLimit=3)
    for number in range(200):
        world.apply(f"busy-{number}", schedules=every, startTime=format_instant(START + 139))
    second = await world.replica(lead=False)

    def slow(call: Call) -> None:
        if call.verb == "create":
            second.api.latency = 1.0

    second.api.before.append(slow)
    await second.lead()
    await world.clock.advance(40)
    assert len(world.executions("a")) == 3
    assert len([call for call in deletes(second.api) if call[0] == "delete"]) == 0


async def test_time_to_live_passes_without_anything_else_happening(world: World) -> None:
    replica = await world.replica()
    world.apply(
        "once",
        schedules=[{"name": "go", "at": format_instant(START + 20)}],
        ttlSecondsAfterFinished=3_600,
    )
    await world.clock.advance(3_600)
    assert len(world.executions("once")) == 1
    written = len(replica.api.writes)
    await world.clock.advance(90)
    assert not world.executions("once")
    assert len(replica.api.writes) == written + 1


async def test_the_executions_of_many_tasks_go_in_one_call(world: World) -> None:
    replica = await world.replica()
    for number in range(30):
        world.apply(f"task-{number}", schedule="* * * * *", successfulJobsHistoryLimit=1)
    await world.clock.advance(290)
    assert set(deletes(replica.api)) == {("deletecollection", "taskexecutions")}
    assert len(deletes(replica.api)) <= 4
    # One is kept, and at most two more come in the minute in which the others are gathered.
    assert all(len(world.executions(f"task-{number}")) <= 3 for number in range(30))


async def test_a_hundred_that_are_to_go_do_not_wait_for_the_minute(world: World) -> None:
    replica = await world.replica()
    for number in range(60):
        world.apply(f"task-{number}", schedule="*/20 * * * * *", successfulJobsHistoryLimit=0)
    await world.clock.advance(55)
    assert len(world.executions()) < 60
    assert deletes(replica.api)


async def test_one_execution_goes_alone_with_its_uid_as_precondition(world: World) -> None:
    replica = await world.replica()
    world.apply("hello", schedule="*/2 * * * *", successfulJobsHistoryLimit=1)
    await world.clock.advance(300)
    assert set(deletes(replica.api)) == {("delete", "taskexecutions")}


async def test_a_copy_of_an_execution_with_all_its_labels_survives_its_original(
    world: World,
) -> None:
    await world.replica()
    world.apply("hello", schedule="* * * * *", successfulJobsHistoryLimit=2)
    await world.clock.advance(50)
    (original,) = world.executions("hello")
    meta = {key: original["metadata"][key] for key in ("labels", "ownerReferences")}
    spec = {"taskRef": {"name": "hello"}, "type": "Manual"}
    world.fail.add("hello")  # The copy is kept as the last that failed.
    copy = {"metadata": {"name": "again", **meta}, "spec": spec}
    world.server.create(TASK_EXECUTIONS, NS, copy)
    await world.clock.advance(10)
    world.fail.clear()
    await world.clock.advance(300)
    names = [e["metadata"]["name"] for e in world.executions("hello")]
    assert original["metadata"]["name"] not in names
    assert "again" in names


@pytest.mark.parametrize("kind", ["skipped", "run"])
async def test_runs_by_hand_are_history_too(world: World, kind: str) -> None:
    await world.replica()
    world.run_for["hello"] = 200 if kind == "skipped" else 1
    task = world.apply(
        "hello", concurrencyPolicy="Forbid", successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1
    )
    await world.clock.advance(1)
    for number in range(4):
        world.run_by_hand(f"by-hand-{number}", "hello")
        await world.clock.advance(10)
    await world.clock.advance(300)
    phases = {e["metadata"]["name"]: e["status"]["phase"] for e in world.executions("hello")}
    if kind == "skipped":
        assert phases == {"by-hand-0": "Succeeded", "by-hand-3": "Skipped"}
    else:
        assert phases == {"by-hand-3": "Succeeded"}
    owners = [e["metadata"]["ownerReferences"][0]["uid"] for e in world.executions("hello")]
    assert set(owners) == {task["metadata"]["uid"]}


@pytest.mark.parametrize("fails", [False, True])
async def test_the_time_to_live_of_a_job_is_taken_over(world: World, fails: bool) -> None:
    await world.replica()
    if fails:
        world.fail.add("hello")
    world.apply(
        "hello",
        schedules=[{"name": "go", "at": format_instant(START + 20)}],
        jobTemplate=with_job_ttl(100),
    )
    await world.clock.advance(115)
    (job,) = world.jobs().values()
    assert "ttlSecondsAfterFinished" not in job["spec"]
    await world.clock.advance(75)
    assert not world.jobs()
    (execution,) = world.executions("hello")
    assert execution["status"]["phase"] == ("Failed" if fails else "Succeeded")


async def test_the_jobs_of_all_attempts_go_together(world: World) -> None:
    await world.replica()
    world.fail.add("hello")
    world.apply(
        "hello",
        schedules=[{"name": "go", "at": format_instant(START + 20)}],
        jobTemplate=with_job_ttl(100),
        retryPolicy={"maxRetries": 2, "initialDelaySeconds": 10, "jitterPercent": 0},
    )
    await world.clock.advance(140)
    assert len(world.jobs()) == 3
    await world.clock.advance(100)
    assert not world.jobs()
    (execution,) = world.executions("hello")
    assert execution["status"]["reason"] == "RetriesExhausted"
    assert len(execution["status"]["attempts"]) == 3


async def test_a_job_stays_until_its_outcome_is_recorded(world: World) -> None:
    replica = await world.replica()
    world.apply(
        "hello",
        schedules=[{"name": "go", "at": format_instant(START + 20)}],
        jobTemplate=with_job_ttl(0),
    )
    replica.api.fail("patch", TASK_EXECUTIONS, times=6)
    await world.clock.advance(30)
    assert len(world.jobs()) == 1
    await world.clock.advance(120)
    assert not world.jobs()
    (execution,) = world.executions("hello")
    assert execution["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("after", [False, True], ids=["not deleted", "deleted, answer lost"])
@pytest.mark.parametrize("verb", ["delete", "deletecollection"])
async def test_a_delete_that_fails_is_done_again(world: World, verb: str, after: bool) -> None:
    replica = await world.replica()
    schedule = "* * * * *" if verb == "delete" else "*/20 * * * * *"
    world.apply("hello", schedule=schedule, successfulJobsHistoryLimit=1)
    replica.api.fail(verb, after=after)
    await world.clock.advance(400)
    assert len(world.executions("hello")) <= 5
    assert replica.events.events == []


DELETES: list[tuple[str, str, dict[str, Any]]] = [
    ("delete", "taskexecutions", {"schedule": "*/2 * * * *", "successfulJobsHistoryLimit": 1}),
    ("deletecollection", "taskexecutions", {"schedule": "*/20 * * * * *"}),
    ("delete", "jobs", {"schedule": "* * * * *", "jobTemplate": with_job_ttl(30)}),
]


@pytest.mark.parametrize("after", [False, True], ids=["before the delete", "after the delete"])
@pytest.mark.parametrize(
    ("verb", "plural", "spec"), DELETES, ids=[f"{verb} {plural}" for verb, plural, _ in DELETES]
)
async def test_a_leader_killed_while_cleaning_up_leaves_the_rest_to_the_next(
    world: World, verb: str, plural: str, spec: dict[str, Any], after: bool
) -> None:
    first = await world.replica()
    world.apply("hello", **spec)

    def die(call: Any) -> None:
        if (call.verb, call.resource.plural) == (verb, plural):
            first.api.before.remove(die)
            first.api.crash(at_write=0, after=after)
            if not after:
                first.api.before[-1](call)

    first.api.before.append(die)
    await world.clock.advance(300)
    assert first.api.crashed
    await first.kill()
    runs = len(world.started("hello"))
    await world.replica()
    await world.clock.advance(200)
    assert len(world.started("hello")) > runs
    assert len(world.started("hello")) == len(set(world.started("hello")))
    assert len(world.executions("hello")) <= 3 + 4 + 1  # Kept, gathered, and the record.
