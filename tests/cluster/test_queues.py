"""A TaskQueue on a real control plane, and what is left of its pace when the leader is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from team import Json, Team, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

PER_MINUTE = 3
FAST = {"lock_ttl": "4", "renew_deadline": "3", "retry_period": "0.5"}


@pytest.fixture
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(cluster, tmp_path_factory.mktemp("queues"))
    try:
        for _ in range(2):
            team.start(**FAST)
        team.leader()
        yield team
    finally:
        team.stop()


def by_hand(name: str, of: str) -> Json:
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {"name": name},
        "spec": {"taskRef": {"name": of}},
    }


def test_the_pace_of_a_queue_holds_when_the_leader_is_killed(team: Team) -> None:
    """The minute is not over at the end: tests/engine/test_queues.py has whole ones."""
    team.apply(
        {
            "apiVersion": "taskrunner.dev/v1alpha1",
            "kind": "TaskQueue",
            "metadata": {"name": "shared"},
            "spec": {"startsPerMinute": PER_MINUTE},
        }
    )
    for name in ("a", "b"):
        team.apply(task(name, queue={"name": "shared"}))
    team.apply(task("free"))
    began = time.monotonic()
    for number in range(2):
        for name in ("a", "b"):
            team.apply(by_hand(f"{name}-{number}", name))

    def jobs() -> int:
        return len(team.all("job", "a")) + len(team.all("job", "b"))

    team.wait_for(lambda: jobs() == PER_MINUTE, "as many starts as are allowed", 20)
    first = team.leader()
    first.kill()
    assert team.leader() is not first
    team.apply(by_hand("free-now", "free"))
    team.wait_for(lambda: team.all("job", "free"), "a run that is in no queue", 20)

    def told() -> Json:
        status: Json = team.get("tqueue", "shared").get("status", {})
        return status if status.get("length") == 1 and status.get("running") == 0 else {}

    status = team.wait_for(told, "the status of the queue", 20)
    assert status["conditions"][0]["status"] == "True"
    assert "oldestWaitTime" in status
    waiting = [e for name in ("a", "b") for e in team.of_task(name)]
    left = [e["status"] for e in waiting if e["status"]["phase"] == "Queued"]
    assert [each["reason"] for each in left] == ["WaitingForQueue"]
    print(team.kubectl("get", "tqueue"), left[0]["message"], sep="\n")
    assert jobs() == PER_MINUTE
    assert time.monotonic() - began < 60, "too slow to say anything"
