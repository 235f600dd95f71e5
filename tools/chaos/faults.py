"""The faults. Each is named in the report as its function is; each ends within half a minute.

Each takes the locks of what it breaks (`Field`), and gives them back when that is whole again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from chaos.field import Field
from chaos.install import NAMESPACE
from chaos.manifests import BROKEN_WEBHOOK, FLOW_CONTROL
from chaos.replicas import LEASE_SECONDS, Replica
from taskrunner.ports import JOBS, LEASES, TASK_EXECUTIONS, Obj
from testbed import Cluster
from testbed.errors import CommandError

_TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})
_WATCH_ERRORS = (
    (410, "Expired"),
    (429, "TooManyRequests"),
    (500, "InternalError"),
    (503, "ServiceUnavailable"),
    (504, "Timeout"),
)
_PATIENCE_SECONDS = 60.0
_WATCHES_SECONDS = 20.0


class ChaosError(RuntimeError):
    """A fault could not be done."""


# --- a replica ------------------------------------------------------------------------------------


async def kill_leader(field: Field) -> str:
    """SIGKILL; started anew as by a kubelet."""
    async with field.leader() as replica:
        replica.signal(signal.SIGKILL)
    return replica.name


async def stop_leader(field: Field) -> str:
    """SIGTERM, as in a rolling update."""
    async with field.leader() as replica:
        replica.signal(signal.SIGTERM)
    return replica.name


async def freeze_leader(field: Field) -> str:
    """SIGSTOP for longer than the Lease, then go on with whatever was prepared."""
    async with field.leader() as replica:
        seconds = LEASE_SECONDS + field.between(1, 6)
        replica.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        replica.signal(signal.SIGCONT)
    return f"{replica.name} for {seconds:.0f} s"


async def slow_network(field: Field) -> str:
    """Each piece of data to and from the leader takes its time."""
    async with field.leader() as replica:
        replica.link.delay = delay = field.between(0.05, 0.6)
        await asyncio.sleep(8)
        replica.link.heal()
    return f"{replica.name}, {delay * 1000:.0f} ms each way"


async def partition_leader(field: Field) -> str:
    """Nothing comes through for longer than the Lease; then all that was held back does."""
    async with field.leader() as replica:
        seconds = LEASE_SECONDS + field.between(1, 5)
        replica.link.block()
        await asyncio.sleep(seconds)
        replica.link.heal()
    return f"{replica.name} for {seconds:.0f} s"


async def watch_errors(field: Field) -> str:
    """The watches of a replica lose some events, deletes among them, and end with an ERROR."""
    code, reason = field.rng.choice(_WATCH_ERRORS)
    async with field.leader() if field.rng.random() < 0.7 else field.anyone() as replica:
        if not await _has_watches(replica):
            raise ChaosError(f"{replica.name} has no watches to break")
        replica.tap.withhold()
        try:
            deleted = await _delete_finished(field, 1)
            await asyncio.sleep(field.between(0.5, 3))
        finally:
            ended = replica.tap.fail(code, reason)
    if not ended:
        raise ChaosError(f"another fault has ended the watches of {replica.name} meanwhile")
    return f"{code} to {ended} watches of {replica.name}, {deleted} deleted meanwhile"


async def clock_jump(field: Field) -> str:
    """One replica's wall clock is wrong for a while."""
    async with field.leader() if field.rng.random() < 0.7 else field.anyone() as replica:
        shift = field.rng.choice((-3600.0, -90.0, -5.0, 5.0, 90.0, 3600.0))
        replica.shift_clock(shift)
        await asyncio.sleep(8)
        replica.shift_clock(0.0)
    return f"{replica.name} by {shift:+.0f} s"


async def starve_cpu(field: Field) -> str:
    """The leader gets a tenth of a processor."""
    async with field.leader() as replica:
        for _ in range(40):
            replica.signal(signal.SIGSTOP)
            await asyncio.sleep(0.18)
            replica.signal(signal.SIGCONT)
            await asyncio.sleep(0.02)
    return replica.name


async def starve_memory(field: Field) -> str:
    """The leader gets no more memory; it may die of it."""
    async with field.leader() as replica:
        replica.limit_memory(1 << 20)
        await asyncio.sleep(6)
        replica.limit_memory(None)
    return replica.name


# --- the control plane ----------------------------------------------------------------------------


async def kill_api_server(field: Field) -> str:
    """SIGKILL and restart."""
    async with field.control_plane():
        await _restart_api_server(field)
    return ""


async def kill_etcd(field: Field) -> str:
    """SIGKILL and restart; etcd waits for the disk, so nothing acknowledged may be lost."""
    async with field.control_plane():
        etcd = field.cluster.component("etcd")
        await asyncio.to_thread(etcd.kill)
        await asyncio.sleep(field.between(0.2, 2))
        await asyncio.to_thread(etcd.start)
        await asyncio.to_thread(field.cluster.wait_ready, 180)
    return ""


async def freeze_etcd(field: Field) -> str:
    """etcd does not answer for a while."""
    async with field.control_plane():
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


async def too_many_requests(field: Field) -> str:
    """429 to all that the operator asks, by the server's own flow control."""
    async with field.control_plane():
        return await _while_applied(field, FLOW_CONTROL)


async def server_errors(field: Field) -> str:
    """500 to each creation of a Job and of an execution: a webhook of somebody else is down."""
    async with field.control_plane():
        return await _while_applied(field, [BROKEN_WEBHOOK])


# --- a third party --------------------------------------------------------------------------------


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
        leases += await field.patient_list(LEASES, NAMESPACE)
    return f"{await field.remove(LEASES, leases)} of them"


async def gap_with_deletes(field: Field) -> str:
    """Watches miss deletes and end in 410: links stopped, objects deleted, history compacted."""
    async with field.everything():
        for replica in field.replicas:
            replica.link.block()
        try:
            count = await _delete_finished(field, 2)
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
    watch_errors,
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


OFTEN: Final = frozenset(
    {delete_jobs, delete_executions, delete_leases, watch_errors, cut_connections}
)
"""After these nothing has to be started anew, and no Lease to pass on: they come three times while
the others come once."""


async def mend(field: Field) -> None:
    """Take away what a fault that was cut short may have left."""
    for replica in field.replicas:
        replica.signal(signal.SIGCONT)
        replica.shift_clock(0.0)
        replica.limit_memory(None)
        replica.link.heal()
    await asyncio.to_thread(field.cluster.component("etcd").resume)
    for name in ("etcd", "kube-apiserver"):
        await asyncio.to_thread(field.cluster.component(name).start)
    await asyncio.to_thread(field.cluster.wait_ready, 180)
    await asyncio.to_thread(_delete, field.cluster, [*FLOW_CONTROL, BROKEN_WEBHOOK])


async def _delete_finished(field: Field, count: int) -> int:
    """So many finished executions, and as many Jobs."""

    def finished(obj: Obj) -> bool:
        return (obj.get("status") or {}).get("phase") in _TERMINAL

    executions = await field.some(TASK_EXECUTIONS, count, finished)
    jobs = await field.some(JOBS, count, lambda o: True)
    return await field.remove(TASK_EXECUTIONS, executions) + await field.remove(JOBS, jobs)


async def _has_watches(replica: Replica) -> bool:
    """It may have been started a moment ago."""
    end = time.monotonic() + _WATCHES_SECONDS
    while time.monotonic() < end:
        if replica.tap.watches:
            return True
        await asyncio.sleep(0.5)
    return False


async def _restart_api_server(field: Field) -> None:
    server = field.cluster.component("kube-apiserver")
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(field.between(0.2, 2))
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(field.cluster.wait_ready, 180)


async def _while_applied(field: Field, manifests: list[dict[str, Any]]) -> str:
    seconds = field.between(2, 6)
    try:
        for manifest in manifests:
            await asyncio.to_thread(_apply, field.cluster, manifest)
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(_delete, field.cluster, manifests)
    return f"for {seconds:.0f} s"


def _apply(cluster: Cluster, manifest: dict[str, Any]) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", input=manifest)


def _delete(cluster: Cluster, manifests: Iterable[dict[str, Any]]) -> None:
    """Not before they are gone: a fault must not outlive its time."""
    end = time.monotonic() + _PATIENCE_SECONDS
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        while True:
            try:
                cluster.kubectl("delete", manifest["kind"], name, "--ignore-not-found")
                break
            except CommandError:
                if time.monotonic() > end:
                    raise
                time.sleep(1)


def _compact(etcd: str) -> None:
    """Forget all history before now, by etcd's JSON gateway."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{etcd}{path}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            decoded: dict[str, Any] = json.load(answer)
            return decoded

    revision = post("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
    post("/v3/kv/compaction", {"revision": revision})
