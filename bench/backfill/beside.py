"""500 slots of the past beside live schedules: are live runs as much on time as without?

On one cluster, in turns: live alone, live beside a Backfill of 500 slots, live alone again; then
500 more, with the leader killed half-way, and 500 of which the second half is cancelled. Lag is
from a live slot to the event that says that its Job is there, taken by one watch in this process.
The figures of "alone" are those of both turns.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import uvloop

from bench.bed import bed, namespace, scheduled_task, start_operator
from bench.measures import Effort, Measure, percentile
from install import apply_fence
from taskrunner.domain.instants import format_instant
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import BACKFILLS, JOBS, SCHEDULED_TASKS, EventType, Obj
from testbed import Cluster

SLOTS, FEW = 500, 60
"""Of a Backfill; fewer with --small."""
AT_ONCE = 10
BESIDE = 1
"""At once while lag is measured: the default of a Backfill. On a machine of two cores, which also
carry the control plane, every run more slows down every other."""
LIVE_TASKS = 6
ALONE_SECONDS = 90
NAMESPACE = "past"


def measure(effort: Effort) -> Iterator[Measure]:
    slots = FEW if effort.small else SLOTS
    with bed("bench-backfill") as cluster, namespace(cluster, NAMESPACE):
        apply_fence(cluster.kubectl, NAMESPACE, watch_namespace=NAMESPACE)
        seconds = ALONE_SECONDS / (3 if effort.small else 1)
        found = uvloop.run(_course(cluster, slots, seconds))
    alone, beside = found.lags["before"] + found.lags["after"], found.lags["beside"]
    for name, lags in (("alone", alone), ("beside", beside)):
        for percent in (50, 95):
            value = 1000 * percentile(lags, percent)
            yield Measure(f"live lag {name} p{percent}", value, "ms", f"{len(lags)} live runs")
    ratio = percentile(beside, 50) / percentile(alone, 50)
    yield Measure("live lag p50, beside to alone", ratio, "×")
    yield Measure("slots of the past", found.seconds, "s", f"{slots}, {BESIDE} at once")
    yield Measure("slots not run", float(found.not_run), "slots")
    yield Measure("slots run twice", float(found.twice), "slots")
    yield Measure("killed half-way: slots not run", float(found.killed_not_run), "slots")
    yield Measure("killed half-way: slots run twice", float(found.killed_twice), "slots")
    yield Measure("runs created after the cancellation", float(found.after_cancel), "runs")


@dataclass
class _Found:
    lags: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    not_run: int = 0
    twice: int = 0
    killed_not_run: int = 0
    killed_twice: int = 0
    after_cancel: int = 0


class _Arrivals:
    """A sink that notes when the Job of each live slot was first seen, and all Jobs of the past."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.past: Counter[str] = Counter()
        self._seen: set[str] = set()

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What has gone does not matter."""

    def seen(self, event: EventType, obj: Obj) -> None:
        meta = obj["metadata"]
        if event == "DELETED" or meta["uid"] in self._seen:
            return
        self._seen.add(meta["uid"])
        slot = meta["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        if meta["labels"]["taskrunner.dev/task"].startswith("live"):
            self.lags.append(time.time() - datetime.fromisoformat(slot).timestamp())
        else:
            self.past[slot] += 1


async def _course(cluster: Cluster, slots: int, alone: float) -> _Found:
    found, arrivals, clock = _Found(), _Arrivals(), SystemClock()
    async with ApiClient(from_kubeconfig(str(cluster.kubeconfig)), clock, pool=8) as client:
        replicas = [
            start_operator(
                cluster, NAMESPACE, fence=False, name=f"replica-{n}", identity=f"replica-{n}",
                fence_required="true",
            )
            for n in (1, 2)
        ]  # fmt: skip
        watch = asyncio.create_task(
            Reflector(client, clock, JOBS, arrivals, namespace=NAMESPACE).run()
        )
        try:
            for number in range(LIVE_TASKS):
                every = {"name": "often", "everySeconds": 6 + number % 3}
                await client.create(
                    SCHEDULED_TASKS, NAMESPACE, scheduled_task(f"live-{number}", [every])
                )
            minutely = [{"name": "minutely", "cron": "* * * * *"}]
            for name in ("first", "killed", "cancelled"):
                task = scheduled_task(name, minutely, suspend=True)
                await client.create(SCHEDULED_TASKS, NAMESPACE, task)
            await asyncio.sleep(25)
            async with _turn(found, arrivals, "before"):
                await asyncio.sleep(alone)
            async with _turn(found, arrivals, "beside"):
                began = time.time()
                await _fill(client, "first", slots, BESIDE)
                await _until_done(client, "first", slots)
                found.seconds = time.time() - began
            found.not_run, found.twice = _accounted(arrivals, slots)
            async with _turn(found, arrivals, "after"):
                await asyncio.sleep(alone)
            arrivals.past.clear()
            await _fill(client, "killed", slots)
            await _until_done(client, "killed", slots // 2)
            _leader(replicas, cluster).kill()
            await _until_done(client, "killed", slots)
            found.killed_not_run, found.killed_twice = _accounted(arrivals, slots)
            arrivals.past.clear()
            made = await _fill(client, "cancelled", slots)
            await _until_done(client, "cancelled", slots // 2)
            await client.delete(BACKFILLS, NAMESPACE, "cancelled", uid=made["metadata"]["uid"])
            await asyncio.sleep(3)
            count = arrivals.past.total()
            await asyncio.sleep(10)
            found.after_cancel = arrivals.past.total() - count
        finally:
            watch.cancel()
            for replica in replicas:
                replica.send_signal(signal.SIGTERM)
            for replica in replicas:
                replica.wait(30)
    return found


@asynccontextmanager
async def _turn(found: _Found, arrivals: _Arrivals, name: str) -> AsyncIterator[None]:
    arrivals.lags = []
    yield
    found.lags[name], arrivals.lags = arrivals.lags, []


def _accounted(arrivals: _Arrivals, slots: int) -> tuple[int, int]:
    twice = sum(count > 1 for count in arrivals.past.values())
    return slots - len(arrivals.past), twice


async def _fill(client: ApiClient, name: str, slots: int, at_once: int = AT_ONCE) -> Obj:
    end = int(time.time()) // 60 * 60 - 3600
    return await client.create(
        BACKFILLS,
        NAMESPACE,
        {
            "apiVersion": BACKFILLS.api_version,
            "kind": BACKFILLS.kind,
            "metadata": {"name": name},
            "spec": {
                "taskRef": {"name": name},
                "from": format_instant(end - 60 * slots),
                "to": format_instant(end),
                "maxConcurrent": at_once,
            },
        },
    )


async def _until_done(client: ApiClient, name: str, count: int) -> None:
    end = time.time() + 1800
    while time.time() < end:
        obj = await client.get(BACKFILLS, NAMESPACE, name)
        if (obj.get("status") or {}).get("done", 0) >= count:
            return
        await asyncio.sleep(0.5)
    raise RuntimeError(f"the backfill {name} did not come to {count} slots in half an hour")


def _leader(replicas: list[subprocess.Popen[bytes]], cluster: Cluster) -> subprocess.Popen[bytes]:
    shard = cluster.get(f"-n={NAMESPACE}", "shard", "taskrunner-shard-0")
    number = int(shard["spec"]["epoch"].partition("/")[0].removeprefix("replica-"))
    return replicas[number - 1]
