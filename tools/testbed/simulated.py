"""Simulated nodes: Node objects that kwok keeps alive, and whose pods it plays by `stages/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed import paths

PODS_PER_NODE = 1000
_ANNOTATION = ("kwok.x-k8s.io/node", "fake")
# In the form of a container runtime's log files: time, stream, F for a full line, text.
_LOG_TEXT = (
    "2026-01-01T00:00:00Z stdout F This pod is simulated: no program ran in it. "
    "Start the cluster with --nodes real for real pods and their logs.\n"
)


def node(name: str) -> dict[str, Any]:
    """A Node object for kwok to take care of."""
    resources = {
        "cpu": "1000", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": str(PODS_PER_NODE),
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": dict([_ANNOTATION]),
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "type": "simulated",
            },
        },
        "status": {"allocatable": resources, "capacity": resources},
    }


def write_configuration(
    directory: Path, *, address: str, port: int, certificate: tuple[Path, Path]
) -> Path:
    """Write kwok's configuration: its options, then the stages.

    Args:
        directory: where to write it.
        address: where kwok serves `kubectl logs`.
        port: likewise.
        certificate: its certificate and key.
    """
    log = directory / "simulated-pod.log"
    log.write_text(_LOG_TEXT)
    options = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "manageAllNodes": False,
            "manageNodesWithAnnotationSelector": "=".join(_ANNOTATION),
            "nodeLeaseDurationSeconds": 40,
            "nodeIP": address,
            "nodePort": port,
            "serverAddress": f"{address}:{port}",
            "tlsCertFile": str(certificate[0]),
            "tlsPrivateKeyFile": str(certificate[1]),
            "enableDebuggingHandlers": True,
            "cidr": "10.244.0.0/16",
            # kwok fills in no defaults where there is a configuration.
            "podPlayStageParallelism": 16,
            "nodePlayStageParallelism": 4,
            "nodeLeaseParallelism": 4,
            "podsOnNodeSyncParallelism": 4,
        },
    }
    stages = [stage.read_text() for stage in sorted(paths.STAGES.glob("*.yaml"))]
    parts = [json.dumps(options), *(stage.replace("${LOG_FILE}", str(log)) for stage in stages)]
    path = directory / "kwok.yaml"
    path.write_text("\n---\n".join(parts))
    return path


def arguments(configuration: Path, kubeconfig: Path) -> list[str]:
    """Arguments of kwok."""
    return [f"--config={configuration}", f"--kubeconfig={kubeconfig}"]
