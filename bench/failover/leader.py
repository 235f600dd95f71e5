"""The leader ends, killed or asked to, while tasks run each second: how long until another replica
has started a slot that was due after it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import uvloop

from bench.bed import Arrivals, bed, namespace, scheduled_task, start_operator, wait_for
from bench.measures import Effort, Measure, median
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS
from testbed import Cluster

_TASKS = 10
_LONGEST_SECONDS = 90


def measure(effort: Effort) -> Iterator[Measure]:
    with bed("failover") as cluster:
        for number, sent in ((signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL")):
            took = []
            for turn in range(1 if effort.small else effort.rounds):
                with namespace(cluster, f"{sent.lower()}-{turn}") as name:
                    took.append(_end_leader(cluster, name, number))
            said = ", ".join(f"{seconds:.1f}" for seconds in took)
            yield Measure(f"{sent}, until the next slot is started", median(took), "s", said)


def _end_leader(cluster: Cluster, name: str, number: signal.Signals) -> float:
    with ExitStack() as stack:
        replicas: dict[str, subprocess.Popen[bytes]] = {}
        for identity in ("one", "two"):
            replicas[identity] = start_operator(
                cluster, name, name=f"{name}-{identity}", identity=identity
            )
            stack.callback(replicas[identity].wait, 30)
            stack.callback(replicas[identity].kill)
        second = {"name": "second", "everySeconds": 1, "anchor": "2026-01-01T00:00:00Z"}
        items = [scheduled_task(f"t-{n}", [second]) for n in range(_TASKS)]
        body = {"apiVersion": "v1", "kind": "List", "items": items}
        cluster.kubectl("create", "-n", name, "-f", "-", input=body)
        leader = ""

        def runs() -> bool:
            nonlocal leader
            found = json.loads(cluster.kubectl("get", "leases,jobs", "-n", name, "-o", "json"))
            for item in found["items"]:
                if item["metadata"]["name"] == "taskrunner-shard-0" and item["kind"] == "Lease":
                    leader = item["spec"].get("holderIdentity") or ""
            return bool(leader) and any(item["kind"] == "Job" for item in found["items"])

        wait_for(runs, _LONGEST_SECONDS, "nothing runs")
        return uvloop.run(_watched_end(cluster, name, replicas[leader], number))


async def _watched_end(
    cluster: Cluster, name: str, leader: subprocess.Popen[bytes], number: signal.Signals
) -> float:
    arrivals = Arrivals(1_000_000)
    async with ApiClient(from_kubeconfig(str(cluster.kubeconfig)), SystemClock()) as client:
        watch = asyncio.create_task(
            Reflector(client, SystemClock(), JOBS, arrivals, namespace=name).run()
        )
        await asyncio.sleep(5)
        ended = time.time()
        leader.send_signal(number)
        while time.time() < ended + _LONGEST_SECONDS:
            later = [at for job, at in arrivals.at.items() if int(job.split("-")[2]) > ended]
            if later:
                watch.cancel()
                return min(later) - ended
            await asyncio.sleep(0.05)
    raise RuntimeError(f"nothing was started within {_LONGEST_SECONDS} s")
