"""A Backfill as the engine sees it, and its status, built whole from what was observed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from taskrunner.api.v1alpha1.conditions import ConditionStatus, is_true, set_condition
from taskrunner.api.v1alpha1.reasons import BackfillConditionType, BackfillReason
from taskrunner.domain.backfill import Request, Span, spans_from
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.observed import Execution


@dataclass(frozen=True, slots=True)
class Backfill:
    """A Backfill. Instants are seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    generation: int
    created: int
    deleting: bool
    request: Request
    max_concurrent: int
    requested_by: bytes
    """`spec.requestedBy` as JSON; empty when nobody knows."""
    status: bytes
    """As last read or acknowledged, JSON-encoded."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def task_key(self) -> str:
        return f"{self.namespace}/{self.request.task}"


def backfill_from(obj: Mapping[str, Any]) -> Backfill:
    """Observed Backfill from its decoded JSON."""
    meta: Mapping[str, Any] = obj["metadata"]
    spec: Mapping[str, Any] = obj["spec"]
    asked = spec.get("requestedBy")
    return Backfill(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        resource_version=int(meta["resourceVersion"]),
        generation=meta.get("generation", 1),
        created=parse_instant(meta["creationTimestamp"]),
        deleting="deletionTimestamp" in meta,
        request=Request(
            spec["taskRef"]["name"],
            parse_instant(spec["from"]),
            parse_instant(spec["to"]),
            bool(spec.get("onlyMissed")),
            spec.get("order") == "NewestFirst",
            spec.get("arguments") or {},
        ),
        max_concurrent=spec.get("maxConcurrent") or 1,
        requested_by=orjson.dumps(asked) if asked else b"",
        status=orjson.dumps(obj.get("status") or {}),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """How many runs have ended how."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    def plus(self, phase: str) -> Counts:
        """With one more run that ended so; a record that is gone counts as cancelled."""
        if phase == "Succeeded":
            return replace(self, succeeded=self.succeeded + 1)
        if phase == "Failed":
            return replace(self, failed=self.failed + 1)
        return replace(self, cancelled=self.cancelled + 1)

    def to_wire(self) -> dict[str, int]:
        return {"succeeded": self.succeeded, "failed": self.failed, "cancelled": self.cancelled}


@dataclass(frozen=True, slots=True)
class Standing:
    """What a status says that matters for going on."""

    planned: bool
    complete: bool
    plan_hash: str
    task_uid: str
    spans: tuple[Span, ...]
    total: int
    counted: Counts
    until: int | None
    """The nominal instant up to which everything is counted, in the order of the backfill."""


def standing_of(backfill: Backfill) -> Standing:
    """From the status that the server has."""
    status: dict[str, Any] = orjson.loads(backfill.status)
    plan, counted = status.get("plan") or {}, status.get("counted") or {}
    return Standing(
        planned=bool(plan),
        complete=is_true(status.get("conditions") or (), BackfillConditionType.COMPLETE),
        plan_hash=plan.get("hash", ""),
        task_uid=plan.get("taskUid", ""),
        spans=spans_from(plan),
        total=status.get("total", 0),
        counted=Counts(
            counted.get("succeeded", 0), counted.get("failed", 0), counted.get("cancelled", 0)
        ),
        until=parse_instant(counted["until"]) if counted.get("until") else None,
    )


def is_needed(backfill: Backfill | None, execution: Execution) -> bool:
    """Whether the record of a run must stay because it is not counted yet: its name keeps the slot
    from being run again, and its outcome is known from nowhere else."""
    if backfill is None or execution.backfill is None or execution.backfill[1] != backfill.uid:
        return False
    standing = standing_of(backfill)
    if standing.complete:
        return False
    if standing.until is None:
        return True
    if backfill.request.newest_first:
        return execution.nominal < standing.until
    return execution.nominal > standing.until


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a backfill is. `stalled` and `waiting_for`: why it does not go on, as reason and
    sentence; the first needs somebody, the second only time."""

    total: int
    counted: Counts
    until: int | None
    ended: Counts
    """Of all runs that have ended, those not counted yet included."""
    running: int = 0
    waiting: int = 0
    created: int = 0
    """Slots for which a run was created, or found."""
    stalled: tuple[BackfillReason, str] | None = None
    waiting_for: str = ""


_C: Final = BackfillConditionType


def desired_status(backfill: Backfill, seen: Seen, now: float) -> dict[str, Any]:
    """The fields of the status as they should be, but for the plan; None for those to remove."""
    old: dict[str, Any] = orjson.loads(backfill.status)
    done = seen.ended.done
    complete = seen.stalled is None and done >= seen.total
    started = parse_instant(old["startTime"]) if old.get("startTime") else int(now)
    left = seen.total - done
    fields: dict[str, Any] = {
        "observedGeneration": backfill.generation,
        "conditions": _conditions(backfill, old, seen, complete, now),
        "total": seen.total,
        "done": done,
        **seen.ended.to_wire(),
        "running": seen.running,
        "waiting": seen.waiting,
        "remaining": max(0, seen.total - seen.created),
        "percent": 100 * done // seen.total if seen.total else 100,
        "startTime": format_instant(started),
        "counted": {
            **seen.counted.to_wire(),
            "until": None if seen.until is None else format_instant(seen.until),
        },
        "completionTime": None,
        "estimatedCompletionTime": None,
    }
    if complete:
        fields["completionTime"] = old.get("completionTime") or format_instant(now)
    elif done and left and seen.stalled is None:
        fields["estimatedCompletionTime"] = format_instant(now + (now - started) / done * left)
    return fields


def stalled_status(
    backfill: Backfill, reason: BackfillReason, message: str, now: float
) -> dict[str, Any]:
    """The status of a backfill that has no plan, because it cannot be made."""
    seen = Seen(0, Counts(), None, Counts(), stalled=(reason, message))
    old: dict[str, Any] = orjson.loads(backfill.status)
    return {
        "observedGeneration": backfill.generation,
        "conditions": _conditions(backfill, old, seen, False, now),
    }


def _conditions(
    backfill: Backfill, old: Mapping[str, Any], seen: Seen, complete: bool, now: float
) -> list[Any]:
    conditions: Iterable[Mapping[str, Any]] = old.get("conditions") or ()
    reason, message = BackfillReason.IN_PROGRESS, _in_progress(seen)
    if seen.stalled is not None:
        reason, message = seen.stalled
    elif complete and seen.total:
        reason = BackfillReason.DONE
        message = (
            f"All {seen.total} slots have ended: {seen.ended.succeeded} succeeded,"
            f" {seen.ended.failed} failed, {seen.ended.cancelled} were cancelled."
        )
    elif complete:
        reason = BackfillReason.NOTHING_TO_RUN
        message = "There is no slot to run in the range; status.leftOut says of which part that is"
        message += " not known."
    elif seen.waiting_for:
        reason, message = BackfillReason.WAITING, seen.waiting_for
    states: tuple[tuple[str, bool], ...] = (
        (_C.READY, seen.stalled is None),
        (_C.RECONCILING, seen.stalled is None and not complete),
        (_C.STALLED, seen.stalled is not None),
        (_C.COMPLETE, complete),
    )
    moment = datetime.fromtimestamp(int(now), UTC)
    for kind, holds in states:
        status: ConditionStatus = "True" if holds else "False"
        conditions = set_condition(
            conditions,
            kind,
            status,
            reason,
            message,
            observed_generation=backfill.generation,
            now=moment,
        )
    return list(conditions)


def _in_progress(seen: Seen) -> str:
    # No figures: the other fields have them, and each would be another write of four conditions.
    return "Slots are being run." if seen.total else "There is nothing to run."
