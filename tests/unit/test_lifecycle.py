"""The next step of a run: why attempts fail, in words; what never happens, whatever is seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrunner.domain.failure import failure_of, pending_timed_out
from taskrunner.domain.instants import format_instant
from taskrunner.domain.lifecycle import (
    Confirm,
    Finish,
    Launch,
    MarkRunning,
    Retry,
    Stop,
    Suspend,
    Wait,
    next_step,
    without_job,
)
from taskrunner.domain.observed import Execution, Job, execution_from, job_from
from taskrunner.domain.pod_facts import NO_PODS, PodFacts
from taskrunner.domain.policy import (
    HALT_ANNOTATION,
    POLICY_ANNOTATION,
    Halt,
    RunPolicy,
    halt_text,
    policy_text,
)
from taskrunner.domain.retry import RetryRule

NOW = 1_790_000_000
STOP = Stop(False, "Cancelled", "Stopped", "Stopped, as spec.stop: Graceful asks.")
TWICE = RunPolicy(RetryRule(max_retries=1, jitter_percent=0))
CODE_7 = PodFacts(exit_code=7, detail="container main exited with code 7 (Error)", pods_over=1)


def execution(phase: str = "", attempts: tuple[bool, ...] = (), **spec: Any) -> Execution:
    """A run by hand; of each recorded attempt, whether it has ended."""
    records = []
    for number, over in enumerate(attempts, start=1):
        record: dict[str, Any] = {"number": number, "startTime": format_instant(NOW - 50)}
        if over:
            record["completionTime"] = format_instant(NOW - 40)
        records.append(record)
    status: dict[str, Any] = {"phase": phase, "attempt": len(attempts), "attempts": records}
    if phase == "Retrying":
        status["nextRetryTime"] = format_instant(NOW)
    return execution_from(
        {
            "metadata": {
                "namespace": "qa",
                "name": "now",
                "uid": "u",
                "resourceVersion": "1",
                "creationTimestamp": format_instant(NOW - 60),
            },
            "spec": {"taskRef": {"name": "job"}, **spec},
            "status": status,
        }
    )


def job(
    attempt: int = 1,
    *,
    policy: RunPolicy = TWICE,
    failed: str = "",
    said: str = "",
    halt: Halt | None = None,
    drained: bool = False,
    deadline: int | None = None,
    **status: Any,
) -> Job:
    conditions = []
    at = format_instant(NOW - 1)
    if failed:
        conditions.append(
            {"type": "Failed", "status": "True", "reason": failed, "message": said}
            | {"lastTransitionTime": at}
        )
    if drained:
        conditions.append({"type": "Suspended", "status": "True"})
    annotations = {POLICY_ANNOTATION: policy_text(policy)}
    if halt is not None:
        annotations[HALT_ANNOTATION] = halt_text(halt)
    return job_from(
        {
            "metadata": {
                "namespace": "qa",
                "name": f"now-{attempt}",
                "uid": f"job {attempt}",
                "resourceVersion": "1",
                "creationTimestamp": format_instant(NOW - 60),
                "annotations": annotations,
                "ownerReferences": [{"kind": "TaskExecution", "name": "now", "uid": "u"}],
            },
            "spec": {"suspend": halt is not None, "activeDeadlineSeconds": deadline},
            "status": {"startTime": format_instant(NOW - 55), "conditions": conditions, **status},
        }
    )


@pytest.mark.parametrize(
    ("of", "facts", "reason", "told"),
    [
        pytest.param(
            job(failed="BackoffLimitExceeded"),
            CODE_7,
            "JobFailed",
            "The Job failed: container main exited with code 7 (Error).",
            id="backoff limit",
        ),
        pytest.param(
            job(failed="BackoffLimitExceeded"),
            NO_PODS,
            "JobFailed",
            "The Job failed: its pod failed, and its backoffLimit allows no other"
            " (BackoffLimitExceeded).",
            id="backoff limit, pods unknown",
        ),
        pytest.param(
            job(failed="DeadlineExceeded", deadline=30, policy=RunPolicy(timeout=30)),
            CODE_7,
            "TimedOut",
            "It ran longer than the 30 s that timeoutSeconds allows.",
            id="time-out",
        ),
        pytest.param(
            job(failed="DeadlineExceeded", deadline=20, policy=RunPolicy(timeout=30)),
            NO_PODS,
            "TimedOut",
            "It ran longer than the 20 s that activeDeadlineSeconds of its Job allows.",
            id="the template's own deadline",
        ),
        pytest.param(
            job(failed="PodFailurePolicy", said="Container main failed with exit code 42"),
            CODE_7,
            "JobFailed",
            "Its podFailurePolicy ended the Job: Container main failed with exit code 42.",
            id="pod failure policy",
        ),
        pytest.param(
            job(failed="MaxFailedIndexesExceeded", said="Job has exceeded the limit"),
            NO_PODS,
            "JobFailed",
            "Indexes of the Job failed (MaxFailedIndexesExceeded): Job has exceeded the limit.",
            id="indexed Job",
        ),
        pytest.param(
            job(failed="SomethingNew", said="of a later version"),
            NO_PODS,
            "JobFailed",
            "The Job failed: SomethingNew: of a later version.",
            id="a reason that nobody knows yet",
        ),
    ],
)
def test_why_an_attempt_failed_is_a_sentence(
    of: Job, facts: PodFacts, reason: str, told: str
) -> None:
    found = failure_of(of, facts)
    assert (found.reason, found.message) == (reason, told)


def test_a_pending_time_out_says_when_nothing_is_known_of_a_pod() -> None:
    held = job(policy=RunPolicy(pending_timeout=30), halt=Halt("PendingTimedOut", ""))
    assert pending_timed_out(held, NO_PODS).message == (
        "No pod of it ran within the 30 s that pendingTimeoutSeconds allows. The Job is suspended."
    )


STOPPED = Halt("Stopped", "Stopped.", "Cancelled")
LATE = Halt("TimedOut", "It ran too long.")
FAILED = job(failed="BackoffLimitExceeded")


@pytest.mark.parametrize(
    ("run", "of", "stop", "kind", "outcome"),
    [
        # Without a Job.
        (execution(), None, None, Launch, ""),
        (execution("Running", (False,)), None, None, Confirm, ""),
        (execution("Retrying", (True,)), None, None, Launch, ""),
        (execution(), None, STOP, Confirm, ""),
        (execution("Retrying", (True,)), None, STOP, Confirm, ""),
        # With the Job of an attempt that is recorded as failed.
        (execution("Retrying", (True,)), FAILED, None, Launch, ""),
        (execution("Pending", (True,)), FAILED, None, Launch, ""),
        # With the Job of the attempt that follows, although nothing records it yet.
        (execution("Retrying", (True,)), job(2, ready=1), None, MarkRunning, ""),
        # Failed.
        (execution(), FAILED, None, Retry, ""),
        (execution("Retrying", (True,)), job(2, failed="X"), None, Finish, "RetriesExhausted"),
        (execution(), job(failed="X", policy=RunPolicy()), None, Finish, "JobFailed"),
        (execution(), FAILED, STOP, Finish, "Stopped"),
        (execution(), job(failed="PodFailurePolicy"), None, Finish, "JobFailed"),
        # Stopped and halted.
        (execution(), job(ready=1), STOP, Suspend, ""),
        (execution(), job(halt=STOPPED, terminating=1), STOP, Wait, ""),
        (execution(), job(halt=STOPPED, drained=True, terminating=1), STOP, Wait, ""),
        (execution(), job(halt=STOPPED, drained=True), STOP, Finish, "Stopped"),
        (execution(), job(halt=STOPPED, drained=True), None, Finish, "Stopped"),
        (execution(), job(halt=LATE, drained=True), None, Retry, ""),
        (execution(), job(halt=LATE, drained=True), STOP, Finish, "Stopped"),
        (execution(), job(halt=LATE, drained=True, policy=RunPolicy()), None, Finish, "TimedOut"),
        # Nobody else may end what has ended.
        (execution("Failed", (True,)), job(ready=1), STOP, Wait, ""),
    ],
)
def test_the_next_step(
    run: Execution, of: Job | None, stop: Stop | None, kind: type, outcome: str
) -> None:
    launched = of.attempt if of is not None else 0
    step = next_step(
        run, of, launched=launched, task_alive=True, now=NOW, stop=stop, facts=PodFacts(asked=True)
    )
    assert isinstance(step, kind), step
    if isinstance(step, Finish):
        assert step.reason == outcome


runs = st.builds(
    execution,
    phase=st.sampled_from(["", "Pending", "Running", "Retrying", "Succeeded", "Failed"]),
    attempts=st.lists(st.booleans(), max_size=3).map(tuple),
)
jobs = st.none() | st.builds(
    job,
    attempt=st.integers(1, 3),
    failed=st.sampled_from(["", "BackoffLimitExceeded", "DeadlineExceeded"]),
    halt=st.sampled_from([None, STOPPED, LATE]),
    drained=st.booleans(),
    deadline=st.none() | st.integers(1, 100),
    ready=st.integers(0, 1),
)


@given(runs, jobs, st.integers(0, 3), st.booleans(), st.sampled_from([None, STOP]))
def test_no_attempt_is_launched_twice_whatever_is_seen(
    run: Execution, of: Job | None, launched: int, alive: bool, stop: Stop | None
) -> None:
    seen = max(launched, of.attempt if of is not None else 0)
    step = next_step(run, of, launched=seen, task_alive=alive, now=NOW, stop=stop)
    if isinstance(step, Launch):
        recorded = [a.number for a in run.attempts]
        assert step.attempt == max([0, *recorded]) + 1 == max(seen, run.attempt) + 1
        assert run.between_attempts or run.attempt == 0
        assert alive
        assert stop is None
    if run.terminal:
        assert step == Wait()
    if isinstance(step, Retry):
        assert stop is None
        assert step.attempt < TWICE.retry.attempts


@given(runs, st.integers(0, 3), st.integers(1, 4))
def test_a_stop_ends_as_a_stop_when_there_is_no_job(
    run: Execution, launched: int, attempt: int
) -> None:
    found = without_job(run, attempt, launched=launched, stop=STOP)
    assert (found.phase, found.reason) == ("Cancelled", "Stopped")
