"""What becomes of pods that fail, hang, or are refused, told within seconds: simulated nodes, and
the real scheduler, Job controller, quota and admission."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from team import Json, Team, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

TOLD_WITHIN = 8.0
"""Seconds from the creation of the Job to a message: 3 s of grace, and a machine that is busy."""


@pytest.fixture(scope="module")
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One replica, shared by the tests of this module."""
    team = Team(cluster, tmp_path_factory.mktemp("operator"))
    try:
        team.start(status_interval="2")
        team.leader()
        yield team
    finally:
        team.stop()


def start(team: Team, name: str, *, pod: Json | None = None, **annotations: str) -> str:
    """Apply a task without a schedule and run it by hand."""
    manifest = task(name)
    template = manifest["spec"]["jobTemplate"]["spec"]["template"]
    template["metadata"]["annotations"] |= {
        f"testbed.taskrunner.dev/{key.replace('_', '-')}": value
        for key, value in annotations.items()
    }
    template["spec"] |= pod or {}
    team.apply(manifest)
    run = {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {"name": f"{name}-run"},
        "spec": {"taskRef": {"name": name}},
    }
    team.apply(run)
    return f"{name}-run"


def status(team: Team, name: str) -> Json:
    return dict(team.get("texec", name).get("status") or {})


def until(team: Team, name: str, **fields: Any) -> Json:
    """The status, once it has these fields."""

    def found() -> Json | None:
        present = status(team, name)
        return present if all(present.get(k) == v for k, v in fields.items()) else None

    said = team.wait_for(found, f"{name} with {fields}")
    assert said is not None
    return said


def events(team: Team, name: str) -> list[tuple[str, str]]:
    selector = f"--field-selector=involvedObject.name={name}"
    items = team.cluster.get(f"-n={team.name}", "events", selector)["items"]
    return [(event["type"], event["reason"]) for event in items]


def test_an_exit_code_and_a_termination_message_arrive(team: Team) -> None:
    name = start(team, "fails", exit_code="3", message="disk is full")
    found = until(team, name, phase="Failed")
    assert found["reason"] == "JobFailed"
    assert found["message"] == (
        "The Job failed: container main exited with code 3 (Error): disk is full."
    )
    assert found["result"] == "disk is full"
    (attempt,) = found["attempts"]
    assert (attempt["exitCode"], attempt["reason"]) == (3, "JobFailed")
    team.wait_for(lambda: ("Warning", "JobFailed") in events(team, name), "the event")


def test_a_good_run_has_its_result_and_no_write_more_than_before(team: Team) -> None:
    since = team.cluster.audit_mark()
    name = start(team, "good", message="copied 12 files", run_for="500ms")
    found = until(team, name, phase="Succeeded")
    assert found["result"] == "copied 12 files"
    assert found["attempts"][0]["exitCode"] == 0
    assert 0 <= found["podStartLagMilliseconds"] <= 10_000
    time.sleep(1)
    patches = [
        event
        for event in team.cluster.audit_events(since=since, user_agent="taskrunner/", writes=True)
        if event["objectRef"].get("name") == name and event["verb"] == "patch"
    ]
    # Its owner and labels, and the outcome; a third when the machine is so slow that it was seen
    # running for a second.
    assert len(patches) <= 3


def test_a_container_out_of_memory_is_told_to_ask_for_more(team: Team) -> None:
    name = start(team, "hungry", exit_code="137", reason="OOMKilled")
    found = until(team, name, phase="Failed")
    assert found["attempts"][0]["reason"] == "OOMKilled"
    assert "raise its resources.limits.memory" in found["message"]


@pytest.mark.parametrize(
    ("name", "pod", "hang", "reason", "told"),
    [
        pytest.param(
            "no-image",
            {},
            "image-pull-error",
            "ImagePullFailed",
            ['The image "busybox" of container main cannot be pulled'],
            id="an image that cannot be pulled",
        ),
        pytest.param(
            "no-node",
            {"nodeSelector": {"disk": "fast"}},
            "",
            "Unschedulable",
            ["No node takes the pod: 0/", "node affinity/selector. Lower the pod's requests"],
            id="no node",
        ),
        pytest.param(
            "no-account",
            {"serviceAccountName": "absent"},
            "",
            "PodRejected",
            ['serviceaccount "absent" not found', 'Create the ServiceAccount "absent"'],
            id="no service account",
        ),
        pytest.param(
            "no-class",
            {"priorityClassName": "absent"},
            "",
            "PodRejected",
            ["no PriorityClass with name absent was found. Correct priorityClassName"],
            id="no priority class",
        ),
    ],
)
def test_what_does_not_start_is_told_within_seconds(
    team: Team, name: str, pod: Json, hang: str, reason: str, told: list[str]
) -> None:
    begun = time.monotonic()
    run = start(team, name, pod=pod, **({"hang": hang} if hang else {}))
    found = until(team, run, reason=reason)
    took = time.monotonic() - begun
    print(f"{name}: {took:.1f} s: {found['message']}")
    assert took < TOLD_WITHIN
    assert found["phase"] == "Pending"
    for text in told:
        assert text in found["message"]
    team.wait_for(lambda: ("Warning", reason) in events(team, run), "the event")
    time.sleep(3)
    assert events(team, run).count(("Warning", reason)) == 1
    assert status(team, run) == found  # What alternates is not written again.
    team.kubectl("delete", "stask", name)


def test_a_quota_that_is_used_up_is_told_and_the_run_starts_when_it_is_raised(team: Team) -> None:
    team.kubectl("create", "quota", "small", "--hard=count/pods=0,pods=0")
    try:
        name = start(team, "no-room")
        found = until(team, name, reason="QuotaExceeded")
        assert "exceeded quota: small" in found["message"]
        assert found["phase"] == "Pending"
    finally:
        team.kubectl("delete", "quota", "small")
    until(team, name, phase="Succeeded")


def test_pods_that_pod_security_refuses_are_told(team: Team) -> None:
    team.kubectl("label", "ns", team.name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        name = start(team, "strict")
        found = until(team, name, reason="PodRejected")
        assert 'violates PodSecurity "restricted' in found["message"]
        assert "Set the securityContext in the pod template" in found["message"]
    finally:
        team.kubectl("label", "ns", team.name, "pod-security.kubernetes.io/enforce-")


def test_progress_of_a_pod_and_of_a_job_is_shown(team: Team) -> None:
    name = start(team, "slow", hang="running")
    until(team, name, phase="Running")
    selector = f"-l=taskrunner.dev/execution={name}"
    team.kubectl("annotate", "pod", selector, "taskrunner.dev/progress=40% Copying files")
    until(team, name, progress={"percent": 40, "message": "Copying files"})
    team.kubectl("annotate", "job", selector, "taskrunner.dev/progress=90")
    until(team, name, progress={"percent": 90})
    team.kubectl("delete", "stask", "slow")
