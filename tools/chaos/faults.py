"""The faults. Each is named in the report as its function is; each ends within half a minute."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from chaos.install import ACCOUNT, NAMESPACE
from chaos.ledger import Ledger
from chaos.load import NAMESPACES
from chaos.replicas import LEASE_SECONDS, Replica
from taskrunner.errors import ApiError, NotFound
from taskrunner.kube.client import ApiClient
from taskrunner.ports import JOBS, LEASES, TASK_EXECUTIONS, Obj, Resource
from testbed import Cluster

_EXECUTION_LABEL = "taskrunner.dev/execution"
_TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})


@dataclass
class Field:
    """What faults act on."""

    cluster: Cluster
    replicas: list[Replica]
    client: ApiClient
    ledger: Ledger
    rng: random.Random

    async def leader(self) -> Replica:
        """The replica that holds the Lease of a shard; any of them when nobody does."""
        with suppress(ApiError):
            leases = await self.client.list(LEASES, namespace=NAMESPACE)
            holders = {lease["spec"].get("holderIdentity") for lease in leases}
            leading = [r for r in self.replicas if r.identity in holders]
            if leading:
                return self.rng.choice(leading)
        return self.anyone()

    def anyone(self) -> Replica:
        return self.rng.choice(self.replicas)

    async def some(
        self, resource: Resource, count: int, choose: Callable[[Obj], bool]
    ) -> list[Obj]:
        """A few objects of a kind in the tasks' namespaces."""
        found = [
            obj
            for obj in await self.client.list(resource)
            if obj["metadata"]["namespace"] in NAMESPACES and choose(obj)
        ]
        return self.rng.sample(found, min(count, len(found)))

    async def remove(self, resource: Resource, objects: Iterable[Obj]) -> int:
        """Delete as a third party would."""
        count = 0
        for obj in objects:
            meta = obj["metadata"]
            execution = (meta.get("labels") or {}).get(_EXECUTION_LABEL)
            if resource is TASK_EXECUTIONS:
                phase = (obj.get("status") or {}).get("phase", "")
                self.ledger.removed[f"{meta['namespace']}/{meta['name']}"] = phase
            elif resource is JOBS:
                self.ledger.removed[f"job {meta['namespace']}/{execution}"] = meta["name"]
            with suppress(NotFound):
                await self.client.delete(resource, meta["namespace"], meta["name"], uid=meta["uid"])
                count += 1
        return count

    def between(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)


async def kill_leader(field: Field) -> str:
    """SIGKILL; started anew as by a kubelet."""
    replica = await field.leader()
    replica.signal(signal.SIGKILL)
    return replica.name


async def stop_leader(field: Field) -> str:
    """SIGTERM, as in a rolling update."""
    replica = await field.leader()
    replica.signal(signal.SIGTERM)
    return replica.name


async def freeze_leader(field: Field) -> str:
    """SIGSTOP for longer than the Lease, then go on with whatever was prepared."""
    replica, seconds = await field.leader(), LEASE_SECONDS + field.between(1, 6)
    replica.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    replica.signal(signal.SIGCONT)
    return f"{replica.name} for {seconds:.0f} s"


async def kill_api_server(field: Field) -> str:
    """SIGKILL and restart."""
    await _restart_api_server(field)
    return ""


async def kill_etcd(field: Field) -> str:
    """SIGKILL and restart; etcd waits for the disk, so nothing acknowledged may be lost."""
    etcd = field.cluster.component("etcd")
    await asyncio.to_thread(etcd.kill)
    await asyncio.sleep(field.between(0.2, 2))
    await asyncio.to_thread(etcd.start)
    return ""


async def freeze_etcd(field: Field) -> str:
    """etcd does not answer for a while."""
    etcd, seconds = field.cluster.component("etcd"), field.between(1, 5)
    await asyncio.to_thread(etcd.pause)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(etcd.resume)
    return f"for {seconds:.0f} s"


async def cut_connections(field: Field) -> str:
    """Reset all connections of all replicas, a few times."""
    for _ in range(5):
        for replica in field.replicas:
            replica.link.cut()
        await asyncio.sleep(field.between(0.1, 0.8))
    return ""


async def slow_network(field: Field) -> str:
    """Each piece of data to and from the leader takes its time."""
    replica, delay = await field.leader(), field.between(0.05, 0.6)
    replica.link.delay = delay
    await asyncio.sleep(8)
    replica.link.heal()
    return f"{replica.name}, {delay * 1000:.0f} ms each way"


async def partition_leader(field: Field) -> str:
    """Nothing comes through for longer than the Lease; then all that was held back does."""
    replica, seconds = await field.leader(), LEASE_SECONDS + field.between(1, 5)
    replica.link.block()
    await asyncio.sleep(seconds)
    replica.link.heal()
    return f"{replica.name} for {seconds:.0f} s"


async def too_many_requests(field: Field) -> str:
    """429 to all that the operator asks, by the server's own flow control."""
    seconds = field.between(2, 6)
    for manifest in _FLOW_CONTROL:
        await asyncio.to_thread(_apply, field.cluster, manifest)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(_delete, field.cluster, _FLOW_CONTROL)
    return f"for {seconds:.0f} s"


async def server_errors(field: Field) -> str:
    """500 to each creation of a Job and of an execution: a webhook of somebody else is down."""
    seconds = field.between(2, 6)
    await asyncio.to_thread(_apply, field.cluster, _BROKEN_WEBHOOK)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(_delete, field.cluster, [_BROKEN_WEBHOOK])
    return f"for {seconds:.0f} s"


async def clock_jump(field: Field) -> str:
    """One replica's wall clock is wrong for a while."""
    replica = await field.leader() if field.rng.random() < 0.7 else field.anyone()
    shift = field.rng.choice((-3600.0, -90.0, -5.0, 5.0, 90.0, 3600.0))
    replica.shift_clock(shift)
    await asyncio.sleep(8)
    replica.shift_clock(0.0)
    return f"{replica.name} by {shift:+.0f} s"


async def starve_cpu(field: Field) -> str:
    """The leader gets a tenth of a processor."""
    replica = await field.leader()
    for _ in range(40):
        replica.signal(signal.SIGSTOP)
        await asyncio.sleep(0.18)
        replica.signal(signal.SIGCONT)
        await asyncio.sleep(0.02)
    return replica.name


async def starve_memory(field: Field) -> str:
    """The leader gets no more memory; it may die of it."""
    replica = await field.leader()
    replica.limit_memory(1 << 20)
    await asyncio.sleep(6)
    replica.limit_memory(None)
    return replica.name


async def delete_jobs(field: Field) -> str:
    """A third party deletes Jobs."""
    jobs = await field.some(JOBS, 3, lambda o: True)
    return f"{await field.remove(JOBS, jobs)} of them"


async def delete_executions(field: Field) -> str:
    """A third party deletes executions, whatever their phase."""
    executions = await field.some(TASK_EXECUTIONS, 3, lambda o: True)
    return f"{await field.remove(TASK_EXECUTIONS, executions)} of them"


async def delete_leases(field: Field) -> str:
    """A third party deletes Leases of runs, and now and then the shard's."""
    leases = await field.some(LEASES, 3, lambda o: True)
    if field.rng.random() < 0.3:
        leases += await field.client.list(LEASES, namespace=NAMESPACE)
    return f"{await field.remove(LEASES, leases)} of them"


async def gap_with_deletes(field: Field) -> str:
    """Watches miss deletes and end in 410: links stopped, objects deleted, history compacted."""
    for replica in field.replicas:
        replica.link.block()
    try:
        done = await field.some(
            TASK_EXECUTIONS, 3, lambda o: (o.get("status") or {}).get("phase") in _TERMINAL
        )
        count = await field.remove(TASK_EXECUTIONS, done)
        count += await field.remove(JOBS, await field.some(JOBS, 2, lambda o: True))
        await asyncio.to_thread(_compact, field.cluster.etcd_url)
        await _restart_api_server(field)
    finally:
        for replica in field.replicas:
            replica.link.heal()
            replica.link.cut()
    return f"{count} deleted meanwhile"


Fault = Callable[[Field], Awaitable[str]]
FAULTS: Final[tuple[Fault, ...]] = (
    kill_leader,
    stop_leader,
    freeze_leader,
    kill_api_server,
    kill_etcd,
    freeze_etcd,
    cut_connections,
    slow_network,
    partition_leader,
    too_many_requests,
    server_errors,
    clock_jump,
    starve_cpu,
    starve_memory,
    delete_jobs,
    delete_executions,
    delete_leases,
    gap_with_deletes,
)


async def _restart_api_server(field: Field) -> None:
    server = field.cluster.component("kube-apiserver")
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(field.between(0.2, 2))
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(field.cluster.wait_ready, 180)


def _apply(cluster: Cluster, manifest: dict[str, Any]) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", input=manifest)


def _delete(cluster: Cluster, manifests: Iterable[dict[str, Any]]) -> None:
    for manifest in manifests:
        cluster.kubectl("delete", manifest["kind"], manifest["metadata"]["name"])


def _compact(etcd: str) -> None:
    """Forget all history before now, by etcd's JSON gateway."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{etcd}{path}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            decoded: dict[str, Any] = json.load(answer)
            return decoded

    revision = post("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
    post("/v3/kv/compaction", {"revision": revision})


_FLOW_CONTROL: Final[list[dict[str, Any]]] = [
    {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "chaos-nothing"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    },
    {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "chaos-operator"},
        "spec": {
            "priorityLevelConfiguration": {"name": "chaos-nothing"},
            "matchingPrecedence": 2,
            "rules": [
                {
                    "subjects": [
                        {
                            "kind": "ServiceAccount",
                            "serviceAccount": {"namespace": NAMESPACE, "name": ACCOUNT},
                        }
                    ],
                    "resourceRules": [
                        {
                            "verbs": ["*"],
                            "apiGroups": ["*"],
                            "resources": ["*"],
                            "clusterScope": True,
                            "namespaces": ["*"],
                        }
                    ],
                }
            ],
        },
    },
]

_BROKEN_WEBHOOK: Final[dict[str, Any]] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "chaos-broken"},
    "webhooks": [
        {
            "name": "broken.chaos.example",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [
                {
                    "apiGroups": ["batch", "taskrunner.dev"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE"],
                    "resources": ["jobs", "taskexecutions"],
                }
            ],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        }
    ],
}
