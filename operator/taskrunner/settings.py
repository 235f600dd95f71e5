"""Settings: from the environment, checked at start, with an error that says what to write.

Names and defaults are listed by `taskrunner config`.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from taskrunner.errors import Problem, SpecError

PREFIX: Final = "SCHEDULER_"
WEBHOOK_PREFIX: Final = "SCHEDULER_WEBHOOK_"
"""Settings of the admission webhook, which is a process of its own."""


def _unique_identity() -> str:
    """Unique per process, also when a pod's name is used again: a restarted container must not take
    itself for the holder that it was before."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"


class Settings(BaseModel):
    """All that can be set about an operator process. Durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = Field(
        "taskrunner-system", description="The operator's own namespace, where its Leases live."
    )
    watch_namespace: str = Field(
        "", description="The one namespace whose tasks are run; empty for all of them."
    )
    identity: str = Field(
        default_factory=_unique_identity, description="Name of this process in Leases."
    )
    lock_ttl: int = Field(
        15, ge=3, le=300, description="How long a Lease is valid without being renewed."
    )
    renew_deadline: float = Field(
        10, ge=2, le=200, description="Give up leading when renewing has failed for so long."
    )
    retry_period: float = Field(2, ge=0.2, le=60, description="Time between two tries to renew.")
    shards: int = Field(
        1,
        ge=1,
        le=32,
        description="Into how many parts the namespaces are divided; the replicas share them out."
        " With 1, one replica acts and the others stand by.",
    )
    fence_required: bool = Field(
        True,
        description="Begin no term while the API server does not refuse the writes of ended ones.",
    )
    fence_settle_seconds: float = Field(
        2,
        ge=0.5,
        le=60,
        description="After a take-over, wait so long for every API server to know the new holder.",
    )
    queue_check_interval: float = Field(
        600, ge=10, le=86400, description="Time between two comparisons of watches with a LIST."
    )
    parallel_writes: int = Field(
        128, ge=1, le=1024, description="Objects handled at the same time, and connections kept."
    )
    max_concurrent_executions: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Most executions that are active at once, over all tasks and shards; further"
        " ones wait as Queued. 0 for no limit.",
    )
    status_interval: float = Field(
        10, ge=0, le=300, description="Least time between two routine status updates of a task."
    )
    config_map: str = Field(
        "taskrunner-config",
        min_length=1,
        description="The ConfigMap in the operator's own namespace with what may change while it"
        ' runs: paused, "true" or "false".',
    )
    default_retry_count: int = Field(
        0,
        ge=0,
        le=10,
        description="How often a failed run is retried where its task has no"
        " retryPolicy.maxRetries.",
    )
    dead_letter_limit: int = Field(
        20,
        ge=0,
        le=1000,
        description="How many runs of a task that have exhausted their retries are kept, beside"
        " those of failedJobsHistoryLimit.",
    )
    probe_port: int = Field(
        8080, ge=0, le=65535, description="Port of /healthz, /readyz and /metrics; 0 for any."
    )
    probe_address: str = Field("0.0.0.0", description="Address of these.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    task_metrics: bool = Field(True, description="Show four metrics for each task on /metrics.")
    log_format: Literal["text", "json"] = Field("text", description="One line of text, or of JSON.")

    @model_validator(mode="after")
    def _lease_times_fit(self) -> Self:
        if not self.retry_period < self.renew_deadline < self.lock_ttl:
            raise ValueError(
                "retry_period < renew_deadline < lock_ttl must hold, or two replicas could lead"
            )
        return self


def load(environment: Mapping[str, str]) -> Settings:
    """Settings from `SCHEDULER_…` variables. Raises SpecError that names each wrong variable."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and not name.startswith(WEBHOOK_PREFIX)
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SpecError(
            *(
                Problem(
                    _variable(detail["loc"]),
                    str(detail["input"])[:80] if detail["loc"] else "",
                    f"{detail['msg']}.",
                    "See `taskrunner config` for the names and bounds of all settings.",
                )
                for detail in error.errors()
            )
        ) from error


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + str(location[0]).upper() if location else f"{PREFIX}*"
