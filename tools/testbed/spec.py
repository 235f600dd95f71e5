"""What a cluster shall be."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from testbed import versions
from testbed.errors import TestbedError

NodesKind = Literal["simulated", "real", "none"]


@dataclass(frozen=True)
class ClusterSpec:
    """What a cluster shall be; every field has a sensible default.

    Attributes:
        name: a short name; part of the directory's and the kubeconfig context's name.
        version: the Kubernetes minor, one of `versions.KUBERNETES_VERSIONS`.
        nodes: `simulated` (kwok), `real` (containerd and kubelet; needs root on Linux), or `none`.
        node_count: how many simulated nodes; each carries 1,000 pods.
        audit: write an audit log, which `Cluster.audit_events` reads.
        fsync: let etcd wait for the disk; needed only where a power cut is part of the test.
        feature_gates: for all Kubernetes components.
        api_server_flags: added last to the API server's, so they win over the test bed's own.
        kube_controller_flags: likewise for the controller manager. The test bed raises its client
            rate (`--kube-api-qps=2000 --kube-api-burst=4000 --concurrent-job-syncs=50`), so that
            the Job controller does not hide what is measured; give 20, 30 and 5 for the defaults.
        keep: leave the directory with logs and data behind at the end.
        ready_seconds: how long the start may take before it is an error.
    """

    name: str = "test"
    version: str = versions.DEFAULT_KUBERNETES
    nodes: NodesKind = "simulated"
    node_count: int = 10
    audit: bool = False
    fsync: bool = False
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    api_server_flags: tuple[str, ...] = ()
    kube_controller_flags: tuple[str, ...] = ()
    keep: bool = False
    ready_seconds: float = 120

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise TestbedError(
                f"name: {self.name!r} is no cluster name; take up to 20 lower-case letters, "
                "digits and dashes."
            )
        versions.kubernetes_module(self.version)
        if self.nodes not in versions.PROGRAMS_FOR_NODES:
            known = ", ".join(versions.PROGRAMS_FOR_NODES)
            raise TestbedError(f"nodes: {self.nodes!r} is unknown; choose from {known}.")
        if self.node_count < 1:
            raise TestbedError(f"node_count: {self.node_count} is too few; take 1 or more.")

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClusterSpec:
        flags = ("api_server_flags", "kube_controller_flags")
        return cls(**{**data, **{name: tuple(data[name]) for name in flags}})
