"""The product's own decisions, asked in the model's terms: the only file that knows both.

All of them are pure, so answers are kept.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Literal, NamedTuple

import orjson

from model.rules import Rules
from model.state import Execution, Item, Job, Seen
from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.domain import decide as deciding
from taskrunner.domain import history, lifecycle, observed
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.domain.instants import format_instant
from taskrunner.domain.naming import execution_name, job_name
from taskrunner.domain.policy import POLICY_ANNOTATION, RunPolicy, policy_text
from taskrunner.domain.retry import RetryRule
from taskrunner.engine import progress
from taskrunner.engine.store import TaskState

_BASE: Final = 1_790_000_040
"""Instant 0 of the model, a full minute."""
_PERIOD: Final = 60
_LATER: Final = 3600
"""Time enough for a run to be recorded as Running."""


class Scope(NamedTuple):
    """The task that is explored: a slot a minute, and then no more. Nothing of its history is
    kept, so that names are freed as early as can be."""

    slots: int = 2
    policy: Literal["Allow", "Forbid"] = "Allow"
    catch_up: Literal["Last", "All"] = "Last"
    retries: int = 0


class Decisions:
    """domain.decide, lifecycle and history, and engine.progress.begin."""

    def __init__(self, scope: Scope, rules: Rules) -> None:
        task, roll_forward, freed_late = _compile(scope), rules.roll_forward, rules.freed_late
        self.begin = cache(lambda seen, status: _begin(task, seen if roll_forward else (), status))
        """Progress.watermark of a leader that begins with these objects and this status."""
        self.plan = cache(lambda decided, active, now: _plan(task, decided, active, now))
        """What is to be written now, and the watermark once it is."""
        until = scope.slots
        self.expendable = cache(
            lambda seen, status: _expendable(seen, status if freed_late else until)
        )
        """The slots whose executions go next."""
        policy = policy_text(RunPolicy(RetryRule(max_retries=scope.retries)))
        self.step = cache(lambda *seen: _step(policy, *seen))
        """The one next thing to do for a run."""

    def without_job(self, slot: int, execution: Execution, attempt: int) -> lifecycle.Finish:
        """The outcome when the Job is not on the server."""
        return lifecycle.job_deleted(_observed(slot, execution), attempt)


def _begin(task: CompiledTask, seen: tuple[Seen, ...], status: int) -> int:
    state = TaskState(
        key="qa/task", namespace="qa", name="task", uid="task", resource_version=1, generation=1,
        created=_BASE, compiled=task, executions=_all(seen),
        status=orjson.dumps({"decidedUntil": format_instant(_at(status))} if status else {}),
    )  # fmt: skip
    return _slot(progress.begin(state).watermark)


def _plan(task: CompiledTask, decided: int, active: int, now: int) -> tuple[tuple[Item, ...], int]:
    found = deciding.decide(task, deciding.Seen(_at(decided), active, started=0), _at(now))
    return tuple(_item(item) for item in found.items), _slot(found.watermark)


def _item(item: deciding.SlotDecision) -> Item:
    last = _slot(item.slot.nominal)
    first = _slot(item.first) if item.count > 1 else last
    assert item.count == last - first + 1, "The model reads a range as all slots in it."
    return Item(item.decision, last, first)


def _step(
    policy: str, slot: int, execution: Execution, job: Job | None, launched: int
) -> lifecycle.Step:
    return lifecycle.next_step(
        _observed(slot, execution),
        None if job is None else _job(slot, job, policy),
        launched=launched,
        task_alive=True,
        now=_at(slot) + _LATER,
    )


def _expendable(seen: tuple[Seen, ...], until: int) -> tuple[int, ...]:
    found = history.expendable(_all(seen).values(), succeeded=0, failed=0, decided_until=_at(until))
    return tuple(_slot(execution.nominal) for execution in found)


def _compile(scope: Scope) -> CompiledTask:
    spec: dict[str, Any] = {
        "schedule": "* * * * *",
        "endTime": format_instant(_at(scope.slots) + 1),
        "concurrencyPolicy": scope.policy,
        "catchUp": {"policy": scope.catch_up},
        "jobTemplate": {
            "spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}
        },
    }
    metadata = {"name": "task", "namespace": "qa", "creationTimestamp": format_instant(_BASE)}
    return compile_task(parse_scheduled_task({"metadata": metadata, "spec": spec}), {})


def _all(seen: tuple[Seen, ...]) -> dict[str, observed.Execution]:
    executions = [
        _observed(slot, known.execution)
        for slot, known in enumerate(seen, start=1)
        if known.execution is not None
    ]
    return {execution.name: execution for execution in executions}


def _observed(slot: int, execution: Execution) -> observed.Execution:
    """By way of the object, as a watch delivers it."""
    at = format_instant(_at(slot))
    decision = {"type": execution.decision} if execution.decision else {}
    ended = {"completionTime": at} if execution.phase == "Retrying" else {}
    status: dict[str, Any] = {"phase": execution.phase, "attempt": execution.attempt}
    if execution.attempt:
        latest = {"number": execution.attempt, "startTime": at, **ended}
        status |= {"startTime": at, "attempts": [latest], "nextRetryTime": at}
    return observed.execution_from(
        {
            "metadata": _metadata(
                execution_name("task", _at(slot)), execution.uid, "ScheduledTask", "task"
            ),
            "spec": {
                "taskRef": {"name": "task"}, "type": "Scheduled", "scheduledTime": at,
                "decision": decision,
            },
            "status": status,
        }
    )  # fmt: skip


def _job(slot: int, job: Job, policy: str) -> observed.Job:
    name, at = execution_name("task", _at(slot)), format_instant(_at(slot))
    kinds = {"completed": "Complete", "failed": "Failed"}
    status: dict[str, Any] = {"startTime": at, "ready": 1}
    if job.outcome:  # Its pods are watched apart, and nothing was seen of them.
        end = {"type": kinds[job.outcome], "status": "True", "lastTransitionTime": at}
        status = {"startTime": at, "conditions": [end]}
    meta = _metadata(job_name(name, job.attempt), 1, "TaskExecution", str(job.owner))
    meta["annotations"] = {POLICY_ANNOTATION: policy}
    return observed.job_from({"metadata": meta, "status": status})


def _metadata(name: str, uid: int, owner: str, owner_uid: str) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "owner", "uid": owner_uid}]
    return {
        "namespace": "qa", "name": name, "uid": str(uid), "resourceVersion": "1", "generation": 1,
        "creationTimestamp": format_instant(_BASE), "ownerReferences": owners,
    }  # fmt: skip


def _at(slot: int) -> int:
    return _BASE + _PERIOD * slot


def _slot(instant: int) -> int:
    return max(0, (instant - _BASE) // _PERIOD)
