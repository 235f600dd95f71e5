"""A replica whose wall clock is set gives its shard up, and the other one goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import shifted
from replicas import OperatorProcess
from team import Json, Team, every, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


class ShiftedTeam(Team):
    """A team whose first replica has a clock that can be set."""

    def __init__(self, cluster: BaseCluster, directory: Path) -> None:
        super().__init__(cluster, directory)
        self._shift = directory / "shift"
        self.set_clock(0.0)

    def start_shifted(self) -> OperatorProcess:
        class Shifted(OperatorProcess):
            program = (shifted.__file__, str(self._shift))

        log = self._shift.with_name("shifted.log")
        replica = Shifted(Path(self.cluster.kubeconfig), self.name, log)
        self.replicas.append(replica)
        replica.wait_for_log("in sync")
        return replica

    def set_clock(self, seconds: float) -> None:
        # In place, because the process has the file mapped.
        with self._shift.open("r+b" if self._shift.exists() else "wb") as file:
            file.write(shifted.DOUBLE.pack(seconds))


@pytest.fixture
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShiftedTeam]:
    team = ShiftedTeam(cluster, tmp_path_factory.mktemp("clocks"))
    try:
        yield team
    finally:
        team.stop()


@pytest.mark.parametrize("seconds", [90.0, -90.0], ids=["forward", "back"])
def test_a_leader_whose_clock_is_set_starts_nothing_by_it(
    team: ShiftedTeam, seconds: float
) -> None:
    first = team.start_shifted()
    team.leader()
    second = team.start()
    keep: Json = {"successfulJobsHistoryLimit": 1000, "catchUp": {"policy": "All", "limit": 100}}
    team.apply(task("beat", schedules=every(2), **keep))
    team.wait_for(lambda: team.succeeded("beat"), "a run")
    team.set_clock(seconds)
    first.wait_for_log("Giving the Lease up")
    second.wait_for_log("; acting")
    before = len(team.succeeded("beat"))
    team.wait_for(lambda: len(team.succeeded("beat")) > before + 1, "runs of the other")
    assert "ClockNotTrusted" in team.kubectl("get", "events")
    for run in team.all("texec", "beat"):
        due, created = run["spec"]["scheduledTime"], run["metadata"]["creationTimestamp"]
        assert created >= due, "a run was created before it was due"
        assert run["spec"]["decision"]["type"] == "Run"
    second.stop()
    assert not first.leads(), "its clock is still wrong"
    team.set_clock(0.0)
    first.wait_for_log("agrees with the API server's again")
    team.wait_for(first.leads, "the first to act again")
