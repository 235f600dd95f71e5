"""Which slots were lost, doubled or stuck, and how long recoveries took. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.ledger import Ledger
from chaos.load import Task

_TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})
_OVERLAP_TOLERANCE = 1
"""Both instants are whole seconds of the server."""


@dataclass
class Verdict:
    """Counts, and each violation in words."""

    slots: int = 0
    ran: int = 0
    decided_otherwise: int = 0
    """Forbid tasks: slots that were skipped, missed or joined, as that policy has it."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    excepted: list[str] = field(default_factory=list)
    """The documented exception: somebody deleted the execution, and the slot was run again."""
    never_started: int = 0
    """Slots whose execution or Job somebody deleted before it had run."""
    lags: list[tuple[int, float]] = field(default_factory=list)
    """(due, seconds from due to the Job's creation) of each slot that ran."""

    @property
    def violations(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.stuck, *self.overlapping]


def judge(
    tasks: Iterable[Task], born: Mapping[str, int], decided: Mapping[str, int], ledger: Ledger
) -> Verdict:
    """Account for every slot.

    Args:
        tasks: what was applied.
        born: creationTimestamp of each task.
        decided: the last slot of each task that must be decided: its watermark at the end.
        ledger: all that was seen.
    """
    verdict = Verdict()
    for task in tasks:
        _slots(task, task.slots(born[task.key], decided[task.key]), ledger, verdict)
    for key, versions in ledger.executions.items():
        for seen in versions.values():
            if not seen.deleted and seen.phase not in _TERMINAL:
                verdict.stuck.append(_tell(f"{key} is {seen.phase or 'Pending'}", key, ledger))
    return verdict


def _slots(task: Task, slots: range, ledger: Ledger, verdict: Verdict) -> None:
    intervals: list[tuple[int, int, str]] = []
    for slot in slots:
        verdict.slots += 1
        key = f"{task.namespace}/{task.execution(slot)}"
        jobs = list(ledger.jobs.get(key, {}).values())
        if len(jobs) > 1:
            group = verdict.excepted if key in ledger.removed else verdict.doubled
            group.append(_tell(f"{key} has {len(jobs)} Jobs", key, ledger))
        if jobs:
            verdict.ran += 1
            verdict.lags.append((slot, jobs[0].created - slot))
            intervals += [(j.created, j.ended, key) for j in jobs if j.ended is not None]
        elif not task.every_slot:
            verdict.decided_otherwise += 1
        elif key in ledger.removed or f"job {key}" in ledger.removed:
            verdict.never_started += 1
        else:
            verdict.lost.append(_tell(f"{key} never got a Job", key, ledger))
    if not task.every_slot:
        verdict.overlapping += _overlaps(intervals, ledger)


def _overlaps(intervals: list[tuple[int, int, str]], ledger: Ledger) -> list[str]:
    found = []
    intervals.sort()
    for (_, end, before), (start, _, key) in pairwise(intervals):
        if start + _OVERLAP_TOLERANCE < end:
            found.append(_tell(f"{key} began while {before} ran", key, ledger))
    return found


def outcomes(ledger: Ledger) -> Counter[str]:
    """How the executions ended, those deleted since included."""
    return Counter(
        seen.phase or "not seen to its end"
        for versions in ledger.executions.values()
        for seen in versions.values()
    )


def recovery(at: float, lags: Iterable[tuple[int, float]], *, window: float = 15.0) -> float:
    """The longest start lag of the slots due within `window` seconds from a fault."""
    return max((lag for due, lag in lags if at - 2 <= due <= at + window), default=0.0)


def _tell(what: str, key: str, ledger: Ledger) -> str:
    return "\n    ".join((what, *ledger.life_of(key)))
