"""How objects out of a backup are made again, so that nothing runs twice. Pure.

A restored task is created anew: no slot at or before its creation starts, so those between the
backup and the restore are left alone; whether they ran, nobody can know. Its status comes back as
it was, with the watermark, the counts and the plan. A run that had not ended in the backup may have
ended, or be running, in the cluster that was lost: it is recorded as Failed and never started.
Only a run that could not start before now goes on waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from taskrunner.api.v1alpha1.conditions import set_condition
from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.observed import TERMINAL, execution_from

Obj = dict[str, Any]

SHARD: Final = "Shard"
BACKFILL: Final = "Backfill"
_FIRST_GENERATION: Final = 1
_REBUILT: Final = ("active", "activeCount")
"""Fields of a task's status that are made from executions, always."""
UNKNOWN: Final = (
    "Restored from a backup in which this run had not ended; how it ended is not known. It was not"
    " started again. To do so: taskrunner retry {name} -n {namespace}"
)


def order(obj: Mapping[str, Any]) -> tuple[int, str, str]:
    """Owners before what they own."""
    first = {"Namespace": 0, "ScheduledTask": 2, BACKFILL: 3, "TaskExecution": 4}
    meta = obj["metadata"]
    return first.get(obj["kind"], 1), str(meta.get("namespace", "")), str(meta["name"])


def left_out(obj: Mapping[str, Any]) -> str:
    """Why an object is not restored; empty when it is."""
    if obj["metadata"].get("deletionTimestamp"):
        return "it was being deleted"
    if obj["kind"] == SHARD:
        return "it says who acts now, and is made anew"
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ended = any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
    if obj["kind"] == BACKFILL and not ended:
        return "it had not ended, and what it has started since is not known; create a new one"
    return ""


def body_of(obj: Mapping[str, Any], uids: Mapping[str, str]) -> Obj:
    """The object to create. `uids`: of owners in the backup, and as they are now."""
    meta = obj["metadata"]
    kept = ("name", "namespace", "labels", "annotations")
    metadata: Obj = {field: meta[field] for field in kept if meta.get(field)}
    owners = [
        {**owner, "uid": uids[owner["uid"]]}
        for owner in meta.get("ownerReferences") or ()
        if owner["uid"] in uids
    ]
    if owners:
        # An owner that is not there would have the garbage collector delete the object.
        metadata["ownerReferences"] = owners
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    return {**rest, "metadata": metadata}


def status_of(obj: Mapping[str, Any], now: float) -> Obj:
    """The status to write once it is created; empty for none."""
    status: Obj = dict(obj.get("status") or {})
    if obj["kind"] == "TaskExecution":
        return _of_execution(obj, status, now)
    if obj["kind"] == "ScheduledTask":
        status = {key: value for key, value in status.items() if key not in _REBUILT}
    return _as_first_generation(status)


def is_ended_here(obj: Mapping[str, Any], now: float) -> bool:
    """Whether it is an execution that had not ended, and is recorded as Failed by the restore."""
    if obj["kind"] != "TaskExecution":
        return False
    phase = (obj.get("status") or {}).get("phase", "")
    return phase not in TERMINAL and not _still_to_come(obj, now)


def _still_to_come(obj: Mapping[str, Any], now: float) -> bool:
    execution = execution_from(obj)
    unstarted = execution.phase in ("", "Pending") and not execution.attempt
    return unstarted and execution.is_run and not execution.stop and execution.due > now


def _of_execution(obj: Mapping[str, Any], status: Obj, now: float) -> Obj:
    if not is_ended_here(obj, now):
        return _as_first_generation(status)
    meta, decision = obj["metadata"], obj["spec"].get("decision") or {}
    if decision.get("type", "Run") != "Run":
        # A slot that was skipped or missed: its leader had not written so yet.
        phase = "Skipped" if decision["type"] == "Skip" else "Missed"
        reason, message = decision["reason"], decision.get("message") or ""
    else:
        phase, reason = "Failed", ExecutionReason.JOB_DELETED.value
        message = UNKNOWN.format(name=meta["name"], namespace=meta["namespace"])
    status |= {
        "phase": phase,
        "reason": reason,
        "message": message,
        "completionTime": format_instant(now),
    }
    status.pop("nextRetryTime", None)
    if started := status.get("startTime"):
        status["durationSeconds"] = max(0, int(now) - parse_instant(started))
    kind = "Complete" if phase == "Skipped" else "Failed"
    status["conditions"] = set_condition(
        status.get("conditions") or (),
        kind,
        "True",
        reason,
        message,
        observed_generation=None,
        now=datetime.fromtimestamp(now, UTC),
    )
    return _as_first_generation(status)


def _as_first_generation(status: Obj) -> Obj:
    """Generations begin anew with the object."""
    if "observedGeneration" in status:
        status["observedGeneration"] = _FIRST_GENERATION
    if conditions := status.get("conditions"):
        status["conditions"] = [
            c | {"observedGeneration": _FIRST_GENERATION} if "observedGeneration" in c else c
            for c in conditions
        ]
    return status
