"""The circuit breaker of a task: after so many failures in a row, slots are skipped for a while.

It has no state of its own. Whether it is open follows from the failures since the last success and
from when the last run failed, both of which the objects say; so it survives every restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from taskrunner.api.v1alpha1.scheduled_task import CircuitBreaker


@dataclass(frozen=True, slots=True)
class CircuitRule:
    """`spec.circuitBreaker`."""

    failure_threshold: int
    reset_seconds: int


class Circuit(Enum):
    """Whether slots start runs (https://martinfowler.com/bliki/CircuitBreaker.html)."""

    CLOSED = "closed"
    OPEN = "open"
    """Slots are skipped."""
    HALF_OPEN = "half-open"
    """One run is tried: its success closes the circuit, its failure opens it again."""


def circuit_rule(given: CircuitBreaker | None) -> CircuitRule | None:
    """The rule of a spec, if it has one."""
    if given is None:
        return None
    return CircuitRule(given.failure_threshold, given.reset_seconds)


def circuit(
    rule: CircuitRule | None, consecutive_failures: int, last_failure: int, now: int
) -> Circuit:
    """The state of a breaker; `last_failure` is when the last failed run ended, in seconds."""
    if rule is None or consecutive_failures < rule.failure_threshold:
        return Circuit.CLOSED
    return Circuit.OPEN if now < last_failure + rule.reset_seconds else Circuit.HALF_OPEN
