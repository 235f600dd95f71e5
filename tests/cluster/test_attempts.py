"""Retries, time-outs and stop on a real control plane with simulated nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from taskrunner.domain.instants import parse_instant
from team import Json, Team, every, task
from testbed.base import BaseCluster
from testbed.errors import CommandError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

HANG = "testbed.taskrunner.dev/hang"
OUTLIVE = "testbed.taskrunner.dev/terminate-after"
RETRY = {"maxRetries": 2, "initialDelaySeconds": 1, "jitterPercent": 0}


@pytest.fixture(scope="module")
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One replica, shared by the tests of this module."""
    team = Team(cluster, tmp_path_factory.mktemp("attempts"))
    try:
        team.start(lock_ttl="5", renew_deadline="3", retry_period="0.5")
        team.leader()
        yield team
    finally:
        team.stop()


def job(name: str, annotations: Json | None = None, **spec: Any) -> Json:
    """A task that runs by hand, whose pods do what annotations say."""
    made = task(name, **spec)
    pod = made["spec"]["jobTemplate"]["spec"]["template"]
    pod["metadata"]["annotations"] |= annotations or {}
    del made["spec"]["jobTemplate"]["spec"]["backoffLimit"]
    return made


def run(team: Team, made: Json, **spec: Any) -> str:
    """Apply the task and run it by hand; the run's name."""
    team.apply(made)
    name = f"{made['metadata']['name']}-now"
    team.apply(
        {
            "apiVersion": "taskrunner.dev/v1alpha1",
            "kind": "TaskExecution",
            "metadata": {"name": name},
            "spec": {"taskRef": {"name": made["metadata"]["name"]}, **spec},
        }
    )
    return name


def status(team: Team, name: str) -> Json:
    return dict(team.get("texec", name).get("status") or {})


def reached(team: Team, name: str, *phases: str, seconds: float = 40) -> Json:
    """The status once the run is in one of the phases."""
    team.wait_for(lambda: status(team, name).get("phase") in phases, f"{name}: {phases}", seconds)
    return status(team, name)


def taskrunner(team: Team, *words: str) -> str:
    """The output of a command, run as a user does."""
    environment = os.environ | {"KUBECONFIG": str(team.cluster.kubeconfig)}
    command = [sys.executable, "-m", "taskrunner", *words, "-n", team.name]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def live_pods(team: Team, name: str) -> list[str]:
    found = team.cluster.get(f"-n={team.name}", "pod", f"-l=taskrunner.dev/execution={name}")
    return [
        pod["metadata"]["name"]
        for pod in found["items"]
        if pod["status"].get("phase") in ("Pending", "Running")
    ]


def test_a_failing_run_is_repeated_by_equal_jobs_until_its_retries_are_exhausted(
    team: Team,
) -> None:
    name = run(team, job("fails", {"testbed.taskrunner.dev/exit-code": "7"}, retryPolicy=RETRY))
    found = reached(team, name, "Failed")
    assert found["reason"] == "RetriesExhausted"
    assert [(a["number"], a["exitCode"], a["reason"]) for a in found["attempts"]] == [
        (number, 7, "JobFailed") for number in (1, 2, 3)
    ]
    waits = [
        parse_instant(later["startTime"]) - parse_instant(earlier["completionTime"])
        for earlier, later in zip(found["attempts"], found["attempts"][1:], strict=False)
    ]
    assert 1 <= waits[0] <= 3
    assert 2 <= waits[1] <= 4
    first, *others = (team.get("job", f"{name}-{n}") for n in (1, 2, 3))
    for other in others:
        assert other["spec"]["template"]["spec"] == first["spec"]["template"]["spec"]
        assert other["spec"]["backoffLimit"] == first["spec"]["backoffLimit"] == 0
        assert other["spec"]["selector"] != first["spec"]["selector"]
        assert set(other["metadata"]["labels"]) == set(first["metadata"]["labels"])
        assert other["status"]["failed"] == 1
    letters = team.kubectl(
        "get", "texec", "--field-selector=status.reason=RetriesExhausted", "-o=name"
    )
    assert letters.split() == [f"taskexecution.taskrunner.dev/{name}"]
    again = [taskrunner(team, "redrive", name) for _ in range(2)]
    assert "is repeated by fails-redrive-" in again[0]
    assert "has been repeated already by fails-redrive-" in again[1]
    reached(team, again[0].split()[-1], "Retrying")
    print(team.kubectl("get", "texec", name, "-o=wide"))
    print(team.kubectl("get", "events", f"--field-selector=involvedObject.name={name}"))


def test_an_exit_code_that_is_not_to_be_retried_ends_the_run(team: Team) -> None:
    policy = {**RETRY, "failOnExitCodes": [2]}
    name = run(team, job("wrong", {"testbed.taskrunner.dev/exit-code": "2"}, retryPolicy=policy))
    found = reached(team, name, "Failed")
    assert (found["reason"], found["attempt"]) == ("JobFailed", 1)
    assert "failOnExitCodes" in found["message"]


def test_the_time_of_the_next_attempt_survives_the_leader(team: Team) -> None:
    policy = {"maxRetries": 1, "initialDelaySeconds": 15}
    name = run(team, job("later", {"testbed.taskrunner.dev/exit-code": "7"}, retryPolicy=policy))
    said = reached(team, name, "Retrying")["nextRetryTime"]
    team.replicas[-1].kill()
    team.start(lock_ttl="5", renew_deadline="3", retry_period="0.5")
    team.leader()
    assert status(team, name)["nextRetryTime"] == said
    found = reached(team, name, "Failed", seconds=60)
    assert 0 <= parse_instant(found["attempts"][1]["startTime"]) - parse_instant(said) <= 2


def test_an_attempt_that_takes_too_long_is_ended(team: Team) -> None:
    name = run(team, job("hangs", {HANG: "running"}, timeoutSeconds=60), timeoutSeconds=3)
    found = reached(team, name, "Failed")
    assert found["reason"] == "TimedOut"
    assert "3 s that timeoutSeconds allows" in found["message"]
    assert not live_pods(team, name)


def test_an_attempt_that_does_not_start_in_time_is_ended_and_says_why(team: Team) -> None:
    name = run(team, job("stuck", {HANG: "image-pull-error"}, pendingTimeoutSeconds=5))
    found = reached(team, name, "Failed")
    assert found["reason"] == "PendingTimedOut"
    assert "5 s that pendingTimeoutSeconds allows" in found["message"]
    assert "busybox" in found["message"]
    assert team.get("job", f"{name}-1")["spec"]["suspend"] is True
    assert not live_pods(team, name)


@pytest.mark.parametrize(
    ("how", "outlives", "least", "most"),
    [
        pytest.param("Graceful", 4, 3, 20, id="Graceful: after the grace period"),
        pytest.param("Immediate", 60, 0, 20, id="Immediate: without it"),
    ],
)
def test_a_running_run_is_stopped(
    team: Team, how: str, outlives: int, least: int, most: int
) -> None:
    made = job(f"stop-{how.lower()}", {HANG: "running", OUTLIVE: f"{outlives}s"}, retryPolicy=RETRY)
    made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 120
    name = run(team, made)
    reached(team, name, "Running")
    team.kubectl("patch", "texec", name, "--type=merge", "-p", f'{{"spec":{{"stop":"{how}"}}}}')
    found = reached(team, name, "Cancelled", seconds=most)
    assert found["reason"] == "Stopped"
    assert f"spec.stop: {how}" in found["message"]
    assert not live_pods(team, name)
    began = team.get("job", f"{name}-1")["status"]["conditions"][0]["lastTransitionTime"]
    assert parse_instant(found["completionTime"]) - parse_instant(began) >= least - 1
    with pytest.raises(CommandError) as error:
        team.kubectl("patch", "texec", name, "--type=merge", "-p", '{"spec":{"stop":null}}')
    assert "cannot be taken back" in error.value.stderr


def test_a_run_that_waits_is_stopped_at_once(team: Team) -> None:
    name = run(team, job("waits"), notBefore="2030-01-01T00:00:00Z", stop="Graceful")
    assert reached(team, name, "Cancelled")["reason"] == "Stopped"
    assert not team.all("job", "waits")
    print(team.kubectl("get", "texec"))


def test_a_job_that_somebody_deletes_ends_the_run_and_is_not_created_again(team: Team) -> None:
    name = run(team, job("no-job", {HANG: "running"}, retryPolicy=RETRY))
    reached(team, name, "Running")
    team.kubectl("delete", "job", f"{name}-1", "--wait=false")
    found = reached(team, name, "Failed")
    assert (found["reason"], found["attempt"]) == ("JobDeleted", 1)
    assert not team.all("job", "no-job")


def test_an_execution_that_somebody_deletes_takes_its_job_and_is_not_started_anew(
    team: Team,
) -> None:
    made = job("gone", {HANG: "running"}, schedules=every(3600), retryPolicy=RETRY)
    name = run(team, made)
    reached(team, name, "Running")
    team.kubectl("delete", "texec", name)
    # The garbage collector takes up to a minute to learn of new kinds.
    team.wait_for(lambda: not team.all("job", "gone"), "the Job to go with its execution", 90)
    assert not team.all("texec", "gone")
