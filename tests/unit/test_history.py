"""Which executions are kept, for how long, and which go together in one call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes.selectors import matches
from taskrunner.domain.history import (
    ENDED,
    MOST_AT_ONCE,
    batches,
    expendable,
    job_expiry,
    next_expiry,
    selector,
)
from taskrunner.domain.instants import format_instant
from taskrunner.domain.observed import Execution, Job, execution_from, job_from
from taskrunner.ports import TASK_EXECUTIONS, Obj

NOW = 1_790_000_000
DAY = 86_400


stamp = format_instant


def execution(name: str, phase: str, ended: int = 0, **changes: Any) -> Execution:
    """One of a slot, that ended `ended` seconds ago."""
    meta: Obj = {
        "namespace": "qa",
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "creationTimestamp": stamp(NOW - ended - 10),
        "labels": {"taskrunner.dev/execution": name},
    }
    decision = "Skip" if phase == "Skipped" else "Miss" if phase == "Missed" else "Run"
    if changes.get("type") == "Manual":
        decision = "Run"
    spec = {
        "taskRef": {"name": "nightly"},
        "type": "Scheduled",
        "scheduledTime": stamp(NOW - ended - 10),
        "decision": {"type": decision, "due": stamp(NOW - ended - 10)},
    }
    status = {"phase": phase, "completionTime": stamp(NOW - ended)}
    found = execution_from({"metadata": meta, "spec": spec, "status": status})
    return replace(found, **changes)


def gone(executions: list[Execution], **more: Any) -> list[str]:
    options: dict[str, Any] = {"succeeded": 3, "failed": 1, "decided_until": NOW, "now": NOW}
    return [e.name for e in expendable(executions, **options | more)]


def many(phase: str, ends: list[int]) -> list[Execution]:
    return [execution(f"{phase.lower()}-{ended}", phase, ended) for ended in ends]


LIMITS: list[tuple[str, list[Execution], dict[str, Any], list[str]]] = [
    ("nothing", [], {}, []),
    ("as many as the limit", many("Succeeded", [1, 2, 3]), {}, []),
    (
        "more than the limit: the oldest go",
        many("Succeeded", [5, 1, 4, 2, 3]),
        {},
        ["succeeded-5", "succeeded-4"],
    ),
    ("a limit of 0 keeps nothing", many("Succeeded", [1]), {"succeeded": 0}, ["succeeded-1"]),
    ("failures have their own limit", many("Failed", [1, 2]), {}, ["failed-2"]),
    (
        "dead letters are counted apart from failures",
        [
            *many("Failed", [1]),
            *(replace(e, reason="RetriesExhausted") for e in many("Failed", [2, 3, 4])),
        ],
        {"dead_letters": 2},
        ["failed-4"],
    ),
    (
        "successes never push out failures, nor records either",
        [*many("Succeeded", [1, 2, 3]), *many("Failed", [100]), *many("Missed", [50])],
        {},
        [],
    ),
    (
        "skipped and missed share one record",
        [*many("Skipped", [10]), *many("Missed", [20, 30])],
        {},
        ["missed-30", "missed-20"],
    ),
    (
        "cancelled runs are kept apart from records",
        [*many("Cancelled", [10, 20]), *many("Skipped", [5])],
        {},
        ["cancelled-20"],
    ),
    (
        "a run by hand that was skipped is kept apart from the records of slots",
        [execution("asked", "Skipped", 20, type="Manual"), *many("Missed", [10])],
        {},
        [],
    ),
    (
        "what has not ended stays",
        [execution("a", "Running"), execution("b", "Pending"), execution("c", "Retrying")],
        {"succeeded": 0, "failed": 0},
        [],
    ),
    (
        "what is being deleted already is nobody's business",
        [execution("a", "Succeeded", deleting=True)],
        {"succeeded": 0},
        [],
    ),
    (
        "the name of a slot is not freed before its decision is acknowledged",
        [execution("a", "Succeeded", 0, decided_at=NOW - 9)],
        {"succeeded": 0, "decided_until": NOW - 10},
        [],
    ),
    (
        "nor before its nominal time, when a calendar moved it to an earlier day",
        [execution("a", "Succeeded", 0, decided_at=NOW - DAY, nominal=NOW)],
        {"succeeded": 0, "decided_until": NOW - 10},
        [],
    ),
    (
        "the name of a run by hand is no lock",
        [execution("a", "Succeeded", 0, type="Manual")],
        {"succeeded": 0, "decided_until": NOW - DAY},
        ["a"],
    ),
    (
        "time to live counts from the end",
        many("Succeeded", [59, 60, 61]),
        {"ttl": 60},
        ["succeeded-61", "succeeded-60"],
    ),
    (
        "time to live holds for failures and records too",
        [*many("Failed", [61]), *many("Missed", [61])],
        {"ttl": 60},
        ["failed-61", "missed-61"],
    ),
    (
        "limits hold beside time to live",
        many("Succeeded", [1, 2, 3, 4]),
        {"ttl": 60},
        ["succeeded-4"],
    ),
    ("a time to live of 0", many("Succeeded", [0]), {"ttl": 0}, ["succeeded-0"]),
]


@pytest.mark.parametrize(
    ("executions", "options", "expected"), [row[1:] for row in LIMITS], ids=[r[0] for r in LIMITS]
)
def test_what_goes(
    executions: list[Execution], options: dict[str, Any], expected: list[str]
) -> None:
    assert gone(executions, **options) == expected


@pytest.mark.parametrize(
    ("ends", "ttl", "expected"),
    [
        pytest.param([10], None, None, id="no time to live"),
        pytest.param([], 60, None, id="nothing there"),
        pytest.param([10, 30, 61], 60, NOW + 30, id="the next that is still there"),
        pytest.param([61], 60, None, id="all are over"),
    ],
)
def test_when_the_next_one_goes(ends: list[int], ttl: int | None, expected: int | None) -> None:
    assert next_expiry(many("Succeeded", ends), ttl, NOW) == expected


def job(finished: str, **changes: Any) -> Job:
    made = job_from(
        {
            "metadata": {
                "namespace": "qa",
                "name": "a-1",
                "uid": "job",
                "resourceVersion": "1",
                "creationTimestamp": stamp(NOW - 100),
                "ownerReferences": [{"kind": "TaskExecution", "name": "a", "uid": "uid-a"}],
            },
            "spec": {},
            "status": {
                "conditions": [
                    {"type": finished, "status": "True", "lastTransitionTime": stamp(NOW - 20)}
                ]
            },
        }
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("of", "made", "ttl", "expected"),
    [
        pytest.param(execution("a", "Succeeded"), job("Complete"), 60, NOW + 40, id="counted"),
        pytest.param(execution("a", "Failed"), job("Failed"), 0, NOW - 20, id="0: at once"),
        pytest.param(execution("a", "Succeeded"), job("Complete"), None, None, id="none set"),
        pytest.param(
            execution("a", "Running"), job("Complete"), 0, None, id="its outcome is not recorded"
        ),
        pytest.param(execution("a", "Cancelled"), job(""), 0, None, id="it has not finished"),
        pytest.param(
            execution("a", "Failed"), job("Failed", owner_uid="other"), 0, None, id="not ours"
        ),
        pytest.param(
            execution("a", "Failed"), job("Failed", deleting=True), 0, None, id="going already"
        ),
    ],
)
def test_when_a_job_goes(of: Execution, made: Job, ttl: int | None, expected: int | None) -> None:
    assert job_expiry(of, made, ttl) == expected


def test_executions_go_by_the_hundred() -> None:
    found = [execution(f"run-{n:03d}", "Succeeded") for n in range(2 * MOST_AT_ONCE + 1)]
    assert [len(batch) for batch in batches(found, found)] == [MOST_AT_ONCE, MOST_AT_ONCE, 1]


@pytest.mark.parametrize(
    ("others", "alone"),
    [
        pytest.param([execution("c", "Running")], set(), id="as we labelled them"),
        pytest.param(
            [execution("copy", "Succeeded", label="a")], {"a"}, id="a copy carries the label"
        ),
        pytest.param([execution("by-hand", "Succeeded", label="")], set(), id="no label at all"),
    ],
)
def test_a_copy_is_never_deleted_in_the_stead_of_its_original(
    others: list[Execution], alone: set[str]
) -> None:
    found = [execution(name, "Succeeded") for name in ("a", "b", "d")]
    groups = [{e.name for e in batch} for batch in batches(found, [*found, *others])]
    assert [group for group in groups if len(group) == 1] == [{name} for name in alone]
    assert set().union(*groups) == {"a", "b", "d"}


def test_what_carries_a_wrong_label_goes_alone() -> None:
    found = [
        execution("a", "Failed", label="b"),
        execution("c", "Failed"),
        execution("d", "Failed"),
    ]
    groups = [[e.name for e in batch] for batch in batches(found, found)]
    assert sorted(groups) == [["a"], ["c", "d"]]


@pytest.mark.parametrize(
    ("phase", "selected"),
    [
        ("", False),
        ("Pending", False),
        ("Queued", False),
        ("Running", False),
        ("Retrying", False),
        ("Succeeded", True),
        ("Failed", True),
        ("Cancelled", True),
        ("Skipped", True),
        ("Missed", True),
    ],
)
def test_only_what_has_ended_is_selected(phase: str, selected: bool) -> None:
    labels = {"app.kubernetes.io/managed-by": "taskrunner", "taskrunner.dev/execution": "a"}
    obj: Obj = {"metadata": {"name": "a", "labels": labels}, "status": {"phase": phase}}
    assert matches(TASK_EXECUTIONS, obj, selector([execution("a", phase)]), ENDED) is selected
