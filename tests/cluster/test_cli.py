"""The command line against a real cluster, with an operator at work."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from install import apply_fence, fence_for
from taskrunner.__main__ import connect
from taskrunner.cli.main import build
from taskrunner.kube.clock import SystemClock
from team import Json, Team, every, task
from testbed.base import BaseCluster
from testbed.errors import CommandError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]


@dataclass
class User:
    """Somebody who types commands."""

    team: Team
    words: list[str] = field(default_factory=list)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        place = ["--kubeconfig", str(self.team.cluster.kubeconfig)]
        app = build(SystemClock(), connect)
        return CliRunner().invoke(app, [*words, *place], input=stdin)

    def told(self, *words: str) -> str:
        done = self.run(*words, "-n", self.team.name)
        assert done.exit_code == 0, done.output
        return done.stdout

    def data(self, *words: str) -> Any:
        return json.loads(self.told(*words, "-o", "json"))


@pytest.fixture(scope="module")
def user(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    team = Team(cluster, tmp_path_factory.mktemp("cli"))
    try:
        team.start(status_interval="1")
        team.leader()
        yield User(team)
    finally:
        team.stop()


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_runs_are_asked_for_followed_and_stopped(user: User) -> None:
    user.team.apply(task("by-hand"))
    user.team.apply(task("slow", seconds=300))
    told = user.told("run", "by-hand", "--arg", "SUITE=full", "--name", "mine", "--wait")
    assert told.splitlines()[-1] == "mine: Succeeded: The Job completed."
    found = user.team.get("texec", "mine")["spec"]
    assert (found["arguments"], found["type"]) == ({"SUITE": "full"}, "Manual")
    user.told("run", "slow", "--name", "long")
    user.team.wait_for(
        lambda: user.team.get("texec", "long")["status"]["phase"] == "Running", "it to run"
    )
    assert user.data("top")["tasks"][0] | {"longestSeconds": 0, "startLagMilliseconds": 0} == {
        "namespace": user.team.name,
        "task": "slow",
        "active": 1,
        "waiting": 0,
        "retrying": 0,
        "longestSeconds": 0,
        "oldestWaitSeconds": 0,
        "startLagMilliseconds": 0,
    }
    assert user.told("cancel", "long", "--now") == "long: is killed\n"
    user.team.wait_for(
        lambda: user.team.get("texec", "long")["status"]["phase"] == "Cancelled", "the stop"
    )
    phases = [item["status"]["phase"] for item in user.data("history")["items"]]
    assert sorted(phases) == ["Cancelled", "Succeeded"]


def test_a_task_is_suspended_and_resumed_and_what_is_next_follows(user: User) -> None:
    user.team.apply(task("planned", schedule="* * * * *"))
    assert len(user.data("next", "planned", "--count", "3")) == 3
    user.told("suspend", "planned")
    assert user.data("next", "planned", "--count", "1")[0]["held"] == "suspended"
    user.told("resume", "planned")
    user.told("pause")
    assert user.data("next", "planned", "--count", "1")[0]["held"] == "namespace paused"
    user.told("unpause")
    user.team.kubectl("delete", "stask", "planned")


def test_what_the_server_refuses_is_a_sentence(user: User) -> None:
    done = user.run("run", "by-hand", "--name", "x-1767225600", "-n", user.team.name)
    assert done.exit_code == 1
    assert "names that end in ten digits are reserved for slots" in done.stderr
    assert "Traceback" not in done.output
    missing = user.run("history", "nobody", "-n", user.team.name)
    assert (missing.exit_code, 'no task "nobody"' in missing.stderr) == (2, True)


def test_doctor_finds_the_installation_well_and_writes_a_bundle(user: User, tmp_path: Path) -> None:
    file = tmp_path / "support.tar.gz"
    secret = task("secret", schedule="0 0 1 1 *", schedules=[])
    secret["spec"].pop("schedules")
    container = secret["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "TOKEN", "value": "hunter2"}]
    user.team.apply(secret)
    found = user.data("doctor", "--bundle", str(file))
    mine = [one for one in found if user.team.name in one["check"]]
    assert {one["level"] for one in mine} == {"ok"}, mine
    by_name = {one["check"]: one["level"] for one in found}
    assert by_name["cluster"] == by_name["clock"] == by_name["your rights"] == "ok"
    assert by_name["definition ScheduledTask"] == "ok"
    with tarfile.open(file) as archive:
        texts = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert b"secret" in texts["taskrunner/scheduledtasks.json"]
    assert not [name for name, text in texts.items() if b"hunter2" in text]
    user.team.kubectl("delete", "stask", "secret")


def test_the_cronjobs_of_the_cluster_become_tasks_that_the_server_takes(user: User) -> None:
    manifest = task("copied", schedule="0 3 * * *", timeZone="Europe/Berlin", suspend=True)
    user.team.apply({**manifest, "apiVersion": "batch/v1", "kind": "CronJob"})
    (made,) = yaml.safe_load_all(user.told("import", "cronjobs"))
    user.team.apply(made)
    spec = user.team.get("stask", "copied")["spec"]
    assert (spec["timeZone"], spec["suspend"]) == ("Europe/Berlin", True)
    user.team.kubectl("delete", "stask,cronjob", "copied")


def test_a_restored_cluster_runs_nothing_twice_and_goes_on(user: User, tmp_path: Path) -> None:
    team, file = user.team, str(tmp_path / "backup.yaml")
    catch_up = {"policy": "All"}
    tasks = [
        task("often", schedules=every(5), maxExecutions=1000, catchUp=catch_up),
        task("once", schedules=every(5), maxExecutions=1, catchUp=catch_up),
        task("later"),
    ]
    team.apply({"apiVersion": "v1", "kind": "List", "items": tasks})
    team.wait_for(lambda: len(team.succeeded("often")) >= 2, "two runs")
    team.wait_for(lambda: _is_completed(team, "once"), "the one run, and that it was counted")
    team.kubectl("delete", "texec", "-l=taskrunner.dev/task=once")
    user.told("run", "slow", "--name", "unfinished")
    team.wait_for(lambda: _phase(team, "unfinished") == "Running", "a run under way")
    user.told("run", "later", "--name", "deferred", "--not-before", "+25s")
    user.told("backup", "-f", file)
    before = {e["metadata"]["name"] for e in _documents(file) if e["kind"] == "TaskExecution"}
    counted = team.get("stask", "often")["status"].get("scheduledCount", 0)
    _lose_everything(user)
    refused = user.run("restore", "-f", file)
    assert refused.exit_code == 0, refused.output
    restored_at = time.time()
    assert "unfinished" in refused.stdout.splitlines()[-1]
    apply_fence(team.cluster.kubectl, team.name, watch_namespace=team.name)
    team.start()
    acting = user.run("restore", "-f", file)
    assert (acting.exit_code, "An operator acts here" in acting.stderr) in ((1, True), (0, False))
    team.wait_for(lambda: _new(team, "often", before), "new slots of the schedule")
    team.wait_for(lambda: _phase(team, "deferred") == "Succeeded", "what was still to come")
    jobs = team.cluster.get(f"-n={team.name}", "job", "-l=taskrunner.dev/task")["items"]
    again = {job["metadata"]["labels"]["taskrunner.dev/execution"] for job in jobs} & before
    assert again == {"deferred"}
    slots = [e["spec"]["scheduledTime"] for e in _new(team, "often", before)]
    assert min(slots) >= at(restored_at - 2)
    assert team.of_task("once") == []
    assert _is_completed(team, "once")
    status = team.get("texec", "unfinished")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "JobDeleted")
    assert status["message"].startswith("Restored from a backup")
    assert team.get("stask", "often")["status"]["scheduledCount"] >= counted


def _is_completed(team: Team, name: str) -> bool:
    conditions = team.get("stask", name).get("status", {}).get("conditions", ())
    return any(c["type"] == "Completed" and c["status"] == "True" for c in conditions)


def _phase(team: Team, name: str) -> str:
    return str((team.get("texec", name).get("status") or {}).get("phase"))


def _documents(file: str) -> list[Json]:
    return [one for one in yaml.safe_load_all(Path(file).read_text("utf-8")) if one]


def _new(team: Team, of: str, before: set[str]) -> list[Json]:
    return [e for e in team.succeeded(of) if e["metadata"]["name"] not in before]


def _lose_everything(user: User) -> None:
    """As if it were another cluster: no operator, no fence, no object with or without state."""
    team = user.team
    for replica in team.replicas:
        replica.stop()
    for obj in fence_for(team.cluster.kubectl, team.name, watch_namespace=team.name):
        team.cluster.kubectl("delete", obj["kind"], obj["metadata"]["name"])
    team.kubectl("delete", "--all", "--cascade=background", "stask,texec,job,lease,tshard")
    assert team.cluster.get(f"-n={team.name}", "stask,texec,job,lease,tshard")["items"] == []
    # The API server forgets a fence a moment after its deletion; it would hold us for the operator.
    team.wait_for(lambda: _may_write(team), "the fence is gone")


def _may_write(team: Team) -> bool:
    labels = {"taskrunner.dev/execution": "x-1767225600", "taskrunner.dev/shard": "0"}
    slot: Json = {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {"name": "x-1767225600", "labels": labels},
        "spec": {
            "taskRef": {"name": "x"},
            "type": "Scheduled",
            "scheduledTime": "2026-01-01T00:00:00Z",
            "decision": {"type": "Run", "reason": "OnSchedule"},
        },
    }
    try:
        team.kubectl("create", "--dry-run=server", "-f", "-", obj=slot)
    except CommandError as error:
        if "fence" in str(error):
            return False
        raise
    return True
