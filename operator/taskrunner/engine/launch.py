"""Decisions become objects: TaskExecution, run Lease, Job, in this order.

Each step is one write whose name is its lock, so each can be repeated by anybody. What a crash
leaves is said at each step; the next leader goes on from there.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

import orjson

from taskrunner.api.v1alpha1 import names
from taskrunner.domain.backfill_status import Backfill
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.decide import SlotDecision
from taskrunner.domain.instants import format_instant
from taskrunner.domain.job import (
    is_suspended,
    job_manifest,
    labels_for,
    owner_reference,
    retry_manifest,
)
from taskrunner.domain.lifecycle import Finish, copy_lost, name_collision
from taskrunner.domain.naming import execution_name, job_name
from taskrunner.domain.observed import Execution, Job, execution_from, job_from
from taskrunner.domain.plan import Slot
from taskrunner.domain.pods import pod_from
from taskrunner.domain.policy import HALT_ANNOTATION, Halt, halt_text, policy_of
from taskrunner.engine.store import Store
from taskrunner.engine.work import Key
from taskrunner.errors import AlreadyExists, NotFound, Refused, Transient
from taskrunner.ports import BACKFILLS, JOBS, LEASES, PODS, TASK_EXECUTIONS, Api, Clock, Obj, Term

log = logging.getLogger(__name__)

WRITE_TIMEOUT_SECONDS = 10.0
BACKFILL_PRIORITY: Final = 0
"""The lowest: what is due now goes before the past. It grows as a run waits, like any other's."""


class Launcher:
    """Writes on behalf of one term of leadership of one shard."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        store: Store,
        term: Term,
        *,
        shard: str,
        default_retries: int = 0,
    ) -> None:
        self._api = api
        self._clock = clock
        self._store = store
        self._term = term
        self._writer = {"shard": shard, "epoch": f"{term.identity}/{term.epoch}"}
        self._holder = term.identity
        self._default_retries = default_retries

    def timeout(self) -> float:
        """How long a write may take: never longer than the Lease is certainly ours."""
        remaining = self._term.remaining()
        if remaining <= 0:
            raise Transient("The shard's Lease may have passed to another replica.")
        return min(remaining, WRITE_TIMEOUT_SECONDS)

    async def decide_slot(self, task: CompiledTask, item: SlotDecision) -> Execution:
        """POST the execution whose name is the slot's lock, with the decision inside.

        AlreadyExists means that the slot was decided before, by us or by another leader: the
        present object is read and its decision stands. A crash right after leaves an execution
        that the next leader finds in its LIST and follows.
        """
        slot = item.slot
        name = execution_name(task.name, slot.nominal, slot.schedule, bool(slot.arguments))
        try:
            obj = await self._api.create(
                TASK_EXECUTIONS,
                task.namespace,
                self._execution_body(task, item, name),
                timeout=self.timeout(),
            )
        except AlreadyExists:
            obj = await self._api.get(TASK_EXECUTIONS, task.namespace, name)
        execution = execution_from(obj)
        self._store.put_execution(execution)
        return execution

    async def backfill_slot(
        self, task: CompiledTask, backfill: Backfill, slot: Slot, name: str
    ) -> Execution:
        """POST the execution that runs a slot of the past.

        AlreadyExists means that it was asked for before, by us, by another leader or for another
        Backfill. A crash right after leaves an execution that the next leader finds and follows.
        """
        spec: dict[str, Any] = {
            "taskRef": {"name": task.name},
            "type": "Backfill",
            "scheduledTime": format_instant(slot.nominal),
            "priority": BACKFILL_PRIORITY,
            "backfillRef": {"name": backfill.name, "uid": backfill.uid},
            "writer": self._writer,
        }
        arguments = {**slot.arguments, **(backfill.request.arguments or {})}
        if arguments:
            spec["arguments"] = arguments
        if backfill.requested_by:
            spec["requestedBy"] = orjson.loads(backfill.requested_by)
        body = _execution(task, name, spec)
        body["metadata"]["labels"][names.LABEL_BACKFILL] = backfill.name
        try:
            obj = await self._api.create(
                TASK_EXECUTIONS, task.namespace, body, timeout=self.timeout()
            )
        except AlreadyExists:
            obj = await self._api.get(TASK_EXECUTIONS, task.namespace, name)
        execution = execution_from(obj)
        self._store.put_execution(execution)
        return execution

    async def backfill_is_there(self, execution: Execution) -> bool:
        """Look at the server itself whether the Backfill that asked for a run exists."""
        assert execution.backfill is not None
        name, uid = execution.backfill
        try:
            obj = await self._api.get(BACKFILLS, execution.namespace, name)
        except NotFound:
            return False
        return bool(obj["metadata"]["uid"] == uid and "deletionTimestamp" not in obj["metadata"])

    async def claim_run(self, execution: Execution) -> None:
        """POST the run's Lease. A Lease that exists is ours to take over: whoever holds the shard
        holds its runs. A crash right after leaves a Lease that the shard's next owner finds."""
        now = format_instant(self._clock.now())[:-1] + ".000000Z"
        try:
            await self._api.create(
                LEASES,
                execution.namespace,
                {
                    "apiVersion": LEASES.api_version,
                    "kind": LEASES.kind,
                    "metadata": {
                        "name": execution.name,
                        "labels": labels_for(execution.task, execution.name),
                        "ownerReferences": [_owned_by(execution)],
                    },
                    "spec": {
                        "holderIdentity": self._holder,
                        "acquireTime": now,
                        "leaseTransitions": 0,
                    },
                },
                timeout=self.timeout(),
            )
        except AlreadyExists:
            lease = await self._api.get(LEASES, execution.namespace, execution.name)
            if lease["spec"].get("holderIdentity") == self._holder:
                return
            lease["spec"] |= {
                "holderIdentity": self._holder,
                "acquireTime": now,
                "leaseTransitions": lease["spec"].get("leaseTransitions", 0) + 1,
            }
            await self._api.replace(
                LEASES, execution.namespace, execution.name, lease, timeout=self.timeout()
            )

    async def create_job(
        self, task: CompiledTask | None, execution: Execution, attempt: int
    ) -> Finish | None:
        """POST the Job of an attempt; adopt it when it is there already and ours.

        Returns an outcome when that cannot be: the name is taken by a foreign Job, or there is
        nothing left to repeat. A crash right after leaves a Job that belongs to the execution; the
        next leader finds it by its owner reference.
        """
        name = job_name(execution.name, attempt)
        body = await self._job_body(task, execution, attempt, name)
        if isinstance(body, Finish):
            return body
        try:
            obj = await self._api.create(JOBS, execution.namespace, body, timeout=self.timeout())
        except AlreadyExists:
            obj = await self._api.get(JOBS, execution.namespace, name)
            if job_from(obj).owner_uid != execution.uid:
                return name_collision(name)
        before = self._store.job_of(execution)
        self._store.put_job(job_from(obj))
        if before is not None and before.attempt < attempt and before.left_queue:
            await self.delete_job(before)
        return None

    async def suspend(self, job: Job, halt: Halt) -> None:
        """PATCH the Job so that its controller ends its pods and starts no other; the Job and its
        name stay. The cause is written with it, so that after a crash right after, the next leader
        knows what the Job is suspended for. It leaves the queue of Kueue in the same write, or that
        would start it again."""
        metadata: dict[str, Any] = {
            "resourceVersion": str(job.resource_version),
            "annotations": {HALT_ANNOTATION: halt_text(halt)},
        }
        if job.queue:
            metadata["annotations"][names.ANNOTATION_KUEUE_QUEUE] = job.queue
            metadata["labels"] = {names.LABEL_KUEUE_QUEUE: None}
        obj = await self._api.patch(
            JOBS,
            job.namespace,
            job.name,
            {"metadata": metadata, "spec": {"suspend": True}},
            timeout=self.timeout(),
        )
        self._store.put_job(job_from(obj))

    async def delete_job(self, job: Job) -> None:
        """DELETE a halted Job that was in somebody else's queue: what is reserved for it there is
        free only when the Job is gone. A crash right before leaves the Job to the next leader."""
        with suppress(NotFound):
            await self._api.delete(
                JOBS,
                job.namespace,
                job.name,
                uid=job.uid,
                propagation="Background",
                timeout=self.timeout(),
            )
        self._store.drop_job(job)

    async def kill_pods(self, execution: Execution) -> None:
        """DELETE the pods of an execution that have not ended, without a grace period. Their Job is
        suspended, so that none follows them. A crash right after costs nothing: whoever looks next
        deletes what is left."""
        await self._api.delete_selected(
            PODS,
            execution.namespace,
            label_selector=f"{names.LABEL_EXECUTION}={execution.name}",
            field_selector="status.phase!=Succeeded,status.phase!=Failed",
            grace_seconds=0,
            timeout=self.timeout(),
        )

    async def _job_body(
        self, task: CompiledTask | None, execution: Execution, attempt: int, name: str
    ) -> Obj | Finish:
        """The first attempt's Job is made from the task, a later one's from the Job before. When
        somebody has deleted that, the task will do, unless it was edited since."""
        if attempt > 1:
            before = job_name(execution.name, attempt - 1)
            try:
                previous = await self._api.get(JOBS, execution.namespace, before)
            except NotFound:
                if task is None or task.generation != execution.task_generation:
                    return copy_lost(execution)
            else:
                if job_from(previous).owner_uid != execution.uid:
                    return name_collision(before)
                return retry_manifest(previous, execution, name, job_from(previous).policy)
        assert task is not None
        policy = policy_of(
            task,
            timeout=execution.timeout,
            default_retries=self._default_retries,
            suspended=is_suspended(task.job_template),
            on_schedule=execution.type == "Scheduled",
        )
        environment = task.parameters.environment(dict(execution.arguments))
        return job_manifest(task.job_template, execution, name, policy, environment=environment)

    async def look_for(self, namespace: str, name: str) -> None:
        """Look at the server itself whether an execution exists; remember it if so, and have it
        followed: when the watch tells of it later, it is no news any more."""
        with suppress(NotFound):
            execution = execution_from(await self._api.get(TASK_EXECUTIONS, namespace, name))
            self._store.put_execution(execution)
            self._store.wake(Key("run", execution.key))

    async def job_is_there(self, execution: Execution, attempt: int) -> bool:
        """Look at the server itself whether the Job of an attempt exists; remember it if so. One
        of somebody else that has taken its name since is not it."""
        try:
            obj = await self._api.get(JOBS, execution.namespace, job_name(execution.name, attempt))
        except NotFound:
            return False
        job = job_from(obj)
        if job.owner_uid != execution.uid:
            return False
        self._store.put_job(job)
        return True

    async def ask_for_pods(self, job: Job) -> None:
        """Read the pods of a Job that has ended; what cannot be had then stays unknown."""
        try:
            found = await self._api.list(
                PODS,
                namespace=job.namespace,
                label_selector=f"{names.LABEL_EXECUTION}={job.execution}",
            )
        except Refused as error:
            log.warning("The pods of Job %s cannot be read: %s", job.key, error)
            found = []
        for obj in found:
            self._store.pods.put(pod_from(obj))
        self._store.pods.asked(job)

    async def adopt(self, task_uid: str, execution: Execution) -> None:
        """Make an execution that was created by hand a child of its task, with our labels."""
        obj = await self._api.patch(
            TASK_EXECUTIONS,
            execution.namespace,
            execution.name,
            {
                "metadata": {
                    "resourceVersion": str(execution.resource_version),
                    "labels": labels_for(execution.task, execution.name),
                    "ownerReferences": [_task_reference(execution.task, task_uid)],
                }
            },
            timeout=self.timeout(),
        )
        self._store.put_execution(execution_from(obj))

    async def write_status(self, execution: Execution, status: Obj) -> None:
        """PATCH an execution's status. A crash right before leaves it to the next leader, which
        comes to the same outcome from the same Job."""
        obj = await self._api.patch(
            TASK_EXECUTIONS,
            execution.namespace,
            execution.name,
            {"metadata": {"resourceVersion": str(execution.resource_version)}, "status": status},
            subresource="status",
            timeout=self.timeout(),
        )
        self._store.put_execution(execution_from(obj))

    def _execution_body(self, task: CompiledTask, item: SlotDecision, name: str) -> Obj:
        slot = item.slot
        spec: dict[str, Any] = {
            "taskRef": {"name": task.name},
            "type": "Scheduled",
            "decision": item.to_wire(),
            "scheduledTime": format_instant(slot.nominal),
            "writer": self._writer,
        }
        if slot.start != slot.nominal:
            spec["notBefore"] = format_instant(slot.start)
        if slot.arguments:
            spec["arguments"] = dict(slot.arguments)
        if task.requested_by:
            spec["requestedBy"] = {"username": task.requested_by}
        return _execution(task, name, spec)


def _execution(task: CompiledTask, name: str, spec: dict[str, Any]) -> Obj:
    """Its owner is the task whatever asked for it: with the task, its runs go."""
    return {
        "apiVersion": TASK_EXECUTIONS.api_version,
        "kind": TASK_EXECUTIONS.kind,
        "metadata": {
            "name": name,
            "labels": labels_for(task.name, name),
            "ownerReferences": [_task_reference(task.name, task.uid)],
        },
        "spec": spec,
    }


def _task_reference(name: str, uid: str) -> dict[str, Any]:
    return owner_reference(names.API_VERSION, names.SCHEDULED_TASK.kind, name, uid)


def _owned_by(execution: Execution) -> dict[str, Any]:
    return owner_reference(
        names.API_VERSION, names.TASK_EXECUTION.kind, execution.name, execution.uid
    )
