"""The life of a run after it has started: retries, time-outs, stop, deletions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.retry import RetryRule, delay
from taskrunner.errors import Transient
from taskrunner.ports import JOBS, PODS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from world import NS, START, TEMPLATE, World

RETRY = {"maxRetries": 3, "initialDelaySeconds": 10, "jitterPercent": 0}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def run(world: World, name: str = "now") -> Obj:
    return world.server.get(TASK_EXECUTIONS, NS, name)


def status(world: World, name: str = "now") -> Obj:
    return dict(run(world, name).get("status") or {})


def stop(world: World, how: str = "Graceful", name: str = "now") -> None:
    world.server.patch(TASK_EXECUTIONS, NS, name, {"spec": {"stop": how}})


async def begun(world: World, seconds: float = 2, **spec: Any) -> None:
    """A task, and a run of it by hand that has started `seconds` ago."""
    world.apply("job", **spec)
    await world.clock.advance(1)
    world.run_by_hand("now", "job")
    await world.clock.advance(seconds)


# --- retries -------------------------------------------------------------------------------------


async def test_a_failed_attempt_is_repeated_until_it_succeeds(world: World) -> None:
    replica = await world.replica()
    world.codes["job"] = [7, 7, 0]
    await begun(world, 45, retryPolicy=RETRY)
    found = status(world)
    assert (found["phase"], found["reason"], found["attempt"]) == ("Succeeded", "JobComplete", 3)
    assert [
        (a["number"], a["jobName"], a.get("exitCode"), a["reason"]) for a in found["attempts"]
    ] == [
        (1, "now-1", 7, "JobFailed"),
        (2, "now-2", 7, "JobFailed"),
        (3, "now-3", 0, "JobComplete"),
    ]
    assert [parse_instant(a["startTime"]) - START for a in found["attempts"]] == [1, 14, 37]
    assert "nextRetryTime" not in found
    assert found["durationSeconds"] == 39
    assert found["startTime"] == format_instant(START + 1)
    assert [event[2] for event in replica.events.events] == ["JobFailed", "JobFailed"]


async def test_between_two_attempts_the_run_says_when_it_goes_on(world: World) -> None:
    await world.replica()
    world.codes["job"] = [7]
    await begun(world, 5, retryPolicy=RETRY)
    found = status(world)
    assert (found["phase"], found["attempt"]) == ("Retrying", 1)
    assert found["nextRetryTime"] == format_instant(START + 14)
    assert "exited with code 7" in found["message"]
    assert "Attempt 2 starts at 2026-09-21T14:13:34Z." in found["message"]


async def test_exhausted_retries_are_a_dead_letter(world: World) -> None:
    replica = await world.replica()
    world.fail.add("job")
    await begun(world, 200, retryPolicy=RETRY)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Failed", "RetriesExhausted")
    assert found["attempts"][-1]["reason"] == "JobFailed"
    assert "Attempt 4 of 4 failed" in found["message"]
    assert "taskrunner redrive now -n team" in found["message"]
    assert sorted(world.jobs()) == ["now-1", "now-2", "now-3", "now-4"]
    assert replica.events.events[-1][2] == "RetriesExhausted"
    selected = world.server.list(TASK_EXECUTIONS, field_selector="status.reason=RetriesExhausted")
    assert [e["metadata"]["name"] for e in selected] == ["now"]


async def test_jitter_is_that_of_the_uid(world: World) -> None:
    await world.replica()
    world.fail.add("job")
    await begun(world, 5, retryPolicy={"maxRetries": 1, "initialDelaySeconds": 1000})
    waits = delay(RetryRule(1, initial_delay=600), 1, run(world)["metadata"]["uid"])
    assert status(world)["nextRetryTime"] == format_instant(START + 4 + waits)


@pytest.mark.parametrize(
    ("policy", "code", "jobs", "reason", "told"),
    [
        pytest.param({"failOnExitCodes": [2]}, 2, 1, "JobFailed", "failOnExitCodes", id="fail on"),
        pytest.param({"failOnExitCodes": [2]}, 3, 2, "RetriesExhausted", "", id="other than fail"),
        pytest.param({"retryOnExitCodes": [75]}, 75, 2, "RetriesExhausted", "", id="retry on"),
        pytest.param(
            {"retryOnExitCodes": [75]}, 1, 1, "JobFailed", "retryOnExitCodes", id="other than retry"
        ),
    ],
)
@pytest.mark.parametrize("told_late", [False, True], ids=["", "pod watch behind"])
async def test_exit_codes_decide_about_a_retry(
    world: World,
    policy: Obj,
    code: int,
    jobs: int,
    reason: str,
    told: str,
    told_late: bool,
) -> None:
    replica = await world.replica()
    world.codes["job"] = [code]
    world.apply("job", retryPolicy={**RETRY, "maxRetries": 1, **policy})
    await world.clock.advance(1)
    if told_late:
        replica.pods_behind()
    world.run_by_hand("now", "job")
    await world.clock.advance(30)
    assert len(world.jobs()) == jobs
    assert status(world)["reason"] == reason
    assert told in status(world)["message"]
    assert status(world)["attempts"][0]["exitCode"] == code


async def test_a_retry_copies_the_job_before_and_not_the_edited_task(world: World) -> None:
    await world.replica()
    world.codes["job"] = [1, 0]
    before = {
        "metadata": {"labels": {"team": "qa"}},
        "spec": {**TEMPLATE["spec"], "completions": 1},
    }
    await begun(world, 5, retryPolicy=RETRY, jobTemplate=before)
    meta = {"labels": {"batch.kubernetes.io/controller-uid": "x", "job-name": "now-1"}}
    controller = {"metadata": meta, "spec": {"selector": {"matchLabels": {"job-name": "now-1"}}}}
    world.server.patch(JOBS, NS, "now-1", controller)
    world.apply("job", jobTemplate=TEMPLATE)
    await world.clock.advance(20)
    first, second = (world.jobs()[name] for name in ("now-1", "now-2"))
    assert second["spec"]["completions"] == 1
    assert second["spec"]["backoffLimit"] == 0
    assert "selector" not in second["spec"]
    assert second["metadata"]["labels"] == {
        key: value
        for key, value in first["metadata"]["labels"].items()
        if key not in meta["labels"]
    }
    for field in ("annotations", "ownerReferences"):
        assert second["metadata"][field] == first["metadata"][field]
    assert status(world)["phase"] == "Succeeded"


async def test_the_template_s_own_backoff_limit_stays(world: World) -> None:
    await world.replica()
    own = {"spec": {**TEMPLATE["spec"], "backoffLimit": 2}}
    await begun(world, retryPolicy=RETRY, jobTemplate=own)
    assert world.jobs()["now-1"]["spec"]["backoffLimit"] == 2


async def test_without_retries_the_job_keeps_kubernetes_default(world: World) -> None:
    await world.replica()
    await begun(world)
    assert "backoffLimit" not in world.jobs()["now-1"]["spec"]


async def test_the_operator_s_default_holds_where_the_task_says_nothing(world: World) -> None:
    await world.replica(default_retries=1)
    world.fail |= {"job", "never"}
    world.apply("never", retryPolicy={"maxRetries": 0})
    world.run_by_hand("not-again", "never")
    await begun(world, 60)
    assert status(world)["reason"] == "RetriesExhausted"
    assert [name for name in world.jobs() if name.startswith("now")] == ["now-1", "now-2"]
    assert status(world, "not-again")["reason"] == "JobFailed"


async def test_a_retrying_run_blocks_forbid(world: World) -> None:
    await world.replica()
    world.codes["job"] = [1, 0]
    policy = {**RETRY, "initialDelaySeconds": 150}
    world.apply("job", schedule="* * * * *", concurrencyPolicy="Forbid", retryPolicy=policy)
    await world.clock.advance(185)
    assert world.started("job") == [40]
    await world.clock.advance(20)
    # The retry ran from 193 to 196; then the latest of the blocked slots starts.
    assert world.started("job") == [40, 40, 160]


async def test_the_deadline_for_starting_is_not_for_retries(world: World) -> None:
    await world.replica()
    world.codes["job"] = [1, 0]
    world.apply(
        "job",
        schedule="* * * * *",
        suspend=False,
        startingDeadlineSeconds=5,
        maxExecutions=1,
        retryPolicy={**RETRY, "initialDelaySeconds": 100},
    )
    await world.clock.advance(200)
    assert world.decisions("job") == [(40, "Run", "Succeeded")]


async def test_a_full_quota_delays_a_retry_and_loses_nothing(world: World) -> None:
    await world.replica()
    world.codes["job"] = [1, 0]
    full = False

    def quota(verb: str, resource: Any, obj: Any) -> None:
        if resource == JOBS and verb == "create" and full:
            raise Transient("exceeded quota: jobs, used: 10, limited: 10", code=403)

    world.server.admission.append(quota)
    await begun(world, 5, retryPolicy=RETRY)
    full = True
    await world.clock.advance(20)
    assert (status(world)["phase"], status(world)["reason"]) == ("Retrying", "QuotaExceeded")
    full = False
    await world.clock.advance(60)
    assert status(world)["phase"] == "Succeeded"
    assert len(status(world)["attempts"]) == 2


async def test_a_pod_failure_policy_that_fails_the_job_is_not_retried(world: World) -> None:
    await world.replica()
    world.run_for["job"] = None
    await begun(world, retryPolicy=RETRY)
    message = "Container main for pod team/x failed with exit code 42 matching FailJob rule at 0"
    now = format_instant(world.clock.now())
    failed = {"type": "Failed", "status": "True", "lastTransitionTime": now}
    failed |= {"reason": "PodFailurePolicy", "message": message}
    world.server.patch(
        JOBS, NS, "now-1", {"status": {"conditions": [failed], "active": 0}}, subresource="status"
    )
    await world.clock.advance(20)
    assert (status(world)["phase"], status(world)["reason"]) == ("Failed", "JobFailed")
    assert "pod failure policy says FailJob" in status(world)["message"]


# --- time-outs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "timeout", "by_hand", "deadline", "field"),
    [
        pytest.param(None, 20, None, 20, "timeoutSeconds", id="of the task"),
        pytest.param(None, 20, 10, 10, "timeoutSeconds", id="of the execution"),
        pytest.param(8, 20, None, 8, "activeDeadlineSeconds", id="the template's is shorter"),
        pytest.param(30, 20, None, 20, "timeoutSeconds", id="the template's is longer"),
        pytest.param(8, None, None, 8, "activeDeadlineSeconds", id="only the template's"),
    ],
)
@pytest.mark.parametrize("lax", [False, True], ids=["", "the Job controller does not act"])
async def test_an_attempt_that_takes_too_long_fails(
    world: World,
    own: int | None,
    timeout: int | None,
    by_hand: int | None,
    deadline: int,
    field: str,
    lax: bool,
) -> None:
    await world.replica()
    world.run_for["job"], world.lax = None, lax
    template = {"spec": {**TEMPLATE["spec"]} | ({"activeDeadlineSeconds": own} if own else {})}
    world.apply("job", timeoutSeconds=timeout, jobTemplate=template)
    world.run_by_hand("now", "job", **({"timeoutSeconds": by_hand} if by_hand else {}))
    await world.clock.advance(5)
    assert world.jobs()["now-1"]["spec"]["activeDeadlineSeconds"] == deadline
    await world.clock.advance(deadline + 12)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Failed", "TimedOut")
    assert f"{deadline} s that {field}" in found["message"]


async def test_a_time_out_is_retried(world: World) -> None:
    await world.replica()
    world.run_for["job"] = None
    await begun(world, 100, timeoutSeconds=10, retryPolicy={**RETRY, "maxRetries": 1})
    found = status(world)
    assert found["reason"] == "RetriesExhausted"
    assert [a["reason"] for a in found["attempts"]] == ["TimedOut", "TimedOut"]


async def test_an_attempt_of_which_no_pod_runs_in_time_fails_with_what_it_waits_for(
    world: World,
) -> None:
    await world.replica()
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "nope:1"'}
    world.pods.stuck["job"] = {
        "phase": "Pending",
        "containerStatuses": [{"name": "main", "image": "nope:1", "state": {"waiting": waiting}}],
    }
    await begun(world, 32, pendingTimeoutSeconds=30, retryPolicy={**RETRY, "maxRetries": 1})
    found = status(world)
    assert found["phase"] == "Retrying"
    (attempt,) = found["attempts"]
    assert attempt["reason"] == "PendingTimedOut"
    assert "30 s that pendingTimeoutSeconds allows" in found["message"]
    assert "nope:1" in found["message"]
    assert world.jobs()["now-1"]["spec"]["suspend"] is True
    assert not world.server.objects(PODS)
    await world.clock.advance(10)
    assert "suspend" not in world.jobs()["now-2"]["spec"]
    await world.clock.advance(40)
    assert status(world)["reason"] == "RetriesExhausted"


async def test_a_pod_that_runs_in_time_is_not_held_to_the_pending_time_out(world: World) -> None:
    await world.replica()
    world.run_for["job"] = 60
    await begun(world, 70, pendingTimeoutSeconds=5)
    assert status(world)["phase"] == "Succeeded"


# --- stop ----------------------------------------------------------------------------------------


async def test_a_running_run_is_stopped_and_its_pods_get_their_grace(world: World) -> None:
    replica = await world.replica()
    world.run_for["job"], world.grace["job"] = None, 20
    await begun(world, retryPolicy=RETRY)
    stop(world)
    await world.clock.advance(10)
    assert world.jobs()["now-1"]["spec"]["suspend"] is True
    assert status(world)["phase"] == "Running"
    assert len(world.server.objects(PODS)) == 1
    await world.clock.advance(15)
    found = status(world)
    assert (found["phase"], found["reason"]) == ("Cancelled", "Stopped")
    assert "spec.stop: Graceful" in found["message"]
    assert "now-1" in world.jobs()
    assert replica.events.events[-1][1:3] == ("Normal", "Stopped")
    assert not [call for call in replica.api.writes if call.verb == "deletecollection"]


async def test_a_graceful_stop_may_become_immediate(world: World) -> None:
    await world.replica()
    world.run_for["job"], world.grace["job"] = None, 3_000
    await begun(world)
    stop(world)
    await world.clock.advance(30)
    assert status(world)["phase"] == "Running"
    stop(world, "Immediate")
    await world.clock.advance(2)
    assert status(world)["phase"] == "Cancelled"
    assert not world.server.objects(PODS)


async def test_killing_leaves_the_pods_of_earlier_attempts(world: World) -> None:
    await world.replica()
    world.codes["job"], world.grace["job"] = [1], 100
    await begun(world, 5, retryPolicy=RETRY)
    world.run_for["job"] = None
    await world.clock.advance(20)
    assert len(world.server.objects(PODS)) == 2
    stop(world, "Immediate")
    await world.clock.advance(2)
    assert status(world)["phase"] == "Cancelled"
    assert [pod.rsplit("-", 1)[0] for pod in world.server.objects(PODS)] == ["now-1"]


@pytest.mark.parametrize("how", ["Graceful", "Immediate"])
@pytest.mark.parametrize(
    "waits_for", ["notBefore", "quota", "retry", "task that cannot be followed"]
)
async def test_a_run_that_waits_is_stopped_at_once(world: World, waits_for: str, how: str) -> None:
    await world.replica()
    world.apply("job", retryPolicy=RETRY)
    await world.clock.advance(1)
    spec: Obj = {}
    if waits_for == "notBefore":
        spec["notBefore"] = format_instant(START + 1000)
    elif waits_for == "retry":
        world.fail.add("job")
    elif waits_for == "quota":

        def quota(verb: str, resource: Any, obj: Any) -> None:
            if resource == JOBS:
                raise Transient("exceeded quota: jobs", code=403)

        world.server.admission.append(quota)
    world.run_by_hand("now", "job", **spec)
    await world.clock.advance(0)
    if waits_for == "task that cannot be followed":
        world.server.patch(SCHEDULED_TASKS, NS, "job", {"spec": {"schedule": "61 * * * *"}})
    await world.clock.advance(5)
    jobs = list(world.jobs())
    stop(world, how)
    await world.clock.advance(600)
    found = status(world)
    if waits_for == "task that cannot be followed":
        assert found["phase"] == "Succeeded"  # It had started before.
    else:
        assert (found["phase"], found["reason"]) == ("Cancelled", "Stopped")
    assert list(world.jobs()) == jobs


async def test_a_run_that_ends_by_itself_meanwhile_has_ended_by_itself(world: World) -> None:
    await world.replica()
    world.run_for["job"] = 4
    await begun(world, 4.5)
    stop(world)
    await world.clock.advance(10)
    assert status(world)["phase"] == "Succeeded"


async def test_a_stop_waits_for_a_job_whose_creation_was_not_answered(world: World) -> None:
    replica = await world.replica()
    world.run_for["job"] = None
    world.apply("job")
    await world.clock.advance(1)
    replica.api.fail("create", JOBS, after=True)
    replica.api.break_watches(silently=True)
    world.run_by_hand("now", "job")
    stop(world)
    await world.clock.advance(2_000)
    assert status(world)["phase"] == "Cancelled"
    assert all(job["spec"].get("suspend") for job in world.jobs().values())


# --- deletions by others -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "phase", "reason", "jobs"),
    [
        pytest.param("running", "Failed", "JobDeleted", ["now-1"], id="while it runs"),
        pytest.param("retrying", "Succeeded", "JobComplete", ["now-1", "now-2"], id="in between"),
        pytest.param("edited", "Failed", "JobDeleted", ["now-1"], id="in between, task edited"),
        pytest.param("second", "Failed", "JobDeleted", ["now-1", "now-2"], id="of attempt 2"),
        pytest.param("stopping", "Cancelled", "Stopped", ["now-1"], id="while it stops"),
    ],
)
async def test_a_job_that_somebody_deletes(
    world: World, at: str, phase: str, reason: str, jobs: list[str]
) -> None:
    await world.replica()
    world.codes["job"] = [0] if at in ("running", "stopping") else [1, 0]
    world.run_for["job"] = 30 if at in ("running", "stopping") else 3
    world.grace["job"] = 60
    await begun(world, 5, retryPolicy=RETRY)
    if at == "edited":
        other = {"spec": {**TEMPLATE["spec"], "completions": 7}}
        world.apply("job", retryPolicy=RETRY, jobTemplate=other)
    elif at == "second":
        world.run_for["job"] = 30
        await world.clock.advance(15)
    elif at == "stopping":
        stop(world)
        await world.clock.advance(2)
    name = jobs[-1] if at == "second" else "now-1"
    uid = world.jobs()[name]["metadata"]["uid"]
    world.server.delete(JOBS, NS, name, uid=uid)
    await world.clock.advance(60)
    assert (status(world)["phase"], status(world)["reason"]) == (phase, reason)
    assert world.jobs_created == jobs


@pytest.mark.parametrize("policy", ["Allow", "Forbid"])
async def test_an_execution_deleted_while_it_runs_takes_its_job_and_starts_nothing_anew(
    world: World, policy: str
) -> None:
    await world.replica()
    world.run_for["job"] = 1_000
    world.apply("job", schedule="* * * * *", concurrencyPolicy=policy, retryPolicy=RETRY)
    await world.clock.advance(45)
    name = f"job-{START + 40}"
    world.server.delete(
        TASK_EXECUTIONS, NS, name, uid=world.executions("job")[0]["metadata"]["uid"]
    )
    await world.clock.advance(70)
    assert world.started("job") == [40, 100]
    assert f"{name}-1" not in world.jobs()


async def test_an_execution_deleted_between_attempts_is_not_repeated(world: World) -> None:
    await world.replica()
    world.fail.add("job")
    await begun(world, 5, retryPolicy=RETRY)
    world.server.delete(TASK_EXECUTIONS, NS, "now", uid=run(world)["metadata"]["uid"])
    await world.clock.advance(60)
    assert world.jobs_created == ["now-1"]


async def test_a_task_that_goes_cancels_the_next_attempt(world: World) -> None:
    await world.replica()
    world.fail.add("job")
    await begun(world, 5, retryPolicy=RETRY)
    # Held by a finalizer of somebody else.
    world.server.patch(SCHEDULED_TASKS, NS, "job", {"metadata": {"finalizers": ["x/y"]}})
    world.server.delete(SCHEDULED_TASKS, NS, "job", uid=world.task("job")["metadata"]["uid"])
    await world.clock.advance(60)
    assert (status(world)["phase"], status(world)["reason"]) == ("Cancelled", "TaskDeleted")
    assert world.jobs_created == ["now-1"]


async def test_a_run_by_hand_waits_for_its_not_before_and_has_no_deadline(world: World) -> None:
    await world.replica()
    world.apply("job", startingDeadlineSeconds=5)
    at = format_instant(START + 100)
    world.run_by_hand("now", "job", notBefore=at, scheduledTime=format_instant(START - 500))
    await world.clock.advance(99)
    assert not world.jobs()
    await world.clock.advance(10)
    assert status(world)["phase"] == "Succeeded"
    assert status(world)["startLagMilliseconds"] == 0
