"""Arguments at the start of a run: containers get them, or the run fails and says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.api.v1alpha1.names import ANNOTATION_REQUESTED_BY
from taskrunner.domain.instants import format_instant
from taskrunner.ports import JOBS, LEASES, SCHEDULED_TASKS, TASK_EXECUTIONS
from world import NS, START, TEMPLATE, World

SUITE = {"name": "SUITE", "enum": ["smoke", "full"], "default": "smoke"}
TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        await world.replica()
        yield world


def environment(world: World, job: str) -> list[dict[str, Any]]:
    pod = world.server.get(JOBS, NS, job)["spec"]["template"]["spec"]
    found: list[dict[str, Any]] = pod["containers"][0]["env"]
    return found


async def test_a_run_by_hand_gets_its_arguments_and_the_defaults(world: World) -> None:
    world.apply("manual", parameters=[TOKEN, SUITE, {"name": "TARGET"}])
    world.run_by_hand("by-hand", "manual", arguments={"TARGET": "staging"})
    await world.clock.advance(1)
    assert environment(world, "by-hand-1") == [
        TOKEN,
        {"name": "SUITE", "value": "smoke"},
        {"name": "TARGET", "value": "staging"},
    ]


async def test_each_schedule_gives_its_own_arguments(world: World) -> None:
    anchor = format_instant(START - 3)
    world.apply(
        "tests",
        parameters=[SUITE],
        schedules=[
            {"name": "a", "everySeconds": 10, "anchor": anchor, "arguments": {"SUITE": "full"}},
            {"name": "b", "everySeconds": 10, "anchor": anchor},
        ],
    )
    await world.clock.advance(8)
    suites = [
        environment(world, name.rpartition("/")[2])[0]["value"] for name in world.jobs_created
    ]
    assert sorted(suites) == ["full", "smoke"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"SUITE": "smok"}, 'spec.arguments.SUITE "smok": This is not one of the values that the'
                            " parameter takes. Write smoke or full."),
        ({"SUIT": "full"}, "spec.arguments.SUIT: The task has no such parameter."
                           " Did you mean SUITE?"),
        ({"TOKEN": "hunter2"}, 'spec.arguments.TOKEN: The task takes this value from the Secret'
                               ' "ci", and no argument replaces it. Remove the argument.'),
    ],
)  # fmt: skip
async def test_arguments_that_do_not_fit_fail_the_run_before_anything_starts(
    world: World, arguments: dict[str, str], said: str
) -> None:
    world.apply("manual", parameters=[SUITE, TOKEN])
    world.run_by_hand("by-hand", "manual", arguments=arguments)
    await world.clock.advance(1)
    status = world.server.get(TASK_EXECUTIONS, NS, "by-hand")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidArguments")
    assert status["message"] == f"The arguments do not fit the task. {said}"
    assert world.jobs_created == []
    assert world.server.objects(LEASES) == {}


async def test_what_fitted_when_it_was_asked_for_is_looked_at_again_at_the_start(
    world: World,
) -> None:
    world.apply("manual", parameters=[SUITE])
    later = format_instant(START + 30)
    world.run_by_hand("by-hand", "manual", arguments={"SUITE": "full"}, notBefore=later)
    await world.clock.advance(10)
    world.apply("manual", parameters=[{**SUITE, "enum": ["smoke", "soak"]}])
    await world.clock.advance(25)
    status = world.server.get(TASK_EXECUTIONS, NS, "by-hand")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidArguments")
    assert status["message"].endswith("Write smoke or soak.")


async def test_a_slot_keeps_who_asked_for_the_task(world: World) -> None:
    annotated = {"name": "hello", "annotations": {ANNOTATION_REQUESTED_BY: "jane"}}
    spec = {"jobTemplate": TEMPLATE, "schedule": "* * * * *"}
    world.server.create(SCHEDULED_TASKS, NS, {"metadata": annotated, "spec": spec})
    await world.clock.advance(42)
    execution = world.server.get(TASK_EXECUTIONS, NS, f"hello-{START + 40}")
    assert execution["spec"]["requestedBy"] == {"username": "jane"}
