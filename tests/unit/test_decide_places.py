"""What is decided about slots by circuit breaker, policy, and the length of the line."""

from __future__ import annotations

from typing import Any

import pytest

from taskrunner.domain.circuit import Circuit, CircuitRule, circuit
from taskrunner.domain.decide import Seen, SlotDecision, decide, is_late, oldest_due
from unit.planning import at, task

BEGIN = at("2026-03-02 12:00")
ALL = {"catchUp": {"policy": "All", "limit": 500}}
CLOSED, OPEN, HALF = Circuit.CLOSED, Circuit.OPEN, Circuit.HALF_OPEN


def decided(spec: dict[str, Any], *, slots: int, **seen: Any) -> list[tuple[str, str, int, int]]:
    """(decision, reason, first and last slot in minutes) when so many minutes are due."""
    compiled = task({"schedule": "* * * * *", **ALL, **spec})
    given = {"watermark": BEGIN, "active": 0, "started": 0, **seen}
    found = decide(compiled, Seen(**given), BEGIN + 60 * slots)
    assert found.watermark >= BEGIN + 60 * slots or found.blocked
    return [
        (
            item.decision,
            str(item.reason),
            ((item.first if item.count > 1 else item.slot.nominal) - BEGIN) // 60,
            (item.slot.nominal - BEGIN) // 60,
        )
        for item in found.items
    ]


def runs(*minutes: int, now: int) -> list[tuple[str, str, int, int]]:
    return [("Run", "OnSchedule" if m == now else "CatchUp", m, m) for m in minutes]


@pytest.mark.parametrize(
    ("spec", "active", "slots", "skipped", "running"),
    [
        pytest.param({}, 5, 3, [], [1, 2, 3], id="Allow"),
        pytest.param({"maxConcurrent": 1}, 5, 3, [], [1, 2, 3], id="Allow up to one: they wait"),
        pytest.param({"concurrencyPolicy": "Queue"}, 1, 3, [], [1, 2, 3], id="Queue"),
        pytest.param(
            {"concurrencyPolicy": "Queue", "queue": {"maxLength": 2}}, 0, 5,
            [("QueueFull", 4, 5)], [1, 2, 3], id="one starts, two wait",
        ),
        pytest.param(
            {"concurrencyPolicy": "Queue", "queue": {"maxLength": 2}}, 2, 3,
            [("QueueFull", 2, 3)], [1], id="one place in line is left",
        ),
        pytest.param(
            {"concurrencyPolicy": "Queue", "queue": {"maxLength": 2}}, 9, 2,
            [("QueueFull", 1, 2)], [], id="more wait than may, since an edit",
        ),
        pytest.param(
            {"concurrencyPolicy": "Queue"}, 100, 3,
            [("QueueFull", 2, 3)], [1], id="a hundred wait at most by default",
        ),
        pytest.param(
            {"queue": {"maxLength": 1}}, 50, 2, [], [1, 2], id="no limit of its own: seen later"
        ),
        pytest.param(
            {"concurrencyPolicy": "Replace"}, 1, 3, [("Replaced", 1, 2)], [3], id="Replace"
        ),
        pytest.param(
            {"concurrencyPolicy": "Replace", "queue": {"maxLength": 0}}, 1, 1, [], [1],
            id="who replaces is not turned away",
        ),
    ],
)  # fmt: skip
def test_policy_and_length_of_the_line(
    spec: dict[str, Any],
    active: int,
    slots: int,
    skipped: list[tuple[str, int, int]],
    running: list[int],
) -> None:
    expected = [("Skip", *rest) for rest in skipped] + runs(*running, now=slots)
    assert decided(spec, slots=slots, active=active) == expected


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace", "Queue"])
@pytest.mark.parametrize(
    ("state", "skipped", "running"),
    [
        pytest.param(OPEN, [("CircuitOpen", 1, 3)], [], id="open"),
        pytest.param(HALF, [("CircuitOpen", 2, 3)], [1], id="half-open: one is tried"),
    ],
)
def test_an_open_circuit_skips_slots(
    policy: str, state: Circuit, skipped: list[tuple[str, int, int]], running: list[int]
) -> None:
    found = decided({"concurrencyPolicy": policy}, slots=3, circuit=state, failures=5)
    assert found == [("Skip", *rest) for rest in skipped] + runs(*running, now=3)


def test_while_one_run_is_tried_no_other_is() -> None:
    assert decided({}, slots=2, circuit=HALF, failures=5, active=1) == [
        ("Skip", "CircuitOpen", 1, 2)
    ]


def test_of_schedules_that_coincide_under_replace_the_first_runs() -> None:
    entries = [{"name": n, "cron": "* * * * *", "arguments": {"A": n}} for n in "abc"]
    spec: dict[str, Any] = {"schedule": None, "schedules": entries, "concurrencyPolicy": "Replace"}
    spec["catchUp"] = {"policy": "All"}
    assert decided(spec, slots=1) == [
        ("Skip", "ConcurrentRun", 1, 1),
        *runs(1, now=1),
    ]


@pytest.mark.parametrize(
    ("failures", "last", "now", "expected"),
    [
        pytest.param(2, 1000, 1001, CLOSED, id="below the threshold"),
        pytest.param(3, 1000, 1001, OPEN, id="at the threshold"),
        pytest.param(3, 1000, 1099, OPEN, id="just before the reset"),
        pytest.param(3, 1000, 1100, HALF, id="at the reset"),
        pytest.param(9, 1100, 1150, OPEN, id="the tried run failed, too"),
        pytest.param(0, 1000, 1001, CLOSED, id="a success"),
    ],
)
def test_the_state_follows_from_failures_and_time(
    failures: int, last: int, now: int, expected: Circuit
) -> None:
    assert circuit(CircuitRule(3, 100), failures, last, now) is expected


def test_without_a_breaker_nothing_opens() -> None:
    assert circuit(None, 1000, 0, 1) is CLOSED


def test_a_thousand_slots_are_settled_quickly() -> None:
    spec = {"concurrencyPolicy": "Queue", "queue": {"maxLength": 300}}
    found = decided(spec, slots=1000)
    assert len(found) == 303


@pytest.mark.parametrize(
    ("decision", "spec", "seen", "late"),
    [
        pytest.param("Run", {}, {}, True, id="nobody was there"),
        pytest.param("Miss", {}, {}, True, id="missed while nobody was there"),
        pytest.param("Run", {}, {"suspended": True}, False, id="suspended meanwhile"),
        pytest.param("Skip", {}, {}, False, id="a streak is told at its end"),
        pytest.param(
            "Run", {"concurrencyPolicy": "Forbid"}, {"busy_until": BEGIN + 90}, False,
            id="Forbid held it back",
        ),
        pytest.param(
            "Run", {"concurrencyPolicy": "Forbid"}, {"busy_until": BEGIN + 30}, True,
            id="the run before had ended already",
        ),
        pytest.param("Run", {}, {"busy_until": BEGIN + 90}, True, id="Allow holds nothing back"),
    ],
)  # fmt: skip
def test_a_decision_is_late_unless_the_user_asked_for_it(
    decision: Any, spec: dict[str, Any], seen: dict[str, Any], late: bool
) -> None:
    compiled = task({"schedule": "* * * * *", **spec})
    found = decide(compiled, Seen(BEGIN, 0, 0), BEGIN + 3600).items[-1]
    item = SlotDecision(decision, found.slot, "", first=BEGIN + 60)
    assert oldest_due(item) == BEGIN + 60
    given = Seen(**{"watermark": BEGIN, "active": 0, "started": 0, **seen})
    assert is_late(compiled, given, item) is late
