"""The whole operator on a real control plane with simulated nodes."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
import yaml

from team import Json, Team, every, task
from testbed.base import BaseCluster
from testbed.errors import CommandError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def team(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One replica, shared by the tests of this module."""
    team = Team(cluster, tmp_path_factory.mktemp("operator"))
    try:
        team.start()
        team.leader()
        yield team
    finally:
        team.stop()


def test_a_task_runs_on_time_to_its_end_and_its_status_says_so(team: Team) -> None:
    team.apply(task("ten", schedules=every(10)))
    team.wait_for(lambda: len(team.succeeded("ten")) >= 2, "two runs")
    execution = team.succeeded("ten")[0]
    assert execution["status"]["startLagMilliseconds"] < 1000
    assert execution["spec"]["scheduledTime"][-2] == "0"
    team.wait_for(lambda: "lastSuccessfulTime" in team.get("stask", "ten")["status"], "a status")
    status = team.get("stask", "ten")["status"]
    assert status["conditions"][0]["reason"] == "Planned"
    job = team.all("job", "ten")[0]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "TaskExecution"
    team.kubectl("delete", "stask", "ten")
    # The garbage collector takes up to a minute to learn of new kinds.
    team.wait_for(lambda: not team.all("job", "ten"), "the Jobs to go with their task", 90)


def test_kubectl_shows_what_matters(team: Team) -> None:
    team.apply(task("shown", schedules=every(5), displayName="Shown"))
    team.wait_for(lambda: len(team.succeeded("shown")) >= 1, "a run")
    team.wait_for(lambda: "Succeeded" in team.kubectl("get", "stask", "shown"), "the last result")
    header, row = team.kubectl("get", "stask", "shown").splitlines()
    assert header.split()[:4] == ["NAME", "SCHEDULE", "SUSPEND", "ACTIVE"]
    assert "often" in row
    header, *rows = team.kubectl("get", "texec").splitlines()
    assert header.split()[:4] == ["NAME", "TASK", "TYPE", "PHASE"]
    assert any("Succeeded" in row and "shown" in row for row in rows)
    team.kubectl("delete", "stask", "shown")


def test_a_manual_run_starts_at_once_and_kubectl_can_wait_for_it(team: Team) -> None:
    team.apply(task("by-hand"))
    run = {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {"name": "by-hand-now"},
        "spec": {"taskRef": {"name": "by-hand"}},
    }
    team.apply(run)
    team.kubectl("wait", "--for=condition=Complete", "--timeout=20s", "texec/by-hand-now")
    owner = team.get("texec", "by-hand-now")["metadata"]["ownerReferences"][0]
    assert owner["uid"] == team.get("stask", "by-hand")["metadata"]["uid"]


def test_forbid_never_runs_two_at_once(team: Team) -> None:
    team.apply(task("alone", seconds=4, schedules=every(2), concurrencyPolicy="Forbid"))
    team.wait_for(lambda: len(team.succeeded("alone")) >= 2, "two runs", 40)
    spans = sorted(
        (e["status"]["startTime"], e["status"]["completionTime"]) for e in team.succeeded("alone")
    )
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    team.kubectl("delete", "stask", "alone")


def test_a_failing_job_is_told_with_its_reason(team: Team) -> None:
    team.apply(task("fails", exit_code=3, schedules=every(5)))

    def failed() -> list[Json]:
        found = team.all("texec", "fails")
        return [e for e in found if e.get("status", {}).get("phase") == "Failed"]

    execution = team.wait_for(failed, "a failed run")[0]
    assert execution["status"]["reason"] == "JobFailed"
    team.kubectl("delete", "stask", "fails")
    events = team.kubectl("get", "events", "-o=yaml")
    assert any(e["reason"] == "JobFailed" for e in yaml.safe_load(events)["items"])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({"schedule": "61 * * * *"}, ["spec.schedule", "61"], id="minute 61"),
        pytest.param(
            {"schedule": "* * * * *", "timeZone": "Europe/Berlim"},
            ["spec.timeZone", "Europe/Berlim", "Europe/Berlin"],
            id="unknown zone",
        ),
        pytest.param({"schedule": "0 0 30 2 *"}, ["spec.schedule", "30 2 *"], id="30 February"),
    ],
)
def test_what_only_compiling_finds_is_told_in_a_condition(
    team: Team, spec: Json, told: list[str]
) -> None:
    name = f"bad-{uuid.uuid4().hex[:4]}"
    team.apply(task(name, **spec))

    def ready() -> list[Json]:
        conditions = team.get("stask", name).get("status", {}).get("conditions", [])
        return [c for c in conditions if c["type"] == "Ready"]

    condition = team.wait_for(ready, "the condition Ready")[0]
    assert condition["status"] == "False"
    for text in told:
        assert text in condition["message"]
    team.kubectl("delete", "stask", name)


def test_a_typo_in_the_pod_template_is_told_in_a_condition(team: Team) -> None:
    bad = task("typo", schedule="* * * * *")
    bad["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    team.apply(bad)

    def message() -> str:
        conditions = team.get("stask", "typo").get("status", {}).get("conditions", [])
        return str(conditions[0]["message"]) if conditions else ""

    assert "imag" in team.wait_for(message, "the condition")
    team.kubectl("delete", "stask", "typo")


def test_what_the_schema_finds_is_refused_at_apply(team: Team) -> None:
    for spec, told in (
        ({"schedul": "* * * * *"}, 'unknown field "spec.schedul"'),
        ({"suspend": "yes"}, "spec.suspend"),
        ({"schedule": "* * * * *", "schedules": every(5)}, "only one of schedule and schedules"),
        ({"retryPolicy": {"maxRetries": 11}}, "spec.retryPolicy.maxRetries"),
    ):
        with pytest.raises(CommandError) as error:
            team.apply(task("refused", **spec))
        assert told in error.value.stderr


def test_an_idle_task_costs_no_write_and_carries_nothing_of_ours(team: Team) -> None:
    team.apply(task("yearly", schedule="0 0 1 1 *"))
    team.wait_for(lambda: team.get("stask", "yearly").get("status"), "the first status")
    time.sleep(1)
    since = team.cluster.audit_mark()
    time.sleep(12)
    written = [
        (event["verb"], event["objectRef"]["resource"], event["objectRef"].get("name"))
        for event in team.cluster.audit_events(since=since, user_agent="taskrunner/", writes=True)
        if event["objectRef"]["resource"] != "leases" and "yearly" in event["requestURI"]
    ]
    assert written == []
    found = team.get("stask", "yearly")["metadata"]
    assert set(found.get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}
    assert "finalizers" not in found
    team.kubectl("delete", "stask", "yearly")


@pytest.mark.timeout(300)
def test_api_writes_per_run(team: Team) -> None:
    """Counted in the API server's audit log, clean-up included. A call that deletes executions of
    several tasks counts for each by its share of the runs."""
    limits = {"short-1": 6.5, "long-12": 7.5, "long-60": 7.5}
    for name in limits:
        seconds = int(name.partition("-")[2])
        team.apply(task(name, seconds=seconds, schedules=every(15), successfulJobsHistoryLimit=1))
    # In steady state, so many end as begin, and there is something to clean up.
    team.wait_for(lambda: all(len(team.succeeded(n)) >= 2 for n in limits), "two runs", 110)
    since = team.cluster.audit_mark()
    time.sleep(75)
    events = list(team.cluster.audit_events(since=since, user_agent="taskrunner/", writes=True))
    written = {name: _writes(events, name) for name in limits}
    runs = {name: kinds["create", "taskexecutions"] for name, kinds in written.items()}
    shared = [
        e
        for e in events
        if e["verb"] == "deletecollection" and e["objectRef"]["namespace"] == team.name
    ]
    assert shared
    share = len(shared) / sum(runs.values())
    print(f"deletecollection taskexecutions: {len(shared)} for {sum(runs.values())} runs")
    for name, limit in limits.items():
        assert runs[name] >= 4
        kinds = written[name]
        writes = kinds.total() / runs[name] + share
        each = {" ".join(kind): round(count / runs[name], 2) for kind, count in kinds.items()}
        print(f"{name}: {writes:.2f} writes per run: {each}")
        assert writes <= limit, kinds
        team.kubectl("delete", "stask", name)


def _writes(events: list[Json], of: str) -> Counter[tuple[str, str]]:
    """Verbs and resources of the writes to one task and what belongs to it."""
    refs = [(e["verb"], e["objectRef"]) for e in events]
    mine = [(v, ref) for v, ref in refs if str(ref.get("name", "")).startswith(of)]
    return Counter((verb, ref["resource"]) for verb, ref in mine)
