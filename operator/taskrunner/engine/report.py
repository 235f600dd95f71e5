"""One status patch per task, built whole from what was observed.

Starts are reported together with what follows within `interval` seconds; ends and errors at once,
but for tasks that report more often than that. An idle task is never written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from taskrunner.api.v1alpha1.conditions import get_condition, is_true, set_condition
from taskrunner.api.v1alpha1.reasons import TaskConditionType, TaskReason
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.decide import SlotDecision
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.skipping import is_skip_request, leaving_out
from taskrunner.domain.status import (
    MISSED_RANGES_KEPT,
    count_outcomes,
    merge_patch,
    outcome_fields,
    runs_to_come,
)
from taskrunner.engine.progress import Progress
from taskrunner.engine.store import TaskState
from taskrunner.ports import SCHEDULED_TASKS, Api, Events, Obj

log = logging.getLogger(__name__)


def desired_status(state: TaskState, progress: Progress, old: Obj, now: float) -> Obj:
    """The fields of the status as they should be; None for those to remove."""
    # A slot that is to be skipped is not skipped yet.
    executions = [
        e
        for e in state.executions.values()
        if not is_skip_request(e) or e.decided_at <= progress.watermark
    ]
    progress.tally = count_outcomes(progress.tally, executions)
    fields: Obj = {
        "observedGeneration": state.generation,
        "conditions": _conditions(state, progress, old, now),
        **outcome_fields(old, executions, progress.tally),
        "missedRanges": _missed_ranges(old, progress.missed),
    }
    task = state.compiled
    if task is None:
        return fields | {"nextRunTime": None, "nextRuns": None}
    plan = {"hash": progress.plan_hash, "since": format_instant(progress.plan_since)}
    if progress.completed:
        runs: list[Obj] = []
    elif (
        progress.acknowledged == progress.watermark
        and progress.told == progress.left_out
        and old.get("plan") == plan
    ):
        runs = old.get("nextRuns") or []  # Of the same plan from the same instant: the same.
    else:
        planned = leaving_out(task, progress.left_out)
        runs = runs_to_come(planned, progress.watermark, progress.started)
    held = task.suspended or progress.paused
    return fields | {
        # Never back: should two replicas believe that they lead, what one has said stands.
        "decidedUntil": format_instant(max(progress.watermark, _decided_until(old))),
        "scheduledCount": max(progress.started, old.get("scheduledCount", 0)),
        "plan": plan,
        "scheduleSummary": task.summary,
        "nextRuns": runs or None,
        "nextRunTime": runs[0]["time"] if runs and not held else None,
    }


def _decided_until(status: Obj) -> int:
    text = status.get("decidedUntil")
    return parse_instant(text) if text else 0


class Reporter:
    """Writes statuses of tasks."""

    def __init__(self, api: Api, events: Events) -> None:
        self._api = api
        self._events = events

    async def report(
        self, state: TaskState, progress: Progress, now: float, timeout: float
    ) -> bool:
        """PATCH what differs; True when something was written.

        The watermark goes up here, after the executions that it counts. A crash right before loses
        the patch: the next leader rolls the watermark forward from the executions.
        """
        old: Obj = orjson.loads(state.status)
        new = desired_status(state, progress, old, now)
        patch = merge_patch(old, new)
        if not patch or set(patch) == {"decidedUntil"}:
            progress.told = progress.left_out
            return False
        patch["lastUpdateTime"] = format_instant(now)
        watermark, missed = progress.watermark, len(progress.missed)
        left_out = progress.left_out
        obj = await self._api.patch(
            SCHEDULED_TASKS,
            state.namespace,
            state.name,
            # Not the uid: the status subresource ignores it, and a task that was created again
            # would inherit the watermark of the old one.
            {"metadata": {"resourceVersion": str(state.resource_version)}, "status": patch},
            subresource="status",
            timeout=timeout,
        )
        # What was decided while the patch was under way is for the next one.
        del progress.missed[:missed]
        if "decidedUntil" in new:
            progress.acknowledged = watermark
        progress.reported_at, progress.told = now, left_out
        state.status = orjson.dumps(obj.get("status") or {})
        state.resource_version = int(obj["metadata"]["resourceVersion"])
        self._tell_of_circuit(obj, old)
        return True

    def _tell_of_circuit(self, obj: Obj, old: Obj) -> None:
        """An event when the circuit breaker has opened or closed. A crash right before loses it;
        the condition stays."""
        kind = TaskConditionType.CIRCUIT_OPEN
        new = get_condition((obj.get("status") or {}).get("conditions") or (), kind)
        opened = new is not None and new["status"] == "True"
        if new is not None and opened != is_true(old.get("conditions") or (), kind):
            self._events.record(
                {
                    "apiVersion": SCHEDULED_TASKS.api_version,
                    "kind": SCHEDULED_TASKS.kind,
                    "metadata": obj["metadata"],
                },
                kind="Warning" if opened else "Normal",
                reason="CircuitOpened" if opened else "CircuitClosed",
                message=new["message"],
            )


def _conditions(
    state: TaskState, progress: Progress, old: Mapping[str, Any], now: float
) -> list[Mapping[str, Any]]:
    moment = datetime.fromtimestamp(int(now), UTC)
    conditions: list[Any] = list(old.get("conditions") or ())

    def put(kind: TaskConditionType, holds: bool, reason: TaskReason, message: str) -> None:
        conditions[:] = set_condition(
            conditions,
            kind,
            "True" if holds else "False",
            reason,
            message,
            observed_generation=state.generation,
            now=moment,
        )

    task = state.compiled
    if task is None:
        message = "; ".join(str(problem) for problem in state.problems)
        put(TaskConditionType.READY, False, TaskReason.INVALID_SPEC, message)
        return conditions
    put(TaskConditionType.READY, *_ready(task, progress))
    if progress.completed:
        message = "No slot is to come; the task runs only by hand from now on."
        put(TaskConditionType.COMPLETED, True, TaskReason.NO_SLOT_TO_COME, message)
    elif any(c["type"] == TaskConditionType.COMPLETED for c in conditions):
        put(TaskConditionType.COMPLETED, False, TaskReason.SLOTS_TO_COME, "Slots are to come.")
    kind, rule = TaskConditionType.CIRCUIT_OPEN, task.circuit_breaker
    failures = progress.tally.consecutive_failures
    if rule is not None and failures >= rule.failure_threshold:
        message = (
            f"The last {failures} runs failed. Slots are skipped until {rule.reset_seconds} s after"
            " the last failure; then one run is tried. A success closes the circuit: find the"
            " cause, and run the task by hand."
        )
        put(kind, True, TaskReason.FAILURE_THRESHOLD_REACHED, message)
    elif is_true(conditions, kind):
        if rule is None:
            put(kind, False, TaskReason.NO_CIRCUIT_BREAKER, "The task has no circuit breaker.")
        else:
            put(kind, False, TaskReason.RUN_SUCCEEDED, "A run succeeded; slots start runs again.")
    return conditions


def _ready(task: CompiledTask, progress: Progress) -> tuple[bool, TaskReason, str]:
    """Whether a task that can be followed is ready, and why."""
    if progress.ahead:
        decided = format_instant(progress.watermark)
        message = (
            f"Everything up to {decided} is decided, and the operator's clock has not come so far:"
            " it, or that of an earlier replica, was wrong. Nothing starts before."
        )
        return False, TaskReason.CLOCK_BEHIND_WATERMARK, message
    if progress.no_queue:
        return False, TaskReason.QUEUE_NOT_FOUND, progress.no_queue
    if task.suspended:
        message = "The task is suspended; set spec.suspend to false to go on."
        return True, TaskReason.SUSPENDED, message
    if progress.paused:
        return True, TaskReason.PAUSED, progress.paused
    if not task.entries:
        return True, TaskReason.NO_SCHEDULE, "The task has no schedule; it runs by hand."
    return True, TaskReason.PLANNED, f"Planned: {task.summary}."


def _missed_ranges(old: Mapping[str, Any], missed: list[SlotDecision]) -> list[Obj] | None:
    """The last ten ranges; one that continues the last for the same reason is joined to it."""
    ranges: list[Obj] = list(old.get("missedRanges") or ())
    for item in missed:
        first = item.first if item.count > 1 else item.slot.nominal
        entry = {
            "from": format_instant(first),
            "to": format_instant(item.slot.nominal),
            "count": item.count,
            "reason": str(item.reason),
        }
        if ranges and ranges[-1]["to"] == entry["to"] and ranges[-1]["from"] == entry["from"]:
            continue
        ranges.append(entry)
    ranges.sort(key=lambda r: parse_instant(r["to"]))
    return ranges[-MISSED_RANGES_KEPT:] or None
