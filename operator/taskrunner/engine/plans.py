"""Planning one task: decide the slots that are due, and note when to look again."""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

import orjson

from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.decide import (
    Seen,
    SlotDecision,
    Streak,
    decide,
    end_plan,
    is_late,
    oldest_due,
)
from taskrunner.domain.instants import parse_instant
from taskrunner.domain.job import trial_manifest
from taskrunner.domain.plan import next_slot
from taskrunner.domain.skipping import leaving_out, left_out
from taskrunner.domain.status import Tally
from taskrunner.engine.gate import Gate
from taskrunner.engine.launch import Launcher
from taskrunner.engine.progress import Progress, begin, slot_name
from taskrunner.engine.store import Store, TaskState
from taskrunner.engine.timetable import Timetable
from taskrunner.engine.work import Key
from taskrunner.errors import NotFound, Problem, Refused
from taskrunner.metrics import LATE_SECONDS, Metrics
from taskrunner.ports import JOBS, Api, Clock

CLOCK_SLACK_SECONDS: Final = 2
_UNPROCESSABLE = (400, 422)


class Plans:
    """The decided part of each task's time line, for one term of leadership."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        store: Store,
        launcher: Launcher,
        gate: Gate,
        timetable: Timetable,
        metrics: Metrics,
        *,
        report_within: float,
    ) -> None:
        self._api = api
        self._clock = clock
        self._store = store
        self._launcher = launcher
        self._gate = gate
        self._timetable = timetable
        self._metrics = metrics
        self._report_within = report_within
        self._progress: dict[str, Progress] = {}

    def progress(self, task_key: str) -> Progress | None:
        """How far a task has been decided; None before it was looked at."""
        return self._progress.get(task_key)

    def tally(self, task_key: str) -> Tally | None:
        """The outcomes of a task counted in this term; None before it was looked at."""
        progress = self._progress.get(task_key)
        return progress.tally if progress is not None else None

    async def handle(self, key: Key) -> None:
        """Look at a task: is its spec usable, has its plan changed, what is due."""
        state = self._store.tasks.get(key.name)
        if state is None:
            self._forget(key.name)
            return
        progress = self._progress.get(key.name)
        if progress is None or progress.uid != state.uid:
            progress = self._progress[key.name] = begin(state)
            self._report_now(state)
        await self._check_template(state, progress)
        task = state.compiled
        if (task is None) != progress.refused:
            progress.refused = task is None
            self._report_now(state)
        if task is None or state.deleting:
            self._timetable.forget(key)
            return
        task = self._as_asked(state, task, progress)
        now = int(self._clock.now())
        if progress.plan_hash != task.plan_hash:
            # A first plan counts from the task's creation, unless the spec was edited before it
            # could be planned; every later plan counts from when it was first seen.
            if progress.plan_hash or state.generation > 1:
                await self._look_after_silence(state, progress)
                await self._end_plan(state, progress, now)
                progress.plan_since = now
                progress.watermark = max(progress.watermark, now)
            progress.plan_hash = task.plan_hash
            self._report_now(state)
        progress.planned = task
        await self._look_after_silence(state, progress)
        if self._is_ahead(state, progress, now):
            return
        if task.suspended:
            progress.suspended = True
            self._timetable.forget(key)
            return
        if self._is_paused(state, progress, now):
            return
        await self._decide(state, progress, now)

    def _as_asked(self, state: TaskState, task: CompiledTask, progress: Progress) -> CompiledTask:
        """The task, without the slots that somebody has asked to skip."""
        names = left_out(state.executions.values())
        if names != progress.left_out:
            progress.left_out = names
            self._report_now(state)
        return leaving_out(task, names)

    def _is_ahead(self, state: TaskState, progress: Progress, now: int) -> bool:
        """Whether the task was decided further than our clock has come: nothing is due before, and
        the status says so. A second or two apart is nothing: clocks are never quite the same."""
        ahead = progress.watermark > now + CLOCK_SLACK_SECONDS
        if ahead != progress.ahead:
            progress.ahead = ahead
            self._report_now(state)
        if ahead:
            self._timetable.at(Key("task", state.key), progress.watermark)
        return ahead

    def _is_paused(self, state: TaskState, progress: Progress, now: int) -> bool:
        """Whether the namespace or the operator is paused. The first slot that is due then is left
        undecided and the status says so; until one is, there is nothing to tell."""
        key, why, said = Key("task", state.key), self._store.pauses.why(state.namespace), ""
        if why and state.compiled is not None:
            said = progress.paused and why
            slot = next_slot(state.compiled, progress.watermark)
            if slot is not None and slot.due > now:
                self._timetable.at(key, slot.due)
            elif slot is not None:
                progress.suspended, said = True, why
                self._timetable.forget(key)
        if said != progress.paused:
            progress.paused = said
            self._report_now(state)
        return bool(why)

    async def _end_plan(self, state: TaskState, progress: Progress, now: int) -> None:
        """Record what the old plan leaves undecided; after downtime, when nobody knows it any more,
        the slots that the new one would have had. A crash before the new plan is acknowledged has
        the next leader find the same edit, and perhaps record more of it; none of it runs."""
        task = progress.planned or state.compiled
        if not progress.plan_hash or task is None or not task.entries:
            return
        items = end_plan(task, self._seen(state, progress), now)
        await self._write(state, progress, items)

    async def _decide(self, state: TaskState, progress: Progress, now: int) -> None:
        task, key = progress.planned, Key("task", state.key)
        assert task is not None
        decisions = decide(task, self._seen(state, progress), now)
        if decisions.items:
            self._gate.starting.add(state.key)
            try:
                await self._write(state, progress, decisions.items)
            finally:
                self._gate.starting.discard(state.key)
            self._timetable.within(Key("report", state.key), self._report_within)
        # A crash from here on loses only what `begin` finds again from the executions.
        progress.watermark = max(progress.watermark, decisions.watermark)
        if not decisions.blocked:
            progress.suspended = False
        if decisions.completed != progress.completed:
            progress.completed = decisions.completed
            self._report_now(state)
        if decisions.blocked and decisions.items and not self._gate.active(state):
            self._timetable.wake(key)  # The run that blocks the others has ended already.
        if decisions.wake is None:
            self._timetable.forget(key)
        else:
            self._timetable.at(key, decisions.wake)

    async def _write(
        self, state: TaskState, progress: Progress, items: tuple[SlotDecision, ...]
    ) -> None:
        """Write in the order given. `started` counts exactly the runs up to the watermark, and both
        move together, as they are reported together: after the last run of an instant.

        A crash in between leaves executions from which `begin` finds both again."""
        task = state.compiled
        assert task is not None
        started = 0
        for item, following in zip_longest(items, items[1:]):
            execution = state.executions.get(slot_name(task, item.slot))
            if execution is None:
                progress.unanswered = slot_name(task, item.slot)
                execution = await self._launcher.decide_slot(task, item)
                progress.unanswered = ""
                self._count(state, progress, item)
                if execution.decision == "Miss":
                    progress.missed.append(item)
            self._timetable.wake(Key("run", execution.key))
            if item.decision != "Run":
                continue
            started += execution.is_run and execution.owner_uid == state.uid
            if following is None or following.slot.due > item.slot.due:
                progress.watermark = max(progress.watermark, item.slot.due)
                progress.started += started
                started = 0

    def _count(self, state: TaskState, progress: Progress, item: SlotDecision) -> None:
        count = item.count - item.counted
        self._metrics.slots.labels(item.decision, item.reason).inc(count)
        task = state.compiled
        if task is None or self._clock.now() - oldest_due(item) <= LATE_SECONDS:
            return
        if is_late(task, self._seen(state, progress), item):
            self._metrics.slots_late.inc(count)

    async def _look_after_silence(self, state: TaskState, progress: Progress) -> None:
        """A decision that had no answer may have been written all the same: look before deciding
        anything further, or its slot would be decided a second time, in a range or under Forbid."""
        name = progress.unanswered
        if not name:
            return
        if name not in state.executions:
            await self._launcher.look_for(state.namespace, name)
        reached = begin(state).watermark
        if reached > progress.watermark:
            progress.started += sum(
                1
                for e in state.executions.values()
                if e.type == "Scheduled" and e.is_run and e.owner_uid == state.uid
                if progress.watermark < e.decided_at <= reached
            )
            progress.watermark = reached
        progress.unanswered = ""

    async def _check_template(self, state: TaskState, progress: Progress) -> None:
        """Have the server check the Job template once per generation, as it would at admission: a
        typo that nobody refused then must not wait for the first slot to be found."""
        task = state.compiled
        if task is not None and progress.refused:
            progress.checked_generation = 0
        if progress.checked_generation == state.generation:
            return
        if task is not None and not state.deleting:
            manifest = trial_manifest(state.namespace, state.name, orjson.loads(task.job_template))
            try:
                await self._api.create(
                    JOBS,
                    state.namespace,
                    manifest,
                    dry_run=True,
                    timeout=self._launcher.timeout(),
                )
            except (Refused, NotFound) as error:
                if error.code in _UNPROCESSABLE:
                    message = f"The API server refuses the Job: {error}"
                    problem = Problem("spec.jobTemplate", "", message, "Correct the template.")
                    state.compiled, state.problems = None, (problem,)
        progress.checked_generation = state.generation
        self._report_now(state)

    def _seen(self, state: TaskState, progress: Progress) -> Seen:
        ends = (
            e.finished
            for e in state.executions.values()
            if e.terminal and e.started is not None and e.finished is not None
        )
        circuit, failures = self._gate.breaker(state, int(self._clock.now()))
        return Seen(
            watermark=progress.watermark,
            active=self._gate.active(state),
            started=progress.started,
            suspended=progress.suspended,
            busy_until=max(ends, default=0),
            streak=_streak(state, progress.watermark),
            circuit=circuit,
            failures=failures,
        )

    def _report_now(self, state: TaskState) -> None:
        self._timetable.within(Key("report", state.key), 0)

    def _forget(self, task_key: str) -> None:
        self._progress.pop(task_key, None)
        for subject in ("task", "report"):
            self._timetable.forget(Key(subject, task_key))


def _streak(state: TaskState, watermark: int) -> Streak | None:
    """The record of slots skipped in a row, when the decided slots end with one."""
    slots = (e for e in state.executions.values() if e.type == "Scheduled")
    mine = [e for e in slots if e.owner_uid == state.uid and e.decided_at <= watermark]
    last = max(mine, key=lambda e: (e.decided_at, e.is_run, e.nominal), default=None)
    if last is None or last.decision != "Skip":
        return None
    # Runs since then may be gone from the history already.
    ran = orjson.loads(state.status).get("lastScheduleTime")
    if ran is not None and parse_instant(ran) > last.nominal:
        return None
    return Streak(last.decision_reason, last.first, last.count)
