"""The status of a TaskExecution at the two moments when it is written: running, and ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskrunner.api.v1alpha1.conditions import set_condition
from taskrunner.api.v1alpha1.reasons import ExecutionConditionType, ExecutionReason
from taskrunner.domain.instants import format_instant
from taskrunner.domain.lifecycle import Finish
from taskrunner.domain.naming import job_name
from taskrunner.domain.observed import Execution


@dataclass(frozen=True, slots=True)
class Start:
    """How an attempt was started, as far as this process knows."""

    worker: str
    lag_milliseconds: int | None = None
    """From due to the Job's creation; None when another process created it."""
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
        **_started(execution, attempt, started, start),
    }


def waiting_status(reason: ExecutionReason, message: str) -> dict[str, Any]:
    """Status of an execution that cannot start yet, and why."""
    return {"phase": "Pending", "reason": reason, "message": message}


def finished_status(
    execution: Execution, finish: Finish, start: Start | None, now: float
) -> dict[str, Any]:
    """Status of an execution that has ended. `start` is None when nothing was ever started."""
    ended = finish.finished if finish.finished is not None else int(now)
    status: dict[str, Any] = {
        "observedGeneration": execution.generation,
        "phase": finish.phase,
        "reason": finish.reason,
        "message": finish.message,
        "completionTime": format_instant(ended),
        "conditions": _conditions(execution, finish, now),
    }
    if finish.started is not None and start is not None:
        attempt = max(execution.attempt, 1)
        status |= _started(execution, attempt, finish.started, start)
        status["durationSeconds"] = max(0, ended - finish.started)
        status["attempts"][-1] |= {
            "completionTime": format_instant(ended),
            "reason": finish.reason,
        }
    return status


def _started(execution: Execution, attempt: int, started: int, start: Start) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "attempt": attempt,
        "attempts": [
            {
                "number": attempt,
                "jobName": job_name(execution.name, attempt),
                "startTime": format_instant(started),
            }
        ],
        "startTime": format_instant(started),
        "worker": start.worker,
    }
    if start.lag_milliseconds is not None:
        fields["startLagMilliseconds"] = start.lag_milliseconds
    if start.task_generation is not None:
        fields["taskGeneration"] = start.task_generation
    return fields


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
