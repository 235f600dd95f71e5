"""The life of one TaskExecution: from what is observed to the one next thing to do.

Level-triggered: `next_step` looks only at the present state, so that a new leader which finds an
execution half done does exactly what the old one would have done next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.observed import Execution, Job
from taskrunner.domain.parameters import Parameters

RUNNING_AFTER_SECONDS: Final = 1
"""A run that ends sooner goes from Pending straight to its outcome: one write less."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until` (None: before something is observed)."""

    until: int | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Claim the run with its Lease and create the Job of this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Confirm:
    """The Job of a recorded attempt is not in the cache: look at the server before concluding."""

    attempt: int


@dataclass(frozen=True, slots=True)
class MarkRunning:
    """Record that a pod of the attempt runs."""

    attempt: int
    started: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Record the outcome. `reason` is an UpperCamelCase enum, `message` a sentence for people."""

    phase: str
    reason: str
    message: str
    started: int | None = None
    finished: int | None = None


Step = Wait | Launch | Confirm | MarkRunning | Finish


def next_step(
    execution: Execution, job: Job | None, *, launched: bool, task_alive: bool, now: int
) -> Step:
    """What to do with an execution that has been admitted.

    `launched`: this process has created or seen the Job. `task_alive`: the ScheduledTask exists and
    is not being deleted.
    """
    if execution.terminal or execution.deleting:
        return Wait()
    if execution.decision != "Run":
        phase = "Skipped" if execution.decision == "Skip" else "Missed"
        return Finish(phase, execution.decision_reason, execution.decision_message)
    if job is not None:
        return _follow(execution, job, now)
    attempt = max(execution.attempt, 1)
    if launched or execution.attempt > 0:
        return Confirm(attempt)
    if not task_alive:
        return Finish(
            "Cancelled",
            ExecutionReason.TASK_DELETED,
            "The task was deleted before the run started.",
        )
    if execution.due > now:
        return Wait(execution.due)
    return Launch(attempt)


def job_deleted(execution: Execution, attempt: int) -> Finish:
    """The outcome of an attempt whose Job somebody else deleted; it is never created again."""
    return Finish(
        "Failed",
        ExecutionReason.JOB_DELETED,
        f"The Job of attempt {attempt} was deleted before its outcome was recorded.",
        started=execution.started,
    )


def name_collision(job_name: str) -> Finish:
    """The outcome when the Job's name is taken by an object that is not ours."""
    return Finish(
        "Failed",
        ExecutionReason.NAME_COLLISION,
        f'A Job "{job_name}" exists already and does not belong to this execution. It was left '
        "alone; delete or rename it, then run the task again.",
    )


def invalid_arguments(execution: Execution, parameters: Parameters) -> Finish | None:
    """The outcome when the arguments do not fit the task as it is now; None when they do. It is
    asked at the start: what fitted at admission may not fit any more."""
    found = parameters.problems(dict(execution.arguments), "spec.arguments")
    text = " ".join(str(problem) for problem in found)
    if not text:
        return None
    message = f"The arguments do not fit the task. {text}"
    return Finish("Failed", ExecutionReason.INVALID_ARGUMENTS, message)


def _follow(execution: Execution, job: Job, now: int) -> Step:
    if job.owner_uid != execution.uid:
        return name_collision(job.name)
    started = job.started if job.started is not None else job.created
    if job.finished == "Complete":
        message = "The Job completed."
        return Finish("Succeeded", ExecutionReason.JOB_COMPLETE, message, started, job.finished_at)
    if job.finished == "Failed":
        detail = ": ".join(part for part in (job.reason, job.message) if part)
        message = f"The Job failed. {detail}".rstrip()
        return Finish("Failed", ExecutionReason.JOB_FAILED, message, started, job.finished_at)
    if execution.phase == "Running" or job.ready == 0:
        return Wait()
    if now < started + RUNNING_AFTER_SECONDS:
        return Wait(started + RUNNING_AFTER_SECONDS)
    return MarkRunning(max(execution.attempt, 1), started)
