"""Conditions are set in one way, and setting what is set changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from taskrunner.api.v1alpha1.conditions import (
    ConditionDict,
    ConditionStatus,
    get_condition,
    is_true,
    set_condition,
)

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
LATER = datetime(2026, 12, 24, 13, 0, 0, 999, tzinfo=UTC)


def ready(
    conditions: list[ConditionDict], status: ConditionStatus, reason: str, now: datetime
) -> list[ConditionDict]:
    return set_condition(
        conditions, "Ready", status, reason, "A sentence.", observed_generation=3, now=now
    )


def test_a_new_condition_is_added_at_the_end() -> None:
    before = set_condition([], "Other", "True", "Why", "", observed_generation=None, now=NOON)
    assert ready(before, "True", "Planned", NOON) == [
        *before,
        {
            "type": "Ready",
            "status": "True",
            "reason": "Planned",
            "message": "A sentence.",
            "lastTransitionTime": "2026-12-24T12:00:00Z",
            "observedGeneration": 3,
        },
    ]


def test_the_transition_time_stays_while_the_status_does() -> None:
    (condition,) = ready(ready([], "True", "Planned", NOON), "True", "Suspended", LATER)
    assert condition["reason"] == "Suspended"
    assert condition["lastTransitionTime"] == "2026-12-24T12:00:00Z"


def test_the_transition_time_moves_with_the_status_in_whole_seconds() -> None:
    (condition,) = ready(ready([], "True", "Planned", NOON), "False", "InvalidSpec", LATER)
    assert condition["lastTransitionTime"] == "2026-12-24T13:00:00Z"


def test_setting_what_is_set_gives_an_equal_list() -> None:
    before = ready([], "True", "Planned", NOON)
    assert ready(before, "True", "Planned", LATER) == before


def test_the_list_given_is_not_changed() -> None:
    before = ready([], "True", "Planned", NOON)
    copy = [ConditionDict(**condition) for condition in before]
    ready(before, "False", "InvalidSpec", LATER)
    assert before == copy


def test_a_message_is_cut_to_what_the_api_takes() -> None:
    (condition,) = set_condition(
        [], "Ready", "False", "Why", "x" * 40_000, observed_generation=None, now=NOON
    )
    assert len(condition["message"]) == 32_768


def test_conditions_are_found_by_type() -> None:
    conditions = ready([], "False", "InvalidSpec", NOON)
    assert get_condition(conditions, "Ready") == conditions[0]
    assert get_condition(conditions, "Other") is None
    assert not is_true(conditions, "Ready")
    assert not is_true(conditions, "Other")
    assert is_true(ready(conditions, "True", "Planned", LATER), "Ready")
