"""Slots that somebody has asked to skip, by taking their name before the operator does.

The name of a slot's execution is its lock (`domain.naming`). A person who creates that execution
with the decision Skip and the reason Requested has decided the slot; while it is there, the plan
leaves the slot out as it does what calendars exclude. Whoever deletes it before the slot is due
takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice, takewhile
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.calendar_placement import LOOK_AHEAD
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.instants import format_instant
from taskrunner.domain.lifecycle import Finish
from taskrunner.domain.naming import execution_name
from taskrunner.domain.observed import Execution
from taskrunner.domain.plan import REQUESTED, Slot, walk
from taskrunner.domain.runs import runs_after, runs_before

_WALKED: Final = 10_000
"""Slots that are looked at to find one by its name; days of a schedule that fires every minute."""
_NEAR_BEFORE: Final = 366 * 86_400
_SHOWN: Final = 2


def is_skip_request(execution: Execution) -> bool:
    """Somebody asks for a slot to be skipped. Of the operator's own records, none has this
    reason."""
    asked = execution.decision == "Skip" and execution.decision_reason == REQUESTED
    return asked and execution.type == "Scheduled"


def left_out(executions: Iterable[Execution]) -> frozenset[str]:
    """Names of the slots of a task that are to be skipped."""
    return frozenset(
        e.name
        for e in executions
        if is_skip_request(e) and e.phase != "Cancelled" and not e.deleting
    )


def leaving_out(task: CompiledTask, names: frozenset[str]) -> CompiledTask:
    """The task with a plan that leaves these slots out."""
    return replace(task, left_out=names) if names or task.left_out else task


def slots_at(task: CompiledTask, nominal: int) -> list[Slot]:
    """The slots of one nominal instant, before jitter and calendars, in the order of the list; in
    a plan that leaves nothing out."""
    task = leaving_out(task, frozenset())
    begin = nominal - (LOOK_AHEAD if task.moves_back else 0) - 1
    possible = takewhile(lambda s: s.due <= nominal + task.jitter, walk(task, begin))
    return [slot for slot in islice(possible, _WALKED) if slot.nominal == nominal]


def slot_called(task: CompiledTask, nominal: int, name: str) -> Slot | None:
    """The slot of this instant whose execution has this name."""
    return next((s for s in slots_at(task, nominal) if name_of(task, s) == name), None)


def name_of(task: CompiledTask, slot: Slot) -> str:
    """The name of a slot's execution."""
    return execution_name(task.name, slot.nominal, slot.schedule, bool(slot.arguments))


def near(task: CompiledTask, instant: int) -> list[Slot]:
    """The run before an instant and those after it, in the order of time."""
    before = next(runs_before(task, instant, instant - _NEAR_BEFORE), None)
    return [*([before] if before else []), *islice(runs_after(task, instant), _SHOWN)]


def no_slot(task: CompiledTask, nominal: int, name: str) -> str:
    """Why a request to skip names no slot, as a sentence; empty when it does."""
    found = slots_at(task, nominal)
    if any(name_of(task, slot) == name for slot in found):
        return ""
    when = format_instant(nominal)
    if found:
        names = " or ".join(f'"{name_of(task, slot)}"' for slot in found)
        return f"The execution of the slot at {when} is called {names}."
    text = f"The task has no slot at {when}."
    slots = ", ".join(
        f"{format_instant(slot.nominal)} ({name_of(task, slot)})" for slot in near(task, nominal)
    )
    return f"{text} Slots near it: {slots}." if slots else f"{text} It has none near it."


def judge(task: CompiledTask, execution: Execution, decided_until: int) -> Finish:
    """What becomes of a request to skip; `decided_until`: the watermark in the task's status."""
    problem = no_slot(task, execution.nominal, execution.name)
    slot = None if problem else slot_called(task, execution.nominal, execution.name)
    if slot is not None and slot.due <= decided_until:
        problem = "The slot was decided before it was asked to be skipped."
    if problem:
        return Finish("Cancelled", ExecutionReason.NOT_A_SLOT, f"Nothing is skipped. {problem}")
    text = execution.decision_message or "Skipped by request."
    if slot is not None and slot.due > execution.created:
        text += " Delete this execution before the slot is due, and the slot runs after all."
    return Finish("Skipped", ExecutionReason.REQUESTED, text)
