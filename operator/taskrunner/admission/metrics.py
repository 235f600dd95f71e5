"""Prometheus metrics of the webhook process."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class WebhookMetrics:
    """All metrics; the registry is what `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reviews = Counter(
            "taskrunner_webhook_reviews_total",
            "Objects judged, by kind and outcome: unchanged, allowed, refused, or unchecked (an"
            " error of the webhook, or no time was left; such objects are let through).",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "taskrunner_webhook_review_seconds",
            "Time from the arrival of a review to its answer.",
            ["kind"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.stamps = Counter(
            "taskrunner_webhook_stamps_total",
            "Objects into which it was written who asked, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.api_calls = Counter(
            "taskrunner_webhook_api_calls_total",
            "Calls to the API server, by verb, resource and HTTP code (0: no answer).",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self.certificate_expiry = Gauge(
            "taskrunner_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate in use expires, in seconds since the epoch.",
            registry=self.registry,
        )

    def observe_call(self, verb: str, resource: str, code: int, _seconds: float) -> None:
        """Count one call to the API server; the client calls it after each answer."""
        self.api_calls.labels(verb, resource, str(code)).inc()
