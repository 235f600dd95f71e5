"""Prometheus metrics, in one registry per process."""

from __future__ import annotations

from copy import copy
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from taskrunner import __version__
from taskrunner.domain.zones import tzdata_version

_LAG_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300)
_LOOP_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)
LATE_SECONDS: Final = 10
"""A slot decided later than this is late, in the sense of the service level."""


class Metrics:
    """All metrics; the registry is what `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        Gauge(
            "taskrunner_build_info",
            "1; the labels tell the version of the program and of its time zone database.",
            ["version", "tzdata"],
            registry=self.registry,
        ).labels(__version__, tzdata_version()).set(1)
        self.start_lag = Lag(
            Histogram(
                "taskrunner_start_lag_seconds",
                "Time from a slot being due to its Job having been created.",
                buckets=_LAG_BUCKETS,
                registry=self.registry,
            )
        )
        self.slots = Counter(
            "taskrunner_slots_decided_total",
            "Slots decided, by decision (Run, Skip, Miss) and reason.",
            ["decision", "reason"],
            registry=self.registry,
        )
        self.slots_late = Counter(
            "taskrunner_slots_late_total",
            f"Slots decided more than {LATE_SECONDS} s after they were due, though nothing that the"
            " user asked for (a suspension, a pause, Forbid) held them back.",
            registry=self.registry,
        )
        self.outcomes = Counter(
            "taskrunner_executions_finished_total",
            "Executions that reached an outcome, by phase and reason; dead letters have the reason"
            " RetriesExhausted.",
            ["phase", "reason"],
            registry=self.registry,
        )
        self.retries = Counter(
            "taskrunner_retries_total",
            "Attempts that failed and are repeated, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.api_calls = Counter(
            "taskrunner_api_calls_total",
            "Calls to the API server, by verb, resource and HTTP code (0: no answer).",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self.api_seconds = Histogram(
            "taskrunner_api_call_seconds",
            "Duration of calls to the API server.",
            ["verb"],
            registry=self.registry,
        )
        self.errors = Counter(
            "taskrunner_errors_total",
            "Errors while handling an object, by kind of remedy.",
            ["kind"],
            registry=self.registry,
        )
        self.leading = Gauge(
            "taskrunner_leading",
            "1 while this replica acts for the shard.",
            ["shard"],
            registry=self.registry,
        )
        self.fenced = Gauge(
            "taskrunner_fence_active",
            "1 when the API server was seen to refuse writes of ended terms, 0 when not; only where"
            " this replica holds the shard.",
            ["shard"],
            registry=self.registry,
        )
        self.fence_refusals = Counter(
            "taskrunner_fence_refusals_total",
            "Writes that the fence refused, by what followed: term-over, or retried.",
            ["shard", "outcome"],
            registry=self.registry,
        )
        self.terms = Counter(
            "taskrunner_terms_total", "Terms begun.", ["shard"], registry=self.registry
        )
        self.clock_skew = Gauge(
            "taskrunner_clock_skew_seconds",
            "Local wall clock minus the API server's, as far as it is certain.",
            registry=self.registry,
        )
        self.clock_trusted = Gauge(
            "taskrunner_clock_trusted",
            "1 while the wall clock is believed; while it is not, this replica does not act.",
            registry=self.registry,
        )
        self.loop_delay = Histogram(
            "taskrunner_loop_delay_seconds",
            "How much later than asked for the event loop wakes up; sampled each second.",
            buckets=_LOOP_BUCKETS,
            registry=self.registry,
        )
        self.tasks = Gauge("taskrunner_tasks", "ScheduledTasks known.", registry=self.registry)
        self.agenda = Gauge(
            "taskrunner_agenda_entries",
            "Instants being waited for.",
            ["shard"],
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            "taskrunner_queue_wait_seconds",
            "Time from a run being due to its Job having been created, of runs that had to wait for"
            " a place.",
            buckets=(1, 10, 60, 300, 1800, 3600, 14400, 86400),
            registry=self.registry,
        )
        self.places_held = Gauge(
            "taskrunner_executions_active",
            "Executions that have a place: from their start to their end.",
            ["shard"],
            registry=self.registry,
        )
        self.in_line = Gauge(
            "taskrunner_executions_waiting",
            "Executions that wait for a place (phase Queued).",
            ["shard"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "taskrunner_work_queue_depth",
            "Objects waiting to be handled.",
            ["shard"],
            registry=self.registry,
        )
        self._of_shards: dict[str, Metrics] = {}

    def of_shard(self, shard: str) -> Metrics:
        """The same metrics for one shard: its own of those that tell shards apart, and a longest
        start lag of its own."""
        found = self._of_shards.get(shard)
        if found is None:
            found = self._of_shards[shard] = copy(self)
            found.start_lag = self.start_lag.beside()
            found.agenda = self.agenda.labels(shard)
            found.places_held = self.places_held.labels(shard)
            found.in_line = self.in_line.labels(shard)
            found.queue_depth = self.queue_depth.labels(shard)
        return found

    def rest(self) -> None:
        """The shard that these are for is not acted for any more."""
        for gauge in (self.agenda, self.places_held, self.in_line, self.queue_depth):
            gauge.set_function(_nothing)

    def observe_call(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Count one call to the API server; the client calls it after each answer."""
        found = self._calls.get((verb, resource, code))
        if found is None:
            # To look them up each time costs a tenth of a call.
            found = self.api_calls.labels(verb, resource, str(code)), self.api_seconds.labels(verb)
            self._calls[verb, resource, code] = found
        found[0].inc()
        found[1].observe(seconds)


def _nothing() -> float:
    return 0.0


class Lag:
    """Start lag: the histogram, and the longest since somebody asked."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._longest: float | None = None

    def beside(self) -> Lag:
        """One with a longest of its own over the same histogram."""
        return Lag(self._histogram)

    def observe(self, seconds: float) -> None:
        """Note one start."""
        self._histogram.observe(seconds)
        self._longest = max(self._longest or 0.0, seconds)

    def take_longest(self) -> float | None:
        """The longest since the last call, in seconds; None when nothing has started."""
        longest, self._longest = self._longest, None
        return longest
