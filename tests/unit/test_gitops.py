"""What Argo CD sees. Statuses of a real cluster are given to the same scripts in
tests/cluster/test_semantics.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from health import argo_health

GITOPS = Path(__file__).parents[2] / "gitops"
READY = {"type": "Ready", "status": "True", "reason": "Planned", "message": "Planned: @daily."}
EARLIER, LATER = "2026-11-21T08:00:00Z", "2026-11-21T09:00:00Z"


def scheduled_task(*conditions: dict[str, str], suspend: bool = False, **status: Any) -> Any:
    return {
        "kind": "ScheduledTask",
        "metadata": {"name": "nightly", "generation": 2},
        "spec": {"suspend": suspend},
        "status": {"observedGeneration": 2, "conditions": list(conditions), **status},
    }


TASKS = {
    "not-seen-yet": ({"kind": "ScheduledTask", "metadata": {}, "spec": {}}, "Progressing"),
    "an-edit-not-seen-yet": (scheduled_task(READY, observedGeneration=1), "Progressing"),
    "planned": (scheduled_task(READY), "Healthy"),
    "suspended": (scheduled_task(READY, suspend=True), "Suspended"),
    "paused": (scheduled_task(READY | {"reason": "Paused"}), "Suspended"),
    "invalid": (scheduled_task(READY | {"status": "False", "reason": "InvalidSpec"}), "Degraded"),
    "circuit-open": (
        scheduled_task(READY, {"type": "CircuitOpen", "status": "True", "message": "Five failed."}),
        "Degraded",
    ),
    "completed": (
        scheduled_task(READY, {"type": "Completed", "status": "True", "message": "All done."}),
        "Healthy",
    ),
    "failed": (scheduled_task(READY, lastFailureTime=LATER), "Degraded"),
    "failed-last": (
        scheduled_task(READY, lastSuccessfulTime=EARLIER, lastFailureTime=LATER),
        "Degraded",
    ),
    "mended": (scheduled_task(READY, lastFailureTime=EARLIER, lastSuccessfulTime=LATER), "Healthy"),
    "missed": (
        scheduled_task(READY, lastSuccessfulTime=EARLIER, lastMissedTime=LATER),
        "Degraded",
    ),
    "missed-then-started": (
        scheduled_task(READY, lastMissedTime=EARLIER, lastScheduleTime=LATER),
        "Healthy",
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_health_of_a_task(name: str) -> None:
    obj, expected = TASKS[name]
    health = argo_health(obj)
    assert health.status == expected
    assert health.message.endswith(".")


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (None, "Progressing"),
        ("Pending", "Progressing"),
        ("Queued", "Progressing"),
        ("Running", "Progressing"),
        ("Retrying", "Progressing"),
        ("Succeeded", "Healthy"),
        ("Skipped", "Healthy"),
        ("Cancelled", "Suspended"),
        ("Failed", "Degraded"),
        ("Missed", "Degraded"),
    ],
)
def test_health_of_an_execution(phase: str | None, expected: str) -> None:
    status = {"phase": phase, "message": "A sentence."} if phase else None
    health = argo_health({"kind": "TaskExecution", "spec": {}, "status": status})
    assert health.status == expected


@pytest.mark.parametrize("kind", ["Calendar", "TaskQueue"])
def test_what_others_use_is_healthy(kind: str) -> None:
    assert argo_health({"kind": kind, "spec": {}}).status == "Healthy"


COMPLETE = {"Ready": "True", "Reconciling": "False", "Stalled": "False", "Complete": "True"}
BACKFILLS = {
    "not-seen-yet": ({}, {}, "Progressing"),
    "under-way": (COMPLETE | {"Complete": "False", "Reconciling": "True"}, {}, "Progressing"),
    "stalled": (COMPLETE | {"Ready": "False", "Stalled": "True", "Complete": "False"}, {},
                "Degraded"),
    "done": (COMPLETE, {"succeeded": 3, "failed": 0}, "Healthy"),
    "done-with-a-failure": (COMPLETE, {"succeeded": 2, "failed": 1}, "Degraded"),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKFILLS)
def test_health_of_a_backfill(name: str) -> None:
    states, counts, expected = BACKFILLS[name]
    conditions = [{"type": t, "status": s, "message": "So it is."} for t, s in states.items()]
    status = {"conditions": conditions, **counts} if conditions else None
    assert argo_health({"kind": "Backfill", "spec": {}, "status": status}).status == expected


@pytest.mark.parametrize("name", ["application", "applicationset", "argocd-cm"])
def test_examples_are_yaml(name: str) -> None:
    (document,) = yaml.safe_load_all((GITOPS / "argocd" / f"{name}.yaml").read_text())
    assert document["metadata"]["namespace"] == "argocd"


def test_the_application_installs_our_chart() -> None:
    application = yaml.safe_load((GITOPS / "argocd" / "application.yaml").read_text())
    chart = GITOPS.parent / application["spec"]["source"]["path"] / "Chart.yaml"
    assert yaml.safe_load(chart.read_text())["name"] == "taskrunner"
