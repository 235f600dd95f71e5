"""Replace and Queue side by side, with real Jobs whose pods run long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import pytest

from team import Json, Team, every, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

KEEP: Json = {"successfulJobsHistoryLimit": 50}


@pytest.fixture(scope="module")
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One replica, shared by the tests of this module."""
    team = Team(cluster, tmp_path_factory.mktemp("concurrency"))
    try:
        team.start()
        team.leader()
        yield team
    finally:
        team.stop()


def by_hand(name: str, of: str, **spec: object) -> Json:
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {"name": name},
        "spec": {"taskRef": {"name": of}, **spec},
    }


def phases(team: Team, *names: str) -> list[tuple[str, str]]:
    found = [team.get("texec", name).get("status", {}) for name in names]
    return [(status.get("phase", ""), status.get("reason", "")) for status in found]


def spans(executions: Sequence[Json]) -> list[tuple[float, float]]:
    return sorted(
        tuple(  # type: ignore[misc]
            datetime.fromisoformat(e["status"][field]).timestamp()
            for field in ("startTime", "completionTime")
        )
        for e in executions
    )


def pods(team: Team, of: str) -> int:
    """Pods of a task that have not ended, those that are being deleted included."""
    found = team.all("pod", of)
    return sum(p["status"].get("phase") in ("Pending", "Running") for p in found)


def test_queue_and_replace_side_by_side(team: Team) -> None:
    team.apply(task("queued", seconds=5, schedules=every(4), concurrencyPolicy="Queue", **KEEP))
    team.apply(task("replaced", seconds=600, schedules=every(12), concurrencyPolicy="Replace"))
    most = {"queued": 0, "replaced": 0}

    def done() -> bool:
        for name in most:
            most[name] = max(most[name], pods(team, name))
        replaced = [e for e in team.all("texec", "replaced") if _phase(e) == "Cancelled"]
        return len(team.succeeded("queued")) >= 4 and len(replaced) >= 1

    team.wait_for(done, "four queued runs and a replaced one", 60)
    assert most == {"queued": 1, "replaced": 1}
    ran = spans(team.succeeded("queued"))
    assert all(end <= start for (_, end), (start, _) in pairwise(ran))
    waiting = [e for e in team.all("texec", "queued") if _phase(e) == "Queued"]
    assert waiting
    assert waiting[0]["status"]["reason"] == "ConcurrentRun"
    assert "queuedTime" in waiting[0]["status"]
    old = [e for e in team.all("texec", "replaced") if _phase(e) == "Cancelled"]
    assert old[0]["status"]["reason"] == "Replaced"
    job = team.get("job", f"{old[0]['metadata']['name']}-1")
    assert job["spec"]["suspend"] is True
    print(team.kubectl("get", "texec"))
    print(old[0]["status"]["message"], waiting[0]["status"]["message"], sep="\n")
    for name in most:
        team.kubectl("delete", "stask", name)


def test_waiting_runs_start_by_priority_which_may_change(team: Team) -> None:
    team.apply(task("ranked", seconds=4, concurrencyPolicy="Queue", **KEEP))
    for name, priority in (("r-first", 500), ("r-low", 1), ("r-high", 900), ("r-raised", 0)):
        team.apply(by_hand(name, "ranked", priority=priority))
    waiting = ["r-low", "r-high", "r-raised"]
    team.wait_for(lambda: {p for p, _ in phases(team, *waiting)} == {"Queued"}, "the line", 10)
    team.kubectl("patch", "texec", "r-raised", "--type=merge", '-p={"spec":{"priority":1000}}')
    names = ["r-first", "r-raised", "r-high", "r-low"]
    team.wait_for(lambda: {p for p, _ in phases(team, *names)} == {"Succeeded"}, "all", 60)
    started = [team.get("texec", name)["status"]["startTime"] for name in names]
    assert started == sorted(started)
    team.kubectl("delete", "stask", "ranked")


def test_a_failing_task_opens_its_circuit_and_a_run_by_hand_closes_it(team: Team) -> None:
    breaker = {"failureThreshold": 2, "resetSeconds": 600}
    team.apply(task("fails", exit_code=3, schedules=every(3), circuitBreaker=breaker))

    def state() -> str:
        found = team.get("stask", "fails").get("status", {}).get("conditions", ())
        return next((c["status"] for c in found if c["type"] == "CircuitOpen"), "")

    team.wait_for(lambda: state() == "True", "the circuit to open", 40)

    def skipped() -> list[Json]:
        return [e for e in team.all("texec", "fails") if _phase(e) == "Skipped"]

    record = team.wait_for(skipped, "a skipped slot", 20)[0]
    assert record["status"]["reason"] == "CircuitOpen"
    team.apply(task("fails", schedules=every(3), circuitBreaker=breaker))
    team.apply(by_hand("mended", "fails"))
    team.wait_for(lambda: state() == "False", "the circuit to close", 40)
    team.wait_for(
        lambda: any(e["spec"]["type"] == "Scheduled" for e in team.succeeded("fails")), "a slot", 20
    )
    events = team.kubectl("get", "events", "--field-selector=involvedObject.name=fails")
    assert "CircuitOpened" in events
    assert "CircuitClosed" in events
    team.kubectl("delete", "stask", "fails")


def _phase(execution: Json) -> str:
    return str(execution.get("status", {}).get("phase", ""))
