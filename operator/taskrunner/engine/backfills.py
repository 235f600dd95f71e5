"""Following a Backfill: planned once, its runs created a few at a time, and counted.

Nothing is created before the plan stands in the status, and no record of a run goes before it is
counted there. So a new leader goes on from the status and the executions: what is beyond the last
slot that was counted is still there, under a name that nobody else can take.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import orjson

from taskrunner.api.v1alpha1.reasons import BackfillReason
from taskrunner.domain.backfill import (
    BackfillPlan,
    Known,
    Span,
    missed_ranges,
    plan_to_wire,
    planning,
    run_name,
    slots_in,
)
from taskrunner.domain.backfill_status import (
    Backfill,
    Counts,
    Seen,
    Standing,
    backfill_from,
    desired_status,
    stalled_status,
    standing_of,
)
from taskrunner.domain.circuit import Circuit
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.runs import runs_after
from taskrunner.domain.status import merge_patch
from taskrunner.engine.gate import Gate
from taskrunner.engine.launch import Launcher
from taskrunner.engine.progress import Progress
from taskrunner.engine.store import Store, TaskState
from taskrunner.engine.timetable import Timetable
from taskrunner.engine.work import Key
from taskrunner.errors import SpecError
from taskrunner.ports import BACKFILLS, Api, Clock, Obj

log = logging.getLogger(__name__)

MOST_UNCOUNTED: Final = 1_000
"""Runs that may have ended and not be counted, because an earlier one has not ended: their records
stay so long."""
PLAN_AGAIN_SECONDS: Final = 0.5
LOOK_AGAIN_SECONDS: Final = 5.0
"""While a backfill waits for something that does not tell when it is over."""
_ONLY_TIME: Final = frozenset({"estimatedCompletionTime"})


@dataclass(slots=True)
class _Group:
    """The runs of one nominal instant, in the order of the backfill."""

    nominal: int
    names: list[str] = field(default_factory=list)
    complete: bool = False
    """A run was created for each of its slots."""


@dataclass(slots=True)
class _Course:
    """How far a backfill is, in one term. Made anew from the status; nothing in it is lost."""

    uid: str
    plan: BackfillPlan | None = None
    """As decided in this term; None when the status has it."""
    counted: Counts = field(default_factory=Counts)
    until: int | None = None
    uncounted: deque[_Group] = field(default_factory=deque)
    exhausted: bool = False
    """There is no slot beyond those for which runs were created."""
    reported_at: float = 0.0

    @property
    def beyond(self) -> int | None:
        """Up to where runs were created for all slots."""
        whole = [g.nominal for g in self.uncounted if g.complete]
        return whole[-1] if whole else self.until


class Backfills:
    """All Backfills, for one term of leadership. Its keys are their names."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        store: Store,
        launcher: Launcher,
        gate: Gate,
        timetable: Timetable,
        progress: Callable[[str], Progress | None],
        counted: Callable[[TaskState], None],
        *,
        report_within: float,
    ) -> None:
        self._api = api
        self._clock = clock
        self._store = store
        self._launcher = launcher
        self._gate = gate
        self._timetable = timetable
        self._progress = progress
        self._counted = counted
        """Told of a task some of whose runs were counted: their records may go now."""
        self._report_within = report_within
        self._courses: dict[str, _Course] = {}
        self._planning = False

    def look(self, task_key: str) -> None:
        """Something about a task has changed: its backfills may go on."""
        for backfill in self._store.backfills_of(task_key):
            self._timetable.wake(Key("backfill", backfill.key))

    async def handle(self, key: Key) -> None:
        """Plan, count, create what there is room for, report."""
        backfill = self._store.backfills.get(key.name)
        if backfill is None or backfill.deleting or standing_of(backfill).complete:
            self._courses.pop(key.name, None)
            self._timetable.forget(key)
            return
        course = self._course(backfill)
        state = self._store.tasks.get(backfill.task_key)
        stalled = _stalled(backfill, state, standing_of(backfill))
        if not standing_of(backfill).planned:
            if stalled is None:
                assert state is not None
                stalled = await self._plan(backfill, state, course)
            if stalled is not None:
                await self._write(backfill, stalled_status(backfill, *stalled, self._clock.now()))
                return
            if course.plan is None:
                return  # The task is looked at first; that leads back here.
            backfill = await self._write_plan(backfill, course)
        waiting_for = ""
        if state is not None:
            self._count(backfill, state, course)
            if stalled is None:
                waiting_for = await self._create(backfill, state, course)
        await self._report(backfill, state, course, stalled, waiting_for)

    def _course(self, backfill: Backfill) -> _Course:
        course = self._courses.get(backfill.key)
        if course is None or course.uid != backfill.uid:
            standing = standing_of(backfill)
            course = _Course(backfill.uid, counted=standing.counted, until=standing.until)
            self._courses[backfill.key] = course
        return course

    # --- planning -------------------------------------------------------------------------------

    async def _plan(
        self, backfill: Backfill, state: TaskState, course: _Course
    ) -> tuple[BackfillReason, str] | None:
        """Decide what is run; why it cannot be, if so."""
        task, progress = state.compiled, self._progress(state.key)
        assert task is not None
        if not task.entries:
            message = "The task has no schedule, so there are no slots."
            return BackfillReason.NO_SCHEDULE, message
        if progress is None or progress.plan_hash != task.plan_hash:
            return None
        if self._planning:
            # One at a time: what one has planned to run is not missed for the next.
            self._timetable.within(Key("backfill", backfill.key), PLAN_AGAIN_SECONDS)
            return None
        self._planning = True
        try:
            return await self._decide(backfill, state, course, progress)
        finally:
            self._planning = False

    async def _decide(
        self, backfill: Backfill, state: TaskState, course: _Course, progress: Progress
    ) -> tuple[BackfillReason, str] | None:
        task = state.compiled
        if course.plan is not None or task is None:
            return None
        known = Known(
            progress.watermark,
            progress.plan_since,
            missed_ranges(orjson.loads(state.status)),
            list(state.executions.values()),
            self._others(backfill, state),
        )
        steps = planning(task, backfill.request, known)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                course.plan = done.value
                return None
            except SpecError as error:
                return BackfillReason.TOO_MANY_SLOTS, str(error)
            await self._clock.sleep(0)

    def _others(self, backfill: Backfill, state: TaskState) -> dict[str, tuple[Span, ...]]:
        """What other Backfills of the task run, also those whose plan is not written yet."""
        found = {}
        for other in self._store.backfills_of(state.key):
            standing, course = standing_of(other), self._courses.get(other.key)
            if other.uid == backfill.uid:
                continue
            if standing.planned and standing.task_uid == state.uid:
                found[other.name] = standing.spans
            elif course is not None and course.uid == other.uid and course.plan is not None:
                found[other.name] = course.plan.spans
        return found

    async def _write_plan(self, backfill: Backfill, course: _Course) -> Backfill:
        """PATCH the status: what is run. Nothing was created before; a crash right before leaves
        a Backfill that the next leader plans anew."""
        plan, now = course.plan, self._clock.now()
        state = self._store.tasks.get(backfill.task_key)
        assert plan is not None
        assert state is not None
        assert state.compiled is not None
        seen = Seen(plan.total, Counts(), None, Counts())
        fields = desired_status(backfill, seen, now) | {
            "plan": plan_to_wire(plan, state.compiled),
            "leftOut": [part.to_wire() for part in plan.left_out] or None,
        }
        return await self._write(backfill, fields)

    # --- creating and counting -------------------------------------------------------------------

    async def _create(self, backfill: Backfill, state: TaskState, course: _Course) -> str:
        """Create runs for the next slots, as far as there is room; why there is none, or ""."""
        task, standing = state.compiled, standing_of(backfill)
        assert task is not None
        request = backfill.request
        for nominal, slots in slots_in(
            task, standing.spans, newest_first=request.newest_first, beyond=course.beyond
        ):
            last = course.uncounted[-1] if course.uncounted else None
            group = last if last is not None and last.nominal == nominal else _Group(nominal)
            if group is not last:
                course.uncounted.append(group)
            for slot in slots[len(group.names) :]:
                name = run_name(task, slot, request, backfill.uid)
                if name not in state.executions:
                    why = self._must_wait(backfill, state, task, course)
                    if why or self._store.backfills.get(backfill.key) is None:
                        return why
                    execution = await self._launcher.backfill_slot(task, backfill, slot, name)
                    self._timetable.wake(Key("run", execution.key))
                group.names.append(name)
            group.complete = True
        course.exhausted = True
        return ""

    def _must_wait(
        self, backfill: Backfill, state: TaskState, task: CompiledTask, course: _Course
    ) -> str:
        """Why the next run cannot be created now, as a sentence; "" when it can."""
        now = int(self._clock.now())
        names = [name for group in course.uncounted for name in group.names]
        under_way = sum(1 for name in names if not self._ended(backfill, state, name))
        if under_way >= backfill.max_concurrent:
            return "As many of its runs are active as spec.maxConcurrent allows."
        if len(names) >= MOST_UNCOUNTED:
            return f"The run of an earlier slot has not ended, and {len(names)} after it have."
        if why := self._store.pauses.why(backfill.namespace):
            return why
        if self._gate.breaker(state, now)[0] is not Circuit.CLOSED:
            return "The circuit breaker of the task is open: its last runs failed."
        most = task.places.most
        if most is None:
            return ""
        live = (e for e in state.executions.values() if e.is_run and not e.terminal)
        busy = sum(1 for e in live if e.due <= now or self._store.has_job(e))
        if busy + (state.key in self._gate.starting) >= most or self._is_due(state, task, now):
            return "Other runs of the task go first, and it may not run more at once."
        return ""

    def _is_due(self, state: TaskState, task: CompiledTask, now: int) -> bool:
        """Whether a slot of the schedule is due that nobody has decided yet."""
        progress = self._progress(state.key)
        if progress is None or task.suspended or progress.completed:
            return False
        slot = next(runs_after(task, progress.watermark), None)
        return slot is not None and slot.due <= now

    def _ended(self, backfill: Backfill, state: TaskState, name: str) -> str:
        """The phase in which a run has ended, "" while it has not. One that is gone, or is that of
        another Backfill, was cancelled as far as this one is concerned."""
        execution = state.executions.get(name)
        if execution is None or execution.backfill != (backfill.name, backfill.uid):
            return "Cancelled"
        return execution.phase if execution.terminal else ""

    def _count(self, backfill: Backfill, state: TaskState, course: _Course) -> None:
        """Count what has ended, in the order of the slots."""
        while course.uncounted and course.uncounted[0].complete:
            group = course.uncounted[0]
            phases = [self._ended(backfill, state, name) for name in group.names]
            if not all(phases):
                return
            for phase in phases:
                course.counted = course.counted.plus(phase)
            course.until = group.nominal
            course.uncounted.popleft()

    # --- telling ----------------------------------------------------------------------------------

    async def _report(
        self,
        backfill: Backfill,
        state: TaskState | None,
        course: _Course,
        stalled: tuple[BackfillReason, str] | None,
        waiting_for: str,
    ) -> None:
        """PATCH the status, not more often than statuses are written. A crash right before loses
        nothing: the records of the runs that it would have counted stay until it is written."""
        key, now = Key("backfill", backfill.key), self._clock.now()
        seen = self._seen(backfill, state, course, stalled, waiting_for)
        fields = desired_status(backfill, seen, now)
        old: Obj = orjson.loads(backfill.status)
        patch = merge_patch(old, fields)
        final = fields["completionTime"] is not None
        if not final:
            self._timetable.within(key, LOOK_AGAIN_SECONDS if waiting_for else self._report_within)
        if not patch.keys() - _ONLY_TIME:
            return
        next_time = course.reported_at + self._report_within
        if not final and now < next_time and "conditions" not in patch:
            self._timetable.within(key, next_time - now)
            return
        await self._write(backfill, fields)
        course.reported_at = now
        if state is not None:
            self._counted(state)

    def _seen(
        self,
        backfill: Backfill,
        state: TaskState | None,
        course: _Course,
        stalled: tuple[BackfillReason, str] | None,
        waiting_for: str,
    ) -> Seen:
        ended, running, waiting = course.counted, 0, 0
        for group in course.uncounted:
            for name in group.names:
                phase = self._ended(backfill, state, name) if state is not None else "Cancelled"
                execution = state.executions.get(name) if state is not None else None
                if phase:
                    ended = ended.plus(phase)
                elif execution is not None and self._store.has_job(execution):
                    running += 1
                else:
                    waiting += 1
        created = ended.done + running + waiting
        return Seen(
            total=created if course.exhausted else standing_of(backfill).total,
            counted=course.counted,
            until=course.until,
            ended=ended,
            running=running,
            waiting=waiting,
            created=created,
            stalled=stalled,
            waiting_for="" if running or waiting else waiting_for,
        )

    async def _write(self, backfill: Backfill, fields: Obj) -> Backfill:
        patch = merge_patch(orjson.loads(backfill.status), fields)
        if not patch:
            return backfill
        obj = await self._api.patch(
            BACKFILLS,
            backfill.namespace,
            backfill.name,
            {"metadata": {"resourceVersion": str(backfill.resource_version)}, "status": patch},
            subresource="status",
            timeout=self._launcher.timeout(),
        )
        written = backfill_from(obj)
        known = self._store.backfills.get(backfill.key)
        if known is not None and known.uid == written.uid:
            latest = max(known, written, key=lambda each: each.resource_version)
            self._store.backfills[backfill.key] = latest
        return written


def _stalled(
    backfill: Backfill, state: TaskState | None, standing: Standing
) -> tuple[BackfillReason, str] | None:
    """Why a backfill cannot go on until somebody does something."""
    name = backfill.request.task
    if state is None or state.deleting:
        message = f'There is no ScheduledTask "{name}" in namespace "{backfill.namespace}".'
        return BackfillReason.TASK_NOT_FOUND, f"{message} Create it, or delete the Backfill."
    if standing.planned and standing.task_uid != state.uid:
        message = "The task was deleted and created again. Delete the Backfill and create a new one"
        return BackfillReason.TASK_REPLACED, f"{message} for what is to be run."
    if state.compiled is None:
        problems = "; ".join(str(problem) for problem in state.problems)
        message = f"The task cannot be followed as written: {problems}"
        return BackfillReason.INVALID_SPEC, message
    if standing.planned and standing.plan_hash != state.compiled.plan_hash:
        message = (
            "The schedule of the task was changed since the slots were counted. Change it back, or"
            " delete the Backfill and create a new one for the slots that remain."
        )
        return BackfillReason.PLAN_CHANGED, message
    return None
