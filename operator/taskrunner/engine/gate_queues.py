"""TaskQueues at the gate: their limits follow the objects, their starts are counted.

Nothing of it is kept. A new leader finds in the executions and Jobs when they started, and counts
them from the latest moment at which they can have been created.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.observed import Execution
from taskrunner.domain.places import Places
from taskrunner.domain.starts import starts_of
from taskrunner.domain.task_queue import TaskQueue
from taskrunner.engine import gate_messages as say
from taskrunner.engine.gate_standings import Standings, Where, tasks_of
from taskrunner.engine.store import Store, TaskState
from taskrunner.engine.work import Key
from taskrunner.ports import Clock

TELL_SECONDS: Final = 10.0
"""Statuses of TaskQueues are written so often at most."""


class GateQueues:
    """The part of the gate that knows of TaskQueues."""

    def __init__(self, store: Store, clock: Clock, places: Places, standings: Standings) -> None:
        self._store = store
        self._clock = clock
        self._places = places
        self._standings = standings
        self.later: Callable[[Key, float], None] = lambda key, seconds: None
        """Have a key looked at in so many seconds, or sooner."""

    def begin(self) -> None:
        """Take in what has started within the last minute, as the objects tell."""
        offset = self._clock.boot() - self._clock.now()
        times: dict[str, list[float]] = defaultdict(list)
        for execution in list(self._store.executions()):
            queue = self._queue_of(execution)
            if queue:
                known = self._standings.get(execution.key)
                if known is not None:
                    known.launched = self._launched(execution)
                job = self._store.job_of(execution)
                times[queue] += [offset + start for start in starts_of(execution, job)]
        for queue, found in times.items():
            namespace, _, name = queue.partition("/")
            starts = self._places.starts(self._standings.around(namespace, name))
            assert starts is not None
            starts.recall(found)
            self.look(queue)

    def note(self, key: str) -> None:
        """An execution or its Job has changed."""
        execution = self._store.execution(key)
        queue = "" if execution is None else self._queue_of(execution)
        if execution is None or not queue:
            return
        known, launched = self._standings.get(key), self._launched(execution)
        if known is not None and launched > known.launched:
            known.launched = launched
            starts = self._standings.starts(key)
            if starts is not None:
                starts.started(key, self._clock.boot())
        self._wait_for_room(queue)
        if queue in self._store.queues:
            self.later(Key("queue", queue), TELL_SECONDS)

    def changed(self, queue: str) -> None:
        """A TaskQueue has come, gone, or been edited; "" for the weights of namespaces."""
        if not queue:
            self._standings.set_weights()
            return
        namespace, _, name = queue.partition("/")
        self._standings.around(namespace, name)
        for state in tasks_of(self._store, queue):
            for run in state.executions:
                self._standings.look(f"{namespace}/{run}")

    def look(self, queue: str) -> None:
        """Time has passed: more may start."""
        namespace, _, name = queue.partition("/")
        pool = self._standings.around(namespace, name)
        self._places.refresh(pool)
        starts = self._places.starts(pool)
        for run in starts.retries if starts is not None else ():
            self._store.wake(Key("run", run))
        self._wait_for_room(queue)

    def may_repeat(self, execution: Execution) -> bool:
        """Whether the next attempt of a run, which has its place, may start now; if not, the run is
        named again when it may."""
        starts = self._standings.starts(execution.key)
        if starts is None or starts.ask_again(execution.key, self._clock.boot()):
            return True
        queue = self._queue_of(execution)
        self._places.refresh(queue)
        self._wait_for_room(queue)
        return False

    def counts(self, queue: TaskQueue) -> tuple[int, int, int | None]:
        """Runs with a place, runs that wait, and since when the oldest of these waits."""
        waits = [
            each.asked[0]
            for state in tasks_of(self._store, queue.key)
            for each in self._standings.of_task(state.uid).values()
            if each.where is Where.WAITING
        ]
        return self._places.holding(queue.key), len(waits), min(waits, default=None)

    def missing(self, state: TaskState) -> str:
        """What is to be said of a task whose TaskQueue is not there; "" for others."""
        name = state.compiled.places.queue if state.compiled is not None else ""
        if not name or f"{state.namespace}/{name}" in self._store.queues:
            return ""
        return say.QUEUE_MISSING.format(queue=name, namespace=state.namespace)

    def what_for(self, state: TaskState) -> tuple[ExecutionReason, str] | None:
        """What a run waits for, if that is its TaskQueue."""
        missing = self.missing(state)
        if missing:
            return ExecutionReason.QUEUE_NOT_FOUND, missing
        name = state.compiled.places.queue if state.compiled is not None else ""
        queue = self._store.queues.get(f"{state.namespace}/{name}")
        if queue is None or self._places.has_room(queue.key):
            return None
        limits, held = queue.limits, self._places.holding(queue.key)
        if limits.most is not None and held >= limits.most:
            message = say.QUEUE_BUSY.format(queue=name, held=held, most=limits.most)
        else:
            message = say.QUEUE_PACED.format(queue=name, most=limits.per_minute)
        return ExecutionReason.WAITING_FOR_QUEUE, message

    def _wait_for_room(self, queue: str) -> None:
        starts = self._places.starts(queue)
        now = self._clock.boot()
        frees = None if starts is None else starts.frees(now)
        if frees is not None:
            self.later(Key("queue", queue), max(0.0, frees - now))

    def _queue_of(self, execution: Execution) -> str:
        state = self._store.tasks.get(execution.task_key)
        if state is None or state.compiled is None or not state.compiled.places.queue:
            return ""
        return f"{state.namespace}/{state.compiled.places.queue}"

    def _launched(self, execution: Execution) -> int:
        return max(self._store.launched.get(execution.uid, 0), execution.attempt)
