"""What `concurrencyPolicy` and its neighbours say about runs of a task beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from taskrunner.api.v1alpha1.scheduled_task import ConcurrencyPolicy, QueueRef, ScheduledTaskSpec
from taskrunner.domain.queueing import DEFAULT_PRIORITY

DEFAULT_QUEUE_LENGTH: Final = 100
"""`queue.maxLength` where the task's own limit makes runs wait, so that a task that takes longer
than its period does not fill the cluster with runs that wait. As `catchUp.limit`."""
DEFAULT_REPLACE_SECONDS: Final = 600
"""How long a run waits for the pods of the one that it replaces, without pendingTimeoutSeconds."""


class Overlap(Enum):
    """What to do with slots that are due."""

    START = "start"
    WAIT = "wait"
    """Leave them undecided until the active run ends; catch-up decides them then."""
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class PlaceRule:
    """How many runs of a task may be active, and how others wait. Durations in seconds."""

    most: int | None
    """Runs with a place at once; None for no limit of its own."""
    max_length: int | None
    """Most runs that wait; None for no limit."""
    timeout: int | None
    """Longest wait; None for no limit."""
    replace_timeout: int
    """Longest wait for the pods of a run that is replaced."""
    priority: int
    """Of runs that have none of their own."""
    queue: str = ""
    """Name of the TaskQueue whose limits it shares; empty for none."""

    def room(self, active: int) -> int | None:
        """How many more runs may be decided, when so many have a place or wait; None for no limit.

        Without a limit of its own a task waits for the operator's places only, and how many of
        them are free is seen when the run asks for one."""
        if self.most is None or self.max_length is None:
            return None
        return max(0, self.most + self.max_length - active)


def place_rule(spec: ScheduledTaskSpec) -> PlaceRule:
    """The rule that a spec gives. Forbid and Replace have one place: under Forbid nothing is
    decided while it is taken, under Replace who has it is asked to leave."""
    queue = spec.queue or QueueRef()
    most = spec.max_concurrent
    if spec.concurrency_policy != "Allow" and most is None:
        most = 1
    max_length = queue.max_length
    waits = most is not None or queue.name is not None
    if max_length is None and spec.concurrency_policy in ("Allow", "Queue") and waits:
        max_length = DEFAULT_QUEUE_LENGTH
    return PlaceRule(
        most=most,
        max_length=None if spec.concurrency_policy in ("Forbid", "Replace") else max_length,
        timeout=queue.timeout_seconds,
        replace_timeout=spec.pending_timeout_seconds or DEFAULT_REPLACE_SECONDS,
        priority=DEFAULT_PRIORITY if spec.priority is None else spec.priority,
        queue=queue.name or "",
    )


def overlap(
    policy: ConcurrencyPolicy, catch_up: Literal["None", "Last", "All"], active: int
) -> Overlap:
    """Forbid is CronJob's: what is blocked is looked at when the run ends, like any downtime; with
    `catchUp.policy: None` nothing is caught up, so a blocked slot is skipped at once."""
    if policy != "Forbid" or active == 0:
        return Overlap.START
    return Overlap.SKIP if catch_up == "None" else Overlap.WAIT
