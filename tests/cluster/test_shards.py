"""Four shards on a real control plane: shared out, and again after a kill -9 and a SIGTERM."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from install import apply_fence, fence_for
from replicas import OperatorProcess
from taskrunner.domain.sharding import shard_of
from team import Json, Team, every, task
from testbed.base import BaseCluster
from testbed.errors import UnsupportedError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SHARDS = 4
PERIOD = 3
SETTINGS = {
    "shards": str(SHARDS),
    "watch_namespace": "",
    "lock_ttl": "4",
    "renew_deadline": "3",
    "retry_period": "0.5",
    "fence_settle_seconds": "1",
}
KEEP: Json = {"successfulJobsHistoryLimit": 1000, "catchUp": {"policy": "All", "limit": 100}}


class ManyNamespaces(Team):
    """Replicas that watch all namespaces; the tasks are in eight of their own."""

    def __init__(self, cluster: BaseCluster, directory: Path) -> None:
        super().__init__(cluster, directory)
        run = uuid.uuid4().hex[:6]
        self.namespaces = [f"shards-{run}-{number}" for number in range(8)]
        for obj in fence_for(cluster.kubectl, self.name, watch_namespace=self.name):
            cluster.kubectl("delete", "--ignore-not-found", obj["kind"], obj["metadata"]["name"])
        apply_fence(cluster.kubectl, self.name, shards=SHARDS)
        for namespace in self.namespaces:
            cluster.kubectl("create", "namespace", namespace)

    def start_all(self, count: int) -> list[OperatorProcess]:
        """So many replicas, started at the same time."""
        logs = [self._directory / f"replica-{number + 1}.log" for number in range(count)]
        kubeconfig = Path(self.cluster.kubeconfig)
        self.replicas = [OperatorProcess(kubeconfig, self.name, log, **SETTINGS) for log in logs]
        for replica in self.replicas:
            replica.wait_for_log("in sync")
        return self.replicas

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()
        for obj in fence_for(self.cluster.kubectl, self.name, shards=SHARDS):
            self.cluster.kubectl(
                "delete", "--ignore-not-found", obj["kind"], obj["metadata"]["name"]
            )
        for namespace in (self.name, *self.namespaces):
            self.cluster.kubectl("delete", "namespace", namespace, "--wait=false")

    def holders(self) -> list[str]:
        """Of each shard, by the Shards' own word."""
        found = self.cluster.get(f"-n={self.name}", "tshard")["items"]
        spec = {shard["metadata"]["name"]: shard["spec"] for shard in found}
        names = [f"taskrunner-shard-{number}" for number in range(SHARDS)]
        return [spec[n]["epoch"].partition("/")[0] for n in names if n in spec]

    def is_shared_by(self, *replicas: OperatorProcess) -> bool:
        """Whether these act, each for its share; by what they log."""
        acting = [_acts_for(replica) for replica in replicas]
        least, more = divmod(SHARDS, len(replicas))
        sizes = sorted(len(shards) for shards in acting)
        if sizes != [least] * (len(replicas) - more) + [least + 1] * more:
            return False
        return sorted(n for shards in acting for n in shards) == list(range(SHARDS))


def _acts_for(replica: OperatorProcess) -> set[int]:
    """The shards for which it has begun a term, and not ended it."""
    found: set[int] = set()
    for line in replica.log.splitlines():
        number = line.partition("leading shard ")[2].partition(",")[0].strip()
        if "no longer leading shard" in line:
            found.discard(int(number))
        elif "leading shard" in line:
            found.add(int(number))
    return found


@pytest.fixture
def team(
    request: pytest.FixtureRequest,
    cluster: BaseCluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ManyNamespaces]:
    if request.config.getoption("--cluster") == "current":
        raise UnsupportedError("These replicas would act for every task of the cluster.")
    team = ManyNamespaces(cluster, tmp_path_factory.mktemp("shards"))
    try:
        yield team
    finally:
        team.stop()


def test_shards_are_shared_out_again_when_replicas_go(team: ManyNamespaces) -> None:
    first, second, third = team.start_all(3)
    team.wait_for(lambda: team.is_shared_by(first, second, third), "three to share the shards")
    for namespace in team.namespaces:
        body = task("beat", schedules=every(PERIOD), **KEEP)
        team.cluster.kubectl("apply", f"-n={namespace}", "-f", "-", input=body)
    team.wait_for(lambda: _succeeded(team) >= 8, "first runs", 40)

    first.kill()
    team.wait_for(lambda: team.is_shared_by(second, third), "two to share the shards")
    second.stop()
    assert second.process.returncode == 0
    team.wait_for(lambda: team.is_shared_by(third), "one to have them all")
    assert set(team.holders()) == {third.identity}
    before = _succeeded(team)
    team.wait_for(lambda: _succeeded(team) >= before + 8, "runs of the last one", 40)

    for namespace in team.namespaces:
        patch = json.dumps({"spec": {"suspend": True}})
        team.cluster.kubectl(
            "patch", f"-n={namespace}", "stask", "beat", "--type=merge", f"-p={patch}"
        )
    team.wait_for(lambda: _all_ended(team), "all runs to end", 40)
    for namespace in team.namespaces:
        _check_each_slot_ran_once(team, namespace)
    table = team.kubectl("get", "tshard")
    print(table)
    assert table.count(third.identity) == SHARDS


def _executions(team: ManyNamespaces, namespace: str) -> list[Json]:
    return list(team.cluster.get(f"-n={namespace}", "texec")["items"])


def _succeeded(team: ManyNamespaces) -> int:
    found = team.cluster.get("-A", "texec", "--field-selector=status.phase=Succeeded")["items"]
    return sum(e["metadata"]["namespace"] in team.namespaces for e in found)


def _all_ended(team: ManyNamespaces) -> bool:
    found = team.cluster.get("-A", "texec")["items"]
    mine = [e for e in found if e["metadata"]["namespace"] in team.namespaces]
    return all((e.get("status") or {}).get("phase") == "Succeeded" for e in mine)


def _check_each_slot_ran_once(team: ManyNamespaces, namespace: str) -> None:
    executions = _executions(team, namespace)
    times = (datetime.fromisoformat(e["spec"]["scheduledTime"]) for e in executions)
    slots = sorted(int(time.timestamp()) for time in times)
    assert slots == list(range(slots[0], slots[-1] + 1, PERIOD)), (
        f"a slot of {namespace} is missing"
    )
    jobs = team.cluster.get(f"-n={namespace}", "job")["items"]
    owners = Counter(job["metadata"]["ownerReferences"][0]["uid"] for job in jobs)
    assert owners == Counter(e["metadata"]["uid"] for e in executions)
    shard = str(shard_of(namespace, SHARDS))
    assert {e["spec"]["writer"]["shard"] for e in executions} == {shard}
