"""Metrics of each task, as Prometheus reads them."""

from __future__ import annotations

import orjson
from prometheus_client import CollectorRegistry, generate_latest

from taskrunner.app.task_metrics import TaskMetrics
from taskrunner.engine.store import TaskState

STATUS = {
    "lastSuccessfulTime": "2026-11-21T08:00:00Z",
    "nextRunTime": "2026-11-21T09:00:00.5Z",
    "consecutiveFailures": 2,
}


def state(name: str, **status: object) -> TaskState:
    return TaskState(f"qa/{name}", "qa", name, "uid", 1, 1, created=0, status=orjson.dumps(status))


def scrape(*states: TaskState) -> list[str]:
    registry = CollectorRegistry()
    registry.register(TaskMetrics(lambda: states))
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if not line.startswith("#"))


def test_what_the_status_says_is_shown_and_what_it_does_not_say_is_not() -> None:
    assert scrape(state("nightly", **STATUS), state("new")) == [
        'taskrunner_task_consecutive_failures{namespace="qa",task="new"} 0.0',
        'taskrunner_task_consecutive_failures{namespace="qa",task="nightly"} 2.0',
        'taskrunner_task_last_success_timestamp_seconds{namespace="qa",task="nightly"}'
        " 1.795248e+09",
        'taskrunner_task_next_run_timestamp_seconds{namespace="qa",task="nightly"} 1.7952516e+09',
    ]


def test_while_a_run_is_active_nothing_is_overdue() -> None:
    lines = scrape(state("nightly", activeCount=1, **STATUS))
    assert not [line for line in lines if "next_run" in line]


def test_where_nothing_is_led_nothing_is_shown() -> None:
    assert scrape() == []
