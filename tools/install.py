"""What the operator needs on a cluster when it runs without the chart: definitions and the fence.

Usage: python -m install [--namespace taskrunner-system], with KUBECONFIG set. The fence is for the
user of that kubeconfig, because that is who the operator will be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskrunner.api.fence import Fence, manifests
from testbed import binaries

CRDS = Path(__file__).resolve().parent.parent / "crds"

Kubectl = Callable[..., str]
"""Runs kubectl with arguments; `input` is an object for its standard input."""


def install(
    kubectl: Kubectl, namespace: str, *, watch_namespace: str = "", shards: int = 1
) -> None:
    """Apply them, and make the namespace if need be. A fence for one watched namespace is named
    after it, so that several can be on one cluster."""
    apply_definitions(kubectl)
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    kubectl("apply", "-f", "-", input=manifest)
    apply_fence(kubectl, namespace, watch_namespace=watch_namespace, shards=shards)


def apply_definitions(kubectl: Kubectl) -> None:
    """Apply the definitions alone, and wait until the server serves them."""
    kubectl("apply", "--server-side", "-f", str(CRDS))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))


def apply_fence(
    kubectl: Kubectl, namespace: str, *, watch_namespace: str = "", shards: int = 1
) -> None:
    """Apply the fence alone."""
    found = fence_for(kubectl, namespace, watch_namespace=watch_namespace, shards=shards)
    kubectl("apply", "-f", "-", input={"apiVersion": "v1", "kind": "List", "items": found})


def fence_for(
    kubectl: Kubectl, namespace: str, *, watch_namespace: str = "", shards: int = 1
) -> list[dict[str, Any]]:
    """The fence for whoever kubectl is."""
    who = json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    name = watch_namespace or "taskrunner"
    return manifests(Fence(name, who, namespace, watch_namespace, shards))


def main() -> None:
    parser = argparse.ArgumentParser(prog="install", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--namespace", default="taskrunner-system", help="the operator's own")
    shards = int(os.environ.get("SCHEDULER_SHARDS", "1"))
    parser.add_argument(
        "--shards", type=int, default=shards, help="as the operator's (default: $SCHEDULER_SHARDS)"
    )
    options = parser.parse_args()
    program = str(binaries.ensure(["kubectl"])["kubectl"])

    def kubectl(*arguments: str, input: dict[str, Any] | None = None) -> str:  # noqa: A002
        done = subprocess.run(
            [program, *arguments],
            input=None if input is None else json.dumps(input),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"install: kubectl {' '.join(arguments)} failed")
        return done.stdout

    install(kubectl, options.namespace, shards=options.shards)
    print(f"installed: definitions, namespace {options.namespace}, fence")


if __name__ == "__main__":
    main()
