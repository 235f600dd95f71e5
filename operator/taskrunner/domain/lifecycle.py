"""The life of one TaskExecution: from what is observed to the one next thing to do.

Level-triggered: `next_step` looks only at the present state, so that a new leader which finds an
execution half done does exactly what the old one would have done next.

    Pending ─ Launch ─▶ Job of attempt 1 ─ MarkRunning ─▶ Running ─▶ Succeeded
                          ▲                                  │
                          └── Launch ── Retrying ◀── Retry ──┴─────▶ Failed, Cancelled

An attempt is ended by us in one way only: its Job is suspended (Halt, with the cause on it), and
when its controller says that no pod is left, the cause becomes the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.failure import Failure, failure_of, pending_timed_out, timed_out
from taskrunner.domain.instants import format_instant
from taskrunner.domain.observed import Execution, Job
from taskrunner.domain.parameters import Parameters
from taskrunner.domain.pod_facts import NO_PODS, PodFacts
from taskrunner.domain.pod_problems import GRACE_SECONDS, MENDED, PASSING
from taskrunner.domain.pods import Progress
from taskrunner.domain.policy import Halt
from taskrunner.domain.retry import delay, not_retried

RUNNING_AFTER_SECONDS: Final = 1
"""A run that ends sooner goes from Pending straight to its outcome: one write less."""
PODS_LATE_SECONDS: Final = 1
"""So long the end of a Job's pods may come after that of the Job, before the server is asked."""
DEADLINE_GRACE_SECONDS: Final = 15
"""So long after a Job's activeDeadlineSeconds we suspend it ourselves: its controller, who should
have ended it, may be down or slow."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is to end now, whatever it is doing: a user asks for it, or another run replaces it.

    `immediate`: pods are killed, without their grace period.
    """

    immediate: bool
    phase: str
    reason: str
    message: str


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
    """The Job of an attempt that should or may exist is not in the cache: look at the server
    before concluding; `without_job` says what follows when it is not there."""

    attempt: int


@dataclass(frozen=True, slots=True)
class MarkRunning:
    """Record that a pod of the attempt runs."""

    attempt: int
    started: int


@dataclass(frozen=True, slots=True)
class NoteWaiting:
    """Record that the attempt does not get on, and why."""

    reason: ExecutionReason
    message: str


@dataclass(frozen=True, slots=True)
class NoteHeld:
    """Record that the Job waits for a queue of somebody else's."""

    message: str


@dataclass(frozen=True, slots=True)
class NoteProgress:
    """Record how far the run says it is. It may wait; `until` is when to look again anyway."""

    progress: Progress
    until: int | None


@dataclass(frozen=True, slots=True)
class AskForPods:
    """The Job has ended and the watch has not told how its pods did: ask the server."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Suspend the Job, with the cause on it: its pods go, and nothing of it starts again."""

    halt: Halt


@dataclass(frozen=True, slots=True)
class Kill:
    """Delete the pods of the suspended Job without a grace period."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Record that the attempt failed, and when the next one starts."""

    attempt: int
    reason: str
    message: str
    started: int
    finished: int
    exit_code: int | None
    at: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Record the outcome. `reason` is an UpperCamelCase enum, `message` a sentence for people.

    `started` is when the last attempt started, None when there is none to add to the record.
    `cause` is why that attempt ended, where it differs from the reason of the whole.
    """

    phase: str
    reason: str
    message: str
    started: int | None = None
    finished: int | None = None
    attempt: int = 1
    exit_code: int | None = None
    cause: str = ""


Step = (
    Wait
    | Launch
    | Confirm
    | MarkRunning
    | NoteWaiting
    | NoteHeld
    | NoteProgress
    | AskForPods
    | Suspend
    | Kill
    | Retry
    | Finish
)


def next_step(
    execution: Execution,
    job: Job | None,
    *,
    launched: int,
    task_alive: bool,
    now: int,
    stop: Stop | None = None,
    facts: PodFacts = NO_PODS,
) -> Step:
    """What to do with an execution that has been admitted, or is to be stopped.

    `job`: of its latest attempt. `launched`: the latest attempt whose Job this process has created
    or seen, 0 for none. `task_alive`: the ScheduledTask exists and is not being deleted. `facts`:
    what the pods of `job` tell.
    """
    if execution.terminal or execution.deleting:
        return Wait()
    if execution.decision != "Run":
        phase = "Skipped" if execution.decision == "Skip" else "Missed"
        return Finish(phase, execution.decision_reason, execution.decision_message)
    attempt = present_attempt(execution, launched)
    if job is not None and job.attempt >= attempt:
        return _follow(execution, job, now, stop, facts)
    if launched >= attempt or execution.attempt >= attempt or stop is not None:
        # A stop looks, too: the answer to the creation of a Job may have been lost.
        return Confirm(attempt)
    if not task_alive:
        return task_deleted(execution)
    due = execution.due if execution.next_retry is None else execution.next_retry
    return Launch(attempt) if due <= now else Wait(due)


def present_attempt(execution: Execution, launched: int = 0) -> int:
    """The attempt that runs or is next to start."""
    recorded = execution.attempt + 1 if execution.between_attempts else execution.attempt
    return max(recorded, launched, 1)


def without_job(
    execution: Execution, attempt: int, *, launched: int = 0, stop: Stop | None = None
) -> Finish:
    """The outcome when the server has no Job of the attempt."""
    if stop is None:
        return job_deleted(execution, attempt)
    if max(execution.attempt, launched) < attempt:
        return Finish(stop.phase, stop.reason, f"{stop.message} {_at_rest(execution)}")
    message = f"{stop.message} The Job of attempt {attempt} had been deleted."
    started = job_deleted(execution, attempt).started
    return Finish(stop.phase, stop.reason, message, started, attempt=attempt)


def task_deleted(execution: Execution) -> Finish:
    """The outcome of what has not started when its task goes."""
    what = "the next attempt" if execution.between_attempts else "the run"
    text = f"The task was deleted before {what} started."
    return Finish("Cancelled", ExecutionReason.TASK_DELETED, text)


def backfill_deleted(execution: Execution) -> Finish:
    """The outcome of what has not started when its Backfill goes."""
    name = execution.backfill[0] if execution.backfill is not None else ""
    text = f'The Backfill "{name}" was deleted before the run started.'
    return Finish("Cancelled", ExecutionReason.BACKFILL_DELETED, text)


def job_deleted(execution: Execution, attempt: int) -> Finish:
    """The outcome of an attempt whose Job somebody else deleted. It is never created again, nor
    retried: to delete the Job is how people end a run of it."""
    recorded = next((a for a in execution.attempts if a.number == attempt), None)
    started = recorded.started if recorded is not None else None
    return Finish(
        "Failed",
        ExecutionReason.JOB_DELETED,
        f"The Job of attempt {attempt} was deleted before its outcome was recorded.",
        started=started,
        attempt=attempt,
    )


def copy_lost(execution: Execution) -> Finish:
    """The outcome when an attempt cannot be repeated."""
    return Finish(
        "Failed",
        ExecutionReason.JOB_DELETED,
        f"The Job of attempt {execution.attempt}, which the next attempt would have repeated, was"
        " deleted, and the task was edited since. Create a TaskExecution to run it as it is now.",
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


def _follow(execution: Execution, job: Job, now: int, stop: Stop | None, facts: PodFacts) -> Step:
    if job.owner_uid != execution.uid:
        return name_collision(job.name)
    started = job_start(job)
    if job.finished and (ask := _pods_to_come(job, facts, now)) is not None:
        return ask
    if job.finished == "Complete":
        message = "The Job completed."
        if job.attempt > 1:
            message = f"The Job of attempt {job.attempt} completed."
        return Finish(
            "Succeeded",
            ExecutionReason.JOB_COMPLETE,
            message,
            started,
            job.finished_at,
            job.attempt,
            facts.exit_code,
        )
    halt = _asked(stop) or job.halt
    if job.finished == "Failed":
        if halt is not None and halt.phase:
            return _halted(execution, job, halt, job.finished_at or now)
        return _failed(execution, job, failure_of(job, facts), job.finished_at or now)
    if halt is None:
        halt, look = _overdue(execution, job, now, facts)
        if halt is None and job.held:
            return _held(execution, job, look)
        if halt is None:
            return _running(execution, job, now, facts, look)
    if not job.suspended or job.halt is None:
        return Suspend(halt)
    if not job.drained:
        return Kill() if stop is not None and stop.immediate else Wait()
    return _halted(execution, job, halt, now)


def _pods_to_come(job: Job, facts: PodFacts, now: int) -> Wait | AskForPods | None:
    """Jobs and pods are watched apart: the end of a Job may be seen before that of its pods, which
    has the exit code and the result. None when nothing is missing, or nothing more can be had."""
    missing = facts.pods_left > 0 or (job.ran and facts.pods_over == 0)
    if not missing or facts.asked:
        return None
    ask = (now if job.finished_at is None else job.finished_at) + PODS_LATE_SECONDS
    return AskForPods() if ask <= now else Wait(ask)


def _held(execution: Execution, job: Job, look: int | None) -> Wait | NoteHeld:
    if (execution.phase, execution.reason) == ("Queued", ExecutionReason.WAITING_FOR_KUEUE):
        return Wait(look)
    where = f'Kueue to start it (queue "{job.queue}")' if job.queue else "somebody to resume it"
    return NoteHeld(f'Job "{job.name}" is there, suspended, and waits for {where}.')


def _running(
    execution: Execution, job: Job, now: int, facts: PodFacts, look: int | None
) -> Wait | MarkRunning | NoteWaiting | NoteProgress:
    marked = _is_marked(execution, job)
    problem = facts.problem
    if problem is not None and problem.reason != execution.reason:
        # What comes and goes under one reason is told once.
        tell = problem.since + GRACE_SECONDS
        if tell <= now:
            return NoteWaiting(problem.reason, problem.message)
        look = _earlier(look, tell)
    if not marked and (job.ready or facts.running):
        mark = job_start(job) + RUNNING_AFTER_SECONDS
        if mark <= now:
            return MarkRunning(job.attempt, job_start(job))
        return Wait(_earlier(look, mark))
    if problem is None and execution.reason in PASSING:
        if marked and facts.up:
            return MarkRunning(job.attempt, job_start(job))
        if not marked and facts.pods_left:
            return NoteWaiting(ExecutionReason.POD_PENDING, MENDED)
    if marked and facts.progress is not None and facts.progress != execution.progress:
        return NoteProgress(facts.progress, look)
    return Wait(look)


def _overdue(
    execution: Execution, job: Job, now: int, facts: PodFacts
) -> tuple[Halt | None, int | None]:
    """Why the attempt has to end because of the time, or when to look again."""
    looks: list[int] = []
    if job.held:
        return _waited(execution, job, now)
    if job.deadline is not None and not job.suspended:
        end = job_start(job) + job.deadline + DEADLINE_GRACE_SECONDS
        if end <= now:
            return _as_halt(timed_out(job)), None
        looks.append(end)
    ran = job.ran or facts.running or _is_marked(execution, job)
    if job.policy.pending_timeout is not None and not ran:
        # What waits in somebody else's queue is not pending yet.
        since = job_start(job) if job.policy.suspended else job.created
        end = since + job.policy.pending_timeout
        if end <= now:
            return _as_halt(pending_timed_out(job, facts)), None
        looks.append(end)
    return None, min(looks, default=None)


def _waited(execution: Execution, job: Job, now: int) -> tuple[Halt | None, int | None]:
    """Why a run has waited too long in somebody else's queue, or when it will have."""
    ends: list[tuple[int, Halt]] = []
    policy = job.policy
    if policy.queue_timeout is not None:
        text = f"It was not started within queue.timeoutSeconds ({policy.queue_timeout} s)."
        halt = Halt(ExecutionReason.QUEUE_TIMED_OUT, text, "Skipped")
        ends.append((job.created + policy.queue_timeout, halt))
    if policy.starting_deadline is not None and job.attempt == 1 and execution.started is None:
        text = f"It was not started within startingDeadlineSeconds ({policy.starting_deadline} s)."
        halt = Halt(ExecutionReason.DEADLINE_EXCEEDED, text, "Skipped")
        ends.append((execution.due + policy.starting_deadline, halt))
    if not ends:
        return None, None
    end, halt = min(ends, key=lambda each: each[0])
    return (halt, None) if end <= now else (None, end)


def _halted(execution: Execution, job: Job, halt: Halt, finished: int) -> Retry | Finish:
    """The outcome of a Job that we have suspended, once no pod of it is left."""
    if not halt.phase:
        return _failed(execution, job, Failure(halt.reason, halt.message), finished)
    if job.policy.suspended and job.started is None and execution.started is None:
        return Finish(halt.phase, halt.reason, f"{halt.message} It had not started.")
    return Finish(
        halt.phase,
        halt.reason,
        f"{halt.message} Attempt {job.attempt} was running; its pods are gone.",
        job_start(job),
        finished,
        job.attempt,
    )


def _failed(execution: Execution, job: Job, failure: Failure, finished: int) -> Retry | Finish:
    """Repeat the attempt, or not."""
    rule, number, started = job.policy.retry, job.attempt, job_start(job)
    reason, message = failure.reason, failure.message
    if rule.max_retries:
        message = f"Attempt {number} of {rule.attempts} failed: {_lowered(message)}"
        why_not = not_retried(rule, failure.exit_code if failure.judged else None)
        if failure.final:
            why_not = "It is not retried: the pod failure policy says FailJob."
        if not why_not and number < rule.attempts:
            at = finished + delay(rule, number, execution.uid)
            message += f" Attempt {number + 1} starts at {format_instant(at)}."
            return Retry(number, reason, message, started, finished, failure.exit_code, at)
        if why_not:
            message += f" {why_not}"
        else:
            reason = ExecutionReason.RETRIES_EXHAUSTED
            message += (
                " No retries are left. Mend the cause, then run it again:"
                f" taskrunner redrive {execution.name} -n {execution.namespace}"
            )
    return Finish(
        "Failed",
        reason,
        message,
        started,
        finished,
        number,
        failure.exit_code,
        failure.reason,
    )


def _earlier(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


def _asked(stop: Stop | None) -> Halt | None:
    return None if stop is None else Halt(stop.reason, stop.message, stop.phase)


def _as_halt(failure: Failure) -> Halt:
    return Halt(failure.reason, failure.message)


def _at_rest(execution: Execution) -> str:
    if execution.between_attempts:
        return f"It waited for attempt {execution.attempt + 1}."
    return "It had not started."


def _is_marked(execution: Execution, job: Job) -> bool:
    return execution.phase == "Running" and execution.attempt == job.attempt


def job_start(job: Job) -> int:
    """When an attempt started: when its controller first saw the Job, as activeDeadlineSeconds
    counts, or else when the Job was created."""
    return job.started if job.started is not None else job.created


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
