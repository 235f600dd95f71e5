"""Which slots were lost, doubled or stuck, and how long recoveries took. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.ledger import Ledger, Seen
from chaos.load import CATCH_UP_LIMIT, Task

TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})
_OVERLAP_TOLERANCE = 1
"""Both instants are whole seconds of the server."""
_EARLY_TOLERANCE = 2
"""Seconds that a replica's clock may be wrong before it is not believed (docs: clocks)."""


@dataclass
class Verdict:
    """Counts, and each violation in words."""

    slots: int = 0
    ran: int = 0
    jobs: Counter[int] = field(default_factory=Counter)
    """How many slots had so many Jobs."""
    most_per_attempt: int = 0
    """The most Jobs that one attempt of a slot had, the documented exception apart."""
    decided_otherwise: int = 0
    """Forbid tasks: slots that were skipped, missed or joined, as that policy has it."""
    missed: int = 0
    """Slots of tasks with `Last` that a record says were missed, with a later one due by then."""
    beyond_limit: int = 0
    """Slots that a record says were missed for `catchUp.limit`, with so many due after them."""
    lost: list[str] = field(default_factory=list)
    """Slots that should have run and have no Job, or are not decided at the end, and runs that did
    not get all their attempts."""
    doubled: list[str] = field(default_factory=list)
    """Attempts with more than one Job, and attempts beyond the last that there should be."""
    stuck: list[str] = field(default_factory=list)
    """Executions and Jobs that have not ended at the end."""
    overlapping: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    """Jobs that were created before they were due."""
    misjudged: list[str] = field(default_factory=list)
    """Runs whose phase is not what their pods came to."""
    excepted: list[str] = field(default_factory=list)
    """The documented exception: somebody deleted an execution or a Job that was not on record yet,
    and the slot was run again."""
    never_started: int = 0
    """Slots whose execution or Job somebody deleted before it had run."""
    lags: list[tuple[int, float]] = field(default_factory=list)
    """(due, seconds from due to the first Job's creation) of each slot that must run. All others
    are left out: of what was late, they have only the last."""
    keys: set[str] = field(default_factory=set)
    """The slots that the violations are about."""

    @property
    def violations(self) -> list[str]:
        return [
            *self.lost,
            *self.doubled,
            *self.stuck,
            *self.overlapping,
            *self.early,
            *self.misjudged,
        ]


def judge(
    tasks: Iterable[Task], born: Mapping[str, int], decided: Mapping[str, int], until: int,
    ledger: Ledger,
) -> Verdict:  # fmt: skip
    """Account for every slot.

    Args:
        tasks: what was applied.
        born: creationTimestamp of each task.
        decided: the watermark of each task at the end; a task without one has decided nothing.
        until: every slot due by then must be decided.
        ledger: all that was seen.
    """
    judging = _Judging(ledger)
    for task in tasks:
        judging.task(task, born[task.key], decided.get(task.key, 0), until)
    judging.ends()
    return judging.verdict


class _Judging:
    def __init__(self, ledger: Ledger) -> None:
        self.verdict = Verdict()
        self._ledger = ledger

    def task(self, task: Task, born: int, decided: int, until: int) -> None:
        intervals: list[tuple[int, int, str]] = []
        for slot in task.slots(born, max(decided, until)):
            self.verdict.slots += 1
            key = f"{task.namespace}/{task.execution(slot)}"
            jobs = list(self._ledger.jobs.get(key, {}).values())
            if jobs:
                self._ran(task, slot, key, jobs)
                if all(job.ended is not None for job in jobs):
                    ends = (job.ended or 0 for job in jobs)
                    intervals.append((min(job.created for job in jobs), max(ends), key))
            else:
                self._did_not_run(task, slot, key, undecided=slot > decided)
        if task.alone:
            self._overlaps(intervals)

    def ends(self) -> None:
        """What has not ended."""
        for kind in (self._ledger.executions, self._ledger.jobs):
            for key, versions in kind.items():
                for seen in versions.values():
                    ended = seen.phase in TERMINAL or seen.ended is not None
                    if not seen.deleted and not ended:
                        what = f"{seen.kind} of {key} is {seen.phase or 'open'} at the end"
                        self._say(self.verdict.stuck, what, key)

    def _ran(self, task: Task, slot: int, key: str, jobs: list[Seen]) -> None:
        verdict = self.verdict
        verdict.ran += 1
        verdict.jobs[len(jobs)] += 1
        first = min(job.created for job in jobs)
        if task.every_slot:
            verdict.lags.append((slot, first - slot))
        if first < slot - _EARLY_TOLERANCE:
            self._say(verdict.early, f"{key} began {slot - first} s before it was due", key)
        removed = self._ledger.removed.get(key, ())
        for number, count in sorted(Counter(job.attempt for job in jobs).items()):
            if count > 1 and self._is_excepted(key, number, jobs):
                self._say(verdict.excepted, f"{key}: attempt {number} ran {count} times", key)
                continue
            verdict.most_per_attempt = max(verdict.most_per_attempt, count)
            if count > 1:
                self._say(verdict.doubled, f"{key}: attempt {number} has {count} Jobs", key)
            if not 1 <= number <= task.attempts:
                what = f"{key} has an attempt {number}; there should be {task.attempts}"
                self._say(verdict.doubled, what, key)
        if removed:
            return
        runs = list(self._ledger.executions.get(key, {}).values())
        for run in runs:
            if run.phase in TERMINAL and run.phase != task.outcome:
                what = f"{key} is {run.phase} and should be {task.outcome}"
                self._say(verdict.misjudged, what, key)
        missing = set(range(1, task.attempts + 1)) - {job.attempt for job in jobs}
        if missing and slot_has_ended(runs):
            self._say(verdict.lost, f"{key} never had its attempt {min(missing)}", key)

    def _did_not_run(self, task: Task, slot: int, key: str, *, undecided: bool) -> None:
        verdict = self.verdict
        if undecided:
            self._say(verdict.lost, f"{key} is not decided at the end", key)
        elif task.alone:
            verdict.decided_otherwise += 1
        elif key in self._ledger.removed:
            verdict.never_started += 1
        elif not task.every_slot and self._is_on_record(task, slot):
            verdict.missed += 1
        elif task.every_slot and self._is_beyond_limit(task, slot):
            verdict.beyond_limit += 1
        else:
            self._say(verdict.lost, f"{key} never got a Job", key)

    def _is_on_record(self, task: Task, slot: int) -> bool:
        """Whether a record says that it was missed, with a later slot that was due by then."""
        return any(
            miss.reason == "Superseded"
            and miss.first <= slot <= miss.last
            and len(task.slots(slot, miss.created)) >= 1
            for miss in self._ledger.misses.get(task.key, ())
        )

    def _is_beyond_limit(self, task: Task, slot: int) -> bool:
        return any(
            miss.reason == "CatchUpPolicy"
            and miss.first <= slot <= miss.last
            and len(task.slots(slot, miss.created)) >= CATCH_UP_LIMIT
            for miss in self._ledger.misses.get(task.key, ())
        )

    def _is_excepted(self, key: str, attempt: int, jobs: list[Seen]) -> bool:
        """Whether somebody deleted what was not on record yet: the execution (then each Job belongs
        to another one), or the Job itself."""
        removed = [r for r in self._ledger.removed.get(key, ()) if not r.recorded]
        if any(r.kind == "job" and r.name.rpartition("-")[2] == str(attempt) for r in removed):
            return True
        owners = Counter(job.owner for job in jobs if job.attempt == attempt and job.owner)
        return any(r.kind == "execution" for r in removed) and max(owners.values(), default=1) == 1

    def _overlaps(self, intervals: list[tuple[int, int, str]]) -> None:
        intervals.sort()
        for (_, end, before), (start, _, key) in pairwise(intervals):
            if start + _OVERLAP_TOLERANCE < end:
                self._say(self.verdict.overlapping, f"{key} began while {before} ran", key)

    def _say(self, group: list[str], what: str, key: str) -> None:
        group.append("\n    ".join((what, *self._ledger.life_of(key))))
        if group is not self.verdict.excepted:
            self.verdict.keys.add(key)


def slot_has_ended(runs: Iterable[Seen]) -> bool:
    """Whether a run was seen to its end; one whose end no watch told of says nothing."""
    return any(run.phase in TERMINAL for run in runs)


def outcomes(ledger: Ledger) -> Counter[str]:
    """How the executions ended, those deleted since included."""
    return Counter(
        f"{seen.phase or 'not seen to its end'} {seen.reason}".strip()
        for versions in ledger.executions.values()
        for seen in versions.values()
    )


def recovery(at: float, lags: Iterable[tuple[int, float]], *, window: float = 15.0) -> float:
    """The longest start lag of the slots due within `window` seconds from a fault."""
    return max((lag for due, lag in lags if at - 2 <= due <= at + window), default=0.0)
