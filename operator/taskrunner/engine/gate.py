"""Whether a run may start: what its task and the operator allow beside the runs that are active.

Each run that has not ended stands in one of three ways: it is *coming* (decided, and not yet
due), it is *waiting* in line, or it is *holding* a place. The gate follows the store: it is told
of every change, so that its counts are those of the objects at every moment, and whoever is next
gets a place in the same call in which it becomes free.

Nothing of it is kept: a new leader finds who holds a place (a Job, or a phase beyond Queued) and
who waits since when (the times in the object), and comes to the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.circuit import Circuit, circuit
from taskrunner.domain.lifecycle import Finish, Stop, Wait
from taskrunner.domain.observed import Execution
from taskrunner.domain.places import Places
from taskrunner.domain.status import Tally, failures_of
from taskrunner.engine import gate_messages as say
from taskrunner.engine.gate_queues import GateQueues
from taskrunner.engine.gate_standings import Standing, Standings, Where, since
from taskrunner.engine.store import Store, TaskState, ignore
from taskrunner.engine.work import Key
from taskrunner.ports import Clock

TASK_GRACE_SECONDS: Final = 30
"""An execution made by hand may be seen before its task, when both are applied together."""
_BY_HAND: Final = frozenset({"Manual", "Redrive"})
"""Runs that a person asked for: an open circuit does not keep them out, and a success closes it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A run must wait for a place; `until` when to look again if none becomes free."""

    reason: ExecutionReason
    message: str
    until: int | None


class Gate:
    """Lets executions through to their start; what it remembers can be lost at any time."""

    def __init__(self, store: Store, clock: Clock, *, most: int | None = None) -> None:
        self._store = store
        self._clock = clock
        self._places = Places(most, now=clock.boot)
        self._standings = Standings(store, self._places)
        self.queues = GateQueues(store, clock, self._places, self._standings)
        self._accepted: set[str] = set()
        """Runs that somebody asked for whose task has been seen: what it has become since is said
        by their step."""
        self._began = 0
        self.starting: set[str] = set()
        """Keys of tasks for which the execution of a slot is being created: it is active already,
        or a run by hand could be admitted beside it under Forbid."""
        self.tally: Callable[[str], Tally | None] = lambda task_key: None
        """Outcomes of a task counted in this term, by its key; None before any were."""

    def begin(self) -> None:
        """Take in what the store has, all of it before anybody gets a place; then follow it."""
        self._began = int(self._clock.now())
        for execution in list(self._store.executions()):
            self._look(execution.key)
        self.queues.begin()
        self._store.changed = self.note
        self._let_in()

    def end(self) -> None:
        """The term is over."""
        self._store.changed = ignore

    def note(self, key: Key) -> None:
        """An execution, its Job, a task or a TaskQueue has changed."""
        if key.subject == "run":
            self._look(key.name)
            self.queues.note(key.name)
        elif key.subject == "queue":
            self.queues.changed(key.name)
        else:
            state = self._store.tasks.get(key.name)
            for name in list(state.executions) if state is not None else ():
                self._look(f"{key.name.partition('/')[0]}/{name}")
        self._let_in()

    def look_at_queue(self, key: str) -> None:
        """It may be time for more runs of a TaskQueue to start."""
        self.queues.look(key)
        self._let_in()

    @property
    def held(self) -> int:
        """Executions that have a place."""
        return self._places.held

    @property
    def in_line(self) -> int:
        """Executions that wait for one."""
        return self._places.in_line

    def active(self, state: TaskState) -> int:
        """Runs of a task that have started, will, or wait for a place, and have not ended."""
        reserved = 1 if state.key in self.starting else 0
        # A run of the past that waits is in nobody's way.
        waiting = self._standings.past_waiting(state.uid)
        return reserved + len(self._standings.of_task(state.uid)) - waiting

    def breaker(self, state: TaskState, now: int) -> tuple[Circuit, int]:
        """The state of a task's circuit breaker, and its failures in a row."""
        rule = state.compiled.circuit_breaker if state.compiled is not None else None
        if rule is None:
            return Circuit.CLOSED, 0
        failures, last = failures_of(
            orjson.loads(state.status), state.executions.values(), self.tally(state.key)
        )
        return circuit(rule, failures, last, now), failures

    def verdict(
        self, execution: Execution, state: TaskState | None, now: int
    ) -> Finish | Hold | Wait | None:
        """Whether an execution may go on: None means yes. One that is to start has a place then."""
        if execution.terminal or execution.deleting or not execution.is_run:
            return None
        if self._standings.holds(execution):
            return None
        asked_for = execution.type != "Scheduled" and execution.queued is None
        if asked_for and execution.key not in self._accepted:
            unusable = _unusable(execution, state, now)
            if unusable is not None:
                return unusable
            self._accepted.add(execution.key)
        if state is None or not _is_usable(execution, state):
            return None  # Nothing starts: the step says what becomes of it.
        if execution.due > now:
            return Wait(execution.due)
        left_out = self._left_out(execution, state, now)
        if left_out is not None:
            return left_out
        if asked_for:
            others = self.active(state) - (execution.key in self._standings)
            if _policy(state) == "Forbid" and others and execution.backfill is None:
                return Finish("Skipped", ExecutionReason.CONCURRENT_RUN, say.FORBIDDEN)
        if self._get_place(execution, state):
            return None
        return self._must_wait(execution, state, now)

    def stop(self, execution: Execution, state: TaskState | None) -> Stop | None:
        """Whether another run wants this one, which has a place, to end."""
        if state is None or state.compiled is None or not self._standings.holds(execution):
            return None
        newer = self._newer(execution, state, Where.WAITING)
        if newer is None:
            return None
        return Stop(
            False, "Cancelled", ExecutionReason.REPLACED, say.REPLACED.format(name=newer.name)
        )

    # --- who gets a place -----------------------------------------------------------------------

    def _left_out(self, execution: Execution, state: TaskState, now: int) -> Finish | None:
        """Why a run that has no place yet never gets one."""
        newer = self._newer(execution, state, Where.WAITING, Where.HOLDING)
        if newer is not None:
            return Finish(
                "Cancelled", ExecutionReason.REPLACED, say.REPLACED.format(name=newer.name)
            )
        if execution.type in _BY_HAND or execution.backfill is not None:
            # A Backfill asks for no more runs while the circuit is open; what it has, it keeps.
            return None
        breaker, failures = self.breaker(state, now)
        tried = self._places.holding(state.uid) - self._standings.holds(execution)
        if breaker is Circuit.OPEN or (breaker is Circuit.HALF_OPEN and tried):
            message = say.CIRCUIT_OPEN.format(failures=failures)
            return Finish("Skipped", ExecutionReason.CIRCUIT_OPEN, message)
        return None

    def _get_place(self, execution: Execution, state: TaskState) -> bool:
        """Join the line; True when that gave it a place at once."""
        known = self._standings.get(execution.key)
        if known is None or known.where is not Where.WAITING:
            self._standings.set(execution, state, Where.WAITING)
            if _policy(state) == "Replace":
                for other in self._standings.others(execution, state):
                    self._store.wake(Key("run", f"{state.namespace}/{other.name}"))
        self._let_in(but=execution.key)
        return self._standings.holds(execution)

    def _must_wait(self, execution: Execution, state: TaskState, now: int) -> Finish | Hold:
        """It has joined the line in vain: it stays, or leaves for good."""
        assert state.compiled is not None
        rule = state.compiled.places
        ahead = self._places.waiting(state.uid) - 1
        until: list[int] = []
        out: Finish | None = None
        if rule.max_length is not None and ahead >= rule.max_length and execution.queued is None:
            message = say.QUEUE_FULL.format(ahead=ahead, most=rule.max_length)
            out = Finish("Skipped", ExecutionReason.QUEUE_FULL, message)
        elif rule.timeout is not None:
            until.append(since(execution) + rule.timeout)
            if now >= until[-1]:
                message = say.QUEUE_TIMED_OUT.format(seconds=rule.timeout)
                out = Finish("Skipped", ExecutionReason.QUEUE_TIMED_OUT, message)
        if out is None and _policy(state) == "Replace" and not self._places.has_room(state.uid):
            # Counted from when this leader could first act on it, so that a replica which takes
            # over late does not give up what nobody has tried.
            until.append(max(execution.queued or now, self._began) + rule.replace_timeout)
            if now >= until[-1]:
                names, seconds = self._standings.holders(execution, state), rule.replace_timeout
                message = say.REPLACE_BLOCKED.format(names=names, seconds=seconds)
                out = Finish("Failed", ExecutionReason.REPLACE_BLOCKED, message)
        if execution.backfill is not None:
            out, until = None, []  # The past has time.
        if out is not None:
            self._standings.set(execution, state, Where.COMING)
            return out
        reason, message = self._what_for(execution, state)
        return Hold(reason, message, min(until, default=None))

    def _what_for(self, execution: Execution, state: TaskState) -> tuple[ExecutionReason, str]:
        """What a run in line waits for."""
        assert state.compiled is not None
        if self._places.has_room(state.uid):
            waits = self.queues.what_for(state)
            if waits is not None:
                return waits
            message = say.NO_PLACE.format(held=self._places.held, most=self._places.most)
            return ExecutionReason.WAITING_FOR_PLACE, message
        if _policy(state) == "Replace":
            message = say.REPLACING.format(names=self._standings.holders(execution, state))
        else:
            held, most = self._places.holding(state.uid), state.compiled.places.most
            message = say.TASK_BUSY.format(held=held, most=most)
        return ExecutionReason.CONCURRENT_RUN, message

    def _newer(self, execution: Execution, state: TaskState, *where: Where) -> Standing | None:
        """The newest run that replaces this one, where the policy is Replace."""
        if _policy(state) != "Replace":
            return None
        return self._standings.newer(execution, state, *where)

    def _look(self, key: str) -> None:
        execution = self._store.execution(key)
        if execution is None or execution.terminal:
            self._accepted.discard(key)
        self._standings.look(key)

    def _let_in(self, but: str = "") -> None:
        """Give every place that is free to whoever is next. `but`: whom not to tell."""
        while (key := self._places.take()) is not None:
            standing = self._standings[key]
            standing.where = Where.HOLDING
            execution = self._store.execution(key)
            if execution is None or not self._may_start(execution):
                # Its own step says what becomes of it.
                self._places.release(key, created=False)
                standing.where = Where.COMING
            if key != but:
                self._store.wake(Key("run", key))

    def _may_start(self, execution: Execution) -> bool:
        state = self._store.tasks.get(execution.task_key)
        if state is None or not _is_usable(execution, state):
            return False
        if self._store.pauses.why(execution.namespace):
            return False
        return self._left_out(execution, state, int(self._clock.now())) is None


def _unusable(execution: Execution, state: TaskState | None, now: int) -> Finish | Wait | None:
    """What becomes of a run that somebody asked for, when its task is not there or no good."""
    if state is None:
        if now < execution.created + TASK_GRACE_SECONDS:
            return Wait(execution.created + TASK_GRACE_SECONDS)
        return Finish(
            "Failed",
            ExecutionReason.TASK_NOT_FOUND,
            f'There is no ScheduledTask "{execution.task}" in namespace'
            f' "{execution.namespace}"; check spec.taskRef.name and create the execution again.',
        )
    if state.compiled is None:
        problems = "; ".join(str(problem) for problem in state.problems)
        return Finish(
            "Failed",
            ExecutionReason.INVALID_SPEC,
            f"The task cannot be followed as written: {problems}",
        )
    return None


def _is_usable(execution: Execution, state: TaskState) -> bool:
    """Whether a run may start for this task: it is there, can be followed, and is the run's own."""
    own = execution.owner_uid in ("", state.uid)
    return own and not state.deleting and state.compiled is not None


def _policy(state: TaskState) -> str:
    return state.compiled.concurrency_policy if state.compiled is not None else ""
