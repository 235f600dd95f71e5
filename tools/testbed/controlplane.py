"""The control plane's arguments and configuration files: pure functions of the cluster's layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from testbed.ports import Ports
from testbed.spec import ClusterSpec

SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
"""The first address of the range: the Service `kubernetes` in `default`."""

LOOPBACK = "127.0.0.1"

# Off by default in these minors, and used by the product where it is on.
_RUNTIME_CONFIG = {"1.34": "admissionregistration.k8s.io/v1beta1=true"}
_FEATURE_GATES = {"1.34": {"MutatingAdmissionPolicy": True}}


@dataclass(frozen=True)
class Layout:
    """Where the parts of one cluster are.

    Attributes:
        spec: what the cluster shall be.
        directory: the state directory.
        ports: the reserved ports.
        advertise: the address that pods reach the API server at; None without real nodes.
        ca: the authority's certificate; its key lies beside it as `ca.key`.
        serving, kubelet_client: certificate and key of the API server, as server and as client.
    """

    spec: ClusterSpec
    directory: Path
    ports: Ports
    advertise: str | None
    ca: Path
    serving: tuple[Path, Path]
    kubelet_client: tuple[Path, Path]

    @property
    def service_account_key(self) -> Path:
        return self.directory / "pki" / "service-account.key"

    @property
    def service_account_public_key(self) -> Path:
        return self.directory / "pki" / "service-account.pub"

    @property
    def audit_policy(self) -> Path:
        return self.directory / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        return self.directory / "logs" / "audit.log"

    @property
    def scheduler_configuration(self) -> Path:
        return self.directory / "scheduler.json"

    def kubeconfig(self, component: str) -> Path:
        return self.directory / f"{component}.kubeconfig"


def etcd(layout: Layout) -> list[str]:
    """Arguments of etcd. It listens on loopback, without TLS."""
    client = f"http://{LOOPBACK}:{layout.ports.etcd}"
    peer = f"http://{LOOPBACK}:{layout.ports.etcd_peer}"
    arguments = [
        f"--name={layout.spec.name}",
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={layout.spec.name}={peer}",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ]
    return arguments if layout.spec.fsync else [*arguments, "--unsafe-no-fsync"]


def api_server(layout: Layout) -> list[str]:
    """Arguments of the API server."""
    spec = layout.spec
    arguments = [
        f"--etcd-servers=http://{LOOPBACK}:{layout.ports.etcd}",
        f"--secure-port={layout.ports.api_server}",
        f"--tls-cert-file={layout.serving[0]}",
        f"--tls-private-key-file={layout.serving[1]}",
        f"--client-ca-file={layout.ca}",
        f"--kubelet-client-certificate={layout.kubelet_client[0]}",
        f"--kubelet-client-key={layout.kubelet_client[1]}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={layout.service_account_key}",
        f"--service-account-key-file={layout.service_account_public_key}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--allow-privileged=true",
        "--profiling=false",
        *_feature_gates(spec),
    ]
    if layout.advertise is None:
        arguments += [f"--bind-address={LOOPBACK}", "--endpoint-reconciler-type=none"]
    else:
        # Pods reach the server at its Service address, and it reaches webhooks in pods by their
        # own addresses, without a proxy on its side.
        arguments += [
            "--bind-address=0.0.0.0",
            f"--advertise-address={layout.advertise}",
            "--enable-aggregator-routing=true",
        ]
    if runtime_config := _RUNTIME_CONFIG.get(spec.version):
        arguments.append(f"--runtime-config={runtime_config}")
    if spec.audit:
        arguments += [
            f"--audit-policy-file={layout.audit_policy}",
            f"--audit-log-path={layout.audit_log}",
            "--audit-log-mode=blocking",  # an answered request is in the log
            "--audit-log-maxsize=100000",  # megabytes; a rotated log would be counted in part
        ]
    return [*arguments, *spec.api_server_flags]


def controller_manager(layout: Layout) -> list[str]:
    """Arguments of the controller manager: the real controllers, at a raised client rate."""
    kubeconfig = layout.kubeconfig("kube-controller-manager")
    return [
        f"--kubeconfig={kubeconfig}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.service_account_key}",
        f"--root-ca-file={layout.ca}",
        f"--cluster-signing-cert-file={layout.ca}",
        f"--cluster-signing-key-file={layout.ca.with_name('ca.key')}",
        "--leader-elect=false",  # there is one; its Lease would only be written in vain
        "--secure-port=0",
        "--profiling=false",
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
        "--concurrent-job-syncs=50",
        *_feature_gates(layout.spec),
        *layout.spec.kube_controller_flags,
    ]


def scheduler(layout: Layout) -> list[str]:
    """Arguments of the scheduler."""
    return [
        f"--config={layout.scheduler_configuration}",
        "--secure-port=0",
        *_feature_gates(layout.spec),
    ]


def scheduler_configuration(layout: Layout) -> str:
    """The scheduler's configuration file; the client's rate can be set nowhere else."""
    return json.dumps(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "enableProfiling": False,
            "clientConnection": {
                "kubeconfig": str(layout.kubeconfig("kube-scheduler")),
                "qps": 2000,
                "burst": 4000,
            },
        },
        indent=1,
    )


def _feature_gates(spec: ClusterSpec) -> list[str]:
    gates = {**_FEATURE_GATES.get(spec.version, {}), **spec.feature_gates}
    if not gates:
        return []
    values = ",".join(f"{name}={str(on).lower()}" for name, on in sorted(gates.items()))
    return [f"--feature-gates={values}"]
