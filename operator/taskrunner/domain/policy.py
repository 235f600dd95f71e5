"""What a run was started with, and why its Job was halted: two annotations on its Job.

A run finishes as it started, whatever is edited meanwhile; so what it was started with stays on the
Job, is copied with it to the next attempt, and is known to each leader. Likewise the cause of a
halt is written in the same write that suspends the Job: whoever looks next knows what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import orjson

from taskrunner.api.v1alpha1 import names
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.retry import RetryRule

POLICY_ANNOTATION: Final = f"{names.GROUP}/run-policy"
HALT_ANNOTATION: Final = f"{names.GROUP}/halted-because"
_KEPT: Final = 256
"""Different policies in memory: they are few, and shared by all Jobs that have them."""

_MOST: Final = 2**31 - 1
_DEFAULT: Final = RetryRule()
_RETRY_FIELDS: Final = {
    "maxRetries": "max_retries",
    "initialDelaySeconds": "initial_delay",
    "backoffMultiplier": "multiplier",
    "maxDelaySeconds": "max_delay",
    "jitterPercent": "jitter_percent",
    "retryOnExitCodes": "retry_on",
    "failOnExitCodes": "fail_on",
}


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """What holds for all attempts of a run."""

    retry: RetryRule = _DEFAULT
    timeout: int | None = None
    """Seconds for one attempt: `timeoutSeconds`."""
    pending_timeout: int | None = None
    """Seconds until a pod must run."""
    task_generation: int | None = None
    """The generation of the task whose template the Job is made from."""
    suspended: bool = False
    """Jobs are made suspended, for a queue of somebody else's (Kueue) to start them."""
    queue_timeout: int | None = None
    """Seconds that a Job may wait there."""
    starting_deadline: int | None = None
    """Seconds after it was due until which the first one must have been started."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a Job was suspended by us. `phase` is that of the run when it is to end with it, and
    empty when only the attempt fails."""

    reason: str
    message: str
    phase: str = ""


def policy_of(
    task: CompiledTask,
    *,
    timeout: int | None,
    default_retries: int,
    suspended: bool,
    on_schedule: bool = True,
) -> RunPolicy:
    """The policy of a run that starts now. `timeout` is the run's own, where it has one;
    `default_retries` holds for tasks that do not say how often to retry. `on_schedule`: it is for a
    slot, so that it has a deadline."""
    rule = replace(task.retry, max_retries=default_retries) if task.default_retries else task.retry
    return RunPolicy(
        rule,
        timeout if timeout is not None else task.timeout,
        task.pending_timeout,
        task.generation,
        suspended,
        task.places.timeout if suspended else None,
        task.starting_deadline if suspended and on_schedule else None,
    )


def policy_text(policy: RunPolicy) -> str:
    """As the annotation: JSON, with what differs from the defaults."""
    wire: dict[str, Any] = {
        "taskGeneration": policy.task_generation,
        "timeoutSeconds": policy.timeout,
        "pendingTimeoutSeconds": policy.pending_timeout,
        "suspend": policy.suspended or None,
        "queueTimeoutSeconds": policy.queue_timeout,
        "startingDeadlineSeconds": policy.starting_deadline,
    }
    for name, field in _RETRY_FIELDS.items():
        value = getattr(policy.retry, field)
        wire[name] = None if value == getattr(_DEFAULT, field) else value
    return orjson.dumps({key: value for key, value in wire.items() if value is not None}).decode()


@lru_cache(_KEPT)
def policy_from(text: str) -> RunPolicy:
    """From the annotation. What cannot be read, as somebody has edited it, counts as not said."""
    wire = _object(text)
    given = {name: value for name, value in wire.items() if _is_count(value)}
    retry: dict[str, Any] = {
        field: given[name] for name, field in _RETRY_FIELDS.items() if name in given
    }
    for name in ("retryOnExitCodes", "failOnExitCodes"):
        codes = wire.get(name)
        if isinstance(codes, list):
            retry[_RETRY_FIELDS[name]] = tuple(code for code in codes if _is_count(code))
    return RunPolicy(
        replace(_DEFAULT, **retry),
        given.get("timeoutSeconds"),
        given.get("pendingTimeoutSeconds"),
        given.get("taskGeneration"),
        wire.get("suspend") is True,
        given.get("queueTimeoutSeconds"),
        given.get("startingDeadlineSeconds"),
    )


def halt_text(halt: Halt) -> str:
    """As the annotation."""
    wire = {"reason": halt.reason, "message": halt.message, "phase": halt.phase}
    return orjson.dumps(wire).decode()


def halt_from(text: str) -> Halt | None:
    """From the annotation; None when it cannot be read."""
    wire = _object(text)
    if not isinstance(wire.get("reason"), str):
        return None
    return Halt(wire["reason"], str(wire.get("message", "")), str(wire.get("phase", "")))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _object(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
