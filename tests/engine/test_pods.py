"""What the engine makes of pods: outcomes, progress, and messages about what does not get on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.errors import Refused
from taskrunner.ports import EVENTS, JOBS, PODS, TASK_EXECUTIONS, Obj
from world import NS, START, Replica, World

PULL: Obj = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "True",
            "lastTransitionTime": format_instant(START + 40),
        }
    ],
    "containerStatuses": [
        {
            "name": "main",
            "image": "busybox:no",
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }
    ],
}
UNSCHEDULABLE: Obj = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
            "lastTransitionTime": format_instant(START + 40),
        }
    ],
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def status(world: World, task: str = "hello") -> Obj:
    (execution,) = world.executions(task)
    return dict(execution.get("status") or {})


def status_writes(replica: Replica) -> list[Obj]:
    return [dict(c.body)["status"] for c in replica.api.writes if c.resource == TASK_EXECUTIONS
            and c.verb == "patch"]  # fmt: skip


def lists(replica: Replica) -> list[Any]:
    return [c for c in replica.api.calls if c.verb == "list" and c.resource == PODS]


def told(replica: Replica) -> list[tuple[str, str]]:
    return [(kind, reason) for _, kind, reason, _ in replica.events.events]


def pod_name(world: World) -> str:
    (name,) = world.server.objects(PODS)
    return name


def annotate(world: World, kind: Any, text: str) -> None:
    name = next(iter(world.server.objects(kind)))
    patch = {"metadata": {"annotations": {"taskrunner.dev/progress": text}}}
    world.server.patch(kind, NS, name, patch)


async def test_a_good_run_has_its_exit_code_and_result(world: World) -> None:
    await world.replica()
    world.pods.ends["hello"] = {"reason": "Completed", "message": "copied 12 files"}
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(50)
    found = status(world)
    assert found["result"] == "copied 12 files"
    assert found["podStartLagMilliseconds"] == 0
    assert found["attempts"] == [
        {
            "number": 1,
            "jobName": f"hello-{START + 40}-1",
            "startTime": format_instant(START + 40),
            "completionTime": format_instant(START + 43),
            "exitCode": 0,
            "reason": "JobComplete",
        }
    ]


@pytest.mark.parametrize(
    ("end", "reason", "message"),
    [
        pytest.param(
            {"exitCode": 3, "reason": "Error", "message": "\ndisk is full\nmore"},
            "JobFailed",
            "The Job failed: container main exited with code 3 (Error): disk is full.",
            id="an exit code",
        ),
        pytest.param(
            {"exitCode": 137, "reason": "OOMKilled"},
            "OOMKilled",
            "The Job failed: container main was killed, because it used more memory than its "
            "limit allows (OOMKilled, exit code 137); raise its resources.limits.memory, or have "
            "it use less.",
            id="out of memory",
        ),
    ],
)
async def test_a_failed_run_says_how_its_container_ended(
    world: World, end: Obj, reason: str, message: str
) -> None:
    replica = await world.replica()
    world.fail.add("hello")
    world.pods.ends["hello"] = end
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(50)
    found = status(world)
    assert (found["reason"], found["message"]) == ("JobFailed", message)
    assert found["attempts"][0]["exitCode"] == end["exitCode"]
    assert found["attempts"][0]["reason"] == reason
    assert found.get("result") == end.get("message")
    assert replica.events.events[-1][3] == message


async def test_the_end_of_a_pod_that_is_seen_after_that_of_its_job_is_waited_for(
    world: World,
) -> None:
    replica = await world.replica()
    world.pods.late = 0.5
    world.fail.add("hello")
    world.apply("hello", schedule="* * * * *")
    before = len(lists(replica))
    await world.clock.advance(50)
    assert status(world)["attempts"][0]["exitCode"] == 1
    assert len(lists(replica)) == before


async def test_pods_that_the_watch_does_not_tell_of_are_read(world: World) -> None:
    replica = await world.replica()
    world.fail.add("hello")
    world.pods.ends["hello"] = {"exitCode": 3}
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(5)
    replica.api.break_watches(silently=True, resource=PODS)
    before = len(lists(replica))
    await world.clock.advance(45)
    assert status(world)["attempts"][0]["exitCode"] == 3
    assert len(lists(replica)) == before + 1


async def test_a_run_whose_pods_cannot_be_read_ends_all_the_same(world: World) -> None:
    replica = await world.replica()
    world.fail.add("hello")
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(5)
    replica.api.break_watches(silently=True, resource=PODS)
    replica.api.fail("list", PODS, error=Refused("pods is forbidden", code=403), times=99)
    await world.clock.advance(45)
    found = status(world)
    assert found["phase"] == "Failed"
    assert "exitCode" not in found["attempts"][0]
    assert "its pod failed" in found["message"]


async def test_an_image_that_cannot_be_pulled_is_told_once_and_within_seconds(
    world: World,
) -> None:
    replica = await world.replica()
    world.pods.stuck["hello"] = PULL
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(42)
    assert "reason" not in status(world)
    await world.clock.advance(2)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Pending", "ImagePullFailed")
    assert (
        'The image "busybox:no" of container main cannot be pulled: not found.' in found["message"]
    )
    assert told(replica) == [("Warning", "ImagePullFailed")]
    writes = len(status_writes(replica))
    for number in range(20):
        waiting = {"reason": ("ErrImagePull", "ImagePullBackOff")[number % 2], "message": "again"}
        container = {"name": "main", "image": "busybox:no", "state": {"waiting": waiting}}
        world.pods.write(NS, pod_name(world), PULL | {"containerStatuses": [container]})
        await world.clock.advance(5)
    assert len(status_writes(replica)) == writes
    assert len(replica.events.events) == 1


async def test_a_problem_that_is_over_within_the_grace_is_not_written(world: World) -> None:
    replica = await world.replica()
    world.pods.stuck["hello"] = PULL
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(41.5)
    world.pods.write(NS, pod_name(world), {"phase": "Pending", "containerStatuses": []})
    world.pods.stuck.clear()
    await world.clock.advance(30)
    assert status_writes(replica) == []
    assert replica.events.events == []


async def test_once_the_pod_gets_on_that_is_told_too(world: World) -> None:
    replica = await world.replica()
    world.pods.stuck["hello"] = UNSCHEDULABLE
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(45)
    assert status(world)["reason"] == "Unschedulable"
    assert "1 Insufficient cpu." in status(world)["message"]
    scheduled = PULL["conditions"]
    world.pods.write(NS, pod_name(world), {"phase": "Pending", "conditions": scheduled})
    await world.clock.advance(1)
    assert status(world)["reason"] == "PodPending"
    world.pods.write(NS, pod_name(world), {"phase": "Running", **running(START + 50)})
    await world.clock.advance(1)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Running", "JobCreated")
    assert found["podStartLagMilliseconds"] == 10_000
    assert told(replica) == [("Warning", "Unschedulable"), ("Normal", "PodPending")]


def running(since: int) -> Obj:
    state = {"running": {"startedAt": format_instant(since)}}
    return {"containerStatuses": [{"name": "main", "state": state}]}


async def test_a_container_that_crashes_again_and_again_is_told_once(world: World) -> None:
    replica = await world.replica()
    world.run_for["hello"] = None
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(45)
    assert status(world)["phase"] == "Running"
    ended = {"exitCode": 5, "finishedAt": format_instant(START + 44), "reason": "Error"}

    def crashed(state: Obj) -> Obj:
        container = {"name": "main", "state": state, "lastState": {"terminated": ended}}
        return {"phase": "Running", "containerStatuses": [container]}

    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    for _ in range(4):
        world.pods.write(NS, pod_name(world), crashed(waiting))
        await world.clock.advance(5)
        world.pods.write(NS, pod_name(world), crashed({"running": {}}))
        await world.clock.advance(5)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Running", "CrashLoopBackOff")
    assert "exit code 5" in found["message"]
    assert told(replica) == [("Warning", "CrashLoopBackOff")]
    assert len(status_writes(replica)) == 2


def refuse(world: World, note: str, number: int = 1) -> None:
    (job,) = world.jobs().values()
    name, now = job["metadata"]["name"], format_instant(world.clock.now())
    world.server.create(
        EVENTS,
        NS,
        {
            "metadata": {"name": f"{name}.{number}"},
            "type": "Warning",
            "reason": "FailedCreate",
            "note": note,
            "regarding": {
                "kind": "Job",
                "namespace": NS,
                "name": name,
                "uid": job["metadata"]["uid"],
            },
            "deprecatedFirstTimestamp": now,
            "deprecatedLastTimestamp": now,
        },
    )


async def test_pods_that_are_refused_are_told_in_the_words_of_who_refuses_them(
    world: World,
) -> None:
    replica = await world.replica()
    world.pods.refused.add("hello")
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(41)
    note = 'Error creating: pods "x" is forbidden: exceeded quota: q, requested: pods=1'
    for number in range(5):
        refuse(world, note.replace('"x"', f'"x-{number}"'), number)
        await world.clock.advance(2)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Pending", "QuotaExceeded")
    assert "exceeded quota: q, requested: pods=1. It starts when there is room" in found["message"]
    assert len(status_writes(replica)) == 1
    assert told(replica) == [("Warning", "QuotaExceeded")]


async def test_progress_is_written_when_it_changes_and_not_more_often_than_statuses(
    world: World,
) -> None:
    replica = await world.replica()
    world.run_for["hello"] = 60
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(45)
    before = len(status_writes(replica))
    for percent in range(1, 31):
        annotate(world, PODS, f"{percent}% Copying")
        await world.clock.advance(1)
    written = [s["progress"]["percent"] for s in status_writes(replica)[before:]]
    assert written == [1, 10, 20, 30]
    annotate(world, PODS, "99")
    await world.clock.advance(40)
    found = status(world)
    assert found["phase"] == "Succeeded"
    assert found["progress"] == {"percent": 99}


async def test_progress_on_the_job_goes_before_that_of_its_pod(world: World) -> None:
    await world.replica()
    world.run_for["hello"] = None
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(45)
    annotate(world, PODS, "10 of the pod")
    annotate(world, JOBS, "20 of the Job")
    await world.clock.advance(15)
    assert status(world)["progress"] == {"percent": 20, "message": "of the Job"}


async def test_the_end_is_known_to_the_next_leader_too(world: World) -> None:
    first = await world.replica()
    world.fail.add("hello")
    world.pods.ends["hello"] = {"exitCode": 3, "message": "disk is full"}
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(41)
    await first.kill()
    await world.clock.advance(5)
    await world.replica()
    await world.clock.advance(2)
    assert status(world)["attempts"][0]["exitCode"] == 3
    assert status(world)["result"] == "disk is full"


async def test_what_has_ended_is_forgotten(world: World) -> None:
    replica = await world.replica()
    standby = await world.replica(lead=False)
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(175)
    assert [len(each.store.pods) for each in (replica, standby)] == [0, 0]


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
async def test_a_leader_killed_while_it_tells_leaves_it_to_the_next(
    world: World, after: bool
) -> None:
    first = await world.replica()
    world.pods.stuck["hello"] = PULL
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(42)
    first.api.crash(at_write=1, after=after)
    await world.clock.advance(3)
    assert first.api.crashed
    await first.kill()
    second = await world.replica()
    await world.clock.advance(20)
    assert status(world)["reason"] == "ImagePullFailed"
    assert len(status_writes(second)) == (0 if after else 1)


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
async def test_a_leader_killed_while_it_writes_progress_leaves_it_to_the_next(
    world: World, after: bool
) -> None:
    first = await world.replica()
    world.run_for["hello"] = None
    world.apply("hello", schedules=[{"name": "a", "at": format_instant(START + 40)}])
    await world.clock.advance(45)
    first.api.crash(at_write=1, after=after)
    annotate(world, PODS, "40")
    await world.clock.advance(1)
    assert first.api.crashed
    await first.kill()
    second = await world.replica()
    await world.clock.advance(20)
    assert status(world)["progress"] == {"percent": 40}
    assert len(status_writes(second)) == (0 if after else 1)
