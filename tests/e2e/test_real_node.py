"""A real node: pods run locked down, say what they said, and reach the API server."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from testbed import Cluster, CommandError
from testbed.image_base import BASE_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LOCKED_DOWN = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

CALL_THE_API = """
import json, os, ssl, sys, urllib.error, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
trust = ssl.create_default_context(cafile=account + "ca.crt")
token = open(account + "token").read()
namespace = open(account + "namespace").read()
answers = {"server": server}
for what in ("pods", "secrets"):
    url = f"{server}/api/v1/namespaces/{namespace}/{what}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        answers[what] = urllib.request.urlopen(request, context=trust, timeout=10).status
    except urllib.error.HTTPError as error:
        answers[what] = error.code
print(json.dumps(answers))
"""


def job(name: str, command: list[str], **pod_spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": LOCKED_DOWN,
    }
    spec = {"restartPolicy": "Never", "containers": [container], **pod_spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }


def run_to_end(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Create the Job and return it once it is Complete or Failed."""
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=manifest)
    name = manifest["metadata"]["name"]
    end = time.monotonic() + 60
    while True:
        found: dict[str, Any] = cluster.get("job", name, "-n", namespace)
        conditions = found["status"].get("conditions", [])
        if any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions):
            return found
        described = json.dumps(found["status"])
        assert time.monotonic() < end, f"Job {name} does not end: {described}"
        time.sleep(0.1)


def test_a_job_runs_to_its_end_without_any_privilege(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    look = (
        "id -u; touch /here 2>&1; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"
    )
    manifest = job("look", ["sh", "-c", look])
    ended = run_to_end(real_cluster, restricted_namespace, manifest)
    assert ended["status"]["succeeded"] == 1

    said = real_cluster.kubectl("logs", "job/look", "-n", restricted_namespace).splitlines()
    assert said[0] == "65532"
    assert said[1].endswith("Read-only file system")
    status = dict(line.split(":\t") for line in said[2:])
    assert status == {
        "CapEff": "0000000000000000",
        "CapBnd": "0000000000000000",
        "NoNewPrivs": "1",
        "Seccomp": "2",  # a filter, see proc(5)
    }


def test_a_pod_with_privileges_is_refused_by_the_standard(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    """Guards the test above: the namespace does look at what it admits."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "main", "image": BASE_IMAGE}]},
    }
    with pytest.raises(CommandError, match='violates PodSecurity "restricted'):
        real_cluster.kubectl("create", "-n", restricted_namespace, "-f", "-", input=pod)


def test_kubectl_logs_follows_a_pod_while_it_runs(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    count = "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; echo to-stderr >&2"
    manifest = job("count", ["sh", "-c", count])
    real_cluster.kubectl("create", "-n", restricted_namespace, "-f", "-", input=manifest)
    target = ("-n", restricted_namespace, "job/count")
    # `kubectl logs` refuses while the container is being created; --pod-running-timeout waits.
    real_cluster.kubectl("wait", "--for=jsonpath={.status.ready}=1", *target, "--timeout=30s")
    said = real_cluster.kubectl("logs", "--follow", *target)
    assert said.splitlines() == [*(f"line {i}" for i in range(1, 6)), "to-stderr"]


def test_a_pod_reaches_the_api_server_as_its_service_account(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    here = ("-n", restricted_namespace)
    account = f"--serviceaccount={restricted_namespace}:reader"
    real_cluster.kubectl("create", "serviceaccount", "reader", *here)
    real_cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=pods", *here)
    real_cluster.kubectl("create", "rolebinding", "reader", "--role=reader", account, *here)
    manifest = job("call", ["python3", "-c", CALL_THE_API], serviceAccountName="reader")
    run_to_end(real_cluster, restricted_namespace, manifest)

    answers = json.loads(real_cluster.kubectl("logs", "job/call", *here))
    # The Service's address, not the machine's: so kube-proxy's rules are at work.
    assert answers == {"server": "https://10.96.0.1:443", "pods": 200, "secrets": 403}


def terminated(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """How the only container of the only pod ended."""
    (pod,) = cluster.get("pods", "-n", namespace)["items"]
    (container,) = pod["status"]["containerStatuses"]
    state: dict[str, Any] = container["state"]["terminated"]
    return state


@pytest.mark.parametrize(("exit_code", "succeeds"), [(0, True), (3, False), (255, False)])
def test_exit_codes_arrive(
    real_cluster: Cluster, restricted_namespace: str, exit_code: int, succeeds: bool
) -> None:
    manifest = job("exit", ["sh", "-c", f"exit {exit_code}"])
    ended = run_to_end(real_cluster, restricted_namespace, manifest)
    assert (ended["status"].get("succeeded", 0) == 1) is succeeds
    assert terminated(real_cluster, restricted_namespace)["exitCode"] == exit_code


def test_a_container_over_its_memory_limit_is_killed_and_says_so(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    manifest = job("eat", ["python3", "-c", "x = bytearray(1 << 30)"])
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["resources"] = {"limits": {"memory": "64Mi"}}
    ended = run_to_end(real_cluster, restricted_namespace, manifest)
    assert ended["status"].get("failed") == 1
    state = terminated(real_cluster, restricted_namespace)
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")


def test_a_pod_that_runs_too_long_is_ended(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    manifest = job("long", ["sleep", "600"], terminationGracePeriodSeconds=1)
    manifest["spec"]["activeDeadlineSeconds"] = 2
    ended = run_to_end(real_cluster, restricted_namespace, manifest)
    (failed,) = (c for c in ended["status"]["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "DeadlineExceeded"


def test_pods_reach_each_other_through_a_service(
    real_cluster: Cluster, restricted_namespace: str
) -> None:
    here = ("-n", restricted_namespace)
    serve = ["python3", "-m", "http.server", "8080", "--directory", "/etc"]
    server = job("server", serve, terminationGracePeriodSeconds=1)
    server["spec"]["template"]["metadata"] = {"labels": {"app": "server"}}
    server["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {
        "httpGet": {"port": 8080, "path": "/debian_version"},
        "periodSeconds": 1,
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    for manifest in (server, service):
        real_cluster.kubectl("create", *here, "-f", "-", input=manifest)
    ready = ("wait", "--for=condition=Ready", "pod", "-l", "app=server", "--timeout=30s")
    real_cluster.kubectl(*ready, *here)
    # There is no cluster DNS; the environment has the address.
    fetch = (
        "import os, urllib.request as r;"
        "url = 'http://' + os.environ['SERVER_SERVICE_HOST'] + '/debian_version';"
        "print(r.build_opener(r.ProxyHandler({})).open(url, timeout=10).read().decode())"
    )
    ended = run_to_end(real_cluster, restricted_namespace, job("fetch", ["python3", "-c", fetch]))
    assert ended["status"].get("succeeded") == 1
    assert real_cluster.kubectl("logs", "job/fetch", *here).startswith("12.")
