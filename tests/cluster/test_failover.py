"""Two replicas on a real control plane: one leads, the other goes on when it dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import pytest

from team import Json, Team, every, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

PERIOD = 2
KEEP: Json = {"successfulJobsHistoryLimit": 1000, "catchUp": {"policy": "All", "limit": 100}}


@pytest.fixture
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Two replicas with the default times of a Lease."""
    team = Team(cluster, tmp_path_factory.mktemp("failover"))
    try:
        team.start()
        team.start()
        team.leader()
        yield team
    finally:
        team.stop()


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def slots(executions: Sequence[Json]) -> list[int]:
    return sorted(int(instant(e["spec"]["scheduledTime"])) for e in executions)


def gap(team: Team, name: str) -> float:
    """The longest time between two Jobs of a task."""
    created = sorted(instant(j["metadata"]["creationTimestamp"]) for j in team.all("job", name))
    return max(later - earlier for earlier, later in pairwise(created))


def check_each_slot_ran_once(team: Team, name: str) -> None:
    executions = team.all("texec", name)
    found = slots(executions)
    assert found == list(range(found[0], found[-1] + 1, PERIOD)), "a slot is missing"
    jobs = Counter(j["metadata"]["ownerReferences"][0]["uid"] for j in team.all("job", name))
    assert set(jobs.values()) == {1}
    assert len(jobs) == len(executions)


def test_a_killed_leader_loses_no_slot_and_doubles_none(team: Team) -> None:
    team.apply(task("beat", schedules=every(PERIOD), **KEEP))
    team.wait_for(lambda: len(team.succeeded("beat")) >= 3, "first runs")
    first = team.leader()
    first.kill()
    second = team.leader()
    assert second is not first
    before = len(team.succeeded("beat"))
    team.wait_for(lambda: len(team.succeeded("beat")) >= before + 3, "runs of the new leader")
    team.kubectl("patch", "stask", "beat", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    team.wait_for(lambda: _all_ended(team), "all runs to end")
    check_each_slot_ran_once(team, "beat")
    print(f"longest time between two Jobs over a SIGKILL: {gap(team, 'beat'):.0f} s")
    assert gap(team, "beat") <= 20


def test_a_leader_that_is_told_to_stop_hands_over_at_once(team: Team) -> None:
    team.apply(task("beat", schedules=every(PERIOD), **KEEP))
    team.wait_for(lambda: len(team.succeeded("beat")) >= 2, "first runs")
    first = team.leader()
    asked = time.monotonic()
    first.stop()
    team.leader()
    took = time.monotonic() - asked
    assert first.process.returncode == 0
    before = len(team.succeeded("beat"))
    team.wait_for(lambda: len(team.succeeded("beat")) >= before + 2, "runs of the new leader")
    team.kubectl("patch", "stask", "beat", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    team.wait_for(lambda: _all_ended(team), "all runs to end")
    check_each_slot_ran_once(team, "beat")
    print(f"from SIGTERM to the next leader acting: {took:.1f} s")
    assert gap(team, "beat") <= PERIOD + 3


def _all_ended(team: Team) -> bool:
    found = team.all("texec", "beat")
    return all(e.get("status", {}).get("phase") == "Succeeded" for e in found)
