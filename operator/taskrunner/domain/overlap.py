"""Whether a slot may start while runs of its task are active: `concurrencyPolicy`."""

from __future__ import annotations

from enum import Enum
from typing import Literal


class Overlap(Enum):
    """What to do with slots that are due."""

    START = "start"
    WAIT = "wait"
    """Leave them undecided until the active run ends; catch-up decides them then."""
    SKIP = "skip"


def overlap(
    policy: Literal["Allow", "Forbid", "Replace", "Queue"],
    catch_up: Literal["None", "Last", "All"],
    active: int,
) -> Overlap:
    """Forbid is CronJob's: what is blocked is looked at when the run ends, like any downtime; with
    `catchUp.policy: None` nothing is caught up, so a blocked slot is skipped at once."""
    if policy != "Forbid" or active == 0:
        return Overlap.START
    return Overlap.SKIP if catch_up == "None" else Overlap.WAIT
