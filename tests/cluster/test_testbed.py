"""The test bed itself: what it starts works, can be broken, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from testbed import (
    BaseCluster,
    Cluster,
    ClusterSpec,
    CommandError,
    ComponentDiedError,
    TestbedError,
    UnsupportedError,
    require,
)

pytestmark = pytest.mark.cluster
TOOLS = Path(__file__).parents[2] / "tools"
ANNOTATION = "testbed.taskrunner.dev/"


def until(condition: Callable[[], Any], what: str, seconds: float = 20, every: float = 0.05) -> Any:
    """Wait for something to become true, and return it."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(every)
    return result


@pytest.fixture
def namespace(cluster: BaseCluster) -> Iterator[str]:
    name = f"testbed-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest, k8s_version: str) -> Iterator[Cluster]:
    """A second cluster, to be broken."""
    if request.config.getoption("--cluster") != "local":
        raise UnsupportedError("Only clusters that the test bed starts can be broken on purpose.")
    with Cluster(ClusterSpec(name="own", version=k8s_version, node_count=1)) as started:
        yield started


# --- users and records ----------------------------------------------------------------------------


def test_a_new_user_has_a_name_and_groups_and_no_rights(
    cluster: BaseCluster, namespace: str
) -> None:
    alice = cluster.kubeconfig_for("alice", groups=("dev", "qa"))
    who = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", kubeconfig=alice))
    assert who["status"]["userInfo"]["username"] == "alice"
    assert {"dev", "qa"} <= set(who["status"]["userInfo"]["groups"])
    with pytest.raises(CommandError, match='User "alice" cannot list resource "pods"'):
        cluster.kubectl("get", "pods", f"-n={namespace}", kubeconfig=alice)


def test_a_service_account_has_a_token_of_its_own(cluster: BaseCluster, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "robot", f"-n={namespace}")
    robot = cluster.kubeconfig_for_service_account(namespace, "robot")
    who = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", kubeconfig=robot))
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:robot"


def test_kubeconfigs_are_readable_for_their_owner_only(cluster: BaseCluster) -> None:
    for path in (cluster.kubeconfig, cluster.kubeconfig_for("alice")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_audit_log_counts_the_writes_of_one_user(cluster: BaseCluster, namespace: str) -> None:
    user = f"writer-{secrets.token_hex(3)}"
    writer = cluster.kubeconfig_for(user)
    cluster.kubectl(
        "create", "rolebinding", "w", f"-n={namespace}", "--clusterrole=edit", f"--user={user}"
    )
    cluster.kubectl("get", "configmaps", f"-n={namespace}", kubeconfig=writer)
    mark = cluster.audit_mark()
    for name in ("a", "b"):
        cluster.kubectl("create", "configmap", name, f"-n={namespace}", kubeconfig=writer)
    cluster.kubectl("delete", "configmap", "a", f"-n={namespace}", kubeconfig=writer)
    events = list(cluster.audit_events(since=mark, user=user, writes=True))
    assert [(e["verb"], e["objectRef"]["resource"], e["objectRef"]["name"]) for e in events] == [
        ("create", "configmaps", "a"),
        ("create", "configmaps", "b"),
        ("delete", "configmaps", "a"),
    ]
    assert not list(cluster.audit_events(user_agent="no-such-agent"))


def test_the_api_server_says_its_version_and_has_the_policies_that_the_product_uses(
    cluster: BaseCluster, k8s_version: str
) -> None:
    version = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]
    if cluster.kind == "local":
        assert re.fullmatch(rf"v{re.escape(k8s_version)}\.\d+", version["gitVersion"])
        assert f"{version['major']}.{version['minor']}" == k8s_version
    kinds = cluster.kubectl("api-resources", "--api-group=admissionregistration.k8s.io")
    assert "ValidatingAdmissionPolicy" in kinds
    assert "MutatingAdmissionPolicy" in kinds
    assert "CronJob" in cluster.kubectl("api-resources", "--api-group=batch")


# --- simulated pods -------------------------------------------------------------------------------


def pod(name: str, annotations: dict[str, str], restart: str = "Never") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION + key: value for key, value in annotations.items()},
        },
        "spec": {
            "restartPolicy": restart,
            "containers": [{"name": "main", "image": "any"}, {"name": "side", "image": "any"}],
        },
    }


PODS = {
    "plain": {},
    "fails": {"exit-code": "3", "message": "disk full", "reason": "OOMKilled"},
    "takes-time": {"run-for": "2500ms"},
    "never-starts": {"hang": "pending"},
    "never-ends": {"hang": "running"},
    "no-image": {"hang": "image-pull-error"},
    "bad-duration": {"run-for": "soon"},
    "bad-code": {"exit-code": "256"},
    "bad-hang": {"hang": "sometimes"},
}


@pytest.fixture(scope="module")
def simulated(cluster: BaseCluster) -> Iterator[Callable[[str, str], dict[str, Any]]]:
    """All pods of the table, made at once; the function waits for one to get into a state."""
    if cluster.kind != "local":
        raise UnsupportedError("Only the test bed's own clusters have simulated nodes.")
    name = f"stages-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    items = [pod(title, annotations) for title, annotations in PODS.items()]
    cluster.kubectl(
        "create",
        f"-n={name}",
        "-f",
        "-",
        input={"apiVersion": "v1", "kind": "List", "items": items},
    )

    def status(title: str, state: str) -> dict[str, Any]:
        found: dict[str, Any] = until(
            lambda: (
                (got := cluster.get("pod", title, f"-n={name}")["status"])
                and _state(got) == state
                and got
            ),
            f"pod {title} is in state {state}",
        )
        return found

    yield status
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def _state(status: dict[str, Any]) -> str:
    """The phase, or why the first container waits."""
    for container in status.get("containerStatuses", []):
        if waiting := container["state"].get("waiting"):
            return str(waiting["reason"])
    return str(status["phase"])


Simulated = Callable[[str, str], dict[str, Any]]


def test_a_simulated_pod_succeeds_after_about_a_second(simulated: Simulated) -> None:
    for container in simulated("plain", "Succeeded")["containerStatuses"]:
        ended = container["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (0, "Completed")


def test_a_simulated_pod_fails_with_the_code_reason_and_message_it_was_given(
    simulated: Simulated,
) -> None:
    main, side = simulated("fails", "Failed")["containerStatuses"]
    ended = main["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "OOMKilled", "disk full")
    assert side["state"]["terminated"]["exitCode"] == 0


def test_a_simulated_pod_runs_as_long_as_it_was_told(simulated: Simulated) -> None:
    ended = simulated("takes-time", "Succeeded")["containerStatuses"][0]["state"]["terminated"]
    begun, finished = (datetime.fromisoformat(ended[key]) for key in ("startedAt", "finishedAt"))
    assert 2 <= (finished - begun).total_seconds() <= 4  # whole seconds, and 2.5 were asked for


def test_a_simulated_pod_can_hang_while_it_waits_or_while_it_runs(simulated: Simulated) -> None:
    simulated("takes-time", "Succeeded")  # so that there was time enough
    assert "containerStatuses" not in simulated("never-starts", "Pending")
    simulated("never-ends", "Running")


def test_a_simulated_pod_whose_image_cannot_be_pulled_backs_off(simulated: Simulated) -> None:
    assert simulated("no-image", "ImagePullBackOff")["phase"] == "Pending"


@pytest.mark.parametrize("title", ["bad-duration", "bad-code", "bad-hang"])
def test_a_simulated_pod_with_a_senseless_annotation_says_so(
    simulated: Simulated, title: str
) -> None:
    status = simulated(title, "CreateContainerConfigError")
    message = status["containerStatuses"][0]["state"]["waiting"]["message"]
    ((key, value),) = PODS[title].items()
    assert f'{key}: "{value}"' in message


def test_a_job_that_restarts_its_container_fails_at_its_back_off_limit(
    cluster: BaseCluster, simulated: Simulated, namespace: str
) -> None:
    template = pod("ignored", {"exit-code": "7", "run-for": "100ms"}, restart="OnFailure")
    metadata = {"annotations": template["metadata"]["annotations"]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "retries"},
        "spec": {"backoffLimit": 2, "template": {"metadata": metadata, "spec": template["spec"]}},
    }
    cluster.kubectl("create", f"-n={namespace}", "-f", "-", input=job)
    cluster.kubectl(
        "wait", f"-n={namespace}", "job/retries", "--for=condition=Failed", "--timeout=20s"
    )
    (condition,) = [
        one
        for one in cluster.get("job", "retries", f"-n={namespace}")["status"]["conditions"]
        if one["type"] == "Failed"
    ]
    assert condition["reason"] == "BackoffLimitExceeded"


def test_a_running_simulated_pod_is_gone_at_once_when_deleted(
    cluster: BaseCluster, simulated: Simulated, namespace: str
) -> None:
    cluster.kubectl(
        "create", f"-n={namespace}", "-f", "-", input=pod("victim", {"hang": "running"})
    )
    cluster.kubectl(
        "wait", f"-n={namespace}", "pod/victim", "--for=condition=Ready", "--timeout=20s"
    )
    begun = time.monotonic()
    cluster.kubectl("delete", "pod", "victim", f"-n={namespace}", "--timeout=10s")
    assert time.monotonic() - begun < 5  # its grace period is 30 s


def test_the_log_of_a_simulated_pod_says_that_there_is_none(
    cluster: BaseCluster, simulated: Simulated, namespace: str
) -> None:
    cluster.kubectl("create", f"-n={namespace}", "-f", "-", input=pod("quiet", {}))
    cluster.kubectl(
        "wait",
        f"-n={namespace}",
        "pod/quiet",
        "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=20s",
    )
    assert "simulated" in cluster.kubectl("logs", "quiet", "-c=main", f"-n={namespace}")


# --- faults ---------------------------------------------------------------------------------------


def test_clusters_run_side_by_side_and_know_nothing_of_each_other(
    cluster: BaseCluster, own: Cluster, namespace: str
) -> None:
    assert cluster.url != own.url
    with pytest.raises(CommandError, match="not found"):
        own.kubectl("get", "namespace", namespace)
    with pytest.raises(CommandError, match="certificate signed by unknown authority"):
        own.kubectl("get", "nodes", f"--server={cluster.url}")


def test_a_killed_api_server_comes_back_with_what_it_knew(own: Cluster) -> None:
    own.kubectl("create", "configmap", "kept")
    server = own.component("kube-apiserver")
    server.kill()
    assert not server.alive
    assert server.exit_code == -signal.SIGKILL
    with pytest.raises(CommandError, match="refused"):
        own.kubectl("get", "configmaps")
    server.start()
    own.wait_ready()
    own.kubectl("get", "configmap", "kept")
    own.check()  # a kill through the test bed is no accident


def test_a_paused_scheduler_schedules_nothing_until_it_is_resumed(own: Cluster) -> None:
    scheduler = own.component("kube-scheduler")
    scheduler.pause()
    own.kubectl("create", "-f", "-", input=pod("waits", {}))
    time.sleep(1)
    assert "nodeName" not in own.get("pod", "waits")["spec"]
    assert scheduler.alive
    scheduler.resume()
    own.kubectl("wait", "pod/waits", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s")


def test_an_accident_is_reported_with_the_right_log(own: Cluster) -> None:
    kwok = own.component("kwok")
    assert kwok.pid is not None
    os.kill(kwok.pid, signal.SIGKILL)
    until(lambda: not kwok.alive, "kwok is gone")
    with pytest.raises(ComponentDiedError, match=r"kwok ended by itself .*kwok\.log"):
        own.check()
    kwok.start()
    own.check()


def test_a_component_can_be_added_and_ends_with_the_cluster(own: Cluster) -> None:
    added = own.spawn("sleeper", ["sleep", "600"])
    assert added.alive
    added.stop()
    assert added.exit_code == -signal.SIGTERM
    with pytest.raises(TestbedError, match="there is no program /no/such/program"):
        own.spawn("nothing", ["/no/such/program"])
    with pytest.raises(TestbedError, match=r"no component 'kubelet'; there are etcd, kube-api"):
        own.component("kubelet")


def test_a_start_that_fails_says_why_and_leaves_nothing(k8s_version: str) -> None:
    require("go")
    cluster = Cluster(
        ClusterSpec(version=k8s_version, nodes="none", api_server_flags=("--no-such-flag",))
    )
    with pytest.raises(ComponentDiedError, match="unknown flag: --no-such-flag"):
        cluster.start()
    assert not cluster.dir.exists()


OWNER = """
import sys, time
from testbed import Cluster, ClusterSpec
cluster = Cluster(ClusterSpec(name="orphan", version=sys.argv[1], nodes="none"))
cluster.start()
print(cluster.dir, *(component.pid for component in cluster.components().values()), flush=True)
time.sleep(600)
"""


def test_nothing_stays_behind_when_the_owner_is_killed(own: Cluster, k8s_version: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, k8s_version],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        line = owner.stdout.readline().split()
        owner.kill()
    directory, pids = Path(line[0]), line[1:]
    assert len(pids) == 4
    until(lambda: not any(Path("/proc", pid).exists() for pid in pids), "all processes are gone")
    until(lambda: not directory.exists(), "the directory is gone")


def test_the_command_line_starts_finds_and_stops_a_cluster(own: Cluster, k8s_version: str) -> None:
    name = f"cli-{secrets.token_hex(3)}"

    def testbed(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "testbed", *arguments],
            env={**os.environ, "PYTHONPATH": str(TOOLS)},
            capture_output=True,
            text=True,
            check=False,
        )

    up = ("up", "--name", name, "--nodes", "none", "--version", k8s_version)
    try:
        first, second = testbed(*up), testbed(*up)
        assert first.returncode == 0, first.stderr
        assert first.stdout == second.stdout  # the second one found it running
        kubeconfig = Path(first.stdout.strip().removeprefix("export KUBECONFIG="))
        assert own.kubectl("get", "--raw", "/readyz", kubeconfig=kubeconfig) == "ok"
        assert f"{name}: https://127.0.0.1:" in testbed("status").stdout
        other = testbed(*up, "--audit")
        assert other.returncode == 1
        assert "Run `down` first, or choose another --name" in other.stderr
    finally:
        down = testbed("down", "--name", name)
    assert down.stdout == f"stopped cluster {name!r}\n"
    assert not kubeconfig.exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "Two Words"}, "name: 'Two Words' is no cluster name"),
        ({"version": "1.12"}, "Kubernetes version '1.12' is not pinned; choose from 1.36, 1.34"),
        ({"nodes": "virtual"}, "nodes: 'virtual' is unknown; choose from none, simulated, real"),
        ({"node_count": 0}, "node_count: 0 is too few"),
    ],
)
def test_a_wrong_specification_is_refused_with_the_field(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(TestbedError, match=re.escape(message)):
        ClusterSpec(**wrong)
