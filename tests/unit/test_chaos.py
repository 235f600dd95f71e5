"""The judge of `make chaos` must find what it is there to find."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chaos.ledger import Ledger
from chaos.load import Task
from chaos.verdict import judge, recovery

START = 1_790_000_000
EVERY_SLOT = Task("chaos-a", "beat", 10, 1, "Allow")
FORBID = Task("chaos-a", "beat", 10, 1, "Forbid")
SLOTS = [START + 10, START + 20, START + 30]


def instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def execution(slot: int, phase: str = "Succeeded", uid: str = "") -> dict[str, Any]:
    name = EVERY_SLOT.execution(slot)
    return {
        "metadata": {
            "namespace": "chaos-a",
            "name": name,
            "uid": uid or f"e-{slot}",
            "creationTimestamp": instant(slot),
        },
        "spec": {"decision": {"type": "Run"}},
        "status": {"phase": phase},
    }


def job(slot: int, *, uid: str = "", created: int = 0, ended: int = 0) -> dict[str, Any]:
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": instant(ended or slot)}
    name = EVERY_SLOT.execution(slot)
    return {
        "metadata": {
            "namespace": "chaos-a",
            "name": f"{name}-1",
            "uid": uid or f"j-{slot}",
            "labels": {"taskrunner.dev/execution": name},
            "creationTimestamp": instant(created or slot),
        },
        "status": {"conditions": [condition]},
    }


@pytest.fixture
def ledger() -> Ledger:
    """Three slots that ran as they should."""
    ledger = Ledger()
    for slot in SLOTS:
        ledger.execution(execution(slot))
        ledger.job(job(slot))
    return ledger


def count(ledger: Ledger, task: Task = EVERY_SLOT) -> dict[str, int]:
    found = judge([task], {task.key: START}, {task.key: SLOTS[-1]}, ledger)
    kinds = ("lost", "doubled", "stuck", "overlapping", "excepted", "never_started")
    counts = {kind: getattr(found, kind) for kind in kinds}
    sizes = {kind: v if isinstance(v, int) else len(v) for kind, v in counts.items()}
    return {"slots": found.slots, **{kind: size for kind, size in sizes.items() if size}}


def test_slots_that_ran_once_are_no_violation(ledger: Ledger) -> None:
    assert count(ledger) == {"slots": 3}


def test_a_slot_without_a_job_is_lost(ledger: Ledger) -> None:
    ledger.jobs.pop(f"chaos-a/{EVERY_SLOT.execution(SLOTS[1])}")
    assert count(ledger) == {"slots": 3, "lost": 1}


def test_a_slot_whose_execution_was_deleted_first_is_not_lost(ledger: Ledger) -> None:
    key = f"chaos-a/{EVERY_SLOT.execution(SLOTS[1])}"
    ledger.jobs.pop(key)
    ledger.removed[key] = "Pending"
    assert count(ledger) == {"slots": 3, "never_started": 1}


def test_a_slot_with_two_jobs_is_doubled(ledger: Ledger) -> None:
    ledger.job(job(SLOTS[0], uid="another"))
    assert count(ledger) == {"slots": 3, "doubled": 1}


def test_a_slot_that_ran_again_after_its_execution_was_deleted_is_excepted(ledger: Ledger) -> None:
    ledger.removed[f"chaos-a/{EVERY_SLOT.execution(SLOTS[0])}"] = "Succeeded"
    ledger.job(job(SLOTS[0], uid="another"))
    assert count(ledger) == {"slots": 3, "excepted": 1}


def test_a_second_job_that_only_the_audit_log_knows_is_found(ledger: Ledger) -> None:
    event = {
        "verb": "create",
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": instant(SLOTS[0]),
        "objectRef": {
            "resource": "jobs",
            "namespace": "chaos-a",
            "name": f"{EVERY_SLOT.execution(SLOTS[0])}-1",
        },
    }
    ledger.audit([event])
    assert count(ledger) == {"slots": 3}
    ledger.audit([event, event])
    assert count(ledger) == {"slots": 3, "doubled": 1}


def test_an_execution_that_does_not_end_is_stuck(ledger: Ledger) -> None:
    ledger.execution(execution(SLOTS[2], "Running"))
    assert count(ledger) == {"slots": 3, "stuck": 1}


def test_runs_that_overlap_under_forbid_are_found(ledger: Ledger) -> None:
    ledger.job(job(SLOTS[0], ended=SLOTS[1] + 5))
    assert count(ledger) == {"slots": 3}
    assert count(ledger, FORBID) == {"slots": 3, "overlapping": 1}


def test_recovery_is_the_longest_lag_after_the_fault() -> None:
    lags = [(100, 30.0), (205, 4.0), (212, 9.0), (230, 20.0)]
    assert recovery(204.0, lags) == 9.0


def test_slots_are_counted_from_after_the_creation() -> None:
    assert list(EVERY_SLOT.slots(START, START + 30)) == SLOTS
