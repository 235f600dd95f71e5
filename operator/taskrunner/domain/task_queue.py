"""A TaskQueue as observed, what it means for the places, and its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from taskrunner.api.v1alpha1.conditions import set_condition
from taskrunner.domain.instants import format_instant
from taskrunner.domain.places import Limits

READY: Final = "Ready"
FOLLOWED: Final = "Followed"
NO_QUEUE: Final = Limits(0, turns=True, counts_starts=True)
"""Of a queue that is named and not there: nobody gets a place."""


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """A TaskQueue. `status` is as last read or acknowledged."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    generation: int
    limits: Limits
    weights: Mapping[str, int]
    """By name of the task; 1 for others."""
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def task_queue_from(obj: Mapping[str, Any]) -> TaskQueue:
    """Observed TaskQueue from its decoded JSON; the server has validated it."""
    meta: Mapping[str, Any] = obj["metadata"]
    spec: Mapping[str, Any] = obj.get("spec") or {}
    return TaskQueue(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        resource_version=int(meta["resourceVersion"]),
        generation=meta.get("generation", 1),
        limits=Limits(
            spec.get("maxConcurrent"),
            weight=spec.get("weight") or 1,
            turns=True,
            counts_starts=True,
            per_minute=spec.get("startsPerMinute"),
        ),
        weights={each["name"]: each["weight"] for each in spec.get("taskWeights") or ()},
        status=obj.get("status") or {},
    )


def queue_status(
    queue: TaskQueue, running: int, length: int, oldest: int | None, now: float
) -> dict[str, Any]:
    """The status as it should be, but for when it is written; None for what is to be removed.
    `oldest`: since when the run waits that waits longest."""
    return {
        "observedGeneration": queue.generation,
        "running": running,
        "length": length,
        "oldestWaitTime": None if oldest is None else format_instant(oldest),
        "conditions": set_condition(
            queue.status.get("conditions") or (),
            READY,
            "True",
            FOLLOWED,
            _limits(queue.limits),
            observed_generation=queue.generation,
            now=datetime.fromtimestamp(int(now), UTC),
        ),
    }


def _limits(limits: Limits) -> str:
    found = []
    if limits.most is not None:
        found.append(f"at most {limits.most} active at once")
    if limits.per_minute is not None:
        found.append(f"at most {limits.per_minute} starts within a minute")
    return f"Runs of its tasks: {' and '.join(found) or 'no limit of its own'}."
