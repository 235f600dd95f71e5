"""The cycle: what happens between "a slot is due" and "everybody can see what became of it".

For one term of leadership. Woken by watches and by the agenda, never by polling:

1. Observe: watches have put what they saw into the store and named what changed.
2. Plan: `handle_task` decides the slots that are due and notes when to look again.
3. Decide: each decision is one POST of a TaskExecution; the name is the slot's lock.
4. Claim and launch: `handle_run` takes an execution one step further: run Lease, Job.
5. Follow: Job events come back to the execution; its outcome is recorded.
6. Report: one patch of the task's status; the watermark goes up in it.
7. Clean up: executions beyond the history limits go.

Every step looks at the present state only, so that a step which failed, or whose process died, is
done again by whoever looks next.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import zip_longest
from typing import Final

import orjson

from taskrunner.domain.decide import Seen, SlotDecision, decide
from taskrunner.domain.job import trial_manifest
from taskrunner.domain.lifecycle import Wait
from taskrunner.engine.agenda import Agenda
from taskrunner.engine.launch import Launcher
from taskrunner.engine.progress import Progress, begin, slot_name
from taskrunner.engine.report import Reporter
from taskrunner.engine.runs import Runs
from taskrunner.engine.store import Store, TaskState, ignore
from taskrunner.engine.work import Key, WorkQueue
from taskrunner.errors import Conflict, NotFound, Problem, Refused, TaskrunnerError, Transient
from taskrunner.metrics import Metrics
from taskrunner.ports import JOBS, Api, Clock, Events, Term

log = logging.getLogger(__name__)

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MOST_SECONDS: Final = 30.0
LONGEST_SLEEP_SECONDS: Final = 5.0
"""The wall clock may be set while we sleep; so often at least we look at it."""


class Cycle:
    """One term of leadership over the store's tasks."""

    def __init__(
        self,
        *,
        api: Api,
        clock: Clock,
        store: Store,
        term: Term,
        events: Events,
        metrics: Metrics,
        shard: str,
        parallel: int,
        status_interval: float,
    ) -> None:
        self._api = api
        self._clock = clock
        self._store = store
        self._metrics = metrics
        self._parallel = parallel
        self._interval = status_interval
        self._launcher = Launcher(api, clock, store, term, shard=shard)
        self._runs = Runs(store, self._launcher, clock, term, events, metrics)
        self._reporter = Reporter(api, store)
        self._agenda: Agenda[Key] = Agenda()
        self._progress: dict[str, Progress] = {}
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._queue: WorkQueue | None = None

    async def run(self) -> None:
        """Act until cancelled. The store must be in sync with the server when this is called."""
        async with asyncio.TaskGroup() as group:
            queue = WorkQueue(group, self._handle, limit=self._parallel)
            self._queue = queue
            self._store.wake = self._wake
            try:
                for key in list(self._store.tasks):
                    queue.add(Key("task", key))
                for execution in list(self._store.executions()):
                    if not execution.terminal:
                        queue.add(Key("run", execution.key))
                await self._keep_time(queue)
            finally:
                queue.close()
                self._store.wake = ignore

    @property
    def idle(self) -> bool:
        """Nothing is being done or waits to be done now."""
        return self._queue is not None and self._queue.idle

    async def _keep_time(self, queue: WorkQueue) -> None:
        while True:
            self._changed.clear()
            for key in self._agenda.due(self._clock.now()):
                queue.add(key)
            self._metrics.agenda.set(len(self._agenda))
            self._metrics.queue_depth.set(queue.depth)
            next_due = self._agenda.next_due()
            delay = LONGEST_SLEEP_SECONDS
            if next_due is not None:
                delay = min(delay, max(0.0, next_due - self._clock.now()))
            sleeper = asyncio.ensure_future(self._clock.sleep(delay))
            waiter = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait((sleeper, waiter), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiting in (sleeper, waiter):
                    waiting.cancel()
                    with suppress(asyncio.CancelledError):
                        await waiting

    def _wake(self, key: Key) -> None:
        if self._queue is not None:
            self._queue.add(key)

    def _at(self, key: Key, when: float) -> None:
        """Look at `key` at `when`, instead of any other time."""
        first = self._agenda.next_due()
        self._agenda.set(key, when)
        if first is None or when < first:
            self._changed.set()

    def _at_latest(self, key: Key, when: float) -> None:
        first = self._agenda.next_due()
        self._agenda.set_earlier(key, when)
        if first is None or when < first:
            self._changed.set()

    # --- one place for errors, by remedy -------------------------------------------------------

    async def _handle(self, key: Key) -> None:
        try:
            await self._dispatch(key)
        except Conflict:
            # Somebody wrote first; the watch brings the new version and names the key again. The
            # agenda does so too, should the watch be slow.
            self._back_off(key, "conflict", None)
        except Transient as error:
            self._back_off(key, "transient", error)
        except (Refused, NotFound) as error:
            self._back_off(key, "refused", error)
        except TaskrunnerError as error:
            self._back_off(key, "error", error)
        except Exception:
            log.exception("unexpected error at %s %s; trying again", key.subject, key.name)
            self._back_off(key, "bug", None)
        else:
            self._failures.pop(key, None)

    def _back_off(self, key: Key, kind: str, error: TaskrunnerError | None) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._metrics.errors.labels(kind).inc()
        delay = min(BACKOFF_FIRST_SECONDS * 2**failures, BACKOFF_MOST_SECONDS)
        retry_after = getattr(error, "retry_after", None)
        if error is not None:
            log.warning("%s %s: %s; trying again in %.1f s", key.subject, key.name, error, delay)
        self._at(key, self._clock.now() + max(delay, retry_after or 0.0))

    async def _dispatch(self, key: Key) -> None:
        match key.subject:
            case "run":
                await self._handle_run(key)
            case "task":
                await self._handle_task(key)
            case "report":
                await self._handle_report(key)
            case "history":
                await self._handle_history(key)

    # --- tasks ----------------------------------------------------------------------------------

    async def _handle_task(self, key: Key) -> None:
        state = self._store.tasks.get(key.name)
        if state is None:
            self._forget(key.name)
            return
        progress = self._progress.get(key.name)
        if progress is None or progress.uid != state.uid:
            progress = self._progress[key.name] = begin(state)
            self._at_latest(Key("report", key.name), self._clock.now())
        if progress.checked_generation != state.generation:
            await self._check_template(state, progress)
            self._at_latest(Key("report", key.name), self._clock.now())
        task = state.compiled
        if (task is None) != progress.refused:
            progress.refused = task is None
            self._at_latest(Key("report", key.name), self._clock.now())
        if task is None or state.deleting:
            self._agenda.remove(key)
            return
        now = int(self._clock.now())
        if progress.plan_hash != task.plan_hash:
            # A first plan counts from the task's creation, unless the spec was edited before it
            # could be planned; every later plan counts from when it was first seen.
            if progress.plan_hash or state.generation > 1:
                progress.plan_since = now
                progress.watermark = max(progress.watermark, now)
            progress.plan_hash = task.plan_hash
            self._at_latest(Key("report", key.name), self._clock.now())
        if task.suspended:
            progress.suspended = True
            self._agenda.remove(key)
            return
        await self._decide(state, progress, now)

    async def _decide(self, state: TaskState, progress: Progress, now: int) -> None:
        task = state.compiled
        assert task is not None
        decisions = decide(
            task,
            Seen(
                watermark=progress.watermark,
                active=self._runs.active(state),
                started=progress.started,
                suspended=progress.suspended,
            ),
            now,
        )
        if decisions.items:
            self._runs.starting.add(state.key)
            try:
                await self._write_decisions(state, progress, decisions.items)
            finally:
                self._runs.starting.discard(state.key)
            self._at_latest(Key("report", state.key), self._clock.now() + self._interval)
        # A crash from here on loses only what `begin` finds again from the executions.
        progress.watermark = max(progress.watermark, decisions.watermark)
        if not decisions.blocked:
            progress.suspended = False
        if decisions.completed != progress.completed:
            progress.completed = decisions.completed
            self._at_latest(Key("report", state.key), self._clock.now())
        if decisions.blocked and decisions.items and not self._runs.active(state):
            self._wake(Key("task", state.key))  # The run that blocks the others has ended already.
        if decisions.wake is None:
            self._agenda.remove(Key("task", state.key))
        else:
            self._at(Key("task", state.key), decisions.wake)

    async def _write_decisions(
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
                execution = await self._launcher.decide_slot(task, item)
                self._metrics.slots.labels(item.decision).inc(item.count)
                if execution.decision == "Miss":
                    progress.missed.append(item)
            self._wake(Key("run", execution.key))
            if item.decision != "Run":
                continue
            started += execution.is_run and execution.owner_uid == state.uid
            if following is None or following.slot.due > item.slot.due:
                progress.watermark = max(progress.watermark, item.slot.due)
                progress.started += started
                started = 0

    async def _check_template(self, state: TaskState, progress: Progress) -> None:
        """Have the server check the Job template once per generation, as it would at admission: a
        typo that nobody refused then must not wait for the first slot to be found."""
        task = state.compiled
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
                if error.code in (400, 422):
                    state.compiled = None
                    state.problems = (
                        Problem(
                            "spec.jobTemplate",
                            "",
                            f"The API server refuses the Job: {error}",
                            "Correct the template.",
                        ),
                    )
        progress.checked_generation = state.generation

    def _forget(self, task_key: str) -> None:
        self._progress.pop(task_key, None)
        for subject in ("task", "report", "history"):
            key = Key(subject, task_key)
            self._agenda.remove(key)
            self._failures.pop(key, None)

    # --- executions -----------------------------------------------------------------------------

    async def _handle_run(self, key: Key) -> None:
        execution = self._store.execution(key.name)
        if execution is None or execution.terminal:
            self._agenda.remove(key)
            if execution is not None:
                self._runs.forget(execution.uid)
                self._ended(execution.task_key)
            return
        wait = await self._runs.step(execution)
        self._follow_up(key, wait)

    def _follow_up(self, key: Key, wait: Wait) -> None:
        execution = self._store.execution(key.name)
        if execution is None or execution.terminal:
            self._wake(key)
        elif wait.until is None:
            self._agenda.remove(key)
        else:
            self._at(key, wait.until)
        if execution is not None:
            self._at_latest(Key("report", execution.task_key), self._clock.now() + self._interval)

    def _ended(self, task_key: str) -> None:
        """A run has ended: what it blocked may be decided, and people want to know."""
        progress = self._progress.get(task_key)
        if progress is None:
            return
        self._wake(Key("task", task_key))
        earliest = progress.reported_at + self._interval
        self._at_latest(Key("report", task_key), max(self._clock.now(), earliest))

    # --- statuses and history -------------------------------------------------------------------

    async def _handle_report(self, key: Key) -> None:
        state = self._store.tasks.get(key.name)
        progress = self._progress.get(key.name)
        if state is None or progress is None or state.deleting:
            return
        now = self._clock.now()
        await self._reporter.report(state, progress, now, self._launcher.timeout())
        self._wake(Key("history", key.name))

    async def _handle_history(self, key: Key) -> None:
        state = self._store.tasks.get(key.name)
        progress = self._progress.get(key.name)
        if state is not None and progress is not None and not state.deleting:
            await self._reporter.clean_up(state, progress, self._launcher.timeout())
