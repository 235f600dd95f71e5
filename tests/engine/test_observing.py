"""What the engine makes of calendars, gaps in watches, and objects that cannot be followed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.engine.admit import TaskSink
from taskrunner.errors import Conflict
from taskrunner.ports import CALENDARS, JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS
from world import NS, START, World

DAY = 86_400


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def calendar(world: World, name: str, **spec: Any) -> None:
    world.server.create(CALENDARS, NS, {"metadata": {"name": name}, "spec": spec})


def ready(world: World, task: str) -> tuple[str, str]:
    condition = next(c for c in world.status(task)["conditions"] if c["type"] == "Ready")
    return condition["status"], condition["message"]


async def test_a_slot_that_a_calendar_excludes_is_recorded_as_skipped(world: World) -> None:
    await world.replica()
    calendar(world, "freeze", exclude={"dates": ["2026-09-21"]})
    world.apply("quiet", schedule="* * * * *", calendars=[{"name": "freeze"}])
    await world.clock.advance(60)
    assert world.decisions("quiet") == [(40, "Skip", "Skipped")]
    (record,) = world.executions("quiet")
    assert record["status"]["reason"] == "ExcludedByCalendar"
    assert "freeze" in record["status"]["message"]
    assert not world.jobs()


async def test_a_task_waits_for_its_calendar_and_says_so(world: World) -> None:
    await world.replica()
    world.apply("quiet", schedule="* * * * *", calendars=[{"name": "later"}])
    await world.clock.advance(15)
    status, message = ready(world, "quiet")
    assert status == "False"
    assert "later" in message
    calendar(world, "later", exclude={"dates": ["2026-12-25"]})
    await world.clock.advance(30)
    assert ready(world, "quiet")[0] == "True"
    assert world.started("quiet") == [40]


async def test_a_changed_calendar_plans_its_tasks_anew(world: World) -> None:
    await world.replica()
    calendar(world, "days", exclude={"dates": ["2026-12-25"]})
    world.apply("quiet", schedule="* * * * *", calendars=[{"name": "days"}])
    world.apply("other", schedule="* * * * *")
    await world.clock.advance(60)
    assert world.started("quiet") == [40]
    world.server.patch(CALENDARS, NS, "days", {"spec": {"exclude": {"dates": ["2026-09-21"]}}})
    await world.clock.advance(60)
    assert world.started("quiet") == [40]
    assert world.started("other") == [40, 100]


async def test_a_deleted_calendar_stops_its_tasks_and_no_other(world: World) -> None:
    await world.replica()
    calendar(world, "days", exclude={"dates": ["2026-12-25"]})
    world.apply("quiet", schedule="* * * * *", calendars=[{"name": "days"}])
    world.apply("other", schedule="* * * * *")
    await world.clock.advance(5)
    uid = world.server.get(CALENDARS, NS, "days")["metadata"]["uid"]
    world.server.delete(CALENDARS, NS, "days", uid=uid)
    await world.clock.advance(60)
    assert ready(world, "quiet")[0] == "False"
    assert world.started("quiet") == []
    assert world.started("other") == [40]


async def test_a_calendar_that_cannot_be_followed_is_told_by_the_task(world: World) -> None:
    await world.replica()
    window = {"name": "w", "cron": "61 * * * *", "durationSeconds": 60}
    calendar(world, "bad", exclude={"windows": [window]})
    world.apply("quiet", schedule="* * * * *", calendars=[{"name": "bad"}])
    await world.clock.advance(15)
    status, message = ready(world, "quiet")
    assert status == "False"
    assert "61" in message


async def test_a_run_by_hand_of_a_bad_task_fails_with_the_problem(world: World) -> None:
    await world.replica()
    world.apply("bad", schedule="61 * * * *")
    world.run_by_hand("now", "bad")
    await world.clock.advance(5)
    status = world.server.get(TASK_EXECUTIONS, NS, "now")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert "spec.schedule" in status["message"]


async def test_a_spec_that_goes_bad_lets_active_runs_end(world: World) -> None:
    await world.replica()
    world.run_for["edit"] = 30
    world.apply("edit", schedule="* * * * *")
    await world.clock.advance(45)
    world.apply("edit", schedule="61 * * * *")
    await world.clock.advance(60)
    assert world.decisions("edit") == [(40, "Run", "Succeeded")]


@pytest.mark.parametrize("kind", [SCHEDULED_TASKS, TASK_EXECUTIONS, JOBS])
async def test_what_was_deleted_in_a_gap_of_the_watch_is_found_gone(
    world: World, kind: Any
) -> None:
    replica = await world.replica()
    world.run_for["hello"] = None
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    world.server.garbage = False
    world.server.lose(kind, NS, next(iter(world.server.objects(kind))))
    replica.api.break_watches()
    await world.clock.advance(700)  # the periodic comparison with a LIST
    match kind.plural:
        case "scheduledtasks":
            assert world.started("hello") == [40 + 60 * n for n in range(len(world.jobs()))]
            assert len(world.jobs()) < 12
        case "taskexecutions":
            assert replica.store.execution(f"{NS}/hello-{START + 40}") is None
        case "jobs":
            first = world.executions("hello")[0]
            assert first["status"]["reason"] == "JobDeleted"


async def test_schedules_that_coincide_under_forbid_start_the_first(world: World) -> None:
    await world.replica()
    world.apply(
        "both",
        concurrencyPolicy="Forbid",
        schedules=[
            {"name": name, "cron": "* * * * *", "arguments": {"SUITE": name}} for name in "ab"
        ],
    )
    await world.clock.advance(45)
    found = {e["spec"]["decision"]["type"]: e for e in world.executions("both")}
    assert found["Run"]["spec"]["arguments"] == {"SUITE": "a"}
    assert found["Skip"]["spec"]["decision"]["reason"] == "ConcurrentRun"


async def test_forbid_and_catch_up_all_run_one_after_the_other(world: World) -> None:
    world.apply("all", schedule="* * * * *", concurrencyPolicy="Forbid", catchUp={"policy": "All"})
    await world.clock.advance(230)
    await world.replica()
    await world.clock.advance(3)
    assert world.started("all") == [40, 100]
    await world.clock.advance(6)
    assert world.started("all") == [40, 100, 160, 220]


async def test_a_conflict_reads_again_and_goes_on(world: World) -> None:
    replica = await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(5)
    replica.api.fail("patch", TASK_EXECUTIONS, error=Conflict("modified", code=409), times=2)
    await world.clock.advance(60)
    assert world.decisions("hello") == [(40, "Run", "Succeeded")]


async def test_a_bug_met_by_one_task_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await world.replica()
    assert replica.cycle is not None
    plans = replica.cycle._plans
    decide = plans._decide

    async def broken(state: Any, *rest: Any) -> None:
        if state.name == "cursed":
            raise ZeroDivisionError
        await decide(state, *rest)

    monkeypatch.setattr(plans, "_decide", broken)
    world.apply("cursed", schedule="* * * * *")
    world.apply("fine", schedule="* * * * *")
    await world.clock.advance(60)
    assert world.started("fine") == [40]
    monkeypatch.setattr(plans, "_decide", decide)
    await world.clock.advance(60)
    assert 100 in world.started("cursed")


async def test_a_slot_decided_by_somebody_else_keeps_that_decision(world: World) -> None:
    """Another leader was faster: its object is read, and what it says is done."""
    replica = await world.replica()
    task = world.apply("hello", schedule="* * * * *")
    await world.clock.advance(5)
    name = f"hello-{START + 40}"

    def faster(call: Any) -> None:
        if call.verb == "create" and call.resource == TASK_EXECUTIONS and call.name == name:
            replica.api.before.remove(faster)
            body = dict(call.body)
            body["spec"] = {
                **body["spec"],
                "decision": {
                    "type": "Skip",
                    "reason": "ConcurrentRun",
                    "due": format_instant(START + 40),
                },
            }
            world.server.create(TASK_EXECUTIONS, NS, body)

    replica.api.before.append(faster)
    await world.clock.advance(40)
    assert world.decisions("hello") == [(40, "Skip", "Skipped")]
    assert not world.jobs()
    assert task["metadata"]["uid"]


async def test_a_jitter_moves_the_start_but_not_the_name(world: World) -> None:
    await world.replica()
    world.apply("spread", schedule="*/5 * * * *", jitterSeconds=120)
    await world.clock.advance(DAY // 24)
    for execution in world.executions("spread"):
        nominal = int(execution["metadata"]["name"].rsplit("-", 1)[1])
        assert nominal % 300 == 0
        created = world.jobs()[f"{execution['metadata']['name']}-1"]["metadata"]
        assert created["creationTimestamp"] == execution["spec"].get(
            "notBefore", format_instant(nominal)
        )
    assert any("notBefore" in e["spec"] for e in world.executions("spread"))


async def test_a_late_word_of_an_older_object_changes_nothing(world: World) -> None:
    replica = await world.replica()
    old = world.apply("hello", schedule="* * * * *")
    world.server.delete(SCHEDULED_TASKS, NS, "hello", uid=old["metadata"]["uid"])
    new = world.apply("hello", schedule="*/2 * * * *")
    await world.clock.advance(1)
    sink = TaskSink(replica.store)
    sink.seen("ADDED", old)
    sink.seen("DELETED", old)
    state = replica.store.tasks[f"{NS}/hello"]
    assert state.uid == new["metadata"]["uid"]
    assert state.compiled is not None
    assert state.compiled.summary == "*/2 * * * *"
