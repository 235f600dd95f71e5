"""What can happen to a task's slots, as a table: a spec, what happens when, what must come of it.

`test_semantics.py` plays all rows at the same time, each on a task of its own with a slot every ten
seconds; then each is judged. Times are seconds after a common start, which is a multiple of 30 s
since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from taskrunner.domain.instants import parse_instant
from team import Json, Team, every, task

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
    counted: int
    """`status.scheduledCount`."""
    start: int
    """The common start, in seconds since the epoch."""


Check = Callable[[Outcome], None]
Act = Callable[[Team, str], Any]


@dataclass(frozen=True)
class Row:
    name: str
    spec: Json
    check: Check
    acts: list[tuple[int, Act]] = field(default_factory=list)
    seconds: int = 1
    """How long its pods run …"""
    exit_code: int = 0
    """… and what they end with."""

    @property
    def lasts(self) -> bool:
        """Whether nobody deletes the task."""
        return not self.name.startswith(("delete-", "retry-delete"))


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


def queued_in_order(outcome: Outcome) -> None:
    """With Queue a slot has its run when it is due, and starts when the one before has ended."""
    one_after_the_other(outcome)
    assert outcome.started[:2] == [10, 20]
    assert outcome.started == [*range(10, 10 * len(outcome.started) + 10, 10)]
    waiting = [e for e in outcome.executions if e["status"]["phase"] == "Queued"]
    assert {e["status"]["reason"] for e in waiting} == {"ConcurrentRun"}
    assert {10 + 10 * n for n in range(9)} <= {*outcome.started} | {*slots(outcome, "Queued")}


def queue_that_is_full(outcome: Outcome) -> None:
    one_after_the_other(outcome)
    assert len([*slots(outcome, "Queued")]) == 1
    assert {10, 20} <= {*outcome.started}
    left_out = [e["status"] for e in outcome.executions if e["status"]["phase"] == "Skipped"]
    assert {status["reason"] for status in left_out} == {"QueueFull"}
    # Of runs that never started, history keeps the last one.
    assert left_out


def replaced(outcome: Outcome) -> None:
    """Each run gives way to the next one, in its first attempt or after it. Of those that were
    cancelled, history keeps the last one; the task has counted them all."""
    one_after_the_other(outcome)
    newest = max(slot for slot, _ in statuses(outcome)) - outcome.start
    assert newest >= SLOTS[-1]
    assert newest // 10 - 2 <= outcome.counted <= newest // 10 + 1
    ended = [status for _, status in statuses(outcome) if status.get("completionTime")]
    found = {(s["phase"], s["reason"], len(s["attempts"])) for s in ended}
    assert found == {("Cancelled", "Replaced", 1)}


def each_failed_twice(outcome: Outcome) -> None:
    """Whoever has a retry to come is active: under Forbid it holds the next slots up."""
    ended = [status for _, status in statuses(outcome) if status.get("completionTime")]
    found = {(s["phase"], s["reason"], len(s["attempts"])) for s in ended}
    assert found == {("Failed", "RetriesExhausted", 2)}
    for status in ended:
        first, second = status["attempts"]
        waited = parse_instant(second["startTime"]) - parse_instant(first["completionTime"])
        assert RETRY["initialDelaySeconds"] <= waited <= RETRY["initialDelaySeconds"] + 3


def retried(then: Check) -> Check:
    def check(outcome: Outcome) -> None:
        each_failed_twice(outcome)
        then(outcome)

    return check


def retried_as_it_was(outcome: Outcome) -> None:
    """An edit of the template changes later runs, and no attempt of one that has begun."""
    assert outcome.started == [*SLOTS]
    first, *others = [status for _, status in statuses(outcome)]
    assert [a["reason"] for a in first["attempts"]] == ["JobFailed"] * 2
    assert first["reason"] == "RetriesExhausted"
    ended = [status for status in others if status.get("completionTime")]
    assert {(s["phase"], len(s["attempts"])) for s in ended} == {("Succeeded", 1)}


def statuses(outcome: Outcome) -> list[tuple[int, Json]]:
    """Of the slots that started: the instant, and the status of the run."""
    found = [
        (parse_instant(e["spec"]["scheduledTime"]), e["status"])
        for e in outcome.executions
        if "scheduledTime" in e["spec"] and e["status"].get("startTime")
    ]
    return sorted(found, key=lambda each: each[0])


def slots(outcome: Outcome, phase: str) -> list[int]:
    """Of the executions in a phase, the slots, in seconds after the common start."""
    return [
        (parse_instant(e["spec"]["scheduledTime"]) - outcome.start)
        for e in outcome.executions
        if e["status"]["phase"] == phase
    ]


FORBID: Json = {"concurrencyPolicy": "Forbid"}
QUEUE: Json = {"concurrencyPolicy": "Queue"}
REPLACE: Json = {"concurrencyPolicy": "Replace"}
RETRY: Json = {"maxRetries": 1, "initialDelaySeconds": 22, "jitterPercent": 0}
RETRIED: Json = {"retryPolicy": RETRY, "failedJobsHistoryLimit": 20}
MENDED: Json = task("mended")["spec"]["jobTemplate"]
MENDED["spec"]["template"]["metadata"]["annotations"]["testbed.taskrunner.dev/exit-code"] = "0"


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
    Row("replace-long", REPLACE, replaced, seconds=22),
    Row("queue-long", QUEUE, queued_in_order, seconds=22),
    Row("queue-full", {**QUEUE, "queue": {"maxLength": 1}}, queue_that_is_full, seconds=22),
    Row("queue-suspend-all", catch_up("All", **QUEUE), all_in_the_end, PAUSE),
    # Retries × concurrency, catch-up, suspend, edit and delete.
    Row("retry", RETRIED, retried(exactly([*SLOTS])), exit_code=1),
    Row(
        "retry-suspend-last", {**RETRIED, **catch_up("Last")},
        retried(exactly([10, 60, 70, 80, 90], ("Suspended", 20, 50, 4))), PAUSE, exit_code=1,
    ),
    Row(
        "retry-forbid-last", {**RETRIED, **catch_up("Last", **FORBID)},
        retried(the_latest_when_free), exit_code=1,
    ),
    Row(
        "retry-forbid-none", {**RETRIED, **catch_up("None", **FORBID)},
        retried(the_next_when_free), exit_code=1,
    ),
    Row("retry-queue", {**RETRIED, **QUEUE}, retried(queued_in_order), exit_code=1),
    Row("retry-replace", {**RETRIED, **REPLACE}, replaced, exit_code=1),
    Row(
        "retry-edit", RETRIED, retried_as_it_was, [(15, patch(jobTemplate=MENDED))], exit_code=1,
    ),
    Row("retry-delete", RETRIED, gone, [(25, delete("background"))], exit_code=1),
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
