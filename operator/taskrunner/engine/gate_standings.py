"""Who stands where: each run that has not ended is coming, waiting in line, or holding a place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.observed import Execution
from taskrunner.domain.places import Limits, Places
from taskrunner.domain.queueing import DEFAULT_PRIORITY, Order, order_of
from taskrunner.domain.starts import Starts
from taskrunner.domain.task_queue import NO_QUEUE
from taskrunner.engine.store import Store, TaskState

_NOT_STARTED: Final = frozenset({"", "Pending", "Queued"})
_SAID_BEFORE_START: Final = ("", ExecutionReason.PAUSED)
"""Reasons of a Pending run that has no place; any other is of one whose Job is not accepted yet."""

_NO_JOB: Final = frozenset(
    {
        ExecutionReason.INVALID_ARGUMENTS,
        ExecutionReason.JOB_REJECTED,
        ExecutionReason.NAME_COLLISION,
    }
)
"""Outcomes of runs for which a Job was certainly not created."""
_TOGETHER: Final = Limits(kept=True)
"""Of the tasks of a namespace that name no queue: one line, by priority."""


class Where(Enum):
    """How a run that has not ended stands."""

    COMING = "coming"
    WAITING = "waiting"
    HOLDING = "holding"


@dataclass(slots=True)
class Standing:
    """One run that has not ended."""

    uid: str
    pool: str
    """uid of its task: a task that is created again begins with free places."""
    where: Where
    asked: tuple[int, int, str]
    """Which of two runs is the newer one."""
    name: str
    launched: int = 0
    """The latest attempt whose start has been counted."""


class Standings:
    """How all runs stand, and the places that they hold or wait for: the counts are those of the
    objects at every moment."""

    def __init__(self, store: Store, places: Places) -> None:
        self._store = store
        self._places = places
        self._all: dict[str, Standing] = {}
        self._pools: dict[str, dict[str, Standing]] = {}
        self._past: dict[str, dict[str, Standing]] = {}
        """Of each pool, the runs that Backfills have asked for."""
        self._namespaces: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._all

    def __getitem__(self, key: str) -> Standing:
        return self._all[key]

    def get(self, key: str) -> Standing | None:
        """How the execution `namespace/name` stands; None when it has ended or is not there."""
        return self._all.get(key)

    def keys(self) -> list[str]:
        """All that stand somewhere."""
        return list(self._all)

    def items(self) -> Iterator[tuple[str, Standing]]:
        """All that stand somewhere, by key."""
        return iter(self._all.items())

    def of_task(self, uid: str) -> dict[str, Standing]:
        """The runs of a task, by key."""
        return self._pools.get(uid, {})

    def past_waiting(self, uid: str) -> int:
        """How many runs of a task wait in line that a Backfill has asked for."""
        found = self._past.get(uid)
        return sum(each.where is Where.WAITING for each in found.values()) if found else 0

    def look(self, key: str) -> None:
        """An execution or its Job has changed."""
        execution = self._store.execution(key)
        known = self._all.get(key)
        if execution is None or execution.terminal or not execution.is_run:
            self._forget(key, created=execution is None or execution.reason not in _NO_JOB)
            return
        if known is not None and known.uid != execution.uid:
            self._forget(key)
            known = None
        where = self._where(execution, known)
        if where is None:
            self._forget(key)
        else:
            self.set(execution, self._store.tasks.get(execution.task_key), where)

    def set(self, execution: Execution, state: TaskState | None, where: Where) -> None:
        """Put a run where it stands now."""
        key = execution.key
        pool = execution.owner_uid or (state.uid if state is not None else "")
        known = self._all.get(key)
        if known is not None and known.pool != pool:
            self._forget(key)
            known = None
        if known is None:
            known = self._all[key] = Standing(
                execution.uid, pool, where, asked(execution), execution.name
            )
            self._pools.setdefault(pool, {})[key] = known
            if execution.backfill is not None:
                self._past.setdefault(pool, {})[key] = known
        known.where = where
        if where is Where.COMING:
            self._places.release(key, created=False)
            return
        if state is not None and state.uid == pool and state.compiled is not None:
            rule = state.compiled.places
            around, weight = self.around(execution.namespace, rule.queue), 1.0
            if rule.queue:
                weight = self._weight(execution.namespace, rule.queue, state.name)
            self._places.limit(pool, Limits(rule.most, weight), within=around)
        elif pool not in self._places:
            self._places.limit(pool, Limits(), within=self.around(execution.namespace))
        if where is Where.HOLDING:
            self._places.hold(key, pool)
        else:
            self._places.wait(key, pool, _order(execution, state))

    def around(self, namespace: str, queue: str = "") -> str:
        """The pool around those of tasks: their TaskQueue, or that of all tasks without one."""
        if namespace not in self._namespaces:
            self.set_namespace(namespace)
        name = f"{namespace}/{queue or '/'}"
        found = self._store.queues.get(name)
        limits = _TOGETHER if not queue else NO_QUEUE if found is None else found.limits
        self._places.limit(name, limits, within=f"{namespace}/")
        return name

    def set_namespace(self, namespace: str) -> None:
        """Take over the weight of a namespace. It is remembered like its queues: they are few."""
        self._namespaces.add(namespace)
        weight = self._store.pauses.weights.get(namespace, 1)
        limits = Limits(weight=weight, turns=True, kept=True)
        self._places.limit(f"{namespace}/", limits)

    def set_weights(self) -> None:
        """The weights of namespaces have changed."""
        for namespace in self._namespaces:
            self.set_namespace(namespace)

    def starts(self, key: str) -> Starts | None:
        """The starts of the TaskQueue of a run."""
        known = self._all.get(key)
        return None if known is None else self._places.starts(known.pool)

    def holds(self, execution: Execution) -> bool:
        """Whether a run has a place."""
        known = self._all.get(execution.key)
        return known is not None and known.uid == execution.uid and known.where is Where.HOLDING

    def others(self, execution: Execution, state: TaskState) -> Iterator[Standing]:
        """The other runs of its task."""
        found = self._pools.get(state.uid, {})
        return (each for key, each in list(found.items()) if key != execution.key)

    def holders(self, execution: Execution, state: TaskState) -> str:
        """The other runs of its task that have a place, for people."""
        others = self.others(execution, state)
        return ", ".join(f'"{each.name}"' for each in others if each.where is Where.HOLDING)

    def newer(self, execution: Execution, state: TaskState, *where: Where) -> Standing | None:
        """The newest run of its task that was asked for later and stands there."""
        mine = asked(execution)
        found = (e for e in self.others(execution, state) if e.where in where and e.asked > mine)
        return max(found, key=lambda each: each.asked, default=None)

    def _where(self, execution: Execution, known: Standing | None) -> Where | None:
        if self._has_started(execution) or (known and known.where is Where.HOLDING):
            return Where.HOLDING
        if execution.deleting:
            return None
        if known is not None:
            return known.where
        if execution.phase == "Queued":
            return Where.WAITING
        return Where.COMING if execution.type == "Scheduled" else None

    def _has_started(self, execution: Execution) -> bool:
        return (
            execution.phase not in _NOT_STARTED
            or (execution.phase == "Pending" and execution.reason not in _SAID_BEFORE_START)
            or execution.attempt > 0
            or self._store.has_job(execution)
        )

    def _weight(self, namespace: str, queue: str, task: str) -> float:
        found = self._store.queues.get(f"{namespace}/{queue}")
        return 1.0 if found is None else found.weights.get(task, 1.0)

    def _forget(self, key: str, *, created: bool = True) -> None:
        known = self._all.pop(key, None)
        if known is None:
            return
        self._places.release(key, created=created)
        siblings = self._pools[known.pool]
        del siblings[key]
        if not siblings:
            del self._pools[known.pool]
        past = self._past.get(known.pool, {})
        if past.pop(key, None) is not None and not past:
            del self._past[known.pool]


def tasks_of(store: Store, queue: str) -> list[TaskState]:
    """The tasks that name a TaskQueue, by its key."""
    namespace, _, name = queue.partition("/")
    return [
        state
        for state in list(store.tasks.values())
        if state.namespace == namespace
        and state.compiled is not None
        and state.compiled.places.queue == name
    ]


def since(execution: Execution) -> int:
    """From when on it could have started: its wait counts from there, and so does its age."""
    return max(execution.due, execution.created)


def asked(execution: Execution) -> tuple[int, int, str]:
    """Which of two runs of a task is the newer one; one of the past is newer than none."""
    if execution.backfill is not None:
        return (0, 0, "")
    return (since(execution), execution.nominal, execution.name)


def _order(execution: Execution, state: TaskState | None) -> Order:
    priority = execution.priority
    if priority is None and state is not None and state.compiled is not None:
        priority = state.compiled.places.priority
    priority = DEFAULT_PRIORITY if priority is None else priority
    return order_of(priority, since(execution), execution.name)
