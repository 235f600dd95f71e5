"""What the fence costs: the same creations in a namespace with it and in one without, in turns."""

from __future__ import annotations

import time
from collections.abc import Iterator

import uvloop

from bench.bare import EPOCH, Bare
from bench.bed import bed, components, cpu_of, namespace
from bench.measures import Effort, Measure, median
from install import apply_fence
from taskrunner.kube.config import from_kubeconfig
from taskrunner.ports import SHARDS
from testbed import Cluster


def measure(effort: Effort) -> Iterator[Measure]:
    turns, size = (4, 50) if effort.small else (12, 200)
    with (
        bed("fence") as cluster,
        namespace(cluster, "fenced") as fenced,
        namespace(cluster, "open") as unfenced,
    ):
        shard = {"epoch": EPOCH, "number": 1, "shards": 1, "released": False}
        metadata = {"name": "taskrunner-shard-0", "namespace": fenced}
        body = {"apiVersion": SHARDS.api_version, "kind": SHARDS.kind, "metadata": metadata}
        cluster.kubectl("apply", "-f", "-", input=body | {"spec": shard})
        apply_fence(cluster.kubectl, fenced, watch_namespace=fenced)
        time.sleep(5)  # A policy becomes active seconds after it was made.
        with_it, without = uvloop.run(_turns(cluster, fenced, unfenced, turns, size))
    note = f"CPU of the API server; {turns} turns of {2 * size} fenced creations"
    yield Measure("without the fence", median(without), "ms", note)
    yield Measure("with the fence", median(with_it), "ms")
    difference = median(a - b for a, b in zip(with_it, without, strict=True))
    yield Measure("the fence, a write", difference, "ms", "median of the turns' differences")


async def _turns(
    cluster: Cluster, fenced: str, unfenced: str, turns: int, size: int
) -> tuple[list[float], list[float]]:
    """CPU milliseconds of the API server for a fenced creation, of each turn, with and without."""
    connection, server = from_kubeconfig(str(cluster.kubeconfig)), components(cluster)
    pid = server["kube-apiserver"]
    async with Bare(connection, fenced) as inside, Bare(connection, unfenced) as outside:
        found: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns):
            for bare, times in zip((inside, outside), found, strict=True):
                before = cpu_of(pid)
                for number in range(size):
                    await bare.three(f"turn-{turn}-{number}")
                # Of the three, the execution and the Job are fenced.
                times.append((cpu_of(pid) - before) * 1000 / (2 * size))
        return found
