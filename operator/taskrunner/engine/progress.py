"""How far a task has been decided: what the leader knows beyond the objects.

Made anew at the start of every term from the task's status and its executions, so that nothing in
it can be lost with a process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from taskrunner.api.v1alpha1.conditions import get_condition
from taskrunner.api.v1alpha1.reasons import TaskConditionType, TaskReason
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.decide import SlotDecision
from taskrunner.domain.instants import parse_instant
from taskrunner.domain.naming import execution_name
from taskrunner.domain.plan import Slot, slots_between
from taskrunner.domain.status import Tally, tally_from
from taskrunner.engine.store import TaskState

_HELD_BACK: Final = (TaskReason.SUSPENDED, TaskReason.PAUSED)
"""Reasons of the condition Ready: slots were left undecided on purpose."""
_MOST_AT_ONCE: Final = 50
"""A task has at most so many schedules, and each at most one slot at an instant."""


@dataclass(slots=True)
class Progress:
    """The decided part of one task's time line. Instants in seconds."""

    uid: str
    watermark: int
    """Every slot due at or before it is decided."""
    acknowledged: int
    """The watermark in the status that the server has."""
    started: int
    """Slots up to the watermark that have started a run: `status.scheduledCount` when written."""
    plan_hash: str
    plan_since: int
    tally: Tally
    reported_at: float = 0.0
    """When the status was last written in this term; 0 when it was not."""
    checked_generation: int = 0
    """The generation whose Job template the server has accepted in a dry run."""
    suspended: bool = False
    """Suspended or paused since the watermark last moved."""
    paused: str = ""
    """Why slots that are due are left undecided, when a pause does that."""
    planned: CompiledTask | None = None
    """The task as last planned in this term."""
    missed: list[SlotDecision] = field(default_factory=list)
    """Missed ranges decided since the status was last written."""
    completed: bool = False
    ahead: bool = False
    """The watermark lies in the future: our clock, or that of an earlier leader, is wrong."""
    refused: bool = False
    """The spec could not be followed when it was last looked at."""
    tidied: bool = False
    """It has been looked in this term what of its history is to go."""
    no_queue: str = ""
    """What is to be said because the task's TaskQueue is not there."""
    unanswered: str = ""
    """Name of the execution whose creation had no answer, so that nobody knows whether it is."""
    left_out: frozenset[str] = frozenset()
    """Names of the slots that somebody has asked to skip."""
    told: frozenset[str] | None = None
    """Those that were left out of `status.nextRuns` when it was written in this term."""
    failures: int = 0
    """Errors in a row while handling the task; for backing off."""


def begin(state: TaskState) -> Progress:
    """What status and executions say about how far a task has been decided."""
    status: dict[str, Any] = orjson.loads(state.status)
    acknowledged = _instant(status.get("decidedUntil"))
    newer = [
        e
        for e in state.executions.values()
        if e.type == "Scheduled" and e.is_run and e.decided_at > acknowledged
    ]
    watermark = max(
        acknowledged,
        state.created,
        _roll_forward(state, max((e.decided_at for e in newer), default=0)),
    )
    plan = status.get("plan") or {}
    ready = get_condition(status.get("conditions") or (), TaskConditionType.READY)
    refused = ready is not None and ready["status"] == "False"
    return Progress(
        uid=state.uid,
        watermark=watermark,
        acknowledged=acknowledged,
        started=status.get("scheduledCount", 0)
        + sum(1 for e in newer if e.decided_at <= watermark),
        plan_hash=plan.get("hash", ""),
        plan_since=_instant(plan.get("since")) or state.created,
        tally=tally_from(status, state.executions.values()),
        checked_generation=0 if refused else status.get("observedGeneration", 0),
        suspended=ready is not None and ready["reason"] in _HELD_BACK,
    )


def slot_name(task: CompiledTask, slot: Slot) -> str:
    """Name of the execution of a slot of a task."""
    return execution_name(task.name, slot.nominal, slot.schedule, bool(slot.arguments))


def _roll_forward(state: TaskState, reached: int) -> int:
    """The watermark that the runs prove, as `decide` has them written in order. Several slots may
    be due at the latest instant; it is decided only when all of them are."""
    if not reached or state.compiled is None:
        return reached
    last = slots_between(state.compiled, reached - 1, reached, _MOST_AT_ONCE)
    undecided = [s for s in last if slot_name(state.compiled, s) not in state.executions]
    return reached - 1 if undecided else reached


def _instant(text: str | None) -> int:
    return parse_instant(text) if text else 0
