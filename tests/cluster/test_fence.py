"""The fence on a real API server: attacked for a while, and as the operator meets it.

`make fence-attack` is the same attack with more than 1,000 take-overs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator

import pytest

from fence_attack.attack import Attack, Plan
from install import apply_fence, fence_for
from team import Team, every, task
from testbed import Cluster
from testbed.base import BaseCluster
from testbed.errors import CommandError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SHARD = "taskrunner-shard-0"
PLAN = Plan(idle=16, burst=8, rounds=1, lanes=4)


def test_nothing_gets_past_the_fence_after_a_take_over(
    breakable: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = Attack(breakable, PLAN, print)
    asyncio.run(attack.run())
    for phase, tally in attack.tallies.items():
        assert tally.ok, f"{phase}: {tally}\n{tally.problems}"
        assert tally.take_overs >= PLAN.lanes
        assert tally.stale_sent > 20 * tally.take_overs, f"{phase}: hardly attacked: {tally}"
        assert tally.holder_writes >= 4 * (tally.take_overs - tally.terms_ended)


@pytest.fixture
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(cluster, tmp_path_factory.mktemp("fence"))
    try:
        yield team
    finally:
        team.stop()


def epoch(team: Team) -> str:
    return str(team.get("tshard", SHARD)["spec"]["epoch"])


def test_runs_and_jobs_carry_the_epoch_of_their_writer(team: Team) -> None:
    team.start()
    team.leader()
    team.apply(task("signed", schedules=every(2)))
    team.wait_for(lambda: team.succeeded("signed"), "a run")
    (job, *_), (run, *_) = team.all("job", "signed"), team.all("texec", "signed")
    assert run["spec"]["writer"] == {"shard": "0", "epoch": epoch(team)}
    assert job["metadata"]["annotations"]["taskrunner.dev/writer-epoch"] == epoch(team)
    for obj in (job, run):
        assert obj["metadata"]["labels"]["taskrunner.dev/shard"] == "0"
    assert SHARD in team.kubectl("get", "tshard")
    status = team.get("tshard", SHARD)["status"]
    assert status["holder"] == epoch(team).partition("/")[0]
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Fenced", "True")]


def test_a_leader_that_is_shut_out_gives_up_and_says_so(team: Team) -> None:
    leader = team.start()
    team.leader()
    team.apply(task("beat", schedules=every(2)))
    team.wait_for(lambda: team.succeeded("beat"), "a run")
    patch = {"spec": {"epoch": "somebody/1000", "number": 1000}}
    team.kubectl("patch", "tshard", SHARD, "--type=merge", "-p", json.dumps(patch))
    leader.wait_for_log("Somebody else has the shard")
    assert 'the present epoch of shard 0 is "somebody/1000"' in leader.log
    team.wait_for(lambda: epoch(team).endswith("/1001"), "the shard to be taken over")
    before = len(team.succeeded("beat"))
    team.wait_for(lambda: len(team.succeeded("beat")) > before, "runs of the next term")


def test_a_deleted_shard_is_made_again(team: Team) -> None:
    team.start()
    team.leader()
    team.apply(task("beat", schedules=every(2)))
    team.wait_for(lambda: team.succeeded("beat"), "a run")
    old = epoch(team)
    team.kubectl("delete", "tshard", SHARD)
    team.wait_for(lambda: _exists(team) and epoch(team) != old, "the Shard to be made again")
    before = len(team.succeeded("beat"))
    team.wait_for(lambda: len(team.succeeded("beat")) > before, "runs of the next term")


def _exists(team: Team) -> bool:
    try:
        epoch(team)
    except CommandError:
        return False
    return True


def test_without_the_fence_nobody_acts_and_everybody_can_see_why(team: Team) -> None:
    fence = fence_for(team.cluster.kubectl, team.name, watch_namespace=team.name)
    for obj in fence:
        team.kubectl("delete", obj["kind"], obj["metadata"]["name"])
    time.sleep(1)
    team.apply(task("waits", schedules=every(2)))
    replica = team.start()
    replica.wait_for_log("the policy of the fence is not there")
    team.wait_for(lambda: "FenceMissing" in team.kubectl("get", "events"), "an event that says so")
    time.sleep(3)
    assert not team.all("texec", "waits")
    apply_fence(team.cluster.kubectl, team.name, watch_namespace=team.name)
    replica.wait_for_log("the fence stands")
    team.wait_for(lambda: team.succeeded("waits"), "a run")


def test_without_the_fence_one_can_go_on_knowingly(team: Team) -> None:
    for obj in fence_for(team.cluster.kubectl, team.name, watch_namespace=team.name):
        team.kubectl("delete", obj["kind"], obj["metadata"]["name"])
    time.sleep(1)
    team.apply(task("goes", schedules=every(2)))
    replica = team.start(fence_required="false")
    replica.wait_for_log("the policy of the fence is not there")
    team.wait_for(lambda: team.succeeded("goes"), "a run")
    row = team.kubectl("get", "tshard", SHARD).splitlines()[1].split()
    assert "False" in row


def test_a_leader_that_was_stopped_and_wakes_up_starts_nothing(team: Team) -> None:
    first = team.start()
    team.leader()
    second = team.start()
    team.apply(task("beat", schedules=every(2), successfulJobsHistoryLimit=1000))
    team.wait_for(lambda: team.succeeded("beat"), "a run")
    first.process.send_signal(signal.SIGSTOP)
    try:
        second.wait_for_log("; acting")
    finally:
        first.process.send_signal(signal.SIGCONT)
    first.wait_for_log("no longer leading")
    before = len(team.succeeded("beat"))
    team.wait_for(lambda: len(team.succeeded("beat")) > before + 1, "runs of the second")
    writers = {e["spec"]["writer"]["epoch"]: e for e in team.all("texec", "beat")}
    assert len(writers) == 2
    owners = [job["metadata"]["ownerReferences"][0]["uid"] for job in team.all("job", "beat")]
    assert len(owners) == len(set(owners)), "a run has two Jobs"
