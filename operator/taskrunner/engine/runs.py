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
    invalid_arguments,
    job_deleted,
    next_step,
)
from taskrunner.domain.observed import Execution
from taskrunner.domain.outcome import Start, finished_status, running_status, waiting_status
from taskrunner.engine.gate import Gate
from taskrunner.engine.launch import Launcher
from taskrunner.engine.store import Store, TaskState
from taskrunner.errors import ApiError, Transient
from taskrunner.metrics import Metrics
from taskrunner.ports import Clock, Events, Obj, Term

log = logging.getLogger(__name__)

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
    ) -> None:
        self._store = store
        self._gate = gate
        self._launcher = launcher
        self._clock = clock
        self._worker = term.identity
        self._events = events
        self._metrics = metrics
        self._lags: dict[str, int] = {}
        """Start lag in milliseconds by uid, until the outcome is recorded."""

    async def step(self, execution: Execution) -> Wait:
        """Do the one next thing for an execution; the answer says when to look again, at once
        when the thing has been done."""
        state = self._store.tasks.get(execution.task_key)
        now = int(self._clock.now())
        verdict = self._gate.verdict(execution, state, now)
        if isinstance(verdict, Wait):
            return verdict
        if verdict is not None:
            await self._finish(execution, verdict, state)
            return Wait(now)
        if state is not None and state.compiled is None and not self._store.has_job(execution):
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
        self._gate.forget(uid)
        self._lags.pop(uid, None)

    async def _launch(self, execution: Execution, state: TaskState | None, attempt: int) -> None:
        assert state is not None
        assert state.compiled is not None
        unfit = invalid_arguments(execution, state.compiled.parameters)
        if unfit is not None:
            await self._finish(execution, unfit, state)
            return
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
