"""What the benchmarks on a cluster share: the operator as a process, and what processes use."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from install import apply_fence
from taskrunner.ports import SCHEDULED_TASKS, EventType, Obj
from testbed import Cluster, ClusterSpec

CRDS = Path(__file__).parent.parent / "crds"
TICKS = os.sysconf("SC_CLK_TCK")
TUNED = ("--concurrent-cron-job-syncs=50", "--concurrent-job-syncs=50")
"""Beside the rate of 2,000 a second that the test bed gives the controller manager anyway."""
DEFAULTS = (
    *("--kube-api-qps=20", "--kube-api-burst=30"),
    *("--concurrent-cron-job-syncs=5", "--concurrent-job-syncs=5"),
)
TEMPLATE: Obj = {
    "template": {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
    }
}
"""A pod that runs a second."""

NEVER: Obj = {"name": "never", "at": "2100-01-01T00:00:00Z"}


@contextmanager
def bed(name: str, *, audit: bool = False) -> Iterator[Cluster]:
    """A cluster with our definitions, whose controller manager is tuned."""
    with Cluster(ClusterSpec(name=name, audit=audit, kube_controller_flags=TUNED)) as cluster:
        cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
        yield cluster


@contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[str]:
    """A namespace that is quite gone afterwards, so that nothing of it disturbs what follows."""
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, timeout=600)


def start_operator(
    cluster: Cluster, namespace: str, *, fence: bool = True, name: str = "operator", **settings: Any
) -> subprocess.Popen[bytes]:
    """One replica for one namespace, in which its own Lease lives, too."""
    if fence:
        apply_fence(cluster.kubectl, namespace, watch_namespace=namespace)
    environment = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig),
        "SCHEDULER_NAMESPACE": namespace,
        "SCHEDULER_WATCH_NAMESPACE": namespace,
        "SCHEDULER_PROBE_PORT": "0",
        "SCHEDULER_FENCE_REQUIRED": str(fence),
    }
    environment |= {f"SCHEDULER_{key.upper()}": str(value) for key, value in settings.items()}
    with (cluster.dir / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "taskrunner", "operator"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip


@contextmanager
def operator(
    cluster: Cluster, namespace: str, **settings: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """`start_operator`, and its end."""
    process = start_operator(cluster, namespace, **settings)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def scheduled_task(name: str, schedules: list[Obj], **spec: Any) -> Obj:
    """A ScheduledTask with the usual template."""
    return {
        "apiVersion": SCHEDULED_TASKS.api_version,
        "kind": SCHEDULED_TASKS.kind,
        "metadata": {"name": name},
        "spec": {"schedules": schedules, "jobTemplate": {"spec": TEMPLATE}, **spec},
    }


def template_for(run_for: str) -> Obj:
    """A Job's spec whose pod runs so long, e.g. `300ms`."""
    pod = TEMPLATE["template"]
    annotations = {"testbed.taskrunner.dev/run-for": run_for}
    return {**TEMPLATE, "template": {**pod, "metadata": {"annotations": annotations}}}


def create_all(cluster: Cluster, namespace: str, objects: list[Obj]) -> None:
    """Create objects with one command."""
    body = {"apiVersion": "v1", "kind": "List", "items": objects}
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=body)


def planned(cluster: Cluster, namespace: str) -> int:
    """How many tasks of a namespace have a plan in their status."""
    found = json.loads(cluster.kubectl("get", "stask", "-n", namespace, "-o", "json"))["items"]
    return sum("plan" in task.get("status", {}) for task in found)


def wait_for(what: Callable[[], bool], seconds: float, message: str) -> float:
    """Seconds until it was so, looked at twice a second."""
    started = time.monotonic()
    while not what():
        if time.monotonic() - started > seconds:
            raise RuntimeError(f"after {seconds:g} s: {message}")
        time.sleep(0.5)
    return time.monotonic() - started


class Arrivals:
    """A sink that notes when each Job was first seen, and when it was seen to be complete."""

    def __init__(self, expected: int) -> None:
        self.at: dict[str, float] = {}
        self.complete_at: dict[str, float] = {}
        self.expected = expected
        self.all_there = asyncio.Event()
        self.all_complete = asyncio.Event()

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What has gone does not matter."""

    def seen(self, event: EventType, obj: Obj) -> None:
        name = obj["metadata"]["name"]
        if name not in self.at:
            self.at[name] = time.time()
            if len(self.at) >= self.expected:
                self.all_there.set()
        conditions = (obj.get("status") or {}).get("conditions") or ()
        if name not in self.complete_at and any(c["type"] == "Complete" for c in conditions):
            self.complete_at[name] = time.time()
            if len(self.complete_at) >= self.expected:
                self.all_complete.set()


# --- what processes use ------------------------------------------------------------------------


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def components(cluster: Cluster, **more: int) -> dict[str, int]:
    """Process ids of the cluster's parts, and of others."""
    found = {name: part.pid for name, part in cluster.components().items()}
    return {name: pid for name, pid in {**found, **more}.items() if pid is not None}


def cpu_of_all(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu_of(pid) for name, pid in pids.items()}


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (2^20)."""

    rss: float
    private: float
    """Pages that no other process shares, changed or not."""


def memory_of(pid: int) -> Memory:
    """What a process takes now."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) / 1024
    return Memory(found["Rss"], found["Private_Clean"] + found["Private_Dirty"])


def restart_with(cluster: Cluster, name: str, flags: tuple[str, ...]) -> None:
    """Run another controller manager, say, in the place of a component: later flags win."""
    component = cluster.component(name)
    assert component.pid is not None
    argv = Path(f"/proc/{component.pid}/cmdline").read_text().rstrip("\0").split("\0")
    component.stop()
    cluster.spawn(f"{name}-again", [*argv, *flags])
