"""`helm/taskrunner/files/monitoring/dashboard.json`: the Grafana dashboard.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

_PATH: Final = "helm/taskrunner/files/monitoring/dashboard.json"
_WIDTH: Final = 24
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """One panel: `queries` are pairs of PromQL and legend, `unit` is Grafana's name of it."""

    title: str
    what: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"


def _quantile(quantile: float, metric: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate({metric}_bucket[$__rate_interval])))"


PANELS: Final = (
    Panel(
        "Service level, 3 days",
        "Slots decided on time; 99.9 % is the aim.",
        (("1 - taskrunner:slots_late:ratio_rate3d", ""),),
        "percentunit", 4, "stat",
    ),
    Panel(
        "Leaders", "One for each shard.", (("sum(taskrunner_leading)", ""),), width=4, kind="stat"
    ),
    Panel("Tasks", "ScheduledTasks known.", (("max(taskrunner_tasks)", ""),), width=4, kind="stat"),
    Panel(
        "Active", "Runs that have a place.",
        (("sum(taskrunner_executions_active)", ""),), width=4, kind="stat",
    ),
    Panel(
        "Waiting", "Runs that wait for a place.",
        (("sum(taskrunner_executions_waiting)", ""),), width=4, kind="stat",
    ),
    Panel(
        "Dead letters, 24 h", "Runs that have exhausted their retries.",
        (
            (
                "sum(increase(taskrunner_executions_finished_total"
                '{reason="RetriesExhausted"}[24h]))', "",
            ),
        ), width=4, kind="stat",
    ),
    Panel(
        "Start lag", "From a slot being due to its Job having been created.",
        tuple(
            (_quantile(q, "taskrunner_start_lag_seconds"), f"p{q * 100:g}")
            for q in (0.5, 0.95, 0.99)
        ), "s",
    ),
    Panel(
        "Slots decided", "Each slot is run, skipped or missed, for one reason.",
        (
            (
                "sum by (decision, reason) (rate(taskrunner_slots_decided_total"
                "[$__rate_interval]))", "{{decision}} {{reason}}",
            ),
        ), "ops",
    ),
    Panel(
        "Executions finished", "By phase.",
        (
            (
                "sum by (phase) (rate(taskrunner_executions_finished_total[$__rate_interval]))",
                "{{phase}}",
            ),
        ), "ops",
    ),
    Panel(
        "Waiting for a place", "Of runs that had to wait.",
        tuple(
            (_quantile(q, "taskrunner_queue_wait_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)
        ),
        "s",
    ),
    Panel(
        "Failing tasks", "Runs that failed in a row.",
        (
            (
                "topk(10, max by (namespace, task) (taskrunner_task_consecutive_failures) > 0)",
                "{{namespace}}/{{task}}",
            ),
        ),
    ),
    Panel(
        "Retries", "Attempts that failed and are repeated.",
        (
            ("sum by (reason) (rate(taskrunner_retries_total[$__rate_interval]))", "{{reason}}"),
        ), "ops",
    ),
    Panel(
        "Calls to the API server", "By verb and code.",
        (
            (
                "sum by (verb, code) (rate(taskrunner_api_calls_total[$__rate_interval]))",
                "{{verb}} {{code}}",
            ),
        ), "ops",
    ),
    Panel(
        "Duration of calls", "99th percentile, by verb.",
        (
            (
                "histogram_quantile(0.99, sum by (le, verb) (rate("
                "taskrunner_api_call_seconds_bucket[$__rate_interval])))", "{{verb}}",
            ),
        ), "s",
    ),
    Panel(
        "Event loop", "How late it wakes up, 99th percentile; too little CPU shows here first.",
        (
            (
                "histogram_quantile(0.99, sum by (le, pod) (rate("
                "taskrunner_loop_delay_seconds_bucket[$__rate_interval])))", "{{pod}}",
            ),
        ), "s",
    ),
)  # fmt: skip


def generate() -> dict[str, str]:
    """The text of the file by its path in the repository."""
    panels: list[dict[str, Any]] = []
    x = y = 0
    for number, panel in enumerate(PANELS, 1):
        height = 4 if panel.kind == "stat" else _HEIGHT
        if x + panel.width > _WIDTH:
            x, y = 0, y + (4 if PANELS[number - 2].kind == "stat" else _HEIGHT)
        panels.append(_panel(number, panel, {"h": height, "w": panel.width, "x": x, "y": y}))
        x += panel.width
    dashboard = {
        "uid": "taskrunner",
        "title": "taskrunner",
        "description": "Are tasks on time, and why not. Alerts and runbooks: docs/how-to.",
        "tags": ["kubernetes", "taskrunner"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": panels,
    }
    return {_PATH: json.dumps(dashboard, indent=1) + "\n"}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
        for i, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.what,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
