"""Retries, time-outs and stop with real containers and a real kubelet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from team import Json, Team
from testbed import Cluster
from testbed.image_base import BASE_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def team(real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One replica, shared by the tests of this module."""
    team = Team(real_cluster, tmp_path_factory.mktemp("operator"))
    try:
        team.start()
        team.leader()
        yield team
    finally:
        team.stop()


def start(
    team: Team, name: str, command: str, *, image: str = BASE_IMAGE, grace: int = 30, **spec: Any
) -> str:
    """Apply a task without a schedule, and run it by hand."""
    job_name = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
        "env": [{"name": "JOB", "valueFrom": job_name}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace,
        "containers": [container],
    }
    spec["jobTemplate"] = {"spec": {"template": {"spec": pod}}}
    for kind, given in (("ScheduledTask", spec), ("TaskExecution", {"taskRef": {"name": name}})):
        api = "taskrunner.dev/v1alpha1"
        team.apply({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": given})
    return name


def reached(team: Team, name: str, phase: str, seconds: float = 60) -> Json:
    """The status of a run, once it is in this phase."""

    def found() -> Json | None:
        status: Json = team.get("texec", name).get("status") or {}
        return status if status.get("phase") == phase else None

    said = team.wait_for(found, f"{name} {phase}", seconds)
    assert said is not None
    return said


def pods(team: Team, name: str) -> list[Json]:
    found = team.cluster.get(f"-n={team.name}", "pod", f"-l=taskrunner.dev/execution={name}")
    return list(found["items"])


def test_a_program_that_asks_for_another_try_gets_one_in_a_job_of_its_own(team: Team) -> None:
    policy = {"maxRetries": 2, "initialDelaySeconds": 1, "retryOnExitCodes": [75]}
    command = 'echo "$JOB"; case "$JOB" in *-1) exit 75;; esac'
    name = start(team, "another-try", command, retryPolicy=policy)
    found = reached(team, name, "Succeeded")
    assert [a["exitCode"] for a in found["attempts"]] == [75, 0]
    assert [team.kubectl("logs", f"job/{name}-{n}") for n in (1, 2)] == [
        f"{name}-1\n",
        f"{name}-2\n",
    ]


def test_a_graceful_stop_lets_the_program_finish_what_it_does(team: Team) -> None:
    command = "trap 'sleep 4; exit 0' TERM; while :; do sleep 0.2; done"
    name = start(team, "graceful", command, retryPolicy={"maxRetries": 3})
    reached(team, name, "Running")
    stopped = time.monotonic()
    team.kubectl("patch", "texec", name, "--type=merge", "-p", '{"spec":{"stop":"Graceful"}}')
    assert reached(team, name, "Cancelled")["reason"] == "Stopped"
    assert 3.5 < time.monotonic() - stopped < 25
    assert not pods(team, name)


def test_an_immediate_stop_waits_for_nobody(team: Team) -> None:
    name = start(team, "deaf", "trap '' TERM; while :; do sleep 0.2; done", grace=300)
    reached(team, name, "Running")
    stopped = time.monotonic()
    team.kubectl("patch", "texec", name, "--type=merge", "-p", '{"spec":{"stop":"Immediate"}}')
    assert reached(team, name, "Cancelled")["reason"] == "Stopped"
    assert time.monotonic() - stopped < 20
    assert not pods(team, name)


def test_a_program_that_takes_too_long_is_ended(team: Team) -> None:
    name = start(team, "too-long", "sleep 600", timeoutSeconds=4, grace=1)
    found = reached(team, name, "Failed")
    assert found["reason"] == "TimedOut"
    assert found["message"] == "It ran longer than the 4 s that timeoutSeconds allows."


def test_an_image_that_is_not_there_ends_the_wait(team: Team) -> None:
    name = start(team, "no-image", "true", image="none.invalid/x:1", pendingTimeoutSeconds=8)
    found = reached(team, name, "Failed")
    assert found["reason"] == "PendingTimedOut"
    assert "none.invalid/x:1" in found["message"]
    assert not pods(team, name)
