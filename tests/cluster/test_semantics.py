"""Concurrency, catch-up, suspend, edit and delete against the real API server, as one table.

All rows are played at the same time, each on a task of its own with a slot every ten seconds; then
each is judged. Times are seconds after a common start, which is a multiple of 30 s since the epoch.
Add a row: a spec, what happens when, and what must have become of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from replicas import eventually
from team import Json, Team, every, task
from testbed.base import BaseCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

END = 95
"""When the table is judged: after the slot 90."""
SLOTS = range(10, END, 10)


class Outcome(NamedTuple):
    """What became of one task."""

    started: list[int]
    spans: list[tuple[int, float, float]]
    """Slot, start and end of each run that has ended."""
    records: list[tuple[str, int, int, int]]
    """Reason, first slot, last slot and count of what did not run."""
    executions: list[Json]


Check = Callable[[Outcome], None]
Act = Callable[[Team, str], Any]


@dataclass(frozen=True)
class Row:
    name: str
    spec: Json
    check: Check
    acts: list[tuple[int, Act]] = field(default_factory=list)
    seconds: int = 1
    """How long its pods run."""


# --- what happens -----------------------------------------------------------------------------


def patch(**spec: Any) -> Act:
    return lambda team, name: team.patch("stask", name, {"spec": spec})


def delete(cascade: str) -> Act:
    return lambda team, name: team.kubectl(
        "delete", "stask", name, f"--cascade={cascade}", "--wait=false"
    )


def run_by_hand(team: Team, name: str) -> None:
    team.apply(
        {
            "apiVersion": "taskrunner.dev/v1alpha1",
            "kind": "TaskExecution",
            "metadata": {"name": f"{name}-by-hand"},
            "spec": {"taskRef": {"name": name}},
        }
    )


PAUSE: list[tuple[int, Act]] = [(15, patch(suspend=True)), (65, patch(suspend=False))]
"""It covers the slots 20 to 60; of them, 40 to 60 are at most 30 s late at its end."""
SLOWER = patch(schedules=every(15))

# --- what must have become of it ----------------------------------------------------------------


def exactly(started: list[int], *records: tuple[str, int, int, int]) -> Check:
    def check(outcome: Outcome) -> None:
        assert outcome.started == started
        assert outcome.records == list(records)

    return check


def one_after_the_other(outcome: Outcome) -> None:
    assert all(end <= begin for (_, _, end), (_, begin, _) in pairwise(outcome.spans))


def all_in_the_end(outcome: Outcome) -> None:
    one_after_the_other(outcome)
    assert outcome.started == sorted(set(outcome.started))
    assert set(outcome.started) >= set(range(10, 70, 10))
    assert outcome.records == []


def the_latest_when_free(outcome: Outcome) -> None:
    """Under Forbid with Last: when a run ends, the last slot that it blocked starts."""
    one_after_the_other(outcome)
    assert len(outcome.started) >= 3
    for (_, _, end), (slot, begin, _) in pairwise(outcome.spans):
        assert slot <= begin
        assert begin - slot < 10 or begin - end < 5
        assert slot + 10 > end - 2
    assert {reason for reason, *_ in outcome.records} <= {"Superseded"}


def the_next_when_free(outcome: Outcome) -> None:
    """Under Forbid with None: nothing that was due while a run was active ever starts."""
    one_after_the_other(outcome)
    assert len(outcome.started) >= 2
    for (_, _, end), (slot, begin, _) in pairwise(outcome.spans):
        assert slot >= int(end)
        assert begin - slot < 5
    assert {reason for reason, *_ in outcome.records} == {"ConcurrentRun"}
    assert all(count == (last - first) // 10 + 1 for _, first, last, count in outcome.records)
    assert max(count for *_, count in outcome.records) >= 2


def by_hand(phase: str, reason: str) -> Check:
    def check(outcome: Outcome) -> None:
        (found,) = [e for e in outcome.executions if e["spec"]["type"] == "Manual"]
        assert (found["status"]["phase"], found["status"]["reason"]) == (phase, reason)

    return check


def gone(outcome: Outcome) -> None:
    assert not outcome.executions


def left_alone(outcome: Outcome) -> None:
    """Its run was followed to the end, and nothing started afterwards."""
    assert outcome.started == [10, 20, 30]
    assert all("ownerReferences" not in e["metadata"] for e in outcome.executions)
    assert {e["status"]["phase"] for e in outcome.executions} == {"Succeeded"}


FORBID: Json = {"concurrencyPolicy": "Forbid"}


def catch_up(policy: str, **more: Any) -> Json:
    return {"catchUp": {"policy": policy}, **more}


ROWS = [
    # Concurrency × catch-up × suspend.
    Row("allow", {}, exactly([*SLOTS])),
    Row(
        "allow-suspend-last", catch_up("Last"),
        exactly([10, 60, 70, 80, 90], ("Suspended", 20, 50, 4)), PAUSE,
    ),
    Row(
        "allow-suspend-none", catch_up("None"),
        exactly([10, *range(40, END, 10)], ("Suspended", 20, 30, 2)), PAUSE,
    ),
    Row("allow-suspend-all", catch_up("All"), exactly([*SLOTS]), PAUSE),
    Row(
        "allow-suspend-deadline", {"startingDeadlineSeconds": 10},
        exactly([10, 60, 70, 80, 90], ("Suspended", 20, 50, 4)), PAUSE,
    ),
    Row(
        "forbid-suspend-last", catch_up("Last", **FORBID),
        exactly([10, 60, 70, 80, 90], ("Suspended", 20, 50, 4)), PAUSE,
    ),
    Row("forbid-suspend-all", catch_up("All", **FORBID), all_in_the_end, PAUSE),
    Row(
        "forbid-suspend-none", catch_up("None", **FORBID),
        exactly([10, 40, 70, 80, 90], ("ConcurrentRun", 50, 60, 2)), PAUSE,
    ),
    Row("forbid-long-last", catch_up("Last", **FORBID), the_latest_when_free, seconds=22),
    Row("forbid-long-none", catch_up("None", **FORBID), the_next_when_free, seconds=22),
    # Edits.
    Row("allow-edit", {}, exactly([10, 20, 30, 45, 60, 75, 90]), [(35, SLOWER)]),
    Row(
        "forbid-long-edit", FORBID, lambda outcome: _edited_while_blocked(outcome),
        [(25, SLOWER)], seconds=22,
    ),
    Row(
        "suspend-edit-resume", {},
        exactly([10, 45, 60, 75, 90], ("Suspended", 20, 30, 2)),
        [(15, patch(suspend=True)), (35, SLOWER), (50, patch(suspend=False))],
    ),
    # By hand.
    Row(
        "by-hand-suspended", {"suspend": True}, by_hand("Succeeded", "JobComplete"),
        [(25, run_by_hand)],
    ),
    Row(
        "by-hand-forbid", FORBID, by_hand("Skipped", "ConcurrentRun"), [(25, run_by_hand)],
        seconds=60,
    ),
    # Deletes.
    Row("delete-background", {}, gone, [(35, delete("background"))], seconds=20),
    Row("delete-foreground", {}, gone, [(35, delete("foreground"))], seconds=20),
    Row("delete-orphan", {}, left_alone, [(35, delete("orphan"))], seconds=15),
]  # fmt: skip


def _edited_while_blocked(outcome: Outcome) -> None:
    one_after_the_other(outcome)
    assert outcome.started[:2] == [10, 30]
    assert set(outcome.started[2:]) <= {45, 60, 75, 90}
    assert ("PlanChanged", 20, 20, 1) in outcome.records or outcome.records


# --- playing ----------------------------------------------------------------------------------


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
    items = [task(row.name, seconds=row.seconds, **common | row.spec) for row in ROWS]
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
    return Outcome(
        sorted(started), sorted(spans), [told for _, told in sorted(records)], executions
    )


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_semantics(played: Played, row: Row) -> None:
    row.check(played.outcomes[row.name])


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
