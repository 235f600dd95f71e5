"""What faults act on, and who may act on what at the same time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from chaos.install import NAMESPACE
from chaos.ledger import Ledger, Removal, seconds
from chaos.load import NAMESPACES
from chaos.replicas import Replica
from taskrunner.errors import ApiError, Conflict, NotFound, Refused, Transient
from taskrunner.kube.client import ApiClient
from taskrunner.ports import JOBS, LEASES, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj, Resource
from testbed import Cluster

_EXECUTION_LABEL = "taskrunner.dev/execution"
_PATIENCE_SECONDS = 60.0

BEGAN: ContextVar[float] = ContextVar("began")
"""When the fault of this lane had all that it breaks, by the wall clock."""


@dataclass
class Field:
    """The cluster, the replicas, and the locks that keep faults apart which would undo each other.

    A fault holds what it breaks: the control plane, or one replica. Faults of different replicas,
    and deletes by a third party, come at the same time when there are several lanes.
    """

    cluster: Cluster
    replicas: list[Replica]
    client: ApiClient
    ledger: Ledger
    rng: random.Random
    _control_plane: asyncio.Lock = field(default_factory=asyncio.Lock)
    _held: dict[str, asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[Replica]:
        """The replica that holds the Lease of a shard, or another one when that is being broken
        already, or nobody leads."""
        replica = await self._leading()
        if replica is None or self._lock(replica).locked():
            free = [r for r in self.replicas if not self._lock(r).locked()]
            replica = self.rng.choice(free or self.replicas)
        async with self._lock(replica):
            BEGAN.set(time.time())
            yield replica

    @asynccontextmanager
    async def anyone(self) -> AsyncIterator[Replica]:
        free = [r for r in self.replicas if not self._lock(r).locked()]
        replica = self.rng.choice(free or self.replicas)
        async with self._lock(replica):
            BEGAN.set(time.time())
            yield replica

    @asynccontextmanager
    async def control_plane(self) -> AsyncIterator[None]:
        async with self._control_plane:
            BEGAN.set(time.time())
            yield

    @asynccontextmanager
    async def everything(self) -> AsyncIterator[None]:
        """The control plane and all replicas."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._control_plane)
            for replica in self.replicas:
                await stack.enter_async_context(self._lock(replica))
            BEGAN.set(time.time())
            yield

    async def some(
        self, resource: Resource, count: int, choose: Callable[[Obj], bool]
    ) -> list[Obj]:
        """A few objects of a kind in the tasks' namespaces."""
        found = [
            obj
            for obj in await self.patient_list(resource)
            if obj["metadata"]["namespace"] in NAMESPACES and choose(obj)
        ]
        return self.rng.sample(found, min(count, len(found)))

    async def remove(self, resource: Resource, objects: Iterable[Obj]) -> int:
        """Delete as a third party would, and note what was known of the slot by then."""
        count = 0
        for obj in objects:
            meta = obj["metadata"]
            namespace, name = meta["namespace"], meta["name"]
            if resource is TASK_EXECUTIONS:
                removal = Removal("execution", name, recorded=await self._passed(obj))
                self.ledger.removed[f"{namespace}/{name}"].append(removal)
            elif resource is JOBS:
                execution = (meta.get("labels") or {}).get(_EXECUTION_LABEL, "")
                removal = Removal("job", name, recorded=await self._recorded(obj, execution))
                self.ledger.removed[f"{namespace}/{execution}"].append(removal)
            count += await self._delete(resource, namespace, name, meta["uid"])
        return count

    async def patient_list(self, resource: Resource, namespace: str = "") -> list[Obj]:
        """A LIST that outlasts a fault of the control plane."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self.client.list(resource, namespace=namespace)
            except Transient:
                if time.monotonic() > end:
                    raise
            except Refused:  # a server that has just started does not know all rights yet
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.5)

    async def patient_patch(
        self, resource: Resource, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> None:
        """A PATCH that may be done twice, likewise."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                await self.client.patch(resource, namespace, name, patch)
            except Transient:
                if time.monotonic() > end:
                    raise
            else:
                return
            await asyncio.sleep(0.5)

    def between(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    # --- inside -----------------------------------------------------------------------------------

    def _lock(self, replica: Replica) -> asyncio.Lock:
        return self._held.setdefault(replica.name, asyncio.Lock())

    async def _delete(self, resource: Resource, namespace: str, name: str, uid: str) -> bool:
        """Whether it was deleted; it may have gone by itself, or is another one by now."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                await self.client.delete(resource, namespace, name, uid=uid)
            except (NotFound, Conflict):
                return False
            except Transient:
                if time.monotonic() > end:
                    raise
            else:
                return True
            await asyncio.sleep(0.5)

    async def _leading(self) -> Replica | None:
        with suppress(ApiError):
            leases = await self.client.list(LEASES, namespace=NAMESPACE)
            holders = {lease["spec"].get("holderIdentity") for lease in leases}
            leading = [r for r in self.replicas if r.identity in holders]
            if leading:
                return self.rng.choice(leading)
        return None

    async def _passed(self, execution: Obj) -> bool:
        """Whether the server has a watermark of the task at or past the slot: its deletion must
        not bring the slot back."""
        spec, namespace = execution["spec"], execution["metadata"]["namespace"]
        with suppress(ApiError):
            task = await self.client.get(SCHEDULED_TASKS, namespace, spec["taskRef"]["name"])
            until = (task.get("status") or {}).get("decidedUntil")
            return until is not None and seconds(spec["scheduledTime"]) <= seconds(until)
        return False

    async def _recorded(self, job: Obj, execution: str) -> bool:
        """Whether the server has the attempt on record: it must not be made again."""
        meta = job["metadata"]
        with suppress(ApiError):
            run = await self.client.get(TASK_EXECUTIONS, meta["namespace"], execution)
            attempts = (run.get("status") or {}).get("attempts") or ()
            return any(attempt.get("jobName") == meta["name"] for attempt in attempts)
        return False
