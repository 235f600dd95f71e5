"""10,000 executions an hour, of short, middling and long runs, and the CronJob controller's part.

What is written is counted from the API server's audit log: by verb and resource, for each of our
namespaces, and for the CronJob controller in the same cluster afterwards.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.bed import (
    TEMPLATE,
    bed,
    cpu_of,
    create_all,
    memory_of,
    namespace,
    operator,
    scheduled_task,
    template_for,
)
from bench.measures import Effort, Measure
from taskrunner.ports import Obj
from testbed import Cluster

PER_HOUR = 10_000
RUNS = {"under 1 s": "300ms", "under 10 s": "5s", "longer": "30s"}
"""How long the pods of each third run."""
_WARM_UP_SECONDS = 45
_CRON_JOBS = "system:serviceaccount:kube-system:cronjob-controller"
Written = Counter[tuple[str, str]]
"""Calls by verb and resource."""


def measure(effort: Effort) -> Iterator[Measure]:
    seconds = 40 if effort.small else 600
    with bed("steady", audit=True) as cluster:
        yield from _ours(cluster, seconds)
        if not effort.small:
            yield from _cron_jobs(cluster, seconds)


def _ours(cluster: Cluster, seconds: int) -> Iterator[Measure]:
    names = [f"steady-{number}" for number in range(len(RUNS))]
    with (
        namespace(cluster, "system"),
        namespace(cluster, names[0]),
        namespace(cluster, names[1]),
        namespace(cluster, names[2]),
        operator(cluster, "system", watch_namespace="") as process,
    ):
        count = 12
        every = count * 3600 * len(RUNS) // PER_HOUR
        for name, run_for in zip(names, RUNS.values(), strict=True):
            create_all(cluster, name, [_task(number, every, run_for) for number in range(count)])
        time.sleep(_WARM_UP_SECONDS)
        mark, cpu, started = cluster.audit_mark(), cpu_of(process.pid), time.monotonic()
        with _peak(process.pid) as peak:
            time.sleep(seconds)
        took = time.monotonic() - started
        used = cpu_of(process.pid) - cpu
        written, jobs = _written(cluster, mark, user_agent="taskrunner/")
        total = sum(jobs.values())
        for name, what in zip(names, RUNS, strict=True):
            per_run = sum(written[name].values()) / max(1, jobs[name])
            note = _said(written[name], jobs[name])
            yield Measure(f"writes a run, {what}", per_run, "calls", note)
        yield Measure("runs an hour, missing", PER_HOUR - total * 3600 / took, "runs", f"{total}")
        yield Measure("CPU a run", used * 1000 / max(1, total), "ms")
        yield Measure("CPU", used * 100 / took, "% of a core")
        yield Measure("RSS", peak[0], "MiB", "the most")


def _cron_jobs(cluster: Cluster, seconds: int) -> Iterator[Measure]:
    manager = cluster.component("kube-controller-manager")
    assert manager.pid is not None
    with namespace(cluster, "cron") as name:
        create_all(cluster, name, [_cron_job(number) for number in range(PER_HOUR // 60)])
        time.sleep(_WARM_UP_SECONDS)
        mark, cpu = cluster.audit_mark(), cpu_of(manager.pid)
        time.sleep(seconds)
        used = cpu_of(manager.pid) - cpu
        written, jobs = _written(cluster, mark, user=_CRON_JOBS)
        per_run = sum(written[name].values()) / max(1, jobs[name])
        yield Measure("CronJob, writes a run", per_run, "calls", _said(written[name], jobs[name]))
        note = "all of the controller manager, its Job controller included"
        yield Measure("CronJob, CPU a run", used * 1000 / max(1, jobs[name]), "ms", note)


def _task(number: int, every: int, run_for: str) -> Obj:
    schedules = [{"name": "often", "everySeconds": every, "anchor": "2026-01-01T00:00:00Z"}]
    task = scheduled_task(f"task-{number}", schedules, jitterSeconds=every - 1)
    task["spec"]["jobTemplate"] = {"spec": template_for(run_for)}
    return task


def _cron_job(number: int) -> Obj:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"cron-{number}"},
        "spec": {
            "schedule": "* * * * *",
            "successfulJobsHistoryLimit": 1,
            "jobTemplate": {"spec": TEMPLATE},
        },
    }


def _written(cluster: Cluster, mark: int, **who: str) -> tuple[Mapping[str, Written], Counter[str]]:
    """What was written by namespace, dry runs aside, and how many Jobs were created in each."""
    written: dict[str, Written] = {}
    jobs: Counter[str] = Counter()
    for event in cluster.audit_events(since=mark, writes=True, **who):
        target = event.get("objectRef", {})
        if (
            "dryRun=" in event["requestURI"]
            or event.get("responseStatus", {}).get("code", 0) >= 300
        ):
            continue
        name, resource = target.get("namespace", ""), target.get("resource", "")
        written.setdefault(name, Counter())[event["verb"], resource] += 1
        jobs[name] += (event["verb"], resource) == ("create", "jobs")
    return written, jobs


def _said(written: Written, runs: int) -> str:
    parts = (
        f"{verb} {resource} {count / max(1, runs):.2f}"
        for (verb, resource), count in written.most_common()
    )
    return f"{runs} runs: {', '.join(parts)}"


@contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """The most memory that a process has, looked at each second; there at the end."""
    found, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(1):
            found[0] = max(found[0], memory_of(pid).rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
