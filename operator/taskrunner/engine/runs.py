"""Following one execution: admitted, launched, observed, recorded."""

from __future__ import annotations

import logging
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.lifecycle import (
    Confirm,
    Finish,
    Launch,
    MarkRunning,
    Wait,
    job_deleted,
    next_step,
)
from taskrunner.domain.observed import Execution
from taskrunner.domain.outcome import Start, finished_status, running_status, waiting_status
from taskrunner.domain.overlap import Overlap, overlap
from taskrunner.engine.launch import Launcher
from taskrunner.engine.store import Store, TaskState
from taskrunner.errors import ApiError, Transient
from taskrunner.metrics import Metrics
from taskrunner.ports import Clock, Events, Obj, Term

log = logging.getLogger(__name__)

TASK_GRACE_SECONDS: Final = 30
"""An execution made by hand may be seen before its task, when both are applied together."""
_FORBIDDEN: Final = 403
_SAID_NO: Final = (400, _FORBIDDEN, 404, 422)
"""The server has read the Job and would not have it; anything else says nothing about the Job."""


class Runs:
    """Takes executions one step further; the state it keeps can be lost at any time."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        clock: Clock,
        term: Term,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._clock = clock
        self._worker = term.identity
        self._events = events
        self._metrics = metrics
        self._admitted: set[str] = set()
        """uids of executions made by hand that may run, although nothing shows it yet."""
        self.starting: set[str] = set()
        """Keys of tasks for which the execution of a slot is being created: it is active already,
        or a run by hand could be admitted beside it under Forbid."""
        self._lags: dict[str, int] = {}
        """Start lag in milliseconds by uid, until the outcome is recorded."""

    def active(self, state: TaskState) -> int:
        """Runs of a task that have started or will, and have not ended."""
        reserved = 1 if state.key in self.starting else 0
        return reserved + sum(1 for e in state.executions.values() if self._is_active(e, state))

    async def step(self, execution: Execution) -> Wait:
        """Do the one next thing for an execution; the answer says when to look again, at once
        when the thing has been done."""
        state = self._store.tasks.get(execution.task_key)
        now = int(self._clock.now())
        if not (execution.terminal or self._is_admitted(execution)):
            verdict = self._admit(execution, state, now)
            if isinstance(verdict, Wait):
                return verdict
            if verdict is not None:
                await self._finish(execution, verdict, state)
                return Wait(now)
        if state is not None and state.compiled is None and not self._has_job(execution):
            # A spec that cannot be followed starts nothing; what has started is followed.
            return Wait()
        step = next_step(
            execution,
            self._store.jobs.get(execution.key),
            launched=execution.uid in self._store.launched,
            task_alive=state is not None and not state.deleting,
            now=now,
        )
        match step:
            case Wait():
                return step
            case Launch(attempt):
                await self._launch(execution, state, attempt)
            case Confirm(attempt):
                if await self._launcher.job_is_there(execution, attempt):
                    return Wait(now)
                await self._finish(execution, job_deleted(execution, attempt), state)
            case MarkRunning(attempt, started):
                start = self._start(execution, state)
                await self._launcher.write_status(
                    execution, running_status(execution, attempt, started, start)
                )
            case Finish():
                await self._finish(execution, step, state)
        return Wait(now)

    def forget(self, uid: str) -> None:
        """The execution is gone or has ended."""
        self._admitted.discard(uid)
        self._lags.pop(uid, None)

    def _admit(
        self, execution: Execution, state: TaskState | None, now: int
    ) -> Finish | Wait | None:
        """Whether an execution that was made by hand may run: None means yes."""
        if state is None:
            if now < execution.created + TASK_GRACE_SECONDS:
                return Wait(execution.created + TASK_GRACE_SECONDS)
            return Finish(
                "Failed",
                ExecutionReason.TASK_NOT_FOUND,
                f'There is no ScheduledTask "{execution.task}" in namespace '
                f'"{execution.namespace}"; check spec.taskRef.name and create the execution again.',
            )
        if state.compiled is None:
            problems = "; ".join(str(problem) for problem in state.problems)
            return Finish(
                "Failed",
                ExecutionReason.INVALID_SPEC,
                f"The task cannot be followed as written: {problems}",
            )
        policy = state.compiled.concurrency_policy
        if overlap(policy, "None", self.active(state)) is Overlap.SKIP:
            return Finish(
                "Skipped",
                ExecutionReason.CONCURRENT_RUN,
                "Another run of the task is active and concurrencyPolicy is Forbid; wait for it to "
                "end and create the execution again, or set concurrencyPolicy to Allow.",
            )
        self._admitted.add(execution.uid)
        return None

    async def _launch(self, execution: Execution, state: TaskState | None, attempt: int) -> None:
        assert state is not None
        assert state.compiled is not None
        await self._launcher.claim_run(execution)
        try:
            collision = await self._launcher.create_job(state.compiled, execution, attempt)
        except ApiError as error:
            if error.code not in _SAID_NO:
                raise
            await self._refused(execution, state, error)
            return
        lag = max(0.0, self._clock.now() - _due(execution))
        self._lags[execution.uid] = int(lag * 1000)
        self._metrics.start_lag.observe(lag)
        if collision is not None:
            await self._finish(execution, collision, state)
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
            await self._launcher.write_status(execution, waiting_status(reason, message))
            self._events.record(
                _reference(execution), kind="Warning", reason=reason, message=message
            )
        raise Transient(str(error), code=error.code, reason=error.reason)

    async def _finish(self, execution: Execution, finish: Finish, state: TaskState | None) -> None:
        start = self._start(execution, state) if finish.started is not None else None
        now = self._clock.now()
        await self._launcher.write_status(execution, finished_status(execution, finish, start, now))
        self._metrics.outcomes.labels(finish.phase).inc()
        self.forget(execution.uid)
        if finish.phase != "Succeeded":
            self._events.record(
                _reference(execution),
                kind="Normal" if finish.phase == "Skipped" else "Warning",
                reason=finish.reason,
                message=finish.message,
            )

    def _start(self, execution: Execution, state: TaskState | None) -> Start:
        lag = self._lags.get(execution.uid)
        job = self._store.jobs.get(execution.key)
        if lag is None and job is not None:
            # Another leader created the Job: what the server says is exact to the second.
            lag = max(0, job.created - _due(execution)) * 1000
        return Start(self._worker, lag, state.generation if state is not None else None)

    def _has_job(self, execution: Execution) -> bool:
        return execution.key in self._store.jobs or execution.uid in self._store.launched

    def _is_admitted(self, execution: Execution) -> bool:
        return (
            execution.type == "Scheduled"
            or execution.phase not in ("", "Pending")
            or execution.reason != ""
            or execution.uid in self._admitted
            or self._has_job(execution)
        )

    def _is_active(self, execution: Execution, state: TaskState) -> bool:
        if not execution.is_run or execution.terminal:
            return False
        if execution.type == "Scheduled":
            return execution.owner_uid == state.uid
        return self._is_admitted(execution)


def _due(execution: Execution) -> int:
    """When the run could start at the earliest: one by hand not before somebody asked for it."""
    return max(execution.due, execution.created) if execution.type == "Manual" else execution.due


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
