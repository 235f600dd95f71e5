"""Following one execution: admitted, launched, observed, recorded."""

from __future__ import annotations

import logging
import math
from typing import Final

import orjson

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.instants import parse_instant
from taskrunner.domain.lifecycle import (
    AskForPods,
    Confirm,
    Finish,
    Kill,
    Launch,
    MarkRunning,
    NoteHeld,
    NoteProgress,
    NoteWaiting,
    Retry,
    Step,
    Stop,
    Suspend,
    Wait,
    backfill_deleted,
    invalid_arguments,
    next_step,
    without_job,
)
from taskrunner.domain.observed import Execution, Job
from taskrunner.domain.outcome import (
    Start,
    finished_status,
    progress_status,
    queued_status,
    retrying_status,
    running_status,
    waiting_status,
)
from taskrunner.domain.pod_facts import NO_PODS
from taskrunner.domain.pods import Progress
from taskrunner.domain.policy import Halt
from taskrunner.domain.skipping import is_skip_request, judge
from taskrunner.engine.gate import Gate, Hold
from taskrunner.engine.launch import Launcher
from taskrunner.engine.store import Store, TaskState
from taskrunner.errors import ApiError, Transient
from taskrunner.metrics import Metrics
from taskrunner.ports import Clock, Events, Obj, Term

log = logging.getLogger(__name__)

KILL_AGAIN_SECONDS: Final = 5
_FORBIDDEN: Final = 403
_SAID_NO: Final = (400, _FORBIDDEN, 404, 422)
"""The server has read the Job and would not have it; anything else says nothing about the Job."""


class Runs:
    """Takes executions one step further; the state it keeps can be lost at any time."""

    def __init__(
        self,
        store: Store,
        gate: Gate,
        launcher: Launcher,
        clock: Clock,
        term: Term,
        events: Events,
        metrics: Metrics,
        *,
        status_interval: float,
    ) -> None:
        self._store = store
        self._gate = gate
        self._launcher = launcher
        self._clock = clock
        self._worker = term.identity
        self._events = events
        self._metrics = metrics
        self._status_interval = status_interval
        self._lags: dict[str, int] = {}
        """Start lag in milliseconds by uid, until the outcome is recorded."""
        self._progress_at: dict[str, float] = {}
        """When the progress of a run was last written, by uid."""
        self._killed: dict[str, float] = {}
        """When pods were last killed, by uid."""

    async def step(self, execution: Execution) -> Wait:
        """Do the one next thing for an execution; the answer says when to look again, at once
        when the thing has been done."""
        state = self._store.tasks.get(execution.task_key)
        now = int(self._clock.now())
        if is_skip_request(execution) and state is not None:
            return await self._skip(execution, state)
        stop = asked_to_stop(execution) or self._gate.stop(execution, state)
        if stop is None:
            if await self._is_held(execution, state, now):
                return Wait()
            if await self._is_called_off(execution):
                await self._finish(execution, backfill_deleted(execution), state)
                return Wait(now)
            verdict = self._gate.verdict(execution, state, now)
            if isinstance(verdict, Wait):
                return verdict
            if isinstance(verdict, Hold):
                return await self._queue(execution, verdict)
            if verdict is not None:
                await self._finish(execution, verdict, state)
                return Wait(now)
            if self._cannot_start(execution, state):
                return Wait()
        job = self._store.job_of(execution)
        facts = self._store.pods.facts(job)
        step = next_step(
            execution,
            job,
            launched=self._store.launched.get(execution.uid, 0),
            task_alive=_is_wanted(execution, state),
            now=now,
            stop=stop,
            facts=facts,
        )
        return await self._act(step, execution, state, job, stop)

    async def _skip(self, execution: Execution, state: TaskState) -> Wait:
        """PATCH the status: somebody has taken the slot's name, so that it does not start; or the
        name of no slot, which changes nothing. A crash right before leaves it to the next
        leader."""
        if state.compiled is None or state.deleting:
            return Wait()
        said = orjson.loads(state.status).get("decidedUntil")
        decided = parse_instant(said) if said else 0
        await self._finish(execution, judge(state.compiled, execution, decided), state)
        return Wait(int(self._clock.now()))

    async def _act(
        self,
        step: Step,
        execution: Execution,
        state: TaskState | None,
        job: Job | None,
        stop: Stop | None,
    ) -> Wait:
        now = int(self._clock.now())
        match step:
            case Wait():
                return step
            case Launch(attempt) if attempt > 1 and not self._gate.queues.may_repeat(execution):
                return Wait()
            case Launch(attempt):
                await self._launch(execution, state, attempt)
            case Confirm(attempt):
                if await self._launcher.job_is_there(execution, attempt):
                    return Wait(now)
                launched = self._store.launched.get(execution.uid, 0)
                outcome = without_job(execution, attempt, launched=launched, stop=stop)
                await self._finish(execution, outcome, state)
            case AskForPods():
                assert job is not None
                await self._launcher.ask_for_pods(job)
            case Suspend(halt):
                assert job is not None
                await self._launcher.suspend(job, halt)
            case Kill():
                return await self._kill(execution)
            case _:
                return await self._record(step, execution, state)
        return Wait(now)

    async def _record(
        self,
        step: MarkRunning | NoteWaiting | NoteHeld | NoteProgress | Retry | Finish,
        execution: Execution,
        state: TaskState | None,
    ) -> Wait:
        match step:
            case MarkRunning(attempt, started):
                start = self._start(execution, state)
                await self._launcher.write_status(
                    execution, running_status(execution, attempt, started, start)
                )
            case NoteWaiting(reason, message):
                await self._note_waiting(execution, reason, message)
            case NoteHeld(message):
                status = queued_status(
                    execution, ExecutionReason.WAITING_FOR_KUEUE, message, self._clock.now()
                )
                await self._launcher.write_status(execution, status)
            case NoteProgress(progress, until):
                return await self._note_progress(execution, progress, until)
            case Retry():
                await self._retry(execution, step, state)
            case Finish():
                await self._finish(execution, step, state)
        return Wait(int(self._clock.now()))

    async def _is_held(self, execution: Execution, state: TaskState | None, now: int) -> bool:
        """Whether a pause keeps a run from starting; said once. Its end names the run again."""
        why = self._store.pauses.why(execution.namespace)
        if not why or state is None or state.deleting:
            return False
        if not execution.is_run or execution.terminal or execution.due > now:
            return False
        if execution.attempt > 0 or self._store.has_job(execution):
            return False
        if execution.reason != ExecutionReason.PAUSED:
            await self._launcher.write_status(
                execution, waiting_status(execution, ExecutionReason.PAUSED, why)
            )
        return True

    async def _is_called_off(self, execution: Execution) -> bool:
        """Whether the Backfill that asked for a run was deleted before it started. That it is not
        in memory proves nothing: the server is asked."""
        if execution.backfill is None or execution.terminal:
            return False
        if execution.attempt > 0 or self._store.has_job(execution):
            return False
        backfill = self._store.backfill_of(execution)
        if backfill is not None and not backfill.deleting:
            return False
        return not await self._launcher.backfill_is_there(execution)

    def _cannot_start(self, execution: Execution, state: TaskState | None) -> bool:
        """A spec that cannot be followed starts nothing; what has started is followed."""
        started = execution.attempt > 0 or self._store.has_job(execution)
        return state is not None and state.compiled is None and not started

    async def after_end(self, execution: Execution) -> None:
        """Nothing runs for an execution that has ended. A Job can be there all the same when its
        creation was not answered, and was carried out after all."""
        job = self._store.job_of(execution)
        if job is None or job.owner_uid != execution.uid or job.deleting:
            return
        if job.left_queue:
            await self._launcher.delete_job(job)
        elif not job.finished and not job.suspended:
            message = f"The execution has ended already ({execution.phase})."
            await self._launcher.suspend(job, Halt(execution.reason, message, execution.phase))

    async def _kill(self, execution: Execution) -> Wait:
        """Kill its pods, and look after a while whether others have come up meanwhile."""
        now = self._clock.now()
        last = self._killed.get(execution.uid)
        if last is None or now - last >= KILL_AGAIN_SECONDS:
            await self._launcher.kill_pods(execution)
            last = self._killed[execution.uid] = now
        return Wait(int(last) + KILL_AGAIN_SECONDS)

    def forget(self, uid: str) -> None:
        """The execution is gone or has ended."""
        self._killed.pop(uid, None)
        self._lags.pop(uid, None)
        self._progress_at.pop(uid, None)

    async def _queue(self, execution: Execution, hold: Hold) -> Wait:
        """PATCH the status: the run waits for a place. A crash right before leaves a run that asks
        for a place again; right after, a run whose age and order are in its object."""
        if (execution.phase, execution.reason) != ("Queued", hold.reason):
            status = queued_status(execution, hold.reason, hold.message, self._clock.now())
            await self._launcher.write_status(execution, status)
        return Wait(hold.until)

    async def _launch(self, execution: Execution, state: TaskState | None, attempt: int) -> None:
        assert state is not None
        if attempt == 1:
            assert state.compiled is not None
            unfit = invalid_arguments(execution, state.compiled.parameters)
            if unfit is not None:
                await self._finish(execution, unfit, state)
                return
        await self._launcher.claim_run(execution)
        try:
            outcome = await self._launcher.create_job(state.compiled, execution, attempt)
        except ApiError as error:
            if error.code not in _SAID_NO:
                raise
            await self._refused(execution, state, error)
            return
        if attempt == 1:
            lag = max(0.0, self._clock.now() - _due(execution))
            self._lags[execution.uid] = int(lag * 1000)
            if execution.queued is None:
                self._metrics.start_lag.observe(lag)
            else:
                self._metrics.queue_wait.observe(lag)
        if outcome is not None:
            await self._finish(execution, outcome, state)
        elif execution.owner_uid != state.uid:
            await self._launcher.adopt(state.uid, execution)

    async def _refused(self, execution: Execution, state: TaskState, error: ApiError) -> None:
        """The server would not have the Job. What is forbidden now may be allowed later (quota,
        rights, a policy), so it is tried again; what is malformed is not."""
        if error.code != _FORBIDDEN:
            message = f"The API server refused the Job: {error}"
            await self._finish(
                execution, Finish("Failed", ExecutionReason.JOB_REJECTED, message), state
            )
            return
        quota = "exceeded quota" in str(error)
        reason = ExecutionReason.QUOTA_EXCEEDED if quota else ExecutionReason.JOB_REJECTED
        if execution.reason != reason:
            message = f"The API server does not accept the Job now, trying again: {error}"
            await self._note_waiting(execution, reason, message)
        raise Transient(str(error), code=error.code, reason=error.reason)

    async def _note_waiting(
        self, execution: Execution, reason: ExecutionReason, message: str
    ) -> None:
        """PATCH the status: why it does not start, or not get on. A crash right before leaves it to
        the next leader, who sees the same."""
        await self._launcher.write_status(execution, waiting_status(execution, reason, message))
        kind: Final = "Normal" if reason == ExecutionReason.POD_PENDING else "Warning"
        self._events.record(_reference(execution), kind=kind, reason=reason, message=message)

    async def _note_progress(
        self, execution: Execution, progress: Progress, until: int | None
    ) -> Wait:
        """PATCH the status: how far it is, not more often than statuses are written."""
        now = self._clock.now()
        next_time = self._progress_at.get(execution.uid, 0.0) + self._status_interval
        if next_time > now:
            look = math.ceil(next_time)
            return Wait(look if until is None else min(look, until))
        self._progress_at[execution.uid] = now
        await self._launcher.write_status(execution, progress_status(progress))
        return Wait(int(now))

    async def _retry(self, execution: Execution, retry: Retry, state: TaskState | None) -> None:
        """PATCH the status: this attempt failed, the next one starts at that time. A crash right
        before leaves it to the next leader, who comes to the same from the same Job; right after,
        the time stands in the status."""
        start = self._start(execution, state)
        facts = self._store.pods.facts(self._store.job_of(execution))
        status = retrying_status(execution, retry, start, facts)
        await self._launcher.write_status(execution, status)
        self._metrics.retries.labels(retry.reason).inc()
        self._events.record(
            _reference(execution), kind="Warning", reason=retry.reason, message=retry.message
        )

    async def _finish(self, execution: Execution, finish: Finish, state: TaskState | None) -> None:
        start = self._start(execution, state) if finish.started is not None else None
        facts = NO_PODS if start is None else self._store.pods.facts(self._store.job_of(execution))
        status = finished_status(execution, finish, start, self._clock.now(), facts)
        await self._launcher.write_status(execution, status)
        self._metrics.outcomes.labels(finish.phase, finish.reason).inc()
        self.forget(execution.uid)
        if finish.phase != "Succeeded":
            self._events.record(
                _reference(execution),
                kind="Normal" if finish.phase in ("Skipped", "Cancelled") else "Warning",
                reason=finish.reason,
                message=finish.message,
            )

    def _start(self, execution: Execution, state: TaskState | None) -> Start:
        lag = self._lags.get(execution.uid)
        job = self._store.job_of(execution)
        if lag is None and job is not None and job.attempt == 1:
            # Another leader created the Job: what the server says is exact to the second.
            lag = max(0, job.created - _due(execution)) * 1000
        pods = self._store.pods.facts(job)
        pod_lag = None
        if job is not None and job.attempt == 1 and pods.running_since is not None:
            pod_lag = max(0, pods.running_since - job.created) * 1000
        generation = None if job is None else job.policy.task_generation
        if generation is None and state is not None:
            generation = state.generation
        return Start(self._worker, lag, pod_lag, generation)


def asked_to_stop(execution: Execution) -> Stop | None:
    """What `spec.stop` asks for."""
    if not execution.stop:
        return None
    return Stop(
        execution.stop == "Immediate",
        "Cancelled",
        ExecutionReason.STOPPED,
        f"Stopped, as spec.stop: {execution.stop} asks.",
    )


def _due(execution: Execution) -> int:
    """When the run could start at the earliest: not before somebody asked for it."""
    return execution.due if execution.type == "Scheduled" else max(execution.due, execution.created)


def _is_wanted(execution: Execution, state: TaskState | None) -> bool:
    """Whether the task of a run is there. One of the same name that was created since is another,
    and does not start what the old one left; a run by hand is for whichever has the name."""
    if state is None or state.deleting:
        return False
    if not execution.owner_uid and execution.type != "Scheduled":
        return True
    return execution.owner_uid == state.uid


def _reference(execution: Execution) -> Obj:
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {
            "namespace": execution.namespace,
            "name": execution.name,
            "uid": execution.uid,
            "resourceVersion": str(execution.resource_version),
        },
    }
