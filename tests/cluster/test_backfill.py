"""Backfills on a real control plane: beside live slots, over a SIGKILL, cancelled half-way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from health import argo_health
from team import Json, Team, every, task
from testbed.base import BaseCluster
from testbed.errors import CommandError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]

KEEP: Json = {"successfulJobsHistoryLimit": 1000}
QUICK = {"lock_ttl": "5", "renew_deadline": "3", "retry_period": "0.5", "status_interval": "1"}


@pytest.fixture(scope="module")
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(cluster, tmp_path_factory.mktemp("backfill"))
    try:
        team.start(**QUICK)
        team.start(**QUICK)
        team.leader()
        yield team
    finally:
        team.stop()


def past(name: str, of: str, minutes: int, **spec: object) -> Json:
    """A Backfill of so many slots of a task that has one a minute."""
    end = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    times = {"from": end - timedelta(minutes=minutes), "to": end}
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "Backfill",
        "metadata": {"name": name},
        "spec": {
            "taskRef": {"name": of},
            **{field: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for field, moment in times.items()},
            **spec,
        },
    }


def status(team: Team, name: str) -> Json:
    return dict(team.get("backfill", name).get("status") or {})


def test_a_leader_killed_half_way_loses_no_slot_and_doubles_none(team: Team) -> None:
    team.apply(task("live", schedules=every(2), **KEEP, catchUp={"policy": "All"}))
    team.apply(task("report", schedule="* * * * *", suspend=True, **KEEP))
    team.wait_for(lambda: "decidedUntil" in team.get("stask", "report").get("status", {}), "a plan")
    team.apply(past("minutes", "report", 40, maxConcurrent=5))
    team.wait_for(lambda: status(team, "minutes").get("done", 0) >= 10, "some runs")
    assert status(team, "minutes")["total"] == 40
    team.leader().kill()
    team.leader()
    team.wait_for(lambda: status(team, "minutes").get("completionTime"), "the end", seconds=60)
    found = status(team, "minutes")
    assert (found["succeeded"], found["failed"], found["cancelled"]) == (40, 0, 0)
    assert found["percent"] == 100
    team.kubectl("wait", "backfill/minutes", "--for=condition=Complete", "--timeout=5s")
    assert argo_health(team.get("backfill", "minutes")).status == "Healthy"
    slots = Counter(e["spec"]["scheduledTime"] for e in team.of_task("report"))
    assert len(slots) == 40
    assert set(slots.values()) == {1}
    jobs = team.all("job", "report")
    assert len({job["metadata"]["ownerReferences"][0]["uid"] for job in jobs}) == len(jobs) == 40
    columns = team.kubectl("get", "backfill", "minutes")
    assert columns.split()[:3] == ["NAME", "TASK", "TOTAL"]
    print(columns)


def test_deleting_it_half_way_cancels_the_rest_and_what_runs_finishes(team: Team) -> None:
    team.start(**QUICK)
    team.apply(task("slow", schedule="* * * * *", seconds=3, suspend=True, **KEEP))
    team.wait_for(lambda: "decidedUntil" in team.get("stask", "slow").get("status", {}), "a plan")
    team.apply(past("cancelled", "slow", 30, maxConcurrent=3))
    team.wait_for(lambda: len(team.all("job", "slow")) >= 5, "some runs")
    team.kubectl("delete", "backfill", "cancelled")
    team.wait_for(
        lambda: all(e["status"].get("completionTime") for e in team.of_task("slow")), "their ends"
    )
    count = len(team.all("job", "slow"))
    time.sleep(4)
    found = Counter(e["status"]["phase"] for e in team.of_task("slow"))
    assert found["Succeeded"] == len(team.all("job", "slow")) == count < 30
    assert set(found) <= {"Succeeded", "Cancelled"}


def test_a_quota_on_executions_delays_them_and_loses_none(team: Team) -> None:
    """Object quota counts our kinds, too. What it refuses is tried again until there is room."""
    team.apply(task("many", schedules=every(3600), successfulJobsHistoryLimit=1))
    team.wait_for(lambda: "decidedUntil" in team.get("stask", "many").get("status", {}), "a plan")
    used, tasks = (
        len(team.cluster.get(f"-n={team.name}", kind)["items"]) for kind in ("texec", "stask")
    )
    team.kubectl("patch", "stask", "live", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "objects"},
        "spec": {
            "hard": {
                "count/taskexecutions.taskrunner.dev": str(used + 5),
                "count/scheduledtasks.taskrunner.dev": str(tasks),
            }
        },
    }
    team.apply(quota)
    team.wait_for(lambda: team.get("quota", "objects").get("status", {}).get("used"), "the quota")
    with pytest.raises(CommandError, match=r"exceeded quota: objects, .*count/scheduledtasks"):
        team.apply(task("more"))
    team.apply({**past("quota", "report", 12, maxConcurrent=12)})
    team.wait_for(lambda: "exceeded quota" in team.logs(), "a refusal")
    assert len(team.cluster.get(f"-n={team.name}", "texec")["items"]) <= used + 5
    team.kubectl("delete", "quota", "objects")
    team.wait_for(lambda: status(team, "quota").get("completionTime"), "the end", seconds=60)
    assert status(team, "quota")["succeeded"] == 12
