"""Jobs in a queue of Kueue, by its documented contract; `Kueue` here does what that says.

It starts suspended Jobs with the label of a queue, takes them back by suspending them, looks at no
others, and refuses that the label changes unless the Job is suspended
(https://kueue.sigs.k8s.io/docs/tasks/run/jobs/).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.errors import Refused
from taskrunner.ports import JOBS, TASK_EXECUTIONS, Obj, Resource
from world import NS, TEMPLATE, World

LABEL = "kueue.x-k8s.io/queue-name"
QUEUED: Obj = {"metadata": {"labels": {LABEL: "team"}}, **TEMPLATE}


class Kueue:
    """A queue whose quota a test opens and closes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.started: list[str] = []
        self.open = False
        world.server.admission.append(self._validate)

    async def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            if self.open:
                self.admit()
            await self.world.clock.advance(1)

    def admit(self) -> None:
        for name, job in self.world.jobs().items():
            if LABEL in job["metadata"]["labels"] and job["spec"].get("suspend"):
                self.started.append(name)
                self.world.server.patch(JOBS, NS, name, {"spec": {"suspend": False}})

    def evict(self, name: str) -> None:
        self.open = False
        self.world.server.patch(JOBS, NS, name, {"spec": {"suspend": True}})

    def _validate(self, verb: str, resource: Resource, obj: Obj) -> None:
        if resource != JOBS or verb == "create" or obj["spec"].get("suspend"):
            return
        before = self.world.jobs().get(obj["metadata"]["name"])
        was = (before or obj)["metadata"]["labels"].get(LABEL)
        if obj["metadata"]["labels"].get(LABEL) != was:
            raise Refused("metadata.labels: field is immutable", code=422, reason="Invalid")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


@pytest.fixture
async def kueue(world: World) -> Kueue:
    await world.replica()
    return Kueue(world)


def status(world: World, name: str = "now") -> dict[str, Any]:
    return dict(world.server.get(TASK_EXECUTIONS, NS, name)["status"])


async def asked(kueue: Kueue, **spec: Any) -> None:
    kueue.world.apply("job", jobTemplate=QUEUED, **spec)
    await kueue.world.clock.advance(1)
    kueue.world.run_by_hand("now", "job")
    await kueue.advance(2)


async def test_a_job_is_made_suspended_and_waits_as_queued_without_a_pending_timeout(
    world: World, kueue: Kueue
) -> None:
    await asked(kueue, pendingTimeoutSeconds=10)
    job = world.jobs()["now-1"]
    assert (job["spec"]["suspend"], job["metadata"]["labels"][LABEL]) == (True, "team")
    await kueue.advance(60)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Queued", "WaitingForKueue")
    assert found["message"].endswith('waits for Kueue to start it (queue "team").')
    assert world.status("job")["activeCount"] == 0
    kueue.open = True
    await kueue.advance(6)
    assert status(world)["phase"] == "Succeeded"
    assert kueue.started == ["now-1"]


async def test_the_pending_timeout_counts_from_when_kueue_has_started_it(
    world: World, kueue: Kueue
) -> None:
    world.pods.stuck["job"] = {"phase": "Pending"}
    await asked(kueue, pendingTimeoutSeconds=10)
    await kueue.advance(30)
    kueue.open = True
    await kueue.advance(8)
    assert status(world)["phase"] != "Failed"
    await kueue.advance(8)
    assert (status(world)["phase"], status(world)["reason"]) == ("Failed", "PendingTimedOut")
    await kueue.advance(5)
    assert kueue.started == ["now-1"], "Kueue started it again"
    assert "now-1" not in world.jobs(), "its quota stays reserved"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"queue": {"timeoutSeconds": 20}}, "QueueTimedOut"),
        ({"startingDeadlineSeconds": 20}, "DeadlineExceeded"),
    ],
)
async def test_a_run_that_waits_past_its_deadline_is_dropped_with_a_reason(
    world: World, kueue: Kueue, spec: Obj, reason: str
) -> None:
    world.apply(
        "job", jobTemplate=QUEUED, schedule="* * * * *", endTime="2026-09-21T14:14:30Z", **spec
    )
    await world.clock.advance(41)
    (execution,) = world.executions("job")
    name = execution["metadata"]["name"]
    await kueue.advance(15)
    assert status(world, name)["phase"] == "Queued"
    await kueue.advance(8)
    found = status(world, name)
    assert (found["phase"], found["reason"]) == ("Skipped", reason)
    assert found["message"].endswith("It had not started.")
    kueue.open = True
    await kueue.advance(5)
    assert (kueue.started, world.jobs()) == ([], {})


@pytest.mark.parametrize("running", [False, True])
async def test_a_run_that_is_stopped_leaves_the_queue_and_is_not_started_again(
    world: World, kueue: Kueue, running: bool
) -> None:
    world.run_for["job"] = None
    kueue.open = running
    await asked(kueue)
    await kueue.advance(3)
    world.grace["job"] = 5
    world.server.patch(TASK_EXECUTIONS, NS, "now", {"spec": {"stop": "Graceful"}})
    await world.clock.advance(1)
    if running:
        job = world.jobs()["now-1"]
        assert job["spec"]["suspend"] is True
        assert LABEL not in job["metadata"]["labels"]
    kueue.open = True
    await kueue.advance(10)
    assert (status(world)["phase"], status(world)["reason"]) == ("Cancelled", "Stopped")
    assert kueue.started == ["now-1"] * running
    assert world.jobs() == {}


async def test_a_newer_run_replaces_one_that_waits_in_kueue(world: World, kueue: Kueue) -> None:
    await asked(kueue, concurrencyPolicy="Replace")
    world.run_by_hand("then", "job")
    await kueue.advance(5)
    assert (status(world)["phase"], status(world)["reason"]) == ("Cancelled", "Replaced")
    kueue.open = True
    await kueue.advance(8)
    assert status(world, "then")["phase"] == "Succeeded"
    assert kueue.started == ["then-1"]


async def test_a_retry_goes_to_the_same_queue(world: World, kueue: Kueue) -> None:
    world.pods.stuck["job"] = {"phase": "Pending"}
    kueue.open = True
    retry = {"maxRetries": 1, "initialDelaySeconds": 5, "jitterPercent": 0}
    await asked(kueue, pendingTimeoutSeconds=5, retryPolicy=retry)
    await kueue.advance(8)
    assert status(world)["phase"] == "Retrying"
    world.pods.stuck.clear()
    kueue.open = False
    await kueue.advance(10)
    second = world.jobs()["now-2"]
    assert (second["spec"]["suspend"], second["metadata"]["labels"][LABEL]) == (True, "team")
    assert "taskrunner.dev/kueue-queue" not in second["metadata"]["annotations"]
    assert "now-1" not in world.jobs(), "the quota of the first attempt stays reserved"
    kueue.open = True
    await kueue.advance(8)
    assert status(world)["phase"] == "Succeeded"


async def test_a_run_that_kueue_takes_back_is_queued_again_and_goes_on(
    world: World, kueue: Kueue
) -> None:
    world.run_for["job"] = 20
    kueue.open = True
    await asked(kueue, startingDeadlineSeconds=10)
    await kueue.advance(4)
    assert status(world)["phase"] == "Running"
    kueue.evict("now-1")
    await kueue.advance(20)
    assert (status(world)["phase"], status(world)["reason"]) == ("Queued", "WaitingForKueue")
    kueue.open = True
    await kueue.advance(5)
    assert status(world)["phase"] == "Running"
    await kueue.advance(20)
    assert status(world)["phase"] == "Succeeded"
