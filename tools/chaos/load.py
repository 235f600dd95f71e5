"""The tasks, and the slots they are due at: by arithmetic, not by the code under test."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

NAMESPACES = ("chaos-a", "chaos-b", "chaos-c", "chaos-d")
_ANCHOR = 1_767_225_600
"""2026-01-01T00:00:00Z; every period here divides a count of seconds from it."""
_SLOW = (10, 20, 30, *(60,) * 21)
_FAST = (1, 2, 3, 4, 5)
"""Periods in seconds. Two cores, which run the control plane, too, bear some ten runs a second and
have to work off minutes of outages: so most slow tasks are of a minute, and most fast ones Forbid,
with runs that last for several periods. 200 and 20 tasks have some 13 slots and 7 runs a second."""
_EXIT_CODE = 3
CATCH_UP_LIMIT = 500
"""The most that a task may ask for: of a longer backlog the oldest slots are missed."""


@dataclass(frozen=True)
class Task:
    """A task with an interval.

    With `All` each of its slots must run. With `Last` each must be decided: it runs, or a record
    says that it was missed for that policy, or, under Forbid, was skipped.
    """

    namespace: str
    name: str
    period: int
    runs_for: float
    policy: Literal["Allow", "Forbid"]
    catch_up: Literal["All", "Last"]
    fails: bool = False
    """Its pods end with an exit code."""
    retries: int = 0
    """`maxRetries`."""
    retried: bool = True
    """Otherwise the exit code is one of `failOnExitCodes`."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def every_slot(self) -> bool:
        return self.catch_up == "All"

    @property
    def alone(self) -> bool:
        """No two of its runs may overlap."""
        return self.policy == "Forbid"

    @property
    def attempts(self) -> int:
        """So many Jobs a run has, when nobody interferes."""
        return 1 + self.retries if self.fails and self.retried else 1

    @property
    def outcome(self) -> str:
        """The phase that a run ends with, likewise."""
        return "Failed" if self.fails else "Succeeded"

    def slots(self, after: int, until: int) -> range:
        """Its slots in (after, until], as UTC seconds."""
        first = after + self.period - (after - _ANCHOR) % self.period
        return range(first, until + 1, self.period)

    def execution(self, slot: int) -> str:
        """Name of the slot's execution, as `docs/reference` publishes it."""
        return f"{self.name}-{slot:010d}"

    def manifest(self) -> dict[str, Any]:
        annotations = {"testbed.taskrunner.dev/run-for": f"{self.runs_for}s"}
        if self.fails:
            annotations["testbed.taskrunner.dev/exit-code"] = str(_EXIT_CODE)
        pod = {
            "metadata": {"annotations": annotations},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "busybox"}],
            },
        }
        retry = {
            "maxRetries": self.retries,
            "initialDelaySeconds": 1,
            "backoffMultiplier": 2,
            "maxDelaySeconds": 4,
            "failOnExitCodes": [] if self.retried else [_EXIT_CODE],
        }
        return {
            "apiVersion": "taskrunner.dev/v1alpha1",
            "kind": "ScheduledTask",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "schedules": [
                    {
                        "name": "often",
                        "everySeconds": self.period,
                        "anchor": "2026-01-01T00:00:00Z",
                    }
                ],
                "concurrencyPolicy": self.policy,
                "catchUp": {
                    "policy": self.catch_up,
                    "limit": CATCH_UP_LIMIT,
                },
                "successfulJobsHistoryLimit": 5,
                "failedJobsHistoryLimit": 5,
                "retryPolicy": retry,
                "jobTemplate": {"spec": {"backoffLimit": 0, "template": pod}},
            },
        }


def tasks(slow: int, fast: int, rng: random.Random) -> Iterator[Task]:
    """`slow` tasks of 10 to 60 s and `fast` ones of 1 to 5 s.

    Of the slow ones every fourth is Forbid, and the pods of every fifth fail: most of these are
    tried again once or twice, one in five is not, for its exit code. Those of 20 s and more only:
    a run with retries shall not take longer than its period. Every fourth makes up for all that it
    has missed. Of the fast ones every fifth does, and has a run for each slot; the others are
    Forbid, and their runs take longer than their periods.
    """
    for number in range(slow):
        forbid, fails = number % 4 == 0, number % 5 == 1
        period = rng.choice(_SLOW[1:] if fails else _SLOW)
        long = forbid and number % 8 == 0 and not fails
        yield Task(
            rng.choice(NAMESPACES),
            f"slow-{number}",
            period,
            period * 1.5 if long else rng.choice((0.5, 1, 2)),
            "Forbid" if forbid else "Allow",
            "All" if number % 4 == 1 else "Last",
            fails=fails,
            retries=1 + number // 5 % 2 if fails else 0,
            retried=number // 5 % 5 != 4,
        )
    for number in range(fast):
        every_slot = number % 5 == 0
        yield Task(
            rng.choice(NAMESPACES),
            f"fast-{slow + number}",
            5 if every_slot else rng.choice(_FAST),
            rng.choice((0.5, 1, 2) if every_slot else (8, 12, 20)),
            "Allow" if every_slot else "Forbid",
            "All" if every_slot else "Last",
        )
