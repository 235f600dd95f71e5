"""The status of a TaskExecution whenever it is written: waiting, running, retrying, and ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from taskrunner.api.v1alpha1.conditions import set_condition
from taskrunner.api.v1alpha1.reasons import ExecutionConditionType, ExecutionReason
from taskrunner.domain.instants import format_instant
from taskrunner.domain.lifecycle import Finish, Retry
from taskrunner.domain.naming import job_name
from taskrunner.domain.observed import Attempt, Execution
from taskrunner.domain.pod_facts import NO_PODS, PodFacts
from taskrunner.domain.pods import Progress

_SAYS_NOTHING: Final = ("", "Error", "Completed")


@dataclass(frozen=True, slots=True)
class Start:
    """How a run was started, as far as this process knows."""

    worker: str
    lag_milliseconds: int | None = None
    """From due to the creation of the first Job; None when it is not known."""
    pod_lag_milliseconds: int | None = None
    """From the creation of the first Job to the start of a container."""
    task_generation: int | None = None


def running_status(
    execution: Execution, attempt: int, started: int, start: Start
) -> dict[str, Any]:
    """Status of an execution whose pod runs."""
    return {
        "observedGeneration": execution.generation,
        "phase": "Running",
        "reason": ExecutionReason.JOB_CREATED,
        "message": f"Attempt {attempt} is running.",
        "nextRetryTime": None,
        **_started(execution, Attempt(attempt, started), start),
    }


def queued_status(
    execution: Execution, reason: ExecutionReason, message: str, now: float
) -> dict[str, Any]:
    """Status of an execution that waits for a place."""
    since = int(now) if execution.queued is None else execution.queued
    return {
        "observedGeneration": execution.generation,
        "phase": "Queued",
        "reason": reason,
        "message": message,
        "queuedTime": format_instant(since),
    }


def waiting_status(execution: Execution, reason: ExecutionReason, message: str) -> dict[str, Any]:
    """Status of an execution of which an attempt does not start or get on, and why."""
    phase = "Retrying" if execution.between_attempts else "Pending"
    if execution.phase == "Running":
        phase = "Running"
    return {"phase": phase, "reason": reason, "message": message}


def retrying_status(
    execution: Execution, retry: Retry, start: Start, facts: PodFacts = NO_PODS
) -> dict[str, Any]:
    """Status of an execution between two attempts. When the next one starts is written once and
    read from here ever after. `facts` is what the pods of the failed attempt tell."""
    cause = _cause(retry.reason, facts)
    attempt = Attempt(retry.attempt, retry.started, retry.finished, retry.exit_code, cause)
    return {
        "observedGeneration": execution.generation,
        "phase": "Retrying",
        "reason": retry.reason,
        "message": retry.message,
        "nextRetryTime": format_instant(retry.at),
        **_started(execution, attempt, start),
    }


def finished_status(
    execution: Execution,
    finish: Finish,
    start: Start | None,
    now: float,
    facts: PodFacts = NO_PODS,
) -> dict[str, Any]:
    """Status of an execution that has ended. `start` is None when nothing was ever started; `facts`
    is what the pods of the last attempt tell."""
    ended = finish.finished if finish.finished is not None else int(now)
    status: dict[str, Any] = {
        "observedGeneration": execution.generation,
        "phase": finish.phase,
        "reason": finish.reason,
        "message": finish.message,
        "completionTime": format_instant(ended),
        "conditions": _conditions(execution, finish, now),
    }
    if execution.next_retry is not None:
        status["nextRetryTime"] = None
    if finish.started is not None and start is not None:
        cause = _cause(finish.cause or finish.reason, facts)
        attempt = Attempt(finish.attempt, finish.started, ended, finish.exit_code, cause)
        status |= _started(execution, attempt, start)
        if facts.result:
            status["result"] = facts.result
        if facts.progress is not None and facts.progress != execution.progress:
            status |= progress_status(facts.progress)
    first = execution.started if execution.started is not None else finish.started
    if first is not None:
        status["durationSeconds"] = max(0, ended - first)
    return status


def progress_status(progress: Progress) -> dict[str, Any]:
    """Status of how far a run says it is."""
    return {"progress": {"percent": progress.percent, "message": progress.message or None}}


def _cause(reason: str, facts: PodFacts) -> str:
    """Why an attempt ended so, as one word: Kubernetes' own, where it says more than that the Job
    failed."""
    if reason == ExecutionReason.JOB_FAILED and facts.reason not in _SAYS_NOTHING:
        return facts.reason
    return reason


def _started(execution: Execution, attempt: Attempt, start: Start) -> dict[str, Any]:
    """The record of the attempts, with this one as the last; of the first start, what is not
    recorded yet."""
    earlier = [a for a in execution.attempts if a.number < attempt.number]
    fields: dict[str, Any] = {
        "attempt": attempt.number,
        "attempts": [_record(execution, a) for a in (*earlier, attempt)],
        "worker": start.worker,
    }
    if execution.started is None and attempt.started is not None:
        fields["startTime"] = format_instant(attempt.started)
        if start.lag_milliseconds is not None:
            fields["startLagMilliseconds"] = start.lag_milliseconds
        if start.pod_lag_milliseconds is not None:
            fields["podStartLagMilliseconds"] = start.pod_lag_milliseconds
    if start.task_generation is not None:
        fields["taskGeneration"] = start.task_generation
    return fields


def _record(execution: Execution, attempt: Attempt) -> dict[str, Any]:
    record: dict[str, Any] = {
        "number": attempt.number,
        "jobName": job_name(execution.name, attempt.number),
    }
    if attempt.started is not None:
        record["startTime"] = format_instant(attempt.started)
    if attempt.finished is not None:
        record["completionTime"] = format_instant(attempt.finished)
    if attempt.exit_code is not None:
        record["exitCode"] = attempt.exit_code
    if attempt.reason:
        record["reason"] = attempt.reason
    return record


def _conditions(execution: Execution, finish: Finish, now: float) -> list[Any]:
    """Complete for what ended as it should, a deliberate skip included; Failed for the rest."""
    complete = finish.phase in ("Succeeded", "Skipped")
    kind = ExecutionConditionType.COMPLETE if complete else ExecutionConditionType.FAILED
    return list(
        set_condition(
            (),
            kind,
            "True",
            finish.reason,
            finish.message,
            observed_generation=execution.generation,
            now=datetime.fromtimestamp(int(now), UTC),
        )
    )
