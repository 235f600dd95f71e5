"""Concurrency, retries, catch-up, suspend, edit and delete against the real API server.

The rows are in `semantics_table.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from cluster.semantics_table import END, ROWS, Act, Outcome, Row, gone, run_by_hand
from health import argo_health
from replicas import eventually
from team import Json, Team, every, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


class Played(NamedTuple):
    team: Team
    outcomes: dict[str, Outcome]


@pytest.fixture(scope="module")
def played(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """All rows, played."""
    team = Team(cluster, tmp_path_factory.mktemp("semantics"))
    try:
        team.start()
        team.leader()
        yield Played(team, _play(team))
    finally:
        team.stop()


def _play(team: Team) -> dict[str, Outcome]:
    start = (int(time.time()) // 30 + 2) * 30
    begin = datetime.fromtimestamp(start + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    common: Json = {"schedules": every(10), "successfulJobsHistoryLimit": 20, "startTime": begin}
    items = [
        task(row.name, seconds=row.seconds, exit_code=row.exit_code, **common | row.spec)
        for row in ROWS
    ]
    team.apply({"apiVersion": "v1", "kind": "List", "items": items})
    assert time.time() < start, "The machine is too busy to apply the rows in time."
    acts = [(at, act, row.name) for row in ROWS for at, act in row.acts]
    with ThreadPoolExecutor(8) as pool:
        done = []
        for at, act, name in sorted(acts, key=lambda each: each[0]):
            time.sleep(max(0.0, start + at - time.time()))
            done.append((at, pool.submit(_timed, act, team, name)))
        for at, ended in done:
            late = ended.result() - start - at
            assert late < 4.5, f"The machine is too busy: what was for {at} s took {late:.1f} s."
    time.sleep(max(0.0, start + END - time.time()))
    for row in ROWS:
        if row.check is gone:
            eventually(
                lambda name=row.name: not team.of_task(name),  # type: ignore[misc]
                f"everything of {row.name} to go",
                team.logs,
                seconds=90,
            )
    return {row.name: _outcome(team, row.name, start) for row in ROWS}


def _timed(act: Act, team: Team, name: str) -> float:
    """Do it; when it was done."""
    act(team, name)
    return time.time()


def _outcome(team: Team, name: str, start: int) -> Outcome:
    started: list[int] = []
    spans: list[tuple[int, float, float]] = []
    records: list[tuple[int, tuple[str, int, int, int]]] = []
    executions = team.of_task(name)
    for execution in executions:
        spec, status = execution["spec"], execution.get("status", {})
        decision = spec.get("decision")
        if decision is None:
            continue
        slot = _instant(spec["scheduledTime"]) - start
        if decision["type"] != "Run":
            first = _instant(decision.get("from", spec["scheduledTime"])) - start
            told = (decision["reason"], first, slot, decision.get("count", 1))
            records.append((slot, told))
        elif slot < END and status.get("startTime"):
            started.append(slot)
            if status.get("completionTime"):
                begin, end = (_instant(status[f]) for f in ("startTime", "completionTime"))
                spans.append((slot, begin - start, end - start))
    counted = _counted(team, name)
    return Outcome(
        sorted(started),
        sorted(spans),
        [told for _, told in sorted(records)],
        executions,
        counted,
        start,
    )


def _counted(team: Team, name: str) -> int:
    """Of a task that is there."""
    found = team.cluster.get(f"-n={team.name}", "stask")
    statuses = {one["metadata"]["name"]: one.get("status", {}) for one in found["items"]}
    return int(statuses.get(name, {}).get("scheduledCount", 0))


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_semantics(played: Played, row: Row) -> None:
    row.check(played.outcomes[row.name])


def test_argo_cd_makes_the_same_of_it_as_we_do(played: Played) -> None:
    running = dict.fromkeys(("Pending", "Queued", "Running", "Retrying"), "Progressing")
    ended = {"Succeeded": "Healthy", "Skipped": "Healthy", "Cancelled": "Suspended"}
    expected = {**running, **ended, "Failed": "Degraded", "Missed": "Degraded"}
    executions = [e for outcome in played.outcomes.values() for e in outcome.executions]
    assert {*ended, "Failed", "Missed", "Queued"} <= {e["status"]["phase"] for e in executions}
    for execution in executions:
        health = argo_health(execution)
        assert health.status == expected[execution["status"]["phase"]]
    team = played.team
    healths = {row.name: argo_health(team.get("stask", row.name)) for row in ROWS if row.lasts}
    assert healths["allow"].status == healths["queue-long"].status == "Healthy"
    assert healths["retry"].status == "Degraded"
    assert healths["retry"].message.startswith("The last run failed at ")
    assert healths["by-hand-suspended"].status == "Suspended"


@pytest.mark.parametrize("what", ["namespace", "operator"])
def test_a_pause_holds_everything_and_its_end_lets_it_go(played: Played, what: str) -> None:
    team, name = played.team, f"paused-{what}"
    _pause(team, what, on=True)
    try:
        team.apply(task(name, schedules=every(5)))
        run_by_hand(team, name)
        held = f"{name}-by-hand"

        def told() -> bool:
            conditions = team.get("stask", name).get("status", {}).get("conditions", [])
            run = team.get("texec", held).get("status", {})
            return run.get("reason") == "Paused" and any(
                c["type"] == "Ready" and c["reason"] == "Paused" for c in conditions
            )

        team.wait_for(told, "the task and the run to say that they are paused", 20)
        assert "kubectl" in team.get("texec", held)["status"]["message"]
        assert not team.all("job", name)
    finally:
        _pause(team, what, on=False)
    team.wait_for(lambda: len(team.succeeded(name)) >= 2, "both runs", 20)
    team.kubectl("delete", "stask", name)


def _pause(team: Team, what: str, *, on: bool) -> None:
    if what == "namespace":
        label = f"taskrunner.dev/paused{'=true' if on else '-'}"
        team.cluster.kubectl("label", "namespace", team.name, label)
        return
    team.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "taskrunner-config"},
            "data": {"paused": "true" if on else "false"},
        }
    )
