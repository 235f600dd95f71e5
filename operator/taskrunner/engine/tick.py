"""The cycle: what happens between "a slot is due" and "everybody can see what became of it".

For one term of leadership. Woken by watches and by the agenda, never by polling:

1. Observe: watches have put what they saw into the store and named what changed.
2. Plan: `Plans` decides the slots that are due and notes when to look again.
3. Decide: each decision is one POST of a TaskExecution; the name is the slot's lock.
   Slots of the past that a Backfill asks for are created by `Backfills`, a few at a time.
4. Claim and launch: `Runs` takes an execution one step further: run Lease, Job.
5. Follow: Job events come back to the execution; its outcome is recorded.
6. Report: one patch of the task's status; the watermark goes up in it.
7. Clean up: executions beyond the history limits go, in the background.

Every step looks at the present state only, so that a step which failed, or whose process died, is
done again by whoever looks next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from taskrunner.domain.history import DEAD_LETTERS_KEPT
from taskrunner.domain.lifecycle import Wait
from taskrunner.domain.queueing import DEFAULT_PRIORITY
from taskrunner.engine.backfills import Backfills
from taskrunner.engine.gate import Gate
from taskrunner.engine.history import History
from taskrunner.engine.launch import Launcher
from taskrunner.engine.pace import Pace
from taskrunner.engine.plans import Plans
from taskrunner.engine.queues import Queues
from taskrunner.engine.report import Reporter
from taskrunner.engine.runs import Runs
from taskrunner.engine.store import Store, ignore
from taskrunner.engine.timetable import Timetable
from taskrunner.engine.work import Key, WorkQueue
from taskrunner.errors import Conflict, NotFound, Refused, TaskrunnerError, Transient
from taskrunner.metrics import Metrics
from taskrunner.ports import Api, Clock, Events, Term

log = logging.getLogger(__name__)

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MOST_SECONDS: Final = 30.0
GIVES_WAY_SECONDS: Final = {
    "run": 0,
    "task": 1,
    "follow": 15,
    "report": 30,
    "backfill": 30,
    "history": 60,
    "queue": 1,
}
"""How much sooner something else may have been asked for and still goes first. `follow` is a run
that has started: to record what became of it can wait until those that are due have started."""
SOONER_PER_POINT: Final = 0.01
"""Seconds that a point of priority is worth while a burst is worked off: 10 s from 0 to 1000."""


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
        default_retries: int = 0,
        dead_letters: int = DEAD_LETTERS_KEPT,
        most_active: int | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._clock = clock
        self._store = store
        self._metrics = metrics = metrics.of_shard(shard)
        self._parallel = parallel
        self._api = api
        self._warm: Callable[[int], object] = lambda calls: None
        self._interval = status_interval
        self._timetable = Timetable(clock, self._wake, self._get_ready)
        self._launcher = Launcher(
            api, clock, store, term, shard=shard, default_retries=default_retries
        )
        gate = self._gate = Gate(store, clock, most=most_active)
        self._runs = Runs(
            store,
            gate,
            self._launcher,
            clock,
            term,
            events,
            metrics,
            status_interval=status_interval,
        )
        self._plans = Plans(
            api,
            clock,
            store,
            self._launcher,
            gate,
            self._timetable,
            metrics,
            report_within=status_interval,
        )
        gate.tally = self._plans.tally
        gate.queues.later = self._timetable.within
        self._queues = Queues(api, store, gate)
        self._told: dict[str, float] = {}
        """When the status of a TaskQueue was last written."""
        self._reporter = Reporter(api, events)
        self._history = History(
            api,
            clock,
            store,
            self._launcher,
            self._timetable,
            self._plans.progress,
            dead_letters=dead_letters,
        )
        self._backfills = Backfills(
            api,
            clock,
            store,
            self._launcher,
            gate,
            self._timetable,
            self._plans.progress,
            self._history.note,
            report_within=status_interval,
        )
        self._failures: dict[Key, int] = {}
        self._pace = pace or Pace(parallel)
        self._queue: WorkQueue | None = None

    @property
    def agenda(self) -> int:
        """Instants that are waited for."""
        return len(self._timetable)

    async def run(self) -> None:
        """Act until cancelled. The store must be in sync with the server when this is called."""
        async with asyncio.TaskGroup() as group:
            queue = self._queue = WorkQueue(
                group, self._handle, limit=self._pace.limit, rank=self._rank
            )
            self._store.wake = self._wake
            self._warm = lambda calls: group.create_task(self._api.warm(calls))
            self._metrics.queue_depth.set_function(lambda: queue.depth)
            self._metrics.agenda.set_function(lambda: len(self._timetable))
            self._metrics.places_held.set_function(lambda: self._gate.held)
            self._metrics.in_line.set_function(lambda: self._gate.in_line)
            try:
                self._gate.begin()
                for key in self._store.queues:
                    queue.add(Key("queue", key))
                for key in list(self._store.tasks):
                    queue.add(Key("task", key))
                for name in list(self._store.backfills):
                    queue.add(Key("backfill", name))
                for execution in list(self._store.executions()):
                    if not execution.terminal:
                        queue.add(Key("run", execution.key))
                for job in list(self._store.jobs.values()):
                    if not job.finished:
                        queue.add(Key("run", job.execution_key))
                await self._timetable.run()
            finally:
                queue.close()
                self._gate.end()
                self._store.wake = ignore

    def _get_ready(self, keys: int) -> None:
        """Connections that are opened in a burst are paid for in it."""
        self._warm(min(keys, self._parallel))

    def _wake(self, key: Key) -> None:
        if self._queue is not None:
            self._queue.add(key)

    def _rank(self, key: Key) -> float:
        """When not everything can go at once: by when somebody asked for it, in seconds; sooner for
        a larger priority, and later for what can wait. Starts go first, so nothing that follows
        from a burst slows it down; but none of it waits for ever."""
        execution = self._store.execution(key.name) if key.subject == "run" else None
        task_key = key.name if execution is None else execution.task_key
        priority = None if execution is None else execution.priority
        state = self._store.tasks.get(task_key)
        if priority is None and state is not None and state.compiled is not None:
            priority = state.compiled.places.priority
        sooner = (DEFAULT_PRIORITY if priority is None else priority) * SOONER_PER_POINT
        started = execution is not None and self._store.has_job(execution)
        presses = key.subject == "history" and self._history.presses(key.name)
        later = GIVES_WAY_SECONDS["task" if presses else "follow" if started else key.subject]
        return self._clock.boot() + later - sooner

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
        if self._queue is not None:
            self._queue.limit = self._pace.limit

    def _back_off(self, key: Key, kind: str, error: TaskrunnerError | None) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._metrics.errors.labels(kind).inc()
        delay = min(BACKOFF_FIRST_SECONDS * 2**failures, BACKOFF_MOST_SECONDS)
        delay = max(delay, getattr(error, "retry_after", None) or 0.0)
        if error is not None:
            # Said once in a row: a namespace that is being deleted refuses every write.
            level = logging.DEBUG if failures else logging.WARNING
            log.log(level, "%s %s: %s; trying again in %.1f s", *key, error, delay)
        self._timetable.at(key, self._clock.now() + delay)

    async def _dispatch(self, key: Key) -> None:
        match key.subject:
            case "run":
                await self._handle_run(key)
            case "task":
                await self._plans.handle(key)
                self._history.begin(key.name)
                self._backfills.look(key.name)
            case "report":
                await self._handle_report(key)
            case "history":
                await self._history.handle(key.name)
            case "backfill":
                await self._backfills.handle(key)
            case "queue":
                await self._handle_queue(key)

    # --- executions -----------------------------------------------------------------------------

    async def _handle_run(self, key: Key) -> None:
        execution = self._store.execution(key.name)
        if execution is None or execution.terminal:
            self._timetable.forget(key)
            if execution is not None:
                self._runs.forget(execution.uid)
                self._ended(execution.task_key)
                await self._runs.after_end(execution)
            return
        self._follow_up(key, await self._runs.step(execution))

    def _follow_up(self, key: Key, wait: Wait) -> None:
        execution = self._store.execution(key.name)
        if execution is None or execution.terminal:
            self._wake(key)
        elif wait.until is None:
            self._timetable.forget(key)
        else:
            self._timetable.at(key, wait.until)
        if execution is not None:
            self._timetable.within(Key("report", execution.task_key), self._interval)

    def _ended(self, task_key: str) -> None:
        """A run has ended: what it blocked may be decided, and people want to know."""
        progress = self._plans.progress(task_key)
        if progress is None:
            return
        self._wake(Key("task", task_key))
        since = self._clock.now() - progress.reported_at
        self._timetable.within(Key("report", task_key), max(0.0, self._interval - since))

    # --- statuses ------------------------------------------------------------------------------

    async def _handle_report(self, key: Key) -> None:
        state = self._store.tasks.get(key.name)
        progress = self._plans.progress(key.name)
        if state is None or progress is None or state.deleting:
            return
        progress.no_queue = self._gate.queues.missing(state)
        await self._reporter.report(state, progress, self._clock.now(), self._launcher.timeout())
        self._history.note(state)

    async def _handle_queue(self, key: Key) -> None:
        """It may be time for more runs to start, or to say how long the line is."""
        self._gate.look_at_queue(key.name)
        queue, now = self._store.queues.get(key.name), self._clock.now()
        if queue is None:
            self._told.pop(key.name, None)
            return
        wait = self._told.get(key.name, 0.0) + self._interval - now
        if 0.0 < wait <= self._interval:
            self._timetable.within(key, wait)
        elif await self._queues.report(queue, now, self._launcher.timeout()):
            self._told[key.name] = now
