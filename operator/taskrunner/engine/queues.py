"""TaskQueues: seen into the store, and their status written."""

from __future__ import annotations

from collections.abc import Mapping

from taskrunner.domain.instants import format_instant
from taskrunner.domain.status import merge_patch
from taskrunner.domain.task_queue import TaskQueue, queue_status, task_queue_from
from taskrunner.engine.gate import Gate
from taskrunner.engine.gate_standings import tasks_of
from taskrunner.engine.store import Store
from taskrunner.engine.work import Key
from taskrunner.ports import TASK_QUEUES, Api, EventType, Obj


class TaskQueueSink:
    """ports.Sink for TaskQueues."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there, and not newer than the list, is gone."""
        for queue in list(self._store.queues.values()):
            if queue.key not in present and queue.resource_version <= resource_version:
                self._drop(queue)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        queue = task_queue_from(obj)
        if event != "DELETED":
            self._put(obj)
        elif (known := self._store.queues.get(queue.key)) is not None and known.uid == queue.uid:
            self._drop(known)

    def _put(self, obj: Obj) -> None:
        queue = task_queue_from(obj)
        known = self._store.queues.get(queue.key)
        if known is not None and known.resource_version >= queue.resource_version:
            return
        self._store.queues[queue.key] = queue
        if known is None or (known.uid, known.generation) != (queue.uid, queue.generation):
            self._tell(queue, came=known is None)

    def _drop(self, queue: TaskQueue) -> None:
        del self._store.queues[queue.key]
        self._tell(queue, came=True)

    def _tell(self, queue: TaskQueue, *, came: bool) -> None:
        """`came`: it was not there before, or is not any more; its tasks say so then."""
        self._store.changed(Key("queue", queue.key))
        self._store.wake(Key("queue", queue.key))
        for state in tasks_of(self._store, queue.key) if came else ():
            self._store.wake(Key("report", state.key))
            for execution in state.executions.values():
                if execution.phase == "Queued":
                    self._store.wake(Key("run", execution.key))


class Queues:
    """Writes the statuses of TaskQueues, for one term of leadership."""

    def __init__(self, api: Api, store: Store, gate: Gate) -> None:
        self._api = api
        self._store = store
        self._gate = gate

    async def report(self, queue: TaskQueue, now: float, timeout: float) -> bool:
        """PATCH what differs; True when something was written. A crash right before leaves it to
        the next leader, who counts the same."""
        running, length, oldest = self._gate.queues.counts(queue)
        patch = merge_patch(queue.status, queue_status(queue, running, length, oldest, now))
        if not patch:
            return False
        patch["lastUpdateTime"] = format_instant(now)
        obj = await self._api.patch(
            TASK_QUEUES,
            queue.namespace,
            queue.name,
            {"metadata": {"resourceVersion": str(queue.resource_version)}, "status": patch},
            subresource="status",
            timeout=timeout,
        )
        written = task_queue_from(obj)
        present = self._store.queues.get(queue.key)
        if present is not None and present.resource_version < written.resource_version:
            self._store.queues[queue.key] = written
        return True
