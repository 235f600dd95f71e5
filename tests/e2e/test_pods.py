"""What a real kubelet says of pods that fail or do not start, told by the runs within seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from taskrunner.__main__ import connect
from taskrunner.cli.main import build
from taskrunner.kube.clock import SystemClock
from team import Json, Team
from testbed import Cluster
from testbed.image_base import BASE_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TOLD_WITHIN = 10.0
"""Seconds from asking for the run to the message: 3 s of them are grace."""


@pytest.fixture(scope="module")
def team(real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One replica, shared by the tests of this module."""
    team = Team(real_cluster, tmp_path_factory.mktemp("operator"))
    try:
        team.start(status_interval="2")
        team.leader()
        yield team
    finally:
        team.stop()


def start(
    team: Team,
    name: str,
    command: str = "true",
    *,
    program: list[str] | None = None,
    pod: Json | None = None,
    **more: Any,
) -> str:
    """Apply a task without a schedule, of one container with `more`, and run it by hand."""
    container = {
        "name": "main",
        "image": BASE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": program or ["sh", "-c", command],
        **more,
    }
    spec = {"restartPolicy": "Never", "containers": [container], **(pod or {})}
    template = {"spec": {"backoffLimit": 0, "template": {"spec": spec}}}
    for kind, given in (
        ("ScheduledTask", {"jobTemplate": template}),
        ("TaskExecution", {"taskRef": {"name": name}}),
    ):
        api = "taskrunner.dev/v1alpha1"
        team.apply({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": given})
    return name


def until(team: Team, name: str, **fields: Any) -> Json:
    """The status of a run, once it has these fields."""

    def found() -> Json | None:
        status: Json = team.get("texec", name).get("status") or {}
        return status if all(status.get(k) == v for k, v in fields.items()) else None

    said = team.wait_for(found, f"{name} with {fields}")
    assert said is not None
    return said


def test_exit_code_result_and_message_of_a_program_that_fails(team: Team) -> None:
    command = "echo copying; echo 'disk is full' > /dev/termination-log; exit 3"
    found = until(team, start(team, "fails", command), phase="Failed")
    assert found["message"] == (
        "The Job failed: container main exited with code 3 (Error): disk is full."
    )
    assert found["result"] == "disk is full\n"
    assert found["attempts"][0]["exitCode"] == 3
    assert found["podStartLagMilliseconds"] >= 0


def test_the_last_lines_of_the_log_are_the_result_where_the_task_says_so(team: Team) -> None:
    command = "echo no such table; exit 4"
    name = start(team, "logs", command, terminationMessagePolicy="FallbackToLogsOnError")
    found = until(team, name, phase="Failed")
    assert found["result"] == "no such table\n"
    assert found["message"].endswith("exited with code 4 (Error): no such table.")


def test_of_a_long_result_the_kubelet_keeps_four_kibibytes(team: Team) -> None:
    command = "head -c 6000 /dev/zero | tr '\\0' x > /dev/termination-log"
    found = until(team, start(team, "long", command), phase="Succeeded")
    assert found["result"] == "x" * 4096
    assert found["attempts"][0]["exitCode"] == 0


def test_a_container_over_its_memory_limit(team: Team) -> None:
    name = start(
        team,
        "hungry",
        "exec python3 -c 'x = bytearray(1 << 30)'",
        resources={"limits": {"memory": "64Mi"}},
    )
    found = until(team, name, phase="Failed")
    assert found["attempts"][0]["reason"] == "OOMKilled"
    assert found["attempts"][0]["exitCode"] == 137
    assert "raise its resources.limits.memory" in found["message"]


def test_a_program_that_is_not_there(team: Team) -> None:
    found = until(team, start(team, "nothing", program=["/absent"]), phase="Failed")
    assert found["attempts"][0]["reason"] == "StartError"
    assert "/absent" in found["message"]


@pytest.mark.parametrize(
    ("name", "reason", "told", "more"),
    [
        pytest.param(
            "no-image",
            "ImagePullFailed",
            ['The image "registry.invalid/missing:1" of container main cannot be pulled'],
            {"image": "registry.invalid/missing:1"},
            id="an image that is not there",
        ),
        pytest.param(
            "bad-image",
            "InvalidImageName",
            ['"UPPER:::" is not the name of an image', "must be lowercase"],
            {"image": "UPPER:::"},
            id="the name of no image",
        ),
        pytest.param(
            "no-secret",
            "CreateContainerConfigError",
            ['secret "ci" not found. Create the ConfigMap, Secret or key'],
            {
                "env": [
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}}
                ]
            },
            id="no Secret",
        ),
        pytest.param(
            "no-volume",
            "FailedMount",
            ['configmap "absent" not found. Create what is missing'],
            {
                "pod": {"volumes": [{"name": "v", "configMap": {"name": "absent"}}]},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            },
            id="no ConfigMap for a volume",
        ),
        pytest.param(
            "too-large",
            "Unschedulable",
            ["0/1 nodes are available: 1 Insufficient cpu. Lower the pod's requests"],
            {"resources": {"requests": {"cpu": "1000"}}},
            id="no node is large enough",
        ),
        pytest.param(
            "no-account",
            "PodRejected",
            ['serviceaccount "absent" not found', 'Create the ServiceAccount "absent"'],
            {"pod": {"serviceAccountName": "absent"}},
            id="no service account",
        ),
    ],
)
def test_what_does_not_start_is_told_within_seconds(
    team: Team, name: str, reason: str, told: list[str], more: Json
) -> None:
    begun = time.monotonic()
    start(team, name, **more)
    found = until(team, name, reason=reason)
    took = time.monotonic() - begun
    print(f"{reason}: {took:.1f} s: {found['message']}")
    assert took < TOLD_WITHIN
    assert found["phase"] == "Pending"
    for text in told:
        assert text in found["message"]


def test_a_pull_that_is_tried_again_and_again_is_written_once(team: Team) -> None:
    version = team.get("texec", "no-image")["metadata"]["resourceVersion"]
    time.sleep(15)  # ErrImagePull and ImagePullBackOff have followed each other meanwhile.
    assert team.get("texec", "no-image")["metadata"]["resourceVersion"] == version


def test_once_what_was_missing_is_there_the_run_goes_on(team: Team) -> None:
    team.kubectl("create", "secret", "generic", "ci", "--from-literal=token=x")
    assert until(team, "no-secret", phase="Succeeded")["attempts"][0]["exitCode"] == 0


def test_a_quota_without_room(team: Team) -> None:
    team.kubectl("create", "quota", "small", "--hard=pods=0")
    try:
        name = start(team, "no-room")
        found = until(team, name, reason="QuotaExceeded")
    finally:
        team.kubectl("delete", "quota", "small")
    assert "exceeded quota: small" in found["message"]
    until(team, name, phase="Succeeded")


def test_the_command_line_follows_the_logs_of_all_attempts(team: Team) -> None:
    command = "case $(hostname) in *-1-*) echo first; exit 3;; *) echo second; sleep 2;; esac"
    container = {
        "name": "main",
        "image": BASE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
    }
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {
        "jobTemplate": {"spec": {"template": pod}},
        "retryPolicy": {"maxRetries": 1, "initialDelaySeconds": 0},
    }
    metadata = {"name": "talks"}
    kind = {"apiVersion": "taskrunner.dev/v1alpha1", "kind": "ScheduledTask"}
    team.apply({**kind, "metadata": metadata, "spec": spec})
    done = typed(team, "run", "talks", "--name", "said", "--follow", "--wait-timeout", "60s")
    assert done.exit_code == 0, done.output
    lines = [line.rpartition("] ")[2] for line in done.stdout.splitlines()]
    assert lines.index("first") < lines.index("second")
    assert lines[-1].startswith("said: Succeeded")
    kept = typed(team, "logs", "talks").stdout.splitlines()
    assert [line.split("/")[0] + line.rpartition("]")[2] for line in kept] == [
        "[1 first",
        "[2 second",
    ]
    assert typed(team, "logs", "said", "--attempt", "2", "-c", "main").stdout == "second\n"


def typed(team: Team, *words: str) -> Result:
    """A command of a user."""
    place = ["-n", team.name, "--kubeconfig", str(team.cluster.kubeconfig)]
    return CliRunner().invoke(build(SystemClock(), connect), [*words, *place])
