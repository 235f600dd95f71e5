"""A server that does what it is asked and does not say so, and names taken by somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fakes.api import Call
from taskrunner.domain.instants import format_instant
from taskrunner.engine.progress import begin
from taskrunner.engine.report import desired_status
from taskrunner.ports import JOBS, TASK_EXECUTIONS
from world import NS, START, Replica, World


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def stop_answering(replica: Replica) -> list[Call]:
    """After the next creation of an execution the server does not answer any more; the call is in
    the list then."""
    seen: list[Call] = []

    def hush(call: Call) -> None:
        if not seen and call.verb == "create" and call.resource == TASK_EXECUTIONS:
            seen.append(call)
            replica.api.pause(after=True)

    replica.api.after.append(hush)
    return seen


@pytest.mark.parametrize(("policy", "period"), [("Forbid", 6), ("Allow", 3)])
async def test_a_slot_whose_creation_had_no_answer_is_decided_once(
    world: World, policy: str, period: int
) -> None:
    replica = await world.replica()
    often = [{"name": "often", "everySeconds": period}]
    world.apply("hello", schedules=often, concurrencyPolicy=policy)
    world.run_for["hello"] = 30
    silent = stop_answering(replica)
    while not silent:
        await world.clock.advance(1)
    await world.clock.advance(10.05)
    replica.api.resume()
    await world.clock.advance(3)
    first, *others = world.executions("hello")
    assert first["spec"]["decision"]["type"] == "Run"
    for other in others:
        covered = other["spec"]["decision"].get("from", other["spec"]["scheduledTime"])
        assert covered > first["spec"]["scheduledTime"]
    if policy == "Forbid":
        assert not others


async def test_a_foreign_job_that_takes_the_name_of_a_deleted_one_ends_the_run(
    world: World,
) -> None:
    replica = await world.replica()
    world.apply("hello", schedule="* * * * *")
    world.run_for["hello"] = None
    await world.clock.advance(45)
    ((name, job),) = world.jobs().items()
    world.server.delete(JOBS, NS, name, propagation="Background")
    foreign = {"name": name, "labels": job["metadata"]["labels"]}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": foreign, "spec": job["spec"]}
    world.server.create(JOBS, NS, body)
    before = len([call for call in replica.api.calls if call.resource == JOBS])
    await world.clock.advance(5)
    (execution,) = world.executions("hello")
    assert execution["status"]["reason"] == "JobDeleted"
    assert len([call for call in replica.api.calls if call.resource == JOBS]) <= before + 3


async def test_the_watermark_in_the_status_never_goes_back(world: World) -> None:
    replica = await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(100)
    state = replica.store.tasks[f"{NS}/hello"]
    progress = begin(state)
    later = format_instant(START + 10_000)
    old = {"decidedUntil": later, "scheduledCount": 99}
    found = desired_status(state, progress, old, world.clock.now())
    assert (found["decidedUntil"], found["scheduledCount"]) == (later, 99)
