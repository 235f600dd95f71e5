"""What to decide about the slots of a task now: start, skip, miss, or leave for later.

Pure: (compiled task, what was seen, now) → decisions in the order in which they are to be written.
Records of slots that do not run come first, then the runs, the earliest first: so that the latest
run that exists proves that all before it was decided, wherever a leader dies in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.instants import format_instant
from taskrunner.domain.missed import ON_TIME_SECONDS, undecided
from taskrunner.domain.overlap import Overlap, overlap
from taskrunner.domain.plan import Slot

_CONCURRENT: Final = (
    "Another run of the task was active, concurrencyPolicy is Forbid and catchUp.policy is None."
)
_SIBLING: Final = (
    "Another schedule of the task started at the same time, and concurrencyPolicy is Forbid."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What matters of the cluster for deciding a task's slots.

    `watermark`: every slot due at or before it is decided. `active`: runs that have started or
    will, and have not ended. `started`: slots up to the watermark that have started a run.
    `suspended`: the task was suspended when slots since the watermark were due.
    """

    watermark: int
    active: int
    started: int
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """One object to write: the decision on a slot, or on a range of slots that ends with it."""

    decision: Literal["Run", "Skip", "Miss"]
    slot: Slot
    reason: str
    message: str = ""
    first: int = 0
    """Nominal instant of the first slot of a range."""
    count: int = 1

    def to_wire(self) -> dict[str, Any]:
        """As `spec.decision` of the execution."""
        wire: dict[str, Any] = {
            "type": self.decision,
            "reason": self.reason,
            "due": format_instant(self.slot.due),
        }
        if self.message:
            wire["message"] = self.message
        if self.count > 1:
            wire |= {"from": format_instant(self.first), "count": self.count}
        return wire


@dataclass(frozen=True, slots=True)
class Decisions:
    """What to write, in order, and what then holds."""

    items: tuple[SlotDecision, ...]
    watermark: int
    """Every slot due at or before it is decided once the items are written."""
    wake: int | None
    """When to look again; None for when something changes."""
    completed: bool = False
    """No slot is to come."""
    blocked: bool = False
    """Slots that are due wait for the end of a run."""


def decide(task: CompiledTask, seen: Seen, now: int) -> Decisions:
    """Decide every slot that is due, as far as the concurrency policy allows.

    Under Forbid, slots stay undecided while a run is active; its end is looked at like the end of
    any downtime, and catch-up decides them together, as the CronJob controller does.
    """
    if not task.entries:
        return Decisions((), seen.watermark, None)
    rule = overlap(task.concurrency_policy, task.catch_up.policy, seen.active)
    if rule is Overlap.WAIT:
        return Decisions((), seen.watermark, None, blocked=True)
    found = undecided(
        task,
        seen.watermark,
        now,
        reason=ExecutionReason.SUSPENDED if seen.suspended else "",
        left=None if task.max_executions is None else task.max_executions - seen.started,
    )
    records = [
        SlotDecision(r.decision, r.slot, r.reason, r.message, r.first, r.count)
        for r in found.ranges
    ]
    start = list(found.start)
    wake = None if found.next is None else found.next.due
    if rule is Overlap.SKIP:
        records += _skipped(start, _CONCURRENT)
        return Decisions(tuple(records), found.watermark, wake, found.completed)
    if task.concurrency_policy != "Forbid" or len(start) < 2:
        items = (*records, *(_run(slot, now) for slot in start))
        return Decisions(items, found.watermark, wake, found.completed)
    first, *rest = start
    siblings = [slot for slot in rest if slot.due == first.due]
    records += _skipped(siblings, _SIBLING)
    items = (*records, _run(first, now))
    if len(siblings) == len(rest):
        return Decisions(items, found.watermark, wake, found.completed)
    return Decisions(items, first.due, None, blocked=True)


def _run(slot: Slot, now: int) -> SlotDecision:
    late = now - slot.start > ON_TIME_SECONDS
    reason = ExecutionReason.CATCH_UP if late else ExecutionReason.ON_SCHEDULE
    message = f"Also for {', '.join(slot.also)}." if slot.also else ""
    return SlotDecision("Run", slot, reason, message)


def _skipped(slots: list[Slot], message: str) -> list[SlotDecision]:
    """One record for slots that an active run keeps from starting."""
    if not slots:
        return []
    return [
        SlotDecision(
            "Skip",
            slots[-1],
            ExecutionReason.CONCURRENT_RUN,
            message,
            min(slot.nominal for slot in slots),
            len(slots),
        )
    ]
