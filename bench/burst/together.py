"""A burst of tasks that are due in the same second, in turns with whoever else could start them.

All on one cluster, with the same controllers. Lag is from the slot (the start, for a bare client)
to the watch event that says that the Job is there, seen by one watch in this process.

- `bare Jobs`: a bare client makes the Jobs alone. It is as near to the API server as one gets.
- `bare three writes`: it makes execution, run Lease and Job, as we do.
- `ours`: the operator, nothing prepared before the slot but its connections.
- `CronJob, tuned`: its controller with 2,000 calls a second and 50 workers.
- `CronJob, defaults`: the controller manager as it comes, at the end, and once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import uvloop

from bench.bare import Bare, Writes
from bench.bed import (
    DEFAULTS,
    NEVER,
    TEMPLATE,
    Arrivals,
    bed,
    components,
    cpu_of_all,
    namespace,
    operator,
    planned,
    restart_with,
    scheduled_task,
)
from bench.measures import Effort, Measure, median, percentile
from taskrunner.domain.instants import format_instant
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS, SCHEDULED_TASKS, Obj, Resource
from testbed import Cluster

CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
PROMISED_SECONDS = 5.0
"""Every run of the burst has started so long after its slot."""
SIZES = (100, 1_000, 3_000)
_MANY = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen of one burst."""

    lags: tuple[float, ...]
    """From the slot to the Job, seconds, in order."""
    complete: float
    """From the slot until all Jobs were complete, seconds; NaN when they were not."""
    cpu: dict[str, float]
    """CPU seconds of each process from the slot to the last Job."""

    @property
    def p99(self) -> float:
        return percentile(self.lags, 99)


def measure(effort: Effort) -> Iterator[Measure]:
    sizes = (100,) if effort.small else SIZES
    with bed("burst") as cluster:
        for size in sizes:
            yield from _side_by_side(cluster, size, effort)
        if not effort.small:
            restart_with(cluster, "kube-controller-manager", DEFAULTS)
            yield from _against_defaults(cluster)


def _side_by_side(cluster: Cluster, size: int, effort: Effort) -> Iterator[Measure]:
    kinds = ["bare Jobs", "bare three writes", "ours"]
    if size == _MANY:
        kinds.append("CronJob, tuned")
    found: dict[str, list[Outcome]] = {kind: [] for kind in kinds}
    for _ in range(effort.rounds):
        for kind in kinds:
            found[kind].append(one(cluster, kind, size))
    for kind, outcomes in found.items():
        yield from _figures(f"{size:,} {kind}", outcomes, size)
    ours = found["ours"]
    for kind in (*kinds[:2], *kinds[3:]):
        ratios = [a.p99 / b.p99 for a, b in zip(ours, found[kind], strict=True)]
        note = f"of p99; rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
        yield Measure(f"{size:,} ours, to {kind}", median(ratios), "×", note)
    late = max(sum(lag > PROMISED_SECONDS for lag in outcome.lags) for outcome in ours)
    missing = max(size - len(outcome.lags) for outcome in ours)
    yield Measure(f"{size:,} ours, started after 5 s or not at all", late + missing, "runs")


def _against_defaults(cluster: Cluster) -> Iterator[Measure]:
    theirs = one(cluster, "CronJob, defaults", _MANY)
    ours = one(cluster, "ours", _MANY)
    yield from _figures("1,000 CronJob, defaults", [theirs], _MANY)
    yield Measure("1,000 ours, to CronJob, defaults", ours.p99 / theirs.p99, "×", "of p99; once")


def _figures(name: str, outcomes: list[Outcome], size: int) -> Iterator[Measure]:
    middle = sorted(outcomes, key=lambda outcome: outcome.p99)[(len(outcomes) - 1) // 2]
    cpu = ", ".join(f"{who} {used:.1f}" for who, used in middle.cpu.items())
    yield Measure(f"{name} p50", median(o for m in outcomes for o in m.lags), "s")
    yield Measure(f"{name} p99", middle.p99, "s", f"CPU s: {cpu}", middle.lags)
    yield Measure(f"{name} max", middle.lags[-1], "s", f"{len(middle.lags)} of {size:,} Jobs")
    yield Measure(f"{name} complete", middle.complete, "s")


# --- one burst ----------------------------------------------------------------------------------


def one(cluster: Cluster, kind: str, size: int, prefix: str = "b") -> Outcome:
    """Have one burst of a kind, in a namespace of its own."""
    name = f"{prefix}{time.monotonic_ns() // 1000:x}"
    with namespace(cluster, name):
        match kind:
            case "bare Jobs":
                return uvloop.run(_Observed(cluster, name, size).bare("jobs"))
            case "bare three writes":
                return uvloop.run(_Observed(cluster, name, size).bare("three"))
            case "ours":
                with operator(cluster, name) as process:
                    observed = _Observed(cluster, name, size, operator=process.pid)
                    return uvloop.run(observed.scheduled(observed.our_tasks))
            case _:
                observed = _Observed(cluster, name, size)
                return uvloop.run(observed.scheduled(observed.cron_jobs))


class _Observed:
    """One burst, and what is seen of it."""

    def __init__(self, cluster: Cluster, namespace: str, size: int, **processes: int) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._size = size
        self._pids = components(cluster, **processes)
        self._connection = from_kubeconfig(str(cluster.kubeconfig))
        self._arrivals = Arrivals(size)

    async def bare(self, writes: Writes) -> Outcome:
        clock = SystemClock()
        async with (
            ApiClient(self._connection, clock, pool=4) as client,
            Bare(self._connection, self._namespace) as bare,
        ):
            watch = asyncio.create_task(self._watch(client))
            await asyncio.sleep(1)
            before, start = cpu_of_all(self._pids), time.time()
            await bare.burst(writes, self._size)
            return await self._outcome(watch, before, start)

    async def scheduled(self, prepare: Callable[[ApiClient], Awaitable[float]]) -> Outcome:
        async with ApiClient(self._connection, SystemClock(), pool=32) as client:
            watch = asyncio.create_task(self._watch(client))
            due = await prepare(client)
            await asyncio.sleep(due - time.time() - 0.2)
            before = cpu_of_all(self._pids)
            return await self._outcome(watch, before, due)

    async def our_tasks(self, client: ApiClient) -> float:
        """Tasks with one slot; the operator has planned them all when this returns."""
        await client.create(SCHEDULED_TASKS, self._namespace, scheduled_task("canary", [NEVER]))
        await self._planned(1, time.time() + 60)
        due = int(time.time()) + 15 + self._size // 20
        schedules = [{"name": "once", "at": format_instant(due)}]
        tasks = (scheduled_task(f"o-{number}", schedules) for number in range(self._size))
        await _create_all(client, SCHEDULED_TASKS, self._namespace, tasks)
        await self._planned(1 + self._size, due - 4)
        return float(due)

    async def _planned(self, count: int, until: float) -> None:
        while True:
            found = await asyncio.to_thread(planned, self._cluster, self._namespace)
            if found == count:
                return
            if time.time() > until:
                raise RuntimeError(f"only {found} of {count} tasks were planned in time")
            await asyncio.sleep(1)

    async def cron_jobs(self, client: ApiClient) -> float:
        """CronJobs with one slot, at a full minute."""
        due = (int(time.time()) + 10 + self._size // 50) // 60 * 60 + 60
        at = datetime.fromtimestamp(due, UTC)
        spec = {
            "schedule": f"{at.minute} {at.hour} {at.day} {at.month} *",
            "timeZone": "Etc/UTC",
            "jobTemplate": {"spec": TEMPLATE},
        }
        cron_jobs = ({"metadata": {"name": f"c-{n}"}, "spec": spec} for n in range(self._size))
        await _create_all(client, CRON_JOBS, self._namespace, cron_jobs)
        return float(due)

    async def _watch(self, client: ApiClient) -> None:
        watch = Reflector(client, SystemClock(), JOBS, self._arrivals, namespace=self._namespace)
        await watch.run()

    async def _outcome(
        self, watch: asyncio.Task[None], before: dict[str, float], start: float
    ) -> Outcome:
        arrivals, limit = self._arrivals, start + 180
        with suppress(TimeoutError):
            await asyncio.wait_for(arrivals.all_there.wait(), limit - time.time())
        used = cpu_of_all(self._pids)
        complete = float("nan")
        with suppress(TimeoutError):
            await asyncio.wait_for(arrivals.all_complete.wait(), limit - time.time())
            complete = max(arrivals.complete_at.values()) - start
        watch.cancel()
        lags = tuple(sorted(at - start for at in arrivals.at.values()))
        return Outcome(lags, complete, {name: used[name] - before[name] for name in used})


async def _create_all(
    client: ApiClient, resource: Resource, namespace: str, bodies: Iterator[Obj]
) -> None:
    async def worker() -> None:
        for body in bodies:
            await client.create(resource, namespace, body)

    await asyncio.gather(*(worker() for _ in range(32)))
