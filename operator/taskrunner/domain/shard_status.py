"""The status of a Shard, from what its holder knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskrunner.api.v1alpha1.conditions import ConditionStatus, set_condition
from taskrunner.domain.fence import Finding
from taskrunner.domain.instants import format_instant

_HOLDS: dict[str, ConditionStatus] = {
    "Active": "True",
    "Missing": "False",
    "Closed": "False",
    "Unknown": "Unknown",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """How a shard is doing. Times are wall-clock seconds."""

    holder: str
    acquired: float
    acting: float
    tasks: int
    agenda: int
    lag_milliseconds: int | None
    """The longest since the figures before; None when nothing has started."""


def shard_status(
    figures: Figures, finding: Finding | None, before: Mapping[str, Any], now: float
) -> dict[str, Any] | None:
    """The status to write; None when it is as it was `before`."""
    status: dict[str, Any] = {
        "holder": figures.holder,
        "acquiredTime": format_instant(figures.acquired),
        "actingSince": format_instant(figures.acting),
        "tasks": figures.tasks,
        "agenda": figures.agenda,
        "lagMilliseconds": figures.lag_milliseconds,
        "conditions": [],
    }
    if finding is not None:
        status["conditions"] = set_condition(
            before.get("conditions") or (),
            "Fenced",
            _HOLDS[finding.standing],
            f"Fence{finding.standing}",
            finding.message,
            observed_generation=None,
            now=datetime.fromtimestamp(now, UTC),
        )
    if {key: value for key, value in before.items() if key != "lastUpdateTime"} == status:
        return None
    return {**status, "lastUpdateTime": format_instant(now)}
