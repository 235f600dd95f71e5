"""`docs/reference/metrics.md`: what /metrics of operator and webhook shows."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from taskrunner.admission.metrics import WebhookMetrics
from taskrunner.metrics import Metrics

_PATH = "docs/reference/metrics.md"
_HEADER = """\
# Metrics

<!-- Generated from operator/taskrunner/metrics.py and admission/metrics.py; do not edit. -->

Each replica of the operator shows these on `/metrics` of its port 8080. What is about the work, the
replica that leads shows; the others show themselves. `docs/how-to/monitor.md` says how to collect
them, and which alerts there are.
"""


def generate() -> dict[str, str]:
    """The text of the file by its path in the repository."""
    parts = [
        _HEADER,
        "## Operator\n",
        *_table(Metrics().registry),
        "\n## Webhook\n",
        *_table(WebhookMetrics().registry),
    ]
    return {_PATH: "\n".join(parts) + "\n"}


def _table(registry: CollectorRegistry) -> Iterator[str]:
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    collectors = {id(c): c for c in registry._names_to_collectors.values()}
    for collector in sorted(
        (c for c in collectors.values() if isinstance(c, MetricWrapperBase)), key=lambda c: c._name
    ):
        name = collector._name + ("_total" if collector._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        yield f"| `{name}` | {collector._type} | {labels} | {collector._documentation} |"
