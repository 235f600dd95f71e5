"""The chart installed on a real node, and what its tests ask about it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from charts import CHART, NAMESPACE, RELEASE, Helm, Json
from testbed import Cluster, CommandError
from testbed.image import PRODUCT_IMAGE
from testbed.image_base import BASE_IMAGE

T = TypeVar("T")

OPERATOR = f"{RELEASE}-operator"
WEBHOOK = f"{RELEASE}-webhook"
LEASE = "taskrunner-shard-0"


def image_values() -> Json:
    """The image that was built here, under the name that it has on the node."""
    repository, _, tag = PRODUCT_IMAGE.rpartition(":")
    return {"image": {"repository": repository, "tag": tag, "pullPolicy": "Never"}}


def task(name: str, command: list[str], **spec: Any) -> Json:
    """A ScheduledTask whose pods meet the restricted standard and run in the base image."""
    container = {
        "name": "main",
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": command,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "ScheduledTask",
        "metadata": {"name": name},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}, **spec},
    }


def every(seconds: int, **spec: Any) -> Json:
    """A spec that keeps the record of every slot, and starts late what was missed."""
    return {
        "schedules": [{"name": "often", "everySeconds": seconds}],
        "catchUp": {"policy": "All", "limit": 100},
        "successfulJobsHistoryLimit": 100,
        **spec,
    }


class Installation:
    """A release of the chart."""

    def __init__(self, cluster: Cluster, helm: Helm) -> None:
        self.cluster = cluster
        self.helm = helm
        self.started = 0.0
        """When `helm install` was called; wall clock, as are the times of objects."""

    def install(self) -> None:
        self.started = time.time()
        where = ("--namespace", NAMESPACE)
        self.helm.run("install", RELEASE, CHART, *where, values=image_values(), seconds=120)

    def upgrade(self, **values: Json) -> None:
        """Change values, and return when the new pods are in place."""
        wait = ("--namespace", NAMESPACE, "--wait", "--timeout=180s")
        changed = image_values() | values
        self.helm.run("upgrade", RELEASE, CHART, *wait, values=changed, seconds=200)

    def await_ready(self) -> None:
        for name in (OPERATOR, WEBHOOK):
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s", timeout=150)

    def kubectl(self, *arguments: str | Path, timeout: float = 60) -> str:
        """In the operator's namespace."""
        return self.cluster.kubectl(f"-n={NAMESPACE}", *arguments, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o=json"))

    def pods(self, component: str) -> list[Json]:
        """Those that run and are not on their way out."""
        selector = f"-l=app.kubernetes.io/component={component}"
        found: list[Json] = self.get("pods", selector)["items"]
        return [
            pod
            for pod in found
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def holder(self) -> str:
        """Who holds the Lease: the pod's name and a part that is unique for each process."""
        return str(self.get("lease", LEASE)["spec"].get("holderIdentity") or "")

    def leader(self) -> Json:
        """The pod that leads."""
        holder = self.holder()
        (pod,) = (
            pod for pod in self.pods("operator") if holder.startswith(pod["metadata"]["name"])
        )
        return pod

    def kill(self, pod: Json) -> None:
        """SIGKILL for all processes of a pod's containers: nobody can say good-bye."""
        ours = [process for process in _processes(pod["metadata"]["uid"]) if process[1] != "pause"]
        assert ours, f"no process of {pod['metadata']['name']} was found"
        for number, _ in ours:
            os.kill(number, signal.SIGKILL)

    def usage(self, component: str) -> list[Json]:
        """CPU and memory of the component's containers, as the kubelet measures them."""
        summary = json.loads(
            self.cluster.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary")
        )
        uids = {pod["metadata"]["uid"] for pod in self.pods(component)}
        return [
            container
            for pod in summary["pods"]
            if pod["podRef"]["uid"] in uids
            for container in pod["containers"]
        ]


class Space:
    """A namespace with tasks."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str | Path, obj: Json | None = None) -> str:
        return self._cluster.kubectl(f"-n={self.name}", *arguments, input=obj)

    def apply(self, obj: Json) -> str:
        return self.kubectl("apply", "--server-side", "-f", "-", obj=obj)

    def is_applied(self, obj: Json) -> bool:
        """Apply it, unless the API server says that it is too early."""
        try:
            self.apply(obj)
        except CommandError as error:
            if "(ServiceUnavailable)" not in error.stderr:
                raise
            return False
        return True

    def get(self, *arguments: str) -> Any:
        return self._cluster.get(f"-n={self.name}", *arguments)

    def runs(self, of: str) -> list[Json]:
        """The task's executions, in the order of their slots."""
        found: list[Json] = self.get("texec", f"-l=taskrunner.dev/task={of}")["items"]
        return sorted(found, key=lambda run: str(run["spec"].get("scheduledTime")))

    def ended(self, of: str) -> list[Json]:
        return [run for run in self.runs(of) if run.get("status", {}).get("completionTime")]

    def slots(self, of: str) -> list[int]:
        """Slots that have a record, as seconds since the epoch."""
        return [int(moment(run["spec"]["scheduledTime"])) for run in self.runs(of)]


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def lags(runs: list[Json]) -> list[float]:
    """Seconds from each slot to the creation of its Job, as the operator measured it."""
    return [run["status"]["startLagMilliseconds"] / 1000 for run in runs]


def eventually(look: Callable[[], T], what: str, seconds: float) -> T:
    """What `look` finds, once it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
    return found


def _processes(pod_uid: str) -> list[tuple[int, str]]:
    """Ids and names of the processes in a pod's control groups."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            groups = (directory / "cgroup").read_text()
            name = (directory / "comm").read_text().strip()
        except OSError:  # it has ended meanwhile
            continue
        if re.search(rf"pod{pod_uid}(?:/|$)", groups, re.MULTILINE):
            found.append((int(directory.name), name))
    return found
