"""The engine's memory: tasks, executions and Jobs as last seen, indexed by task.

Filled by watches and by the answers to our own writes; an older version never replaces a newer one
(resourceVersions are ordered, KEP-5504). Everything here can be rebuilt from the API server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from taskrunner.domain.backfill_status import Backfill
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.observed import Execution, Job, execution_from, job_from
from taskrunner.domain.task_queue import TaskQueue
from taskrunner.engine.pauses import Pauses
from taskrunner.engine.pods import Pods
from taskrunner.engine.work import Key
from taskrunner.errors import Problem, SpecError
from taskrunner.ports import EventType, Obj

_REMEMBERED_DELETES: Final = 4096


@dataclass(slots=True)
class TaskState:
    """A ScheduledTask as the engine knows it.

    `compiled` is None while the spec cannot be followed; `problems` then says why. `status` is the
    status as last read or acknowledged, JSON-encoded to stay small; `source` the object itself,
    kept only where a calendar may make it compile differently later.
    """

    key: str
    namespace: str
    name: str
    uid: str
    resource_version: int
    generation: int
    created: int
    deleting: bool = False
    compiled: CompiledTask | None = None
    problems: tuple[Problem, ...] = ()
    source: bytes = b""
    calendar_names: frozenset[str] = frozenset()
    status: bytes = b"{}"
    executions: dict[str, Execution] = field(default_factory=dict)


class Store:
    """All tasks, executions and Jobs."""

    def __init__(self) -> None:
        self.wake: Callable[[Key], None] = ignore
        """Told which key changed; whoever leads puts a listener here for the time of its term."""
        self.changed: Callable[[Key], None] = ignore
        """Told of each change of a task, or of an execution or its Job, before anything else is
        done about it; the gate listens here."""
        self.tasks: dict[str, TaskState] = {}
        self.calendars: dict[str, CompiledCalendar | SpecError] = {}
        """By `namespace/name`; the error where a Calendar cannot be followed."""
        self.pauses = Pauses()
        self.backfills: dict[str, Backfill] = {}
        """By `namespace/name`."""
        self.queues: dict[str, TaskQueue] = {}
        """By `namespace/name`."""
        self.jobs: dict[str, Job] = {}
        """The latest attempt's Job, by `namespace/execution`; the owner reference says which
        execution. Those of earlier attempts stay on the server, and are read there."""
        self.launched: dict[str, int] = {}
        """By uid of the execution: the latest attempt whose Job has been seen or created."""
        self.pods = Pods(self.execution)
        self._executions: dict[str, Execution] = {}
        self._orphans: dict[str, dict[str, Execution]] = {}
        """Executions whose task has not been seen (yet), by the task's key."""
        self._gone: dict[str, None] = {}
        """uids of the last executions deleted: the answer to a write of ours may arrive after the
        watch has told of the deletion, and must not bring the object back."""

    def execution(self, key: str) -> Execution | None:
        """The execution `namespace/name`, or None."""
        return self._executions.get(key)

    def executions(self) -> Iterator[Execution]:
        """All executions, in no order."""
        return iter(self._executions.values())

    def put_task(self, state: TaskState) -> None:
        """Add or replace a task; its executions stay attached."""
        old = self.tasks.get(state.key)
        if old is not None:
            state.executions = old.executions
        else:
            state.executions = self._orphans.pop(state.key, {})
        self.tasks[state.key] = state
        self.changed(Key("task", state.key))

    def drop_task(self, key: str) -> None:
        """The task is gone; what runs of it is still followed."""
        state = self.tasks.pop(key, None)
        if state is not None and state.executions:
            self._orphans[key] = state.executions

    def backfill_of(self, execution: Execution) -> Backfill | None:
        """The Backfill that asked for a run, if it is there."""
        if execution.backfill is None:
            return None
        name, uid = execution.backfill
        found = self.backfills.get(f"{execution.namespace}/{name}")
        return found if found is not None and found.uid == uid else None

    def backfills_of(self, task_key: str) -> list[Backfill]:
        """The Backfills of a task; there are few in all."""
        return [each for each in self.backfills.values() if each.task_key == task_key]

    def put_execution(self, execution: Execution) -> bool:
        """Note an execution unless a newer version is known; True when it was news."""
        if execution.uid in self._gone:
            return False
        known = self._executions.get(execution.key)
        if known is not None and known.resource_version >= execution.resource_version:
            return False
        self._executions[execution.key] = execution
        if execution.terminal:
            self.pods.forget(execution.key)
        self._of_task(execution.task_key)[execution.name] = execution
        self.changed(Key("run", execution.key))
        return True

    def has_execution(self, obj: Obj) -> bool:
        """Whether this version of an execution, or a newer one, is known."""
        meta = obj["metadata"]
        known = self._executions.get(f"{meta['namespace']}/{meta['name']}")
        return known is not None and known.resource_version >= int(meta["resourceVersion"])

    def drop_execution(self, key: str, uid: str = "") -> Execution | None:
        """Forget an execution (only the one with `uid`, when given)."""
        known = self._executions.get(key)
        if known is None or (uid and known.uid != uid):
            return None
        del self._executions[key]
        self.pods.forget(key)
        self.launched.pop(known.uid, None)
        self._gone[known.uid] = None
        if len(self._gone) > _REMEMBERED_DELETES:
            del self._gone[next(iter(self._gone))]
        siblings = self._of_task(known.task_key)
        siblings.pop(known.name, None)
        if not siblings:
            self._orphans.pop(known.task_key, None)
        self.changed(Key("run", key))
        return known

    def put_job(self, job: Job) -> bool:
        """Note a Job unless a newer version or a later attempt is known; True when it was news."""
        if not job.attempt:
            return False  # Not a name that we give: somebody else made it a child of ours.
        known = self.jobs.get(job.execution_key)
        if known is not None:
            age = (job.attempt, job.resource_version)
            if known.owner_uid != job.owner_uid:
                age = (known.attempt, job.resource_version)
            if (known.attempt, known.resource_version) >= age:
                return False
        self.jobs[job.execution_key] = job
        self.launched[job.owner_uid] = max(self.launched.get(job.owner_uid, 0), job.attempt)
        self.changed(Key("run", job.execution_key))
        return True

    def has_seen_job(self, obj: Obj) -> bool:
        """Whether this version of a Job, or a newer one, is known."""
        meta = obj["metadata"]
        key = f"{meta['namespace']}/{meta['name'].rpartition('-')[0]}"
        known = self.jobs.get(key)
        return (
            known is not None
            and known.uid == meta["uid"]
            and known.resource_version >= int(meta["resourceVersion"])
        )

    def job_of(self, execution: Execution) -> Job | None:
        """The Job of its latest attempt, as far as one has been seen."""
        return self.jobs.get(execution.key)

    def has_job(self, execution: Execution) -> bool:
        """A Job of the execution has been seen or created."""
        return execution.key in self.jobs or execution.uid in self.launched

    def drop_job(self, job: Job) -> bool:
        """Forget a Job, unless another one has taken its place."""
        known = self.jobs.get(job.execution_key)
        if known is None or known.uid != job.uid:
            return False
        del self.jobs[job.execution_key]
        return True

    def _of_task(self, task_key: str) -> dict[str, Execution]:
        state = self.tasks.get(task_key)
        if state is not None:
            return state.executions
        return self._orphans.setdefault(task_key, {})


def ignore(key: Key) -> None:
    """What a store does with changes while this replica does not lead."""


class ExecutionSink:
    """ports.Sink for TaskExecutions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there, and not newer than the list, is gone."""
        gone = [
            execution
            for execution in self._store.executions()
            if execution.key not in present and execution.resource_version <= resource_version
        ]
        for execution in gone:
            self._drop(execution.key, execution.uid)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        if event != "DELETED" and self._store.has_execution(obj):
            return  # The echo of a write of ours: half of what there is to see in a burst.
        execution = execution_from(obj)
        if event == "DELETED":
            self._drop(execution.key, execution.uid)
        else:
            self._put(execution)

    def _put(self, execution: Execution) -> None:
        if self._store.put_execution(execution):
            self._store.wake(Key("run", execution.key))

    def _drop(self, key: str, uid: str) -> None:
        dropped = self._store.drop_execution(key, uid)
        if dropped is not None:
            self._store.wake(Key("run", key))
            self._store.wake(Key("task", dropped.task_key))


class JobSink:
    """ports.Sink for the Jobs we own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there, and not newer than the list, is gone."""
        uids = set(present.values())
        gone = [
            job
            for job in self._store.jobs.values()
            if job.uid not in uids and job.resource_version <= resource_version
        ]
        for job in gone:
            self._drop(job)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        if event != "DELETED" and self._store.has_seen_job(obj):
            return
        job = job_from(obj)
        if event == "DELETED":
            self._drop(job)
        else:
            self._put(job)

    def _put(self, job: Job) -> None:
        if job.execution and self._store.put_job(job):
            self._store.wake(Key("run", job.execution_key))

    def _drop(self, job: Job) -> None:
        if self._store.drop_job(job):
            self._store.wake(Key("run", job.execution_key))
