"""What a Shard says about its holder, and when there is nothing new to write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskrunner.api.v1alpha1.shard import Shard
from taskrunner.domain.fence import Finding
from taskrunner.domain.shard_status import Figures, shard_status

NOW = 1_790_000_000.0
FIGURES = Figures("replica-1", NOW - 10, NOW - 8, tasks=3, agenda=5, lag_milliseconds=12)
STANDS = Finding("Active", "The API server refuses writes of ended terms.")


def first() -> dict[str, Any]:
    status = shard_status(FIGURES, STANDS, {}, NOW)
    assert status is not None
    return status


def test_it_is_what_the_definition_describes() -> None:
    spec = {"epoch": "replica-1/1", "number": 1, "shards": 1, "released": False}
    status = Shard.model_validate({"spec": spec, "status": first()}).status
    assert (status.holder, status.tasks, status.agenda, status.lag_milliseconds) == (
        "replica-1",
        3,
        5,
        12,
    )
    assert status.acting_since is not None
    (condition,) = status.conditions
    assert (condition.type, condition.status, condition.reason) == ("Fenced", "True", "FenceActive")


def test_the_same_again_is_not_written() -> None:
    assert shard_status(FIGURES, STANDS, first(), NOW + 60) is None


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (STANDS, "True"),
        (Finding("Missing", "…"), "False"),
        (Finding("Closed", "…"), "False"),
        (Finding("Unknown", "…"), "Unknown"),
    ],
)
def test_the_condition_tells_what_trials_have_shown(finding: Finding, status: str) -> None:
    found = shard_status(FIGURES, finding, {}, NOW)
    assert found is not None
    assert found["conditions"][0]["status"] == status


def test_what_changes_is_written_and_the_condition_keeps_its_time() -> None:
    later = shard_status(
        replace(FIGURES, tasks=4, lag_milliseconds=None), STANDS, first(), NOW + 60
    )
    assert later is not None
    assert later["tasks"] == 4
    assert later["lagMilliseconds"] is None  # a merge patch takes it away
    assert later["conditions"] == first()["conditions"]
