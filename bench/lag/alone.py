"""One run at a time on an idle cluster, beside a bare client that creates one Job at a time.

Once a second a task is due, a bare Job is created, and a task is asked to run by hand, a third of a
second apart. Lags end with the watch event that says that the Job is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import uvloop

from bench.bare import Bare
from bench.bed import NEVER, Arrivals, bed, namespace, operator, planned, scheduled_task
from bench.measures import Effort, Measure, percentile
from taskrunner.domain.instants import format_instant
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from testbed import Cluster

_SETTLED_SECONDS = 5


def measure(effort: Effort) -> Iterator[Measure]:
    count = 20 if effort.small else 200
    with (
        bed("lag") as cluster,
        namespace(cluster, "bare"),
        namespace(cluster, "lag") as name,
        operator(cluster, name),
    ):
        slots, asked, bare = uvloop.run(_turns(cluster, name, count))
    alone = percentile(bare, 50)
    yield Measure("bare create p50", alone, "ms", f"{count} calls", tuple(bare))
    yield Measure("bare create p99", percentile(bare, 99), "ms")
    for what, lags in (("slot to Job", slots), ("asked by hand to Job", asked)):
        yield Measure(f"{what} p50", percentile(lags, 50), "ms", f"{len(lags)} runs", tuple(lags))
        yield Measure(f"{what} p99", percentile(lags, 99), "ms")
        yield Measure(f"{what} average", sum(lags) / len(lags), "ms")
        yield Measure(f"{what} p50, to a bare create", percentile(lags, 50) / alone, "×")
        yield Measure(f"{what} p99, to a bare create", percentile(lags, 99) / alone, "×", "its p50")
        yield Measure(f"{what} not started", count - len(lags), "runs")


async def _turns(
    cluster: Cluster, name: str, count: int
) -> tuple[list[float], list[float], list[float]]:
    """Lags of slots, of runs by hand, and durations of bare creates, in milliseconds."""
    connection = from_kubeconfig(str(cluster.kubeconfig))
    arrivals = Arrivals(10 * count)
    async with (
        ApiClient(connection, SystemClock(), pool=8) as client,
        Bare(connection, "bare") as bare,
    ):
        watch = asyncio.create_task(
            Reflector(client, SystemClock(), JOBS, arrivals, namespace=name).run()
        )
        first = int(time.time()) + 30 + count // 20
        tasks = [scheduled_task("by-hand", [NEVER])]
        for number in range(count):
            at = format_instant(first + number)
            tasks.append(scheduled_task(f"o-{number}", [{"name": "once", "at": at}]))
        for task in tasks:
            await client.create(SCHEDULED_TASKS, name, task)
        while await asyncio.to_thread(planned, cluster, name) < len(tasks):
            if time.time() > first - 2:
                raise RuntimeError("the tasks were not planned in time")
            await asyncio.sleep(1)
        asked: dict[str, float] = {}
        took: list[float] = []
        for number in range(count):
            await asyncio.sleep(first + number + 0.33 - time.time())
            started = time.time()
            await bare.job(f"bare-{number}")
            took.append((time.time() - started) * 1000)
            await asyncio.sleep(first + number + 0.66 - time.time())
            asked[f"hand-{number}-1"] = time.time()
            await client.create(TASK_EXECUTIONS, name, _by_hand(number))
        await asyncio.sleep(_SETTLED_SECONDS)
        watch.cancel()
    due = {f"o-{number}-{first + number}-1": float(first + number) for number in range(count)}
    return _lags(due, arrivals), _lags(asked, arrivals), took


def _by_hand(number: int) -> Obj:
    return {
        "apiVersion": TASK_EXECUTIONS.api_version,
        "kind": TASK_EXECUTIONS.kind,
        "metadata": {"name": f"hand-{number}"},
        "spec": {"taskRef": {"name": "by-hand"}},
    }


def _lags(since: dict[str, float], arrivals: Arrivals) -> list[float]:
    seen = arrivals.at
    return [(seen[name] - start) * 1000 for name, start in since.items() if name in seen]
