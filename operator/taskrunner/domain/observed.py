"""What the engine has seen of the cluster, as small values that decisions are made from.

A watch delivers whole objects; of 10,000 of them only these fields are kept. Parsing is by hand,
not by model: it runs once per watch event, and the server has validated the objects already. What
is the same in many objects is interned: it is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from taskrunner.api.v1alpha1 import names
from taskrunner.domain.instants import parse_instant
from taskrunner.domain.pods import (
    Progress,
    instant_or_none,
    progress_from,
    recorded_progress,
)
from taskrunner.domain.policy import (
    HALT_ANNOTATION,
    POLICY_ANNOTATION,
    Halt,
    RunPolicy,
    halt_from,
    policy_from,
)

TERMINAL: Final = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as recorded in the status. Instants are seconds since the epoch."""

    number: int
    started: int | None
    finished: int | None = None
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """A TaskExecution. Instants are seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    generation: int
    created: int
    deleting: bool
    owner_uid: str
    """uid of the owning ScheduledTask; empty while an execution made by hand is not yet owned."""
    task: str
    type: str
    decision: str
    """Run, Skip or Miss; executions made by hand carry none and mean Run."""
    decision_reason: str
    decision_message: str
    nominal: int
    due: int
    """When it may start: `notBefore` where set, else the nominal time."""
    decided_at: int
    """When the slot was due to be decided: the watermark that covers it."""
    arguments: tuple[tuple[str, str], ...]
    phase: str
    attempt: int
    """Number of the latest attempt recorded in the status; 0 when none is."""
    started: int | None
    finished: int | None
    reason: str
    label: str = ""
    """Its label `taskrunner.dev/execution`: the name, unless somebody wrote it otherwise."""
    stop: str = ""
    """`spec.stop`: Graceful or Immediate; empty while nobody asks."""
    timeout: int | None = None
    """`spec.timeoutSeconds`, for an execution that has its own."""
    next_retry: int | None = None
    """When the attempt after the recorded one starts, while the phase is Retrying."""
    task_generation: int | None = None
    """The generation of the task whose template its Jobs are made from."""
    attempts: tuple[Attempt, ...] = ()
    """The attempts recorded so far; not kept in memory once the execution has ended."""
    progress: Progress | None = None
    """How far it is, as recorded."""
    first: int = 0
    """Nominal instant of the first slot that its decision stands for."""
    count: int = 1
    """How many slots its decision stands for."""
    priority: int | None = None
    """Its own; None for that of its task."""
    queued: int | None = None
    """When it began to wait for a place."""
    backfill: tuple[str, str] | None = None
    """Name and uid of the Backfill that asked for it."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def task_key(self) -> str:
        return f"{self.namespace}/{self.task}"

    @property
    def terminal(self) -> bool:
        return self.phase in TERMINAL

    @property
    def between_attempts(self) -> bool:
        """Its latest recorded attempt has failed, and another one follows."""
        return bool(self.attempts) and self.attempts[-1].finished is not None

    @property
    def is_run(self) -> bool:
        return self.decision == "Run"


@dataclass(frozen=True, slots=True)
class Job:
    """A batch/v1 Job of ours: one attempt. `finished` is "" while it runs, else the condition's
    type.

    The Job controller sets Complete and Failed only when no pod of the Job is left (KEP-3939, the
    earlier signals are SuccessCriteriaMet and FailureTarget), so `finished` also means "no pods".
    """

    namespace: str
    name: str
    uid: str
    resource_version: int
    execution: str
    owner_uid: str
    deleting: bool
    created: int
    started: int | None
    ready: int
    finished: str
    finished_at: int | None
    reason: str
    message: str
    attempt: int
    """The number that its name ends in; 0 for a name that we do not give."""
    suspended: bool
    """`spec.suspend`: its controller starts no pods, and ends those that are there."""
    drained: bool
    """It is suspended, and its controller says that no pod of it is left."""
    ran: bool
    """A pod of it is or was ready, or has ended."""
    deadline: int | None
    """`spec.activeDeadlineSeconds`."""
    policy: RunPolicy
    halt: Halt | None
    """Why we suspended it."""
    progress: Progress | None
    """How far its program says it is, on the Job itself."""
    queue: str = ""
    """The queue of Kueue that starts it; empty when it is in none, or not any more."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def left_queue(self) -> bool:
        """It was halted in a queue of somebody else's, where something is reserved for it still."""
        return self.policy.suspended and self.suspended and not self.finished

    @property
    def held(self) -> bool:
        """It waits for a queue of somebody else's, which has not started it, or took it back."""
        return self.left_queue and self.halt is None

    @property
    def execution_key(self) -> str:
        return f"{self.namespace}/{self.execution}"


def execution_from(obj: Mapping[str, Any]) -> Execution:
    """Observed TaskExecution from its decoded JSON."""
    meta: Mapping[str, Any] = obj["metadata"]
    spec: Mapping[str, Any] = obj["spec"]
    status: Mapping[str, Any] = obj.get("status") or {}
    decision: Mapping[str, Any] = spec.get("decision") or {}
    created = parse_instant(meta["creationTimestamp"])
    nominal = instant_or_none(spec.get("scheduledTime"))
    if nominal is None:
        nominal = created
    not_before = instant_or_none(spec.get("notBefore"))
    phase = intern(status.get("phase", ""))
    name = intern(meta["name"])
    label: str = (meta.get("labels") or {}).get(names.LABEL_EXECUTION, "")
    return Execution(
        namespace=intern(meta["namespace"]),
        name=name,
        uid=intern(meta["uid"]),
        resource_version=int(meta["resourceVersion"]),
        generation=meta.get("generation", 1),
        created=created,
        deleting="deletionTimestamp" in meta,
        owner_uid=_owner_uid(meta, names.SCHEDULED_TASK.kind),
        task=intern(spec["taskRef"]["name"]),
        type=intern(spec.get("type", "Manual")),
        decision=intern(decision.get("type", "Run")),
        decision_reason=intern(decision.get("reason", "")),
        decision_message=decision.get("message", ""),
        nominal=nominal,
        due=nominal if not_before is None else not_before,
        decided_at=instant_or_none(decision.get("due")) or nominal,
        priority=spec.get("priority"),
        queued=instant_or_none(status.get("queuedTime")),
        arguments=tuple((spec.get("arguments") or {}).items()),
        phase=phase,
        attempt=status.get("attempt", 0),
        started=instant_or_none(status.get("startTime")),
        finished=instant_or_none(status.get("completionTime")),
        reason=intern(status.get("reason", "")),
        label=name if label == name else label,
        stop=spec.get("stop") or "",
        timeout=spec.get("timeoutSeconds"),
        next_retry=instant_or_none(status.get("nextRetryTime")),
        task_generation=status.get("taskGeneration"),
        attempts=() if phase in TERMINAL else tuple(map(_attempt, status.get("attempts") or ())),
        progress=None if phase in TERMINAL else recorded_progress(status.get("progress")),
        first=instant_or_none(decision.get("from")) or nominal,
        count=decision.get("count", 1),
        backfill=_backfill(spec.get("backfillRef")),
    )


def job_from(obj: Mapping[str, Any]) -> Job:
    """Observed Job from its decoded JSON. The execution is found by owner, never by name."""
    meta: Mapping[str, Any] = obj["metadata"]
    spec: Mapping[str, Any] = obj.get("spec") or {}
    status: Mapping[str, Any] = obj.get("status") or {}
    notes: Mapping[str, str] = meta.get("annotations") or {}
    finished, finished_at, reason, message = "", None, "", ""
    held = False
    for condition in status.get("conditions") or ():
        if condition["status"] != "True":
            continue
        held = held or condition["type"] == "Suspended"
        if condition["type"] in ("Complete", "Failed"):
            finished = condition["type"]
            finished_at = instant_or_none(condition.get("lastTransitionTime"))
            reason, message = condition.get("reason", ""), condition.get("message", "")
    return Job(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        uid=meta["uid"],
        resource_version=int(meta["resourceVersion"]),
        execution=_owner_name(meta, names.TASK_EXECUTION.kind),
        owner_uid=_owner_uid(meta, names.TASK_EXECUTION.kind),
        deleting="deletionTimestamp" in meta,
        created=parse_instant(meta["creationTimestamp"]),
        started=instant_or_none(status.get("startTime")),
        ready=status.get("ready") or 0,
        finished=finished,
        finished_at=instant_or_none(status.get("completionTime")) or finished_at,
        reason=reason,
        message=message,
        attempt=_attempt_number(meta["name"]),
        suspended=bool(spec.get("suspend")),
        drained=held and not status.get("active") and not status.get("terminating"),
        ran=any(status.get(count) for count in ("ready", "succeeded", "failed")),
        deadline=spec.get("activeDeadlineSeconds"),
        policy=policy_from(notes.get(POLICY_ANNOTATION, "")),
        halt=halt_from(notes[HALT_ANNOTATION]) if HALT_ANNOTATION in notes else None,
        progress=progress_from(notes.get(names.ANNOTATION_PROGRESS)),
        queue=(meta.get("labels") or {}).get(names.LABEL_KUEUE_QUEUE, ""),
    )


def _backfill(reference: Mapping[str, Any] | None) -> tuple[str, str] | None:
    return None if reference is None else (reference["name"], reference["uid"])


def _attempt(wire: Mapping[str, Any]) -> Attempt:
    return Attempt(
        wire["number"],
        instant_or_none(wire.get("startTime")),
        instant_or_none(wire.get("completionTime")),
        wire.get("exitCode"),
        wire.get("reason", ""),
    )


def _attempt_number(name: str) -> int:
    """The last part of `<execution>-<attempt>`."""
    number = name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _owner_uid(meta: Mapping[str, Any], kind: str) -> str:
    owners = meta.get("ownerReferences") or ()
    return intern(next((o["uid"] for o in owners if o["kind"] == kind), ""))


def _owner_name(meta: Mapping[str, Any], kind: str) -> str:
    owners = meta.get("ownerReferences") or ()
    return intern(next((o["name"] for o in owners if o["kind"] == kind), ""))
