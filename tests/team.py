"""A team on a real cluster: a namespace with the CRDs, and replicas of an operator for it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from install import fence_for, install
from replicas import OperatorProcess, eventually
from testbed.base import BaseCluster

Json = dict[str, Any]
T = TypeVar("T")


def task(name: str, *, seconds: int = 1, exit_code: int = 0, **spec: Any) -> Json:
    """A ScheduledTask whose simulated pods run for `seconds`."""
    annotations = {"testbed.taskrunner.dev/run-for": f"{seconds}s"}
    if exit_code:
        annotations["testbed.taskrunner.dev/exit-code"] = str(exit_code)
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
    template = {"metadata": {"annotations": annotations}, "spec": pod}
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "ScheduledTask",
        "metadata": {"name": name},
        "spec": {
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": template}},
            **spec,
        },
    }


def every(seconds: int) -> list[Json]:
    return [{"name": "often", "everySeconds": seconds, "anchor": "2026-01-01T00:00:00Z"}]


class Team:
    """A namespace with the CRDs, and the replicas of an operator that watches only it."""

    def __init__(self, cluster: BaseCluster, directory: Path) -> None:
        self.cluster = cluster
        self.name = f"team-{uuid.uuid4().hex[:6]}"
        self._directory = directory
        self.replicas: list[OperatorProcess] = []
        install(cluster.kubectl, self.name, watch_namespace=self.name)

    def start(self, **settings: str) -> OperatorProcess:
        """One more replica."""
        log = self._directory / f"replica-{len(self.replicas) + 1}.log"
        replica = OperatorProcess(Path(self.cluster.kubeconfig), self.name, log, **settings)
        self.replicas.append(replica)
        replica.wait_for_log("in sync")
        return replica

    def leader(self) -> OperatorProcess:
        def leading() -> list[OperatorProcess]:
            return [r for r in self.replicas if r.process.poll() is None and r.leads()]

        return eventually(leading, "a leader", self.logs)[0]

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()
        for obj in fence_for(self.cluster.kubectl, self.name, watch_namespace=self.name):
            self.cluster.kubectl(
                "delete", "--ignore-not-found", obj["kind"], obj["metadata"]["name"]
            )
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false")

    def logs(self) -> str:
        return "\n".join(f"--- {r.identity}\n{r.log[-3000:]}" for r in self.replicas)

    def kubectl(self, *arguments: str, obj: Json | None = None) -> str:
        return self.cluster.kubectl(f"-n={self.name}", *arguments, input=obj)

    def apply(self, obj: Json) -> None:
        self.kubectl("apply", "-f", "-", obj=obj)

    def get(self, kind: str, name: str) -> Json:
        return dict(self.cluster.get(f"-n={self.name}", kind, name))

    def all(self, kind: str, of: str) -> Sequence[Json]:
        """Everything of a kind that belongs to a task."""
        found: Sequence[Json] = self.cluster.get(
            f"-n={self.name}", kind, f"-l=taskrunner.dev/task={of}"
        )["items"]
        return found

    def of_task(self, name: str) -> list[Json]:
        """All executions that name a task, whoever owns them."""
        found = self.cluster.get(
            f"-n={self.name}", "texec", f"--field-selector=spec.taskRef.name={name}"
        )
        return list(found["items"])

    def patch(self, kind: str, name: str, change: Json) -> None:
        """A JSON merge patch."""
        self.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def succeeded(self, of: str) -> list[Json]:
        found = self.all("texec", of)
        return [e for e in found if e.get("status", {}).get("phase") == "Succeeded"]

    def wait_for(self, check: Callable[[], T], what: str, seconds: float = 30) -> T:
        return eventually(check, what, self.logs, seconds=seconds)
