"""The data path on one replica: from an applied task to a status that says what happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.errors import Refused, Transient
from taskrunner.ports import JOBS, LEASES, SCHEDULED_TASKS, TASK_EXECUTIONS
from world import NS, START, TEMPLATE, World, phases


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def test_a_cron_task_runs_every_minute(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(170)
    assert world.started("hello") == [40, 100, 160]
    assert world.decisions("hello") == [
        (40, "Run", "Succeeded"),
        (100, "Run", "Succeeded"),
        (160, "Run", "Succeeded"),
    ]


async def test_an_interval_counts_from_its_anchor(world: World) -> None:
    await world.replica()
    anchor = format_instant(START - 3)
    world.apply("tick", schedules=[{"name": "a", "everySeconds": 10, "anchor": anchor}])
    await world.clock.advance(30)
    assert world.started("tick") == [7, 17, 27]


async def test_a_run_has_execution_lease_and_job_with_owners_and_labels(world: World) -> None:
    replica = await world.replica()
    task = world.apply("hello", schedule="* * * * *")
    world.run_for["hello"] = None
    await world.clock.advance(42)
    name = f"hello-{START + 40}"
    execution = world.server.get(TASK_EXECUTIONS, NS, name)
    lease = world.server.get(LEASES, NS, name)
    job = world.server.get(JOBS, NS, f"{name}-1")
    assert execution["metadata"]["ownerReferences"][0]["uid"] == task["metadata"]["uid"]
    for owned in (lease, job):
        assert owned["metadata"]["ownerReferences"][0]["uid"] == execution["metadata"]["uid"]
        assert owned["metadata"]["labels"]["taskrunner.dev/task"] == "hello"
    assert lease["spec"]["holderIdentity"] == replica.term.identity
    assert execution["spec"]["writer"] == {"shard": "0", "epoch": "replica-1/1"}
    assert execution["status"]["phase"] == "Running"
    assert execution["status"]["attempts"] == [
        {"number": 1, "jobName": f"{name}-1", "startTime": format_instant(START + 40)}
    ]


async def test_a_run_that_ends_within_a_second_is_never_marked_running(world: World) -> None:
    replica = await world.replica()
    world.run_for["hello"] = 0
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(60)
    status_writes = [
        call.body["status"]["phase"]
        for call in replica.api.writes
        if call.resource == TASK_EXECUTIONS and call.verb == "patch"
    ]
    assert status_writes == ["Succeeded"]


async def test_the_status_of_a_task_tells_what_happened(world: World) -> None:
    await world.replica()
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(60)
    status = world.status("hello")
    assert status["lastScheduleTime"] == format_instant(START + 40)
    assert status["lastSuccessfulTime"] == format_instant(START + 43)
    assert status["decidedUntil"] == format_instant(START + 40)
    assert status["scheduledCount"] == 1
    assert status["activeCount"] == 0
    assert status["lastExecution"]["phase"] == "Succeeded"
    assert status["nextRunTime"] == format_instant(START + 100)
    assert [run["time"] for run in status["nextRuns"]] == [
        format_instant(START + 100 + 60 * n) for n in range(5)
    ]
    (ready,) = status["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "Planned")


async def test_a_long_run_is_shown_as_active(world: World) -> None:
    await world.replica()
    world.run_for["hello"] = 25
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(55)
    status = world.status("hello")
    assert status["activeCount"] == 1
    assert status["active"] == [
        {"name": f"hello-{START + 40}", "startTime": format_instant(START + 40)}
    ]
    assert status["lastExecution"] == {
        "name": f"hello-{START + 40}",
        "phase": "Running",
        "startTime": format_instant(START + 40),
    }
    await world.clock.advance(30)
    status = world.status("hello")
    assert status["activeCount"] == 0
    assert "active" not in status
    assert status["lastExecution"]["completionTime"] == format_instant(START + 65)


async def test_a_failed_job_fails_the_run_and_says_so(world: World) -> None:
    replica = await world.replica()
    world.fail.add("hello")
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(175)
    (last,) = world.executions("hello")[-1:]
    assert last["status"]["phase"] == "Failed"
    assert last["status"]["reason"] == "JobFailed"
    assert "container main exited with code 1 (Error)." in last["status"]["message"]
    assert last["status"]["conditions"][0]["type"] == "Failed"
    assert world.status("hello")["consecutiveFailures"] == 3
    assert replica.events.events[0][1:3] == ("Warning", "JobFailed")


async def test_an_idle_task_is_not_written(world: World) -> None:
    replica = await world.replica()
    world.apply("yearly", schedule="0 0 1 1 *")
    await world.clock.advance(5)
    written = len(replica.api.writes)
    await world.clock.advance(3_600)
    assert len(replica.api.writes) == written
    task = world.task("yearly")
    assert "annotations" not in task["metadata"]
    assert "finalizers" not in task["metadata"]


@pytest.mark.parametrize(
    ("seconds", "allowed"),
    [
        pytest.param(0, 6, id="under a second"),
        pytest.param(5, 7, id="under ten seconds"),
        pytest.param(30, 8, id="longer"),
    ],
)
async def test_api_writes_per_run(world: World, seconds: int, allowed: int) -> None:
    replica = await world.replica()
    world.run_for["hello"] = seconds
    world.apply("hello", schedule="* * * * *", successfulJobsHistoryLimit=1)
    await world.clock.advance(300)
    before, runs = len(replica.api.writes), len(world.jobs_created)
    await world.clock.advance(600)
    assert (len(replica.api.writes) - before) / (len(world.jobs_created) - runs) <= allowed


async def test_forbid_leaves_slots_undecided_while_a_run_is_active(world: World) -> None:
    await world.replica()
    world.run_for["slow"] = 150
    world.apply("slow", schedule="* * * * *", concurrencyPolicy="Forbid")
    await world.clock.advance(180)
    assert world.started("slow") == [40]
    await world.clock.advance(20)
    # The run ended at 190; of the slots 100 and 160 the latest starts.
    assert world.started("slow") == [40, 160]
    assert world.decisions("slow") == [
        (40, "Run", "Succeeded"),
        (100, "Miss", "Missed"),
        (160, "Run", "Running"),
    ]
    assert world.status("slow")["missedRanges"][0]["reason"] == "Superseded"


async def test_forbid_without_catch_up_skips_strictly(world: World) -> None:
    await world.replica()
    world.run_for["slow"] = 150
    world.apply(
        "slow",
        schedule="* * * * *",
        concurrencyPolicy="Forbid",
        catchUp={"policy": "None"},
    )
    await world.clock.advance(200)
    assert world.decisions("slow") == [
        (40, "Run", "Succeeded"),
        (100, "Skip", "Skipped"),
        (160, "Skip", "Skipped"),
    ]
    assert world.executions("slow")[1]["status"]["reason"] == "ConcurrentRun"


async def test_allow_starts_runs_beside_each_other(world: World) -> None:
    await world.replica()
    world.run_for["slow"] = 150
    world.apply("slow", schedule="* * * * *")
    await world.clock.advance(165)
    assert phases(world.executions("slow")) == ["Running"] * 3
    assert world.status("slow")["activeCount"] == 2


async def test_a_run_by_hand_starts_at_once(world: World) -> None:
    await world.replica()
    task = world.apply("deploy")
    await world.clock.advance(5)
    world.run_by_hand("deploy-now", "deploy", arguments={"TARGET": "staging"})
    await world.clock.advance(0)
    job = world.jobs()["deploy-now-1"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "TARGET", "value": "staging"}]
    await world.clock.advance(5)
    execution = world.server.get(TASK_EXECUTIONS, NS, "deploy-now")
    assert execution["status"]["phase"] == "Succeeded"
    assert execution["metadata"]["ownerReferences"][0]["uid"] == task["metadata"]["uid"]


async def test_a_run_by_hand_obeys_forbid_and_says_what_to_do(world: World) -> None:
    await world.replica()
    world.run_for["slow"] = 100
    world.apply("slow", schedule="* * * * *", concurrencyPolicy="Forbid")
    await world.clock.advance(45)
    world.run_by_hand("now", "slow")
    await world.clock.advance(1)
    status = world.server.get(TASK_EXECUTIONS, NS, "now")["status"]
    assert (status["phase"], status["reason"]) == ("Skipped", "ConcurrentRun")
    assert "create the execution again" in status["message"]
    assert "now-1" not in world.jobs()


async def test_two_runs_by_hand_at_once_under_forbid_start_one(world: World) -> None:
    await world.replica()
    world.apply("one", concurrencyPolicy="Forbid")
    await world.clock.advance(1)
    for name in ("first", "second"):
        world.run_by_hand(name, "one")
    await world.clock.advance(1)
    assert len(world.jobs()) == 1


async def test_a_run_by_hand_is_accepted_while_the_task_is_suspended(world: World) -> None:
    await world.replica()
    world.apply("off", schedule="* * * * *", suspend=True)
    world.run_by_hand("now", "off")
    await world.clock.advance(120)
    assert list(world.jobs()) == ["now-1"]


async def test_a_run_by_hand_waits_for_its_not_before(world: World) -> None:
    await world.replica()
    world.apply("later")
    world.run_by_hand("later-run", "later", notBefore=format_instant(START + 30))
    await world.clock.advance(29)
    assert not world.jobs()
    await world.clock.advance(2)
    assert list(world.jobs()) == ["later-run-1"]


async def test_a_run_of_an_unknown_task_fails_with_a_remedy(world: World) -> None:
    await world.replica()
    world.run_by_hand("lost", "nobody")
    await world.clock.advance(40)
    status = world.server.get(TASK_EXECUTIONS, NS, "lost")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "TaskNotFound")
    assert '"nobody"' in status["message"]


async def test_suspend_stops_slots_without_writes_and_resume_records_them_once(
    world: World,
) -> None:
    replica = await world.replica()
    world.apply("s", schedule="* * * * *", catchUp={"policy": "None"})
    await world.clock.advance(50)
    world.apply("s", schedule="* * * * *", catchUp={"policy": "None"}, suspend=True)
    await world.clock.advance(30)
    writes = len(replica.api.writes)
    await world.clock.advance(600)
    assert len(replica.api.writes) == writes
    assert world.started("s") == [40]
    world.apply("s", schedule="* * * * *", catchUp={"policy": "None"})
    await world.clock.advance(15)
    (record,) = [e for e in world.executions("s") if e["spec"]["decision"]["type"] == "Miss"]
    assert record["spec"]["decision"]["reason"] == "Suspended"
    assert record["spec"]["decision"]["count"] > 5


async def test_a_bad_spec_is_told_in_a_condition_and_touches_no_other_task(world: World) -> None:
    await world.replica()
    world.apply("good", schedule="* * * * *")
    world.apply("bad", schedule="61 * * * *")
    await world.clock.advance(60)
    (ready,) = world.status("bad")["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.schedule" in ready["message"]
    assert "61" in ready["message"]
    assert world.started("good") == [40]
    assert world.started("bad") == []
    world.apply("bad", schedule="* * * * *")
    await world.clock.advance(60)
    assert world.started("bad") == [100]
    assert world.status("bad")["conditions"][0]["status"] == "True"


async def test_a_template_that_the_server_refuses_is_told_before_the_first_slot(
    world: World,
) -> None:
    await world.replica()

    def check(verb: str, resource: Any, obj: Any) -> None:
        containers = obj["spec"].get("template", {}).get("spec", {}).get("containers", ())
        if resource == JOBS and any("imag" in c for c in containers):
            raise Refused(
                'strict decoding error: unknown field "spec.template.spec.containers[0].imag"',
                code=400,
                reason="BadRequest",
            )

    world.server.admission.append(check)
    bad = {"spec": {"template": {"spec": {"containers": [{"name": "main", "imag": "x"}]}}}}
    world.apply("typo", schedule="* * * * *", jobTemplate=bad)
    await world.clock.advance(60)
    (ready,) = world.status("typo")["conditions"]
    assert ready["status"] == "False"
    assert "containers[0].imag" in ready["message"]
    assert not world.jobs()
    world.apply("typo", schedule="* * * * *", jobTemplate=TEMPLATE)
    await world.clock.advance(60)
    assert world.started("typo") == [100]


async def test_a_job_deleted_by_somebody_fails_the_run_and_is_not_created_again(
    world: World,
) -> None:
    await world.replica()
    world.run_for["hello"] = 30
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    job = world.jobs()[f"hello-{START + 40}-1"]
    world.server.delete(JOBS, NS, job["metadata"]["name"], uid=job["metadata"]["uid"])
    await world.clock.advance(5)
    (execution,) = world.executions("hello")
    assert execution["status"]["reason"] == "JobDeleted"
    assert world.started("hello") == [40]


async def test_a_foreign_job_of_the_same_name_is_left_alone(world: World) -> None:
    await world.replica()
    name = f"hello-{START + 40}-1"
    foreign = world.server.create(JOBS, NS, {"metadata": {"name": name}, "spec": TEMPLATE["spec"]})
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    (execution,) = world.executions("hello")
    assert execution["status"]["reason"] == "NameCollision"
    assert world.jobs()[name]["metadata"]["uid"] == foreign["metadata"]["uid"]


async def test_an_exhausted_quota_is_told_and_tried_again(world: World) -> None:
    replica = await world.replica()
    full = True

    def quota(verb: str, resource: Any, obj: Any) -> None:
        if resource == JOBS and full and "generateName" not in obj["metadata"]:
            raise Transient("exceeded quota: jobs, used: 10, limited: 10", code=403)

    world.server.admission.append(quota)
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    (execution,) = world.executions("hello")
    assert execution["status"]["reason"] == "QuotaExceeded"
    assert execution["status"]["phase"] == "Pending"
    assert len(replica.events.events) == 1
    full = False
    await world.clock.advance(30)
    assert world.started("hello") == [40]


async def test_a_job_that_the_server_refuses_for_good_fails_the_run(world: World) -> None:
    await world.replica()

    def check(verb: str, resource: Any, obj: Any) -> None:
        if resource == JOBS and "generateName" not in obj["metadata"]:
            raise Refused("spec.template.spec.containers[0].image: Required value", code=422)

    world.server.admission.append(check)
    world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    (execution,) = world.executions("hello")
    assert execution["status"]["reason"] == "JobRejected"
    assert "Required value" in execution["status"]["message"]


async def test_a_deleted_task_takes_its_runs_with_it(world: World) -> None:
    await world.replica()
    world.run_for["hello"] = None
    task = world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    world.server.delete(SCHEDULED_TASKS, NS, "hello", uid=task["metadata"]["uid"])
    await world.clock.advance(120)
    assert not world.executions("hello")
    assert not world.jobs()
    assert world.started("hello") == [40]


async def test_a_task_being_deleted_gets_no_new_slots_and_cancels_what_has_not_started(
    world: World,
) -> None:
    await world.replica()
    world.run_for["hello"] = None
    task = world.apply("hello", schedule="* * * * *")
    await world.clock.advance(45)
    # Held by a finalizer of somebody else.
    world.server.patch(SCHEDULED_TASKS, NS, "hello", {"metadata": {"finalizers": ["x/y"]}})
    world.run_by_hand("later", "hello", notBefore=format_instant(START + 200))
    await world.clock.advance(1)
    world.server.delete(SCHEDULED_TASKS, NS, "hello", uid=task["metadata"]["uid"])
    await world.clock.advance(300)
    assert world.started("hello") == [40]
    status = world.server.get(TASK_EXECUTIONS, NS, "later")["status"]
    assert (status["phase"], status["reason"]) == ("Cancelled", "TaskDeleted")


async def test_an_edit_of_the_schedule_counts_from_when_it_was_seen(world: World) -> None:
    await world.replica()
    world.apply("edit", schedule="* * * * *")
    await world.clock.advance(50)
    world.apply("edit", schedule="*/2 * * * *")
    await world.clock.advance(120)
    assert world.started("edit") == [40, 160]
    assert world.status("edit")["plan"]["since"] == format_instant(START + 50)


async def test_max_executions_completes_the_task(world: World) -> None:
    await world.replica()
    world.apply("twice", schedule="* * * * *", maxExecutions=2)
    await world.clock.advance(400)
    assert world.started("twice") == [40, 100]
    status = world.status("twice")
    assert status["scheduledCount"] == 2
    completed = next(c for c in status["conditions"] if c["type"] == "Completed")
    assert completed["status"] == "True"
    assert "nextRunTime" not in status


async def test_next_runs_end_where_max_executions_does(world: World) -> None:
    await world.replica()
    world.apply("thrice", schedule="* * * * *", maxExecutions=3)
    await world.clock.advance(50)
    assert [run["time"] for run in world.status("thrice")["nextRuns"]] == [
        format_instant(START + 100),
        format_instant(START + 160),
    ]


async def test_a_one_shot_runs_once_and_completes(world: World) -> None:
    await world.replica()
    world.apply("once", schedules=[{"name": "go", "at": format_instant(START + 20)}])
    await world.clock.advance(100)
    assert world.started("once") == [20]
    kinds = {c["type"]: c["status"] for c in world.status("once")["conditions"]}
    assert kinds == {"Ready": "True", "Completed": "True"}


async def test_arguments_of_a_schedule_reach_the_containers(world: World) -> None:
    await world.replica()
    world.apply(
        "both",
        schedules=[
            {"name": "a", "cron": "* * * * *", "arguments": {"SUITE": "full"}},
            {"name": "b", "cron": "* * * * *", "arguments": {"SUITE": "smoke"}},
        ],
    )
    await world.clock.advance(45)
    values = {
        job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]
        for job in world.jobs().values()
    }
    assert values == {"full", "smoke"}
