"""1,000 tasks due in the same second, beside a bare client that makes the same writes.

All on one cluster, in turns. Time is taken by one watch of Jobs in this process, from the slot (or
the start of the bare burst) to the event that says that the Job is there. The bare client is ours
without an engine: warm connections, 128 writes at a time.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import uvloop

from bench.measures import Measure, percentile
from install import apply_fence
from taskrunner.domain.instants import format_instant
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS, LEASES, SCHEDULED_TASKS, EventType, Obj, Resource
from testbed import Cluster, ClusterSpec

TASKS = 1_000
AT_ONCE = 128
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
"""Stands for the execution in the bare client's three writes: an object of about its size."""
_CRDS = Path(__file__).parents[2] / "crds"
_TEMPLATE: Obj = {
    "template": {
        "metadata": {"annotations": {"testbed.taskrunner.dev/run-for": "60s"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
    }
}


def measure() -> Iterator[Measure]:
    spec = ClusterSpec(name="bench")
    with Cluster(spec) as cluster:
        cluster.kubectl("apply", "--server-side", "-f", str(_CRDS))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
        jobs_alone = _lags(cluster, "bare-jobs", _Bare("jobs"))
        three = _lags(cluster, "bare-three", _Bare("configmaps", "leases", "jobs"))
        ours = _lags(cluster, "ours", _Ours(cluster))
    for name, lags in (("bare Jobs", jobs_alone), ("bare three writes", three), ("ours", ours)):
        yield Measure(f"{name} p50", percentile(lags, 50), "s", f"{len(lags)} Jobs")
        yield Measure(f"{name} p99", percentile(lags, 99), "s")
    ratio = percentile(ours, 99) / percentile(three, 99)
    yield Measure("ours p99, to bare three writes", ratio, "×", "nothing created ahead")
    yield Measure("not started", TASKS - len(ours), "tasks")


class _Burst(Protocol):
    """What makes Jobs in a namespace."""

    def surroundings(self, namespace: str) -> AbstractContextManager[None]:
        """What must be there around it."""
        ...

    async def begin(self, client: ApiClient, namespace: str) -> float:
        """Make them; the moment from which on they should be there, by `time.time`."""
        ...


class _Arrivals:
    """A sink that notes when each Job was first seen."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.all_there = asyncio.Event()

    def synced(self, objects: Iterable[Obj], resource_version: int) -> None:
        for obj in objects:
            self.seen("ADDED", obj)

    def seen(self, event: EventType, obj: Obj) -> None:
        self.at.setdefault(obj["metadata"]["name"], time.time())
        if len(self.at) >= TASKS:
            self.all_there.set()


def _lags(cluster: Cluster, namespace: str, burst: _Burst) -> list[float]:
    cluster.kubectl("create", "namespace", namespace)
    with burst.surroundings(namespace):
        lags = uvloop.run(_observe(cluster, namespace, burst))
    cluster.kubectl("delete", "namespace", namespace)
    return lags


async def _observe(cluster: Cluster, namespace: str, burst: _Burst) -> list[float]:
    clock = SystemClock()
    connection = from_kubeconfig(str(cluster.kubeconfig))
    async with ApiClient(connection, clock, pool=AT_ONCE) as client:
        arrivals = _Arrivals()
        watch = asyncio.create_task(
            Reflector(client, clock, JOBS, arrivals, namespace=namespace).run()
        )
        start = await burst.begin(client, namespace)
        with suppress(TimeoutError):
            await asyncio.wait_for(arrivals.all_there.wait(), start + 120 - time.time())
        watch.cancel()
        return sorted(at - start for at in arrivals.at.values())


class _Bare:
    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds

    @contextmanager
    def surroundings(self, namespace: str) -> Iterator[None]:
        yield

    async def begin(self, client: ApiClient, namespace: str) -> float:
        await client.warm(AT_ONCE)
        places = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with places:
                for kind in self._kinds:
                    resource, body = _object(kind, f"b-{number}")
                    await client.create(resource, namespace, body)

        start = time.time()
        await asyncio.gather(*(one(number) for number in range(TASKS)))
        return start


class _Ours:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @contextmanager
    def surroundings(self, namespace: str) -> Iterator[None]:
        apply_fence(self._cluster.kubectl, namespace, watch_namespace=namespace)
        environment = os.environ | {
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "SCHEDULER_NAMESPACE": namespace,
            "SCHEDULER_WATCH_NAMESPACE": namespace,
            "SCHEDULER_PROBE_PORT": "0",
        }
        log = (self._cluster.dir / "operator.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "taskrunner", "operator"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
            log.close()

    async def begin(self, client: ApiClient, namespace: str) -> float:
        due = int(time.time()) + 45
        places = asyncio.Semaphore(32)
        schedules = [{"name": "once", "at": format_instant(due)}]

        async def one(number: int) -> None:
            body = {
                "apiVersion": SCHEDULED_TASKS.api_version,
                "kind": SCHEDULED_TASKS.kind,
                "metadata": {"name": f"o-{number}"},
                "spec": {"schedules": schedules, "jobTemplate": {"spec": _TEMPLATE}},
            }
            async with places:
                await client.create(SCHEDULED_TASKS, namespace, body)

        await asyncio.gather(*(one(number) for number in range(TASKS)))
        if time.time() > due - 5:
            raise RuntimeError("creating the tasks took too long; nothing was measured")
        return float(due)


def _object(kind: str, name: str) -> tuple[Resource, Obj]:
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "bench"}}
    match kind:
        case "jobs":
            return JOBS, {"metadata": metadata, "spec": _TEMPLATE}
        case "leases":
            return LEASES, {"metadata": metadata, "spec": {"holderIdentity": "bench"}}
        case _:
            return CONFIG_MAPS, {"metadata": metadata, "data": {"spec": "x" * 600}}
