"""Why an attempt failed, in words: what the Job controller says, turned into sentences."""

from __future__ import annotations

from dataclasses import dataclass

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.observed import Job
from taskrunner.domain.pod_facts import PodFacts


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt."""

    reason: str
    message: str
    exit_code: int | None = None
    judged: bool = True
    """The exit code is the program's own verdict."""
    final: bool = False
    """The user has said in the Job's own podFailurePolicy that another try is of no use."""


def failure_of(job: Job, facts: PodFacts) -> Failure:
    """Why a Job that has failed did so.

    https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy names the
    reasons; one of a newer version is passed on as it is.
    """
    code, own = facts.exit_code, not facts.disrupted
    why = facts.detail or ("" if code is None else f"its container exited with code {code}")
    match job.reason:
        case "DeadlineExceeded":
            return timed_out(job)
        case "PodFailurePolicy":
            text = f"Its podFailurePolicy ended the Job: {_sentence(job.message)}"
            return Failure(ExecutionReason.JOB_FAILED, text, code, own, final=True)
        case "BackoffLimitExceeded":
            why = (
                why or "its pod failed, and its backoffLimit allows no other (BackoffLimitExceeded)"
            )
            text = f"The Job failed: {_sentence(why)}"
        case "FailedIndexes" | "MaxFailedIndexesExceeded":
            text = f"Indexes of the Job failed ({job.reason}): {_sentence(job.message)}"
        case _:
            detail = ": ".join(part for part in (why, job.reason, job.message) if part)
            text = f"The Job failed: {_sentence(detail)}" if detail else "The Job failed."
    return Failure(ExecutionReason.JOB_FAILED, text, code, own)


def timed_out(job: Job) -> Failure:
    """An attempt that took too long. How its container ended says nothing then: it was killed."""
    field, seconds = "activeDeadlineSeconds of its Job", job.deadline
    if job.policy.timeout is not None and job.policy.timeout == job.deadline:
        field = "timeoutSeconds"
    text = f"It ran longer than the {seconds} s that {field} allows."
    return Failure(ExecutionReason.TIMED_OUT, text)


def pending_timed_out(job: Job, facts: PodFacts) -> Failure:
    """An attempt of which no pod ran in time."""
    text = (
        f"No pod of it ran within the {job.policy.pending_timeout} s that"
        " pendingTimeoutSeconds allows."
    )
    why = facts.waiting or ("The Job is suspended." if job.suspended else "")
    return Failure(ExecutionReason.PENDING_TIMED_OUT, f"{text} {_sentence(why)}".rstrip())


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
