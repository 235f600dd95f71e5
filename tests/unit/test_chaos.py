"""The judge of `make chaos` must find what it is there to find."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from chaos.ledger import Ledger, Miss, Removal
from chaos.load import CATCH_UP_LIMIT, Task, tasks
from chaos.run import Waiting
from chaos.tap import Stream, Unchunked, chunk, error_event
from chaos.verdict import judge, recovery
from taskrunner.errors import ApiError, Gone, Transient
from taskrunner.kube.answers import error_from_event

START = 1_790_000_000
EVERY_SLOT = Task("chaos-a", "beat", 10, 1, "Allow", "All")
FORBID = Task("chaos-a", "beat", 10, 1, "Forbid", "Last")
RETRIED = Task("chaos-a", "beat", 10, 1, "Allow", "All", fails=True, retries=2)
FAILING = Task("chaos-a", "beat", 10, 1, "Allow", "All", fails=True, retries=2, retried=False)
LAST = Task("chaos-a", "beat", 10, 1, "Allow", "Last")
SLOTS = [START + 10, START + 20, START + 30]


def instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def key(slot: int) -> str:
    return f"chaos-a/{EVERY_SLOT.execution(slot)}"


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


def job(
    slot: int,
    *,
    uid: str = "",
    created: int = 0,
    ended: int = 0,
    attempt: int = 1,
    owner: str = "",
) -> dict[str, Any]:
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": instant(ended or slot)}
    name = EVERY_SLOT.execution(slot)
    return {
        "metadata": {
            "namespace": "chaos-a",
            "name": f"{name}-{attempt}",
            "uid": uid or f"j-{slot}-{attempt}",
            "ownerReferences": [{"uid": owner or f"e-{slot}"}],
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


@pytest.fixture
def retries() -> Ledger:
    """Three slots whose runs failed three times, as they should."""
    ledger = Ledger()
    for slot in SLOTS:
        ledger.execution(execution(slot, "Failed"))
        for attempt in (1, 2, 3):
            at = slot + 2 * attempt
            ledger.job(job(slot, attempt=attempt, created=at, ended=at + 1))
    return ledger


def count(
    ledger: Ledger, task: Task = EVERY_SLOT, decided: int = SLOTS[-1], until: int = SLOTS[-1]
) -> dict[str, int]:
    """How many of each there are, those that there are none of left out."""
    found = judge([task], {task.key: START}, {task.key: decided}, until, ledger)
    kinds = (
        *("lost", "doubled", "stuck", "overlapping", "early", "misjudged"),
        *("excepted", "never_started", "beyond_limit", "missed"),
    )
    counts = {kind: getattr(found, kind) for kind in kinds}
    sizes = {kind: v if isinstance(v, int) else len(v) for kind, v in counts.items()}
    assert len(found.violations) == sum(sizes[kind] for kind in kinds[:6])
    return {"slots": found.slots, **{kind: size for kind, size in sizes.items() if size}}


def test_slots_that_ran_once_are_no_violation(ledger: Ledger) -> None:
    assert count(ledger) == {"slots": 3}


def test_a_slot_without_a_job_is_lost(ledger: Ledger) -> None:
    ledger.jobs.pop(key(SLOTS[1]))
    assert count(ledger) == {"slots": 3, "lost": 1}


def test_a_slot_whose_execution_was_deleted_first_is_not_lost(ledger: Ledger) -> None:
    ledger.jobs.pop(key(SLOTS[1]))
    ledger.removed[key(SLOTS[1])].append(Removal("execution", "it"))
    assert count(ledger) == {"slots": 3, "never_started": 1}


@pytest.mark.parametrize("task", [EVERY_SLOT, FORBID, LAST], ids=["All", "Forbid", "Last"])
def test_a_slot_that_is_not_decided_at_the_end_is_lost_under_any_policy(
    ledger: Ledger, task: Task
) -> None:
    ledger.jobs.pop(key(SLOTS[2]))
    assert count(ledger, task, decided=SLOTS[1]) == {"slots": 3, "lost": 1}


def test_a_slot_that_forbid_decided_otherwise_is_not_lost(ledger: Ledger) -> None:
    ledger.jobs.pop(key(SLOTS[1]))
    assert count(ledger, FORBID) == {"slots": 3}


@pytest.mark.parametrize(
    ("reason", "last", "created", "found"),
    [
        ("Superseded", SLOTS[1], SLOTS[2], {"missed": 1}),
        ("Superseded", SLOTS[0], SLOTS[2], {"lost": 1}),
        ("Superseded", SLOTS[1], SLOTS[2] - 1, {"lost": 1}),
        ("CatchUpPolicy", SLOTS[1], SLOTS[2], {"lost": 1}),
    ],
    ids=["on-record", "of-others", "none-due-since", "another-reason"],
)
def test_with_last_a_slot_is_missed_only_on_record_and_only_for_a_later_one(
    ledger: Ledger, reason: str, last: int, created: int, found: dict[str, int]
) -> None:
    ledger.jobs.pop(key(SLOTS[1]))
    ledger.misses["chaos-a/beat"].add(Miss(SLOTS[0], last, reason, created))
    assert count(ledger, LAST) == {"slots": 3, **found}


MISSES = {
    "with as many as the limit due since": ("CatchUpPolicy", 0, CATCH_UP_LIMIT, "beyond_limit"),
    "with fewer due since": ("CatchUpPolicy", 0, CATCH_UP_LIMIT - 1, "lost"),
    "for another reason": ("DeadlineExceeded", 0, CATCH_UP_LIMIT, "lost"),
    "by the record of another slot": ("CatchUpPolicy", -20, CATCH_UP_LIMIT, "lost"),
}


@pytest.mark.parametrize(("reason", "away", "later", "group"), MISSES.values(), ids=MISSES)
def test_a_slot_may_be_missed_only_for_the_limit_and_only_beyond_it(
    ledger: Ledger, reason: str, away: int, later: int, group: str
) -> None:
    slot = SLOTS[0]
    record = execution(slot + away, "Missed", uid="record")
    record["metadata"]["creationTimestamp"] = instant(slot + 10 * later)
    record["spec"] = {
        "taskRef": {"name": "beat"},
        "scheduledTime": instant(slot + away),
        "decision": {"type": "Miss", "reason": reason, "from": instant(slot + away)},
    }
    ledger.jobs.pop(key(slot))
    ledger.executions.pop(key(slot))
    ledger.execution(record)
    assert count(ledger) == {"slots": 3, group: 1}


def test_a_slot_with_two_jobs_is_doubled(ledger: Ledger) -> None:
    ledger.job(job(SLOTS[0], uid="another"))
    assert count(ledger) == {"slots": 3, "doubled": 1}


REMOVED = {
    "its execution, not on record yet": (Removal("execution", "beat"), "e-2", "excepted"),
    "its execution, but both Jobs are of one": (Removal("execution", "beat"), "", "doubled"),
    "its execution, on record": (Removal("execution", "beat", recorded=True), "e-2", "doubled"),
    "its Job, not on record yet": (Removal("job", "beat-1"), "", "excepted"),
    "its Job, on record": (Removal("job", "beat-1", recorded=True), "", "doubled"),
    "the Job of another attempt": (Removal("job", "beat-2"), "", "doubled"),
}


@pytest.mark.parametrize(("removal", "owner", "group"), REMOVED.values(), ids=REMOVED)
def test_a_slot_that_ran_again_is_excepted_only_when_what_was_deleted_was_not_on_record(
    ledger: Ledger, removal: Removal, owner: str, group: str
) -> None:
    ledger.removed[key(SLOTS[0])].append(removal)
    ledger.job(job(SLOTS[0], uid="another", owner=owner))
    assert count(ledger) == {"slots": 3, group: 1}


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


def test_attempts_that_ran_once_each_are_no_violation(retries: Ledger) -> None:
    assert count(retries, RETRIED) == {"slots": 3}


def test_an_attempt_with_two_jobs_is_doubled(retries: Ledger) -> None:
    retries.job(job(SLOTS[0], attempt=2, uid="another"))
    assert count(retries, RETRIED) == {"slots": 3, "doubled": 1}


def test_an_attempt_beyond_the_last_is_doubled(retries: Ledger) -> None:
    retries.job(job(SLOTS[0], attempt=4))
    assert count(retries, RETRIED) == {"slots": 3, "doubled": 1}


def test_attempts_in_spite_of_the_exit_code_are_doubled(retries: Ledger) -> None:
    assert count(retries, FAILING) == {"slots": 3, "doubled": 6}


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_an_attempt_that_never_was_is_lost(retries: Ledger, attempt: int) -> None:
    retries.jobs[key(SLOTS[0])].pop(f"j-{SLOTS[0]}-{attempt}")
    assert count(retries, RETRIED) == {"slots": 3, "lost": 1}


def test_a_run_whose_job_somebody_deleted_needs_no_more_attempts(retries: Ledger) -> None:
    retries.jobs[key(SLOTS[0])].pop(f"j-{SLOTS[0]}-3")
    retries.removed[key(SLOTS[0])].append(Removal("job", "beat-2", recorded=True))
    assert count(retries, RETRIED) == {"slots": 3}


@pytest.mark.parametrize("phase", ["Failed", "Cancelled"])
def test_a_run_with_another_outcome_than_its_pods_is_misjudged(ledger: Ledger, phase: str) -> None:
    ledger.execution(execution(SLOTS[1], phase))
    assert count(ledger) == {"slots": 3, "misjudged": 1}


def test_a_run_whose_job_somebody_deleted_may_fail(ledger: Ledger) -> None:
    ledger.execution(execution(SLOTS[1], "Failed"))
    ledger.removed[key(SLOTS[1])].append(Removal("job", "beat-1", recorded=True))
    assert count(ledger) == {"slots": 3}


def test_an_execution_that_does_not_end_is_stuck(ledger: Ledger) -> None:
    ledger.execution(execution(SLOTS[2], "Running"))
    assert count(ledger) == {"slots": 3, "stuck": 1}


def test_a_job_that_does_not_end_is_stuck(ledger: Ledger) -> None:
    open_job = job(SLOTS[2])
    ledger.jobs.pop(key(SLOTS[2]))
    ledger.job({**open_job, "status": {}})
    assert count(ledger) == {"slots": 3, "stuck": 1}


def test_what_a_list_does_not_have_any_more_is_not_stuck(ledger: Ledger) -> None:
    ledger.execution(execution(SLOTS[2], "Running"))
    ledger.living(ledger.executions, [execution(slot) for slot in SLOTS[:2]])
    assert count(ledger) == {"slots": 3}


def test_runs_that_overlap_under_forbid_are_found(ledger: Ledger) -> None:
    ledger.job(job(SLOTS[0], ended=SLOTS[1] + 5))
    assert count(ledger) == {"slots": 3}
    assert count(ledger, FORBID) == {"slots": 3, "overlapping": 1}


def test_a_run_that_begins_between_two_attempts_overlaps(ledger: Ledger) -> None:
    task = Task("chaos-a", "beat", 10, 1, "Forbid", "Last", fails=True, retries=1)
    for slot in SLOTS:
        ledger.execution(execution(slot, "Failed"))
        ledger.job(job(slot, attempt=2, created=slot + 3, ended=slot + 4))
    assert count(ledger, task) == {"slots": 3}
    ledger.jobs[key(SLOTS[0])].pop(f"j-{SLOTS[0]}-2")
    ledger.job(job(SLOTS[0], attempt=2, created=SLOTS[1] + 2, ended=SLOTS[1] + 5))
    assert count(ledger, task) == {"slots": 3, "overlapping": 1}


@pytest.mark.parametrize(("seconds", "violations"), [(2, {}), (3, {"early": 1})])
def test_a_job_must_not_be_created_before_it_is_due(
    ledger: Ledger, seconds: int, violations: dict[str, int]
) -> None:
    ledger.jobs.pop(key(SLOTS[1]))
    ledger.job(job(SLOTS[1], created=SLOTS[1] - seconds))
    assert count(ledger) == {"slots": 3, **violations}


def test_a_violation_tells_the_life_of_its_slot(ledger: Ledger) -> None:
    ledger.timeline = [(SLOTS[0] + 3.0, "kill_leader r2"), (SLOTS[0] - 500.0, "long ago")]
    ledger.job(job(SLOTS[0], uid="another"))
    request = {
        "verb": "create",
        "requestReceivedTimestamp": f"{instant(SLOTS[0])[:19]}.123456Z",
        "responseStatus": {"code": 201},
        "user": {"username": "operator"},
        "objectRef": {
            "resource": "jobs",
            "namespace": "chaos-a",
            "name": f"{EVERY_SLOT.execution(SLOTS[0])}-1",
        },
    }
    ledger.follow([request], {key(SLOTS[0])})
    (text,) = judge([EVERY_SLOT], {EVERY_SLOT.key: START}, {}, START + 10, ledger).doubled
    for part in ("2 Jobs", "job attempt 1 another", "kill_leader r2", "create jobs", "by operator"):
        assert part in text
    assert "long ago" not in text


def test_recovery_is_the_longest_lag_after_the_fault() -> None:
    lags = [(100, 30.0), (205, 4.0), (212, 9.0), (230, 20.0)]
    assert recovery(204.0, lags) == 9.0


def test_slots_are_counted_from_after_the_creation() -> None:
    assert list(EVERY_SLOT.slots(START, START + 30)) == SLOTS


def test_the_load_has_each_kind_of_task() -> None:
    load = list(tasks(40, 6, random.Random(1)))
    kinds = {(task.policy, task.fails, task.attempts) for task in load}
    assert kinds >= {
        ("Allow", False, 1),
        ("Forbid", False, 1),
        ("Allow", True, 1),
        ("Allow", True, 2),
        ("Allow", True, 3),
        ("Forbid", True, 3),
    }


# --- the tap --------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WATCH = b"GET /apis/batch/v1/jobs?watch=1&resourceVersion=7 HTTP/1.1\r\n\r\n"
EVENTS = [b'{"type":"ADDED"}\n', b'{"type":"MODIFIED"}\n']


def watched() -> Stream:
    stream = Stream()
    stream.asked(WATCH)
    assert stream.answered(HEAD, withhold=False) == HEAD
    assert stream.open
    return stream


def payload(data: bytes) -> bytes:
    return Unchunked().feed(data)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_tap_passes_whole_events_on_however_they_come(size: int) -> None:
    stream, raw = watched(), chunk(EVENTS[0][:5]) + chunk(EVENTS[0][5:] + EVENTS[1])
    pieces = [raw[n : n + size] for n in range(0, len(raw), size)]
    out = [stream.answered(piece, withhold=False) for piece in pieces]
    assert payload(b"".join(out)) == b"".join(EVENTS)
    assert all(payload(piece).endswith(b"\n") for piece in out if piece)


def test_the_tap_withholds_events_and_the_rest_of_one_that_had_begun() -> None:
    stream = watched()
    assert stream.answered(chunk(EVENTS[0][:5]), withhold=False) == b""
    assert stream.answered(chunk(EVENTS[0][5:]), withhold=True) == b""
    assert payload(stream.answered(chunk(EVENTS[1]), withhold=False)) == EVENTS[1]


def test_the_tap_sees_the_end_of_a_watch_and_the_next_request() -> None:
    stream = watched()
    assert stream.answered(chunk(EVENTS[0]) + b"0\r\n\r\n", withhold=False).endswith(b"0\r\n\r\n")
    assert not stream.open
    stream.asked(b"POST /apis/batch/v1/jobs HTTP/1.1\r\n\r\n")
    assert (
        stream.answered(b"HTTP/1.1 201 Created\r\n", withhold=True) == b"HTTP/1.1 201 Created\r\n"
    )


def test_the_tap_leaves_a_refused_watch_alone() -> None:
    stream = Stream()
    stream.asked(WATCH)
    refused = b"HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\n{}"
    assert stream.answered(refused, withhold=True) == refused
    assert not stream.open


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (410, "Expired", Gone),
        (429, "TooManyRequests", Transient),
        (500, "InternalError", Transient),
        (504, "Timeout", Transient),
    ],
)
def test_an_error_event_is_what_the_client_takes_for_one(
    code: int, reason: str, error: type[ApiError]
) -> None:
    event = json.loads(error_event(code, reason))
    assert event["type"] == "ERROR"
    assert isinstance(error_from_event("watch jobs", event["object"]), error)


def test_what_still_gets_less_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # (seconds, left): ever less, then the same for a minute, and more.
    looks = [(0, 9), (60, 8), (119, 7), (179, 7), (180, 9), (181, 0)]
    at = 0.0
    monkeypatch.setattr("chaos.run.time.monotonic", lambda: at)
    waiting, over = Waiting(60), []
    for seconds, left in looks:
        at = float(seconds)
        over.append(waiting.over(left))
    assert over == [False, False, False, False, True, True]
