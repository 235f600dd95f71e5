"""The status of a ScheduledTask, built whole from what was observed, and the patch to it.

Nothing is incremented in place: a status computed twice from the same state is the same, so a write
that is lost or repeated does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.observed import TERMINAL, Execution
from taskrunner.domain.preview import next_runs

MISSED_RANGES_KEPT: Final = 10
ACTIVE_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes counted so far. `counted` holds the names of executions that are in it already and
    still exist."""

    consecutive_failures: int = 0
    counted: frozenset[str] = frozenset()


def tally_from(status: Mapping[str, Any], executions: Iterable[Execution]) -> Tally:
    """What a status that was read from the server has counted: everything that ended up to its
    last success or failure."""
    until = max(_instant(status.get("lastSuccessfulTime")), _instant(status.get("lastFailureTime")))
    return Tally(
        status.get("consecutiveFailures", 0),
        frozenset(e.name for e in executions if _ended(e) and (e.finished or 0) <= until),
    )


def count_outcomes(tally: Tally, executions: Iterable[Execution]) -> Tally:
    """Count the executions that have ended since, in the order in which they ended."""
    ended = {e.name: e for e in executions if _ended(e)}
    failures = tally.consecutive_failures
    fresh = [e for name, e in ended.items() if name not in tally.counted]
    for execution in sorted(fresh, key=lambda e: (e.finished or 0, e.name)):
        failures = failures + 1 if execution.phase == "Failed" else 0
    return Tally(failures, frozenset(ended))


def failures_of(
    status: Mapping[str, Any], executions: Iterable[Execution], tally: Tally | None
) -> tuple[int, int]:
    """How many runs of a task failed since the last success, and when the last one did.

    `tally`: what has been counted in this term; without it, what the status says is counted.
    """
    executions = list(executions)
    known = tally or tally_from(status, executions)
    failed = (e.finished or 0 for e in executions if _ended(e) and e.phase == "Failed")
    last = max(failed, default=0)
    counted = count_outcomes(known, executions).consecutive_failures
    return counted, max(last, _instant(status.get("lastFailureTime")))


def outcome_fields(
    old: Mapping[str, Any], executions: Iterable[Execution], tally: Tally
) -> dict[str, Any]:
    """The fields of a task's status that tell of its executions.

    Times never go back: an execution may have been deleted since, so the old value stands when
    nothing newer is there.
    """
    runs = [e for e in executions if e.is_run]
    waiting = ("Queued", *TERMINAL)
    active = sorted((e for e in runs if e.phase not in waiting), key=lambda e: (e.due, e.name))
    runs = [e for e in runs if e.backfill is None]
    scheduled = [e for e in runs if e.type == "Scheduled"]
    ended = [e for e in runs if e.terminal]
    latest = max(
        ended or runs, key=lambda e: (e.finished or 0, e.created, e.nominal, e.name), default=None
    )
    fields: dict[str, Any] = {
        "lastScheduleTime": _latest(old, "lastScheduleTime", (e.nominal for e in scheduled)),
        "lastSuccessfulTime": _latest(
            old, "lastSuccessfulTime", (e.finished for e in runs if e.phase == "Succeeded")
        ),
        "lastFailureTime": _latest(
            old, "lastFailureTime", (e.finished for e in runs if e.phase == "Failed")
        ),
        "lastMissedTime": _latest(
            old, "lastMissedTime", (e.nominal for e in executions if e.decision == "Miss")
        ),
        "lastSkippedTime": _latest(
            old, "lastSkippedTime", (e.nominal for e in executions if _is_skipped(e))
        ),
        "consecutiveFailures": tally.consecutive_failures,
        "activeCount": len(active),
        "active": [_active(e) for e in active[:ACTIVE_LISTED]] or None,
        # What ended last; while nothing has, what is active. Gone with history limits of 0.
        "lastExecution": _last_execution(latest) if latest else old.get("lastExecution"),
    }
    return fields


def runs_to_come(task: CompiledTask, after: int, started: int) -> list[dict[str, str]]:
    """The next five runs, as `status.nextRuns`; `started` is what counts for `maxExecutions`."""
    left = None if task.max_executions is None else task.max_executions - started
    runs = []
    for slot in next_runs(task, after, left=left):
        run = {"time": format_instant(slot.start)}
        if slot.schedule:
            run["schedule"] = slot.schedule
        if slot.notes:
            run["note"] = "; ".join(slot.notes)
        runs.append(run)
    return runs


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `old` into `new` in the fields that `new` names;
    a field that is None there is removed. Empty when nothing changes."""
    patch: dict[str, Any] = {}
    for key, value in new.items():
        present = old.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            inner = merge_patch(present, {**dict.fromkeys(present), **value})
            if inner:
                patch[key] = inner
        elif present != value:
            patch[key] = value
    return patch


def _is_skipped(execution: Execution) -> bool:
    """Not what somebody asked for in vain (`domain.skipping`)."""
    return execution.decision == "Skip" and execution.phase != "Cancelled"


def _ended(execution: Execution) -> bool:
    """Whether it counts as an outcome of the task. Runs of the past do not: they say nothing about
    how the task is doing now."""
    return execution.phase in ("Succeeded", "Failed") and execution.backfill is None


def _active(execution: Execution) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": execution.name}
    if execution.started is not None:
        entry["startTime"] = format_instant(execution.started)
    return entry


def _last_execution(execution: Execution) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": execution.name, "phase": execution.phase or "Pending"}
    if execution.started is not None:
        entry["startTime"] = format_instant(execution.started)
    if execution.finished is not None:
        entry["completionTime"] = format_instant(execution.finished)
    return entry


def _latest(old: Mapping[str, Any], field: str, instants: Iterable[int | None]) -> str | None:
    found = max((i for i in instants if i is not None), default=0)
    present = _instant(old.get(field))
    return format_instant(max(found, present)) if max(found, present) else None


def _instant(text: Any) -> int:
    return parse_instant(text) if text else 0
