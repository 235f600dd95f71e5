"""Tasks that are far from due: what they cost while nothing happens, and how soon a new process has
planned them all."""

from __future__ import annotations

import asyncio
import re
import socket
import time
import urllib.request
from collections.abc import Generator, Iterator

import uvloop

from bench.bed import (
    NEVER,
    Memory,
    bed,
    cpu_of,
    memory_of,
    namespace,
    operator,
    planned,
    scheduled_task,
    wait_for,
)
from bench.measures import Effort, Measure
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.ports import SCHEDULED_TASKS
from testbed import Cluster

_SETTLED_SECONDS = 15


def measure(effort: Effort) -> Iterator[Measure]:
    seconds = 20 if effort.small else 300
    counts = (0, 200) if effort.small else (0, 1_000, 10_000)
    with bed("idle", audit=True) as cluster, namespace(cluster, "idle") as name:
        empty: Memory | None = None
        there = 0
        for count in counts:
            if count:
                uvloop.run(_create(cluster, name, range(there, count)))
                there = count
                with operator(cluster, name):
                    _wait_until_planned(cluster, name, count)
            memory = yield from _resting(cluster, name, count, seconds)
            if empty is not None:
                growth = memory.private - empty.private
                yield Measure(f"{count:,} tasks, growth over none", growth, "MiB", "private")
            empty = empty or memory


def _resting(
    cluster: Cluster, name: str, count: int, seconds: int
) -> Generator[Measure, None, Memory]:
    """A process that finds tasks which were all planned before, and then has nothing to do."""
    port = _free_port()
    with operator(cluster, name, probe_port=port) as process:
        # Nothing is in the agenda of no tasks; then it is the start of the term that counts.
        took = wait_for(
            lambda: _metric(port, "agenda_entries" if count else "leading") >= max(1, count),
            300,
            "the agenda is not complete",
        )
        yield Measure(f"{count:,} tasks, start until all are planned", took, "s")
        time.sleep(_SETTLED_SECONDS)
        mark, cpu, started = cluster.audit_mark(), cpu_of(process.pid), time.monotonic()
        time.sleep(seconds)
        minutes = (time.monotonic() - started) / 60
        used = (cpu_of(process.pid) - cpu) / (minutes * 60)
        calls = list(cluster.audit_events(since=mark, user_agent="taskrunner/"))
        writes = [
            event
            for event in calls
            if event["verb"] in ("create", "update", "patch", "delete", "deletecollection")
            and event.get("objectRef", {}).get("resource") not in ("leases", "shards")
            and "dryRun" not in event["requestURI"]
        ]
        memory = memory_of(process.pid)
        yield Measure(f"{count:,} tasks, CPU", used * 100, "% of a core")
        yield Measure(f"{count:,} tasks, API requests", len(calls) / minutes, "a minute")
        yield Measure(f"{count:,} tasks, API writes", float(len(writes)), "calls", "Lease aside")
        yield Measure(f"{count:,} tasks, RSS", memory.rss, "MiB")
        yield Measure(f"{count:,} tasks, private memory", memory.private, "MiB")
        return memory


async def _create(cluster: Cluster, name: str, numbers: range) -> None:
    async with ApiClient(from_kubeconfig(str(cluster.kubeconfig)), SystemClock()) as client:
        left = iter(numbers)

        async def worker() -> None:
            for number in left:
                task = scheduled_task(f"idle-{number}", [NEVER])
                await client.create(SCHEDULED_TASKS, name, task)

        await asyncio.gather(*(worker() for _ in range(32)))


def _wait_until_planned(cluster: Cluster, name: str, count: int) -> None:
    wait_for(lambda: planned(cluster, name) >= count, 900, "not all tasks are planned")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _metric(port: int, name: str) -> float:
    """A gauge of the operator, summed over its labels; 0 while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    found = re.findall(rf"^taskrunner_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))
