"""Metrics of each task, taken from the statuses in memory at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import orjson
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from taskrunner.domain.instants import parse_instant
from taskrunner.engine.store import TaskState

_TIMES: Final = {
    "taskrunner_task_last_success_timestamp_seconds": (
        "lastSuccessfulTime",
        "When a run of the task succeeded last.",
    ),
    "taskrunner_task_last_failure_timestamp_seconds": (
        "lastFailureTime",
        "When a run of the task failed last.",
    ),
    "taskrunner_task_next_run_timestamp_seconds": (
        "nextRunTime",
        "When the task runs next; missing while a run is active, or it is suspended, paused or"
        " completed.",
    ),
}
_FAILURES: Final = "taskrunner_task_consecutive_failures"
_LABELS: Final = ("namespace", "task")


class TaskMetrics(Collector):
    """Four series for each task that this replica acts for. Standbys show none, so that nothing is
    counted twice; where tasks are very many, `SCHEDULER_TASK_METRICS=false` leaves all out."""

    def __init__(self, tasks: Callable[[], Iterable[TaskState]]) -> None:
        self._tasks = tasks

    def describe(self) -> Iterable[Any]:
        """The names, for the registry: without values, so that registering looks at no task."""
        return self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family after the other, for the registry."""
        families = self._families()
        for state in self._tasks():
            status, labels = orjson.loads(state.status), (state.namespace, state.name)
            for name, (field, _) in _TIMES.items():
                # Under Forbid, what is next may be in the past until the active run has ended.
                if field == "nextRunTime" and status.get("activeCount"):
                    continue
                if text := status.get(field):
                    families[name].add_metric(labels, parse_instant(text))
            families[_FAILURES].add_metric(labels, status.get("consecutiveFailures", 0))
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        said = {name: text for name, (_, text) in _TIMES.items()}
        said[_FAILURES] = "Runs of the task that failed since the last one that succeeded."
        return {name: GaugeMetricFamily(name, text, labels=_LABELS) for name, text in said.items()}
