"""Pauses: a task's own suspend, a label on its namespace, and the operator's configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.ports import CONFIG_MAPS, NAMESPACES, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from world import NS, START, World

SYSTEM = "taskrunner-system"
CONFIG = "taskrunner-config"
LABEL = "taskrunner.dev/paused"
SPEC: dict[str, Any] = {"schedule": "* * * * *"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        world.server.create(NAMESPACES, "", {"metadata": {"name": NS}})
        yield world


def label(world: World, value: str | None, name: str = NS) -> None:
    world.server.patch(NAMESPACES, "", name, {"metadata": {"labels": {LABEL: value}}})


def configure(world: World, value: str | None) -> None:
    present = world.server.objects(CONFIG_MAPS).get(CONFIG)
    if value is None:
        assert present is not None
        world.server.delete(CONFIG_MAPS, SYSTEM, CONFIG)
    elif present is None:
        body = {"metadata": {"name": CONFIG}, "data": {"paused": value}}
        world.server.create(CONFIG_MAPS, SYSTEM, body)
    else:
        world.server.patch(CONFIG_MAPS, SYSTEM, CONFIG, {"data": {"paused": value}})


def suspend(world: World, on: bool) -> None:
    world.server.patch(SCHEDULED_TASKS, NS, "s", {"spec": {"suspend": on}})


Switch = Callable[[World, bool], None]
WAYS: dict[str, Switch] = {
    "suspend": suspend,
    "namespace": lambda world, on: label(world, "true" if on else None),
    "operator": lambda world, on: configure(world, "true" if on else "false"),
}
ways = pytest.mark.parametrize("switch", WAYS.values(), ids=WAYS)
pauses = pytest.mark.parametrize(
    "switch", [WAYS["namespace"], WAYS["operator"]], ids=["namespace", "operator"]
)


def ready(world: World, task: str = "s") -> Obj:
    conditions = world.status(task).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


@ways
@pytest.mark.parametrize(
    ("catch_up", "started", "missed"),
    [
        pytest.param("None", [40, 700], ("Suspended", 100, 640, 10), id="None: none of them runs"),
        pytest.param("Last", [40, 640, 700], ("Suspended", 100, 580, 9), id="Last: the latest"),
        pytest.param("All", [40, *range(100, 701, 60)], None, id="All: each of them"),
    ],
)
async def test_all_pauses_catch_up_alike(
    world: World,
    switch: Switch,
    catch_up: str,
    started: list[int],
    missed: tuple[str, int, int, int] | None,
) -> None:
    await world.replica()
    world.apply("s", **SPEC, catchUp={"policy": catch_up})
    await world.clock.advance(60)
    switch(world, True)
    # 675: the last slot is more than 30 s late, which None counts as missed.
    await world.clock.advance(615)
    assert world.started("s") == [40]
    switch(world, False)
    await world.clock.advance(30)
    assert world.started("s") == started
    decisions = [e["spec"]["decision"] for e in world.executions("s")]
    found = [
        (d["reason"], seconds(d["from"]), seconds(d["due"]), d["count"])
        for d in decisions
        if d["type"] == "Miss"
    ]
    assert found == ([missed] if missed else [])


def seconds(text: str) -> int:
    return next(s for s in range(2_000) if format_instant(START + s) == text)


@ways
async def test_what_runs_goes_on(world: World, switch: Switch) -> None:
    await world.replica()
    world.run_for["s"] = 30
    world.apply("s", **SPEC)
    await world.clock.advance(50)
    switch(world, True)
    await world.clock.advance(60)
    assert world.decisions("s") == [(40, "Run", "Succeeded")]


@ways
async def test_a_pause_survives_its_leader_and_is_still_the_reason_afterwards(
    world: World, switch: Switch
) -> None:
    first = await world.replica()
    world.apply("s", **SPEC, catchUp={"policy": "None"})
    await world.clock.advance(60)
    switch(world, True)
    await world.clock.advance(100)
    await first.kill()
    await world.clock.advance(100)
    second = await world.replica()
    await world.clock.advance(100)
    assert world.started("s") == [40]
    await second.kill()
    switch(world, False)  # While nobody looks.
    await world.clock.advance(20)
    await world.replica()
    await world.clock.advance(40)
    reasons = {e["spec"]["decision"]["reason"] for e in world.executions("s")}
    assert "Suspended" in reasons
    assert "CatchUpPolicy" not in reasons


@ways
async def test_a_pause_is_told_in_the_status_with_the_remedy(world: World, switch: Switch) -> None:
    await world.replica()
    world.apply("s", **SPEC)
    await world.clock.advance(60)
    switch(world, True)
    await world.clock.advance(60)
    found = ready(world)
    assert found["reason"] in ("Suspended", "Paused")
    assert "go on" in found["message"]
    assert "nextRunTime" not in world.status("s")
    switch(world, False)
    await world.clock.advance(30)
    assert ready(world)["reason"] == "Planned"
    assert "nextRunTime" in world.status("s")


@pauses
async def test_a_pause_costs_one_write_for_each_task_with_a_slot_in_it_and_none_for_others(
    world: World, switch: Switch
) -> None:
    replica = await world.replica()
    world.apply("s", **SPEC)
    world.apply("yearly", schedule="0 0 1 1 *")
    await world.clock.advance(80)
    switch(world, True)
    written = len(replica.api.writes)
    await world.clock.advance(900)
    assert [call.name for call in replica.api.writes[written:]] == ["s"]
    switch(world, False)
    await world.clock.advance(90)
    assert "yearly" not in {call.name for call in replica.api.writes[written:]}


@pauses
async def test_a_run_by_hand_waits_for_the_end_of_a_pause_and_says_so(
    world: World, switch: Switch
) -> None:
    replica = await world.replica()
    world.apply("s")
    await world.clock.advance(5)
    switch(world, True)
    await world.clock.advance(1)
    world.run_by_hand("now", "s")
    await world.clock.advance(300)
    status = world.server.get(TASK_EXECUTIONS, NS, "now")["status"]
    assert (status["phase"], status["reason"]) == ("Pending", "Paused")
    assert "kubectl" in status["message"]
    assert not world.jobs()
    assert sum(call.name == "now" for call in replica.api.writes) == 1
    switch(world, False)
    await world.clock.advance(5)
    assert world.server.get(TASK_EXECUTIONS, NS, "now")["status"]["phase"] == "Succeeded"


async def test_runs_by_hand_that_a_pause_held_obey_forbid_when_it_ends(world: World) -> None:
    await world.replica()
    world.apply("s", concurrencyPolicy="Forbid")
    await world.clock.advance(5)
    label(world, "true")
    for name in ("first", "second"):
        world.run_by_hand(name, "s")
    await world.clock.advance(60)
    label(world, None)
    await world.clock.advance(20)
    phases = sorted(e["status"]["phase"] for e in world.executions("s"))
    assert phases == ["Skipped", "Succeeded"]


@pauses
async def test_a_deferred_run_that_becomes_due_in_a_pause_starts_after_it(
    world: World, switch: Switch
) -> None:
    await world.replica()
    world.apply("s")
    world.run_by_hand("later", "s", notBefore=format_instant(START + 100))
    await world.clock.advance(50)
    switch(world, True)
    await world.clock.advance(100)
    assert not world.jobs()
    switch(world, False)
    await world.clock.advance(1)
    assert list(world.jobs()) == ["later-1"]


@pauses
async def test_a_run_that_a_pause_holds_can_be_given_up_with_its_task(
    world: World, switch: Switch
) -> None:
    await world.replica()
    task = world.apply("s")
    await world.clock.advance(1)
    switch(world, True)
    world.run_by_hand("now", "s")
    world.server.patch(SCHEDULED_TASKS, NS, "s", {"metadata": {"finalizers": ["x/y"]}})
    await world.clock.advance(10)
    world.server.delete(SCHEDULED_TASKS, NS, "s", uid=task["metadata"]["uid"])
    await world.clock.advance(10)
    status = world.server.get(TASK_EXECUTIONS, NS, "now")["status"]
    assert (status["phase"], status["reason"]) == ("Cancelled", "TaskDeleted")


async def test_a_pause_of_one_namespace_leaves_the_others_alone(world: World) -> None:
    await world.replica()
    world.server.create(NAMESPACES, "", {"metadata": {"name": "other", "labels": {LABEL: ""}}})
    world.apply("s", **SPEC)
    await world.clock.advance(60)
    assert world.started("s") == [40]


@pytest.mark.parametrize(
    ("value", "paused"),
    [("true", True), ("", True), ("until-monday", True), ("false", False), (None, False)],
)
async def test_what_a_label_says(world: World, value: str | None, paused: bool) -> None:
    await world.replica()
    world.apply("s", **SPEC)
    label(world, value)
    await world.clock.advance(60)
    assert (world.started("s") == []) is paused


@pytest.mark.parametrize(
    ("value", "paused"),
    [("true", True), ("True", True), ("yes", True), ("false", False), ("", False), (None, False)],
)
async def test_what_the_configuration_says(world: World, value: str | None, paused: bool) -> None:
    await world.replica()
    world.apply("s", **SPEC)
    configure(world, value or "true")
    await world.clock.advance(5)
    configure(world, value)
    await world.clock.advance(60)
    assert (world.started("s") == []) is paused


async def test_a_new_leader_knows_what_is_paused_before_it_acts(world: World) -> None:
    world.apply("s", **SPEC)
    label(world, "true")
    configure(world, "true")
    await world.clock.advance(100)
    await world.replica()
    await world.clock.advance(100)
    assert not world.jobs()
    label(world, None)
    await world.clock.advance(60)
    assert not world.jobs()
    configure(world, None)
    await world.clock.advance(1)
    assert len(world.jobs()) == 1
