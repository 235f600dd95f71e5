"""What to decide about the slots of a task now: start, skip, miss, or leave for later.

Pure: (compiled task, what was seen, now) → decisions in the order in which they are to be written.
Records of slots that do not run come first, then the runs, the earliest first: so that the latest
run that exists proves that all before it was decided, wherever a leader dies in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.circuit import Circuit
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.instants import format_instant
from taskrunner.domain.missed import MESSAGES, ON_TIME_SECONDS, Undecided, undecided
from taskrunner.domain.overlap import Overlap, overlap
from taskrunner.domain.plan import COALESCED, EXCLUDED, Slot
from taskrunner.domain.runs import next_run

_CONCURRENT: Final = (
    "Another run of the task was active, concurrencyPolicy is Forbid and catchUp.policy is None."
)
_SIBLING: Final = (
    "Another schedule of the task started at the same time, and concurrencyPolicy is {policy}."
)
_REPLACED: Final = "A later slot runs instead: concurrencyPolicy is Replace."
_QUEUE_FULL: Final = (
    "{waiting} runs of the task are active or wait already, and queue.maxLength is {most}."
)
_CIRCUIT_OPEN: Final = (
    "The last {failures} runs of the task failed (circuitBreaker). Find the cause, then run the"
    " task by hand: a success closes the circuit."
)


@dataclass(frozen=True, slots=True)
class Streak:
    """The record that the decided slots of a task end with: slots in a row that were skipped for
    one reason. Instants are nominal."""

    reason: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What matters of the cluster for deciding a task's slots.

    `watermark`: every slot due at or before it is decided. `active`: runs that have started, will
    or wait for a place, and have not ended. `started`: slots up to the watermark that have started
    a run. `suspended`: the task was suspended when slots since the watermark were due.
    `busy_until`: when the last run of the task that has ended did so. `streak`: what the decided
    slots end with. `circuit`: the state of the circuit breaker, after `failures` in a row.
    """

    watermark: int
    active: int
    started: int
    suspended: bool = False
    busy_until: int = 0
    streak: Streak | None = None
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0


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
    counted: int = 0
    """How many of them an earlier record of the same streak stands for already."""

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

    The first slot of a streak that is skipped is recorded at once; those that follow for the same
    reason stay undecided until the streak ends, and share the record of the last, which replaces
    the first. What blocked them is seen from the objects then, so nothing needs to be remembered.
    """
    if not task.entries:
        return Decisions((), seen.watermark, None)
    rule = overlap(task.concurrency_policy, task.catch_up.policy, seen.active)
    if rule is Overlap.WAIT:
        return Decisions((), seen.watermark, None, blocked=True)
    if rule is Overlap.SKIP and _continues(seen.streak, ExecutionReason.CONCURRENT_RUN):
        return Decisions((), seen.watermark, None, blocked=True)
    records, watermark = _blocked(task, seen, now)
    found = undecided(
        task,
        watermark,
        now,
        reason=ExecutionReason.SUSPENDED if seen.suspended else "",
        left=_left(task, seen),
    )
    records += _records(found)
    start = list(found.start)
    wake = None if found.next is None else found.next.due
    if not start and all(_continues(seen.streak, r.reason) for r in records):
        held = next_run(task, now) if records and _planned(records) else None
        if held is not None:
            return Decisions((), seen.watermark, held)
    if rule is Overlap.SKIP:
        records += _skipped(start, ExecutionReason.CONCURRENT_RUN, _CONCURRENT)
        return Decisions(_joined(records, seen.streak), found.watermark, wake, found.completed)
    start, skipped = _admitted(task, seen, start, now)
    records += skipped
    if task.concurrency_policy != "Forbid" or len(start) < 2:
        items = (*_joined(records, seen.streak), *(_run(slot, now) for slot in start))
        return Decisions(items, found.watermark, wake, found.completed)
    first, *rest = start
    siblings = [slot for slot in rest if slot.due == first.due]
    message = _SIBLING.format(policy=task.concurrency_policy)
    records += _skipped(siblings, ExecutionReason.CONCURRENT_RUN, message)
    items = (*_joined(records, seen.streak), _run(first, now))
    if len(siblings) == len(rest):
        return Decisions(items, found.watermark, wake, found.completed)
    return Decisions(items, first.due, None, blocked=True)


def _admitted(
    task: CompiledTask, seen: Seen, slots: list[Slot], now: int
) -> tuple[list[Slot], list[SlotDecision]]:
    """The slots that run, and records of those that circuit breaker, policy or line keep out.

    What calendars defer is left alone: it is looked at when its time comes.
    """
    able = [position for position, slot in enumerate(slots) if slot.start <= now]
    records: list[SlotDecision] = []

    def leave_out(positions: list[int], reason: ExecutionReason, message: str) -> None:
        records.extend(_skipped([slots[position] for position in positions], reason, message))

    if seen.circuit is not Circuit.CLOSED:
        tried = 1 if seen.circuit is Circuit.HALF_OPEN and not seen.active else 0
        message = _CIRCUIT_OPEN.format(failures=seen.failures)
        leave_out(able[tried:], ExecutionReason.CIRCUIT_OPEN, message)
        able = able[:tried]
    if task.concurrency_policy == "Replace" and able:
        latest = slots[able[-1]].due
        last = next(n for n, position in enumerate(able) if slots[position].due == latest)
        message = _SIBLING.format(policy=task.concurrency_policy)
        leave_out(able[last + 1 :], ExecutionReason.CONCURRENT_RUN, message)
        leave_out(able[:last], ExecutionReason.REPLACED, _REPLACED)
        able = [able[last]]
    room = task.places.room(seen.active)
    if room is not None:
        message = _QUEUE_FULL.format(waiting=seen.active, most=task.places.max_length)
        leave_out(able[room:], ExecutionReason.QUEUE_FULL, message)
        able = able[:room]
    runs = set(able)
    return [s for n, s in enumerate(slots) if n in runs or s.start > now], records


def end_plan(task: CompiledTask, seen: Seen, now: int) -> tuple[SlotDecision, ...]:
    """What to record of a plan that ends at `now`, because the schedule was edited: the slots that
    it left undecided do not run."""
    why = ExecutionReason.SUSPENDED if seen.suspended else ExecutionReason.PLAN_CHANGED
    found = undecided(task, seen.watermark, now, reason=why, left=_left(task, seen), runs=False)
    records = _all_as(found, "Miss", why, MESSAGES[why])
    return _joined(records, seen.streak)


def _left(task: CompiledTask, seen: Seen) -> int | None:
    return None if task.max_executions is None else task.max_executions - seen.started


def _blocked(task: CompiledTask, seen: Seen, now: int) -> tuple[list[SlotDecision], int]:
    """Under Forbid without catch-up: records of the slots that a run kept from starting which has
    ended since, and up to when they are decided by them."""
    until = min(seen.busy_until, now)
    strict = task.concurrency_policy == "Forbid" and task.catch_up.policy == "None"
    if not strict or seen.active or seen.suspended or until <= seen.watermark:
        return [], seen.watermark
    why = ExecutionReason.CONCURRENT_RUN
    found = undecided(task, seen.watermark, until, reason=why, left=_left(task, seen), runs=False)
    return _all_as(found, "Skip", why, _CONCURRENT), found.watermark


def _all_as(
    found: Undecided, decision: Literal["Skip", "Miss"], reason: str, message: str
) -> list[SlotDecision]:
    """One record for all that would run or was missed, beside those of what calendars skip."""
    records = _records(found)
    kept = [record for record in records if record.decision == "Skip"]
    parts = [record for record in records if record.decision == "Miss"]
    parts += [SlotDecision("Miss", slot, "", first=slot.nominal) for slot in found.start]
    if not parts:
        return kept
    last = max((part.slot for part in parts), key=lambda slot: slot.due)
    first, count = min(part.first for part in parts), sum(part.count for part in parts)
    return [*kept, SlotDecision(decision, last, reason, message, first, count)]


def _records(found: Undecided) -> list[SlotDecision]:
    return [
        SlotDecision(r.decision, r.slot, r.reason, r.message, r.first, r.count)
        for r in found.ranges
    ]


def oldest_due(item: SlotDecision) -> int:
    """When the earliest slot that the decision is about was due, as UTC seconds."""
    return min(item.first, item.slot.due) if item.first else item.slot.due


def is_late(task: CompiledTask, seen: Seen, item: SlotDecision) -> bool:
    """Whether a decision that comes long after the slot was due is to be called late: nothing that
    the user asked for, a suspension, a pause or Forbid, has held it back. Skips are told when their
    streak ends, and are never late."""
    forbidden = task.concurrency_policy == "Forbid" and seen.busy_until >= oldest_due(item)
    return item.decision != "Skip" and not seen.suspended and not forbidden


def _continues(streak: Streak | None, reason: str) -> bool:
    return streak is not None and streak.reason == reason


def _planned(records: list[SlotDecision]) -> bool:
    """Whether the plan alone skips these slots, so that they will be found skipped at any time."""
    return all(record.reason in (EXCLUDED, COALESCED) for record in records)


def _joined(records: list[SlotDecision], streak: Streak | None) -> tuple[SlotDecision, ...]:
    """The record that goes on with a streak stands for all of it."""
    if streak is None:
        return tuple(records)
    for at, record in enumerate(records):
        if record.decision == "Skip" and record.reason == streak.reason:
            count = record.count + streak.count
            whole = replace(record, first=streak.first, count=count, counted=streak.count)
            return (*records[:at], whole, *records[at + 1 :])
    return tuple(records)


def _run(slot: Slot, now: int) -> SlotDecision:
    late = now - slot.start > ON_TIME_SECONDS
    reason = ExecutionReason.CATCH_UP if late else ExecutionReason.ON_SCHEDULE
    message = f"Also for {', '.join(slot.also)}." if slot.also else ""
    return SlotDecision("Run", slot, reason, message)


def _skipped(slots: list[Slot], reason: ExecutionReason, message: str) -> list[SlotDecision]:
    """One record for slots that are kept from starting for one reason."""
    if not slots:
        return []
    return [
        SlotDecision(
            "Skip",
            slots[-1],
            reason,
            message,
            min(slot.nominal for slot in slots),
            len(slots),
        )
    ]
