"""The chart on a cluster, without its Deployments: those run here, as processes that faults hit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

from testbed import Cluster, binaries

NAMESPACE = "taskrunner-system"
ACCOUNT = "taskrunner-operator"
_CHART = Path(__file__).parents[2] / "helm" / "taskrunner"
_RUN_ELSEWHERE = frozenset({"Deployment", "PodDisruptionBudget", "Service", "Pod"})


def install(cluster: Cluster) -> Path:
    """Apply rights, definitions and policies; the answer is the operator's kubeconfig, with its
    own service account: what it may not do in production it may not do here."""
    helm = binaries.ensure(["helm"])["helm"]
    command = [
        *(str(helm), "template", "taskrunner", str(_CHART), f"--namespace={NAMESPACE}"),
        *(f"--kube-version=v{cluster.spec.version}.0", "--set=webhook.enabled=false"),
        f"--set=operator.serviceAccount.name={ACCOUNT}",
    ]
    environment = {**os.environ, "KUBECONFIG": os.devnull, "HELM_CACHE_HOME": str(cluster.dir)}
    rendered = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if rendered.returncode:
        raise SystemExit(f"chaos: helm template failed: {rendered.stderr.strip()}")
    objects = [
        obj
        for obj in yaml.safe_load_all(rendered.stdout)
        if obj
        and obj["kind"] not in _RUN_ELSEWHERE
        and "helm.sh/hook" not in (obj["metadata"].get("annotations") or {})
    ]
    cluster.kubectl("create", "namespace", NAMESPACE)
    definitions = [obj for obj in objects if obj["kind"] == "CustomResourceDefinition"]
    others = [obj for obj in objects if obj["kind"] != "CustomResourceDefinition"]
    for group in (definitions, others):
        items = {"apiVersion": "v1", "kind": "List", "items": group}
        cluster.kubectl("apply", "--server-side", "-n", NAMESPACE, "-f", "-", input=items)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
    return cluster.kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
