"""Whether a run may start: what its task allows beside the runs that are active already."""

from __future__ import annotations

from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.lifecycle import Finish, Stop, Wait
from taskrunner.domain.observed import Execution
from taskrunner.domain.overlap import Overlap, overlap
from taskrunner.engine.store import Store, TaskState

TASK_GRACE_SECONDS: Final = 30
"""An execution made by hand may be seen before its task, when both are applied together."""


class Gate:
    """Lets executions through to their start; what it remembers can be lost at any time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._admitted: set[str] = set()
        """uids of executions made by hand that may run, although nothing shows it yet."""
        self.starting: set[str] = set()
        """Keys of tasks for which the execution of a slot is being created: it is active already,
        or a run by hand could be admitted beside it under Forbid."""

    def active(self, state: TaskState) -> int:
        """Runs of a task that have started or will, and have not ended."""
        reserved = 1 if state.key in self.starting else 0
        return reserved + sum(1 for e in state.executions.values() if self._is_active(e, state))

    def verdict(
        self, execution: Execution, state: TaskState | None, now: int
    ) -> Finish | Wait | None:
        """Whether an execution may run: None means yes, and keeps its place among the active."""
        if execution.terminal or self._is_admitted(execution):
            return None
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

    def stop(self, execution: Execution, state: TaskState | None) -> Stop | None:
        """Whether another run wants this one to end."""
        return None

    def forget(self, uid: str) -> None:
        """The execution is gone or has ended."""
        self._admitted.discard(uid)

    def _is_admitted(self, execution: Execution) -> bool:
        return (
            execution.type == "Scheduled"
            or execution.phase not in ("", "Pending")
            or execution.reason not in ("", ExecutionReason.PAUSED)
            or execution.uid in self._admitted
            or self._store.has_job(execution)
        )

    def _is_active(self, execution: Execution, state: TaskState) -> bool:
        if not execution.is_run or execution.terminal:
            return False
        if execution.type == "Scheduled":
            return execution.owner_uid == state.uid
        return self._is_admitted(execution)
