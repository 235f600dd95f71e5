"""The specs that run as a CronJob and as a ScheduledTask, side by side, and what each must start.

All times are seconds from the first full minute, `M0`. Both get the same spec, with `kind` and
`apiVersion` changed, and the same changes at the same moments. What a pair starts is given as the
minutes of its slots; where the two differ on purpose, `theirs` says what CronJob does and
`difference` names the row of docs/reference/differences-from-cronjob.md that says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

DOWN, UP = 150, 255
"""From when to when both controllers are down: the slots of minutes 3 and 4 pass meanwhile."""
END = 412
"""When what has started is compared: slots up to minute 6 have started, or never will."""
ALL: Final = frozenset({0, 1, 2, 4, 5, 6})
"""Every minute, but that of two slots missed in the downtime only the later one starts."""


@dataclass(frozen=True)
class Pair:
    """One spec. `changes`: merge patches by the moment at which they are made; None deletes the
    object, and a later one makes it anew."""

    name: str
    spec: Json
    ours: frozenset[int]
    theirs: frozenset[int] | None = None
    difference: str = ""
    seconds: int = 1
    exit_code: int = 0
    changes: dict[int, Json | None] = field(default_factory=dict)

    @property
    def expected_of_cronjob(self) -> frozenset[int]:
        return self.ours if self.theirs is None else self.theirs

    def manifest(self, kind: str) -> Json:
        """The object, named after the pair."""
        annotations = {"testbed.taskrunner.dev/run-for": f"{self.seconds}s"}
        if self.exit_code:
            annotations["testbed.taskrunner.dev/exit-code"] = str(self.exit_code)
        pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}
        template = {"metadata": {"annotations": annotations}, "spec": pod}
        group = "batch/v1" if kind == "CronJob" else "taskrunner.dev/v1alpha1"
        return {
            "apiVersion": group,
            "kind": kind,
            "metadata": {"name": self.name},
            "spec": {
                "jobTemplate": {"spec": {"backoffLimit": 0, "template": template}},
                "successfulJobsHistoryLimit": 10,
                "failedJobsHistoryLimit": 10,
                **self.spec,
            },
        }


def minutes(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def suspend(value: bool) -> Json:
    return {"spec": {"suspend": value}}


EVERY: Final[Json] = {"schedule": "* * * * *"}
FORBID: Final[Json] = {**EVERY, "concurrencyPolicy": "Forbid"}
REPLACE: Final[Json] = {**EVERY, "concurrencyPolicy": "Replace"}

PAIRS: Final[tuple[Pair, ...]] = (
    Pair("plain", EVERY, ALL),
    Pair("allow-overlap", EVERY, ALL, seconds=100),
    Pair("allow-named", {**EVERY, "concurrencyPolicy": "Allow"}, ALL),
    Pair("forbid-short", FORBID, ALL),
    # Of the slots that came while a run was active, the latest starts when it ends.
    Pair("forbid-overlap", FORBID, minutes(0, 1, 4, 6), seconds=110),
    Pair("forbid-always", FORBID, minutes(0), seconds=1000),
    # When a run of 95 s ends, the slot that it blocked is 35 s late.
    Pair(
        "forbid-deadline", {**FORBID, "startingDeadlineSeconds": 14}, minutes(0, 2, 5), seconds=95
    ),
    Pair("replace-short", REPLACE, ALL),
    Pair("replace-overlap", REPLACE, ALL, seconds=1000),
    Pair("failing", EVERY, ALL, exit_code=3),
    Pair("failing-forbid", FORBID, ALL, exit_code=3),
    Pair("suspended", {**EVERY, "suspend": True}, minutes()),
    # On resume, the latest slot missed meanwhile starts.
    Pair("resumed", {**EVERY, "suspend": True}, ALL, changes={20: suspend(False)}),
    Pair(
        "resumed-too-late",
        {**EVERY, "suspend": True, "startingDeadlineSeconds": 10},
        minutes(1, 2, 5, 6),
        changes={20: suspend(False)},
    ),
    Pair(
        "suspended-for-a-while",
        EVERY,
        minutes(0, 2, 4, 5, 6),
        changes={30: suspend(True), 130: suspend(False)},
    ),
    Pair("suspended-for-good", EVERY, minutes(0, 1), changes={90: suspend(True)}),
    Pair(
        "forbid-resumed",
        {**FORBID, "suspend": True},
        ALL,
        changes={20: suspend(False)},
    ),
    Pair("deadline", {**EVERY, "startingDeadlineSeconds": 50}, minutes(0, 1, 2, 4, 5, 6)),
    Pair("short-deadline", {**EVERY, "startingDeadlineSeconds": 12}, minutes(0, 1, 2, 5, 6)),
    Pair("edited-to-more", {"schedule": "0 0 1 1 *"}, ALL - {0}, changes={30: {"spec": EVERY}}),
    Pair(
        "edited-while-down",
        {"schedule": "0 0 1 1 *"},
        minutes(5, 6),
        theirs=minutes(4, 5, 6),
        difference="A schedule changed while the controller was down",
        changes={200: {"spec": EVERY}},
    ),
    Pair(
        "edited-to-never",
        EVERY,
        minutes(0),
        changes={30: {"spec": {"schedule": "0 0 1 1 *"}}},
    ),
    Pair(
        "edited-template",
        EVERY,
        ALL,
        changes={30: {"spec": {"jobTemplate": {"spec": {"activeDeadlineSeconds": 50}}}}},
    ),
    Pair("zone", {**EVERY, "timeZone": "America/New_York"}, ALL),
    Pair("half-hour-zone", {**EVERY, "timeZone": "Asia/Kolkata"}, ALL),
    Pair("never", {"schedule": "0 0 1 1 *"}, minutes()),
    Pair("macro", {"schedule": "@yearly"}, minutes()),
    Pair("no-history", {**EVERY, "successfulJobsHistoryLimit": 0}, ALL),
    Pair("short-history", {**EVERY, "successfulJobsHistoryLimit": 1}, ALL),
    Pair("no-failed-history", {**EVERY, "failedJobsHistoryLimit": 0}, ALL, exit_code=1),
    Pair("deleted", EVERY, minutes(0, 1), changes={90: None}),
    Pair("deleted-and-made-anew", EVERY, ALL, changes={80: None, 95: EVERY}),
)
