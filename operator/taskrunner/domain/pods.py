"""What the pods of an attempt say: how it ended, what it waits for, how far it is.

Of a pod of 5 to 10 KB only these few fields are kept, until its execution has ended. Parsing is by
hand: it runs for every event of every pod of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from taskrunner.api.v1alpha1 import names
from taskrunner.domain.instants import parse_instant

RESULT_BYTES: Final = 4096
"""Of a termination message; a kubelet keeps no more of one container either."""
_PROGRESS_CHARACTERS: Final = 256
_PROGRESS: Final = re.compile(r"(?:(\d{1,2}|100)\s*%?(?=\s|$))?\s*(.*)", re.DOTALL)
_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
_NO_STATE: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run says it is."""

    percent: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod, in its present state; after a restart, with its last end."""

    name: str
    init: bool
    waiting: str
    """Reason of the kubelet, such as ImagePullBackOff; empty when it does not wait."""
    waiting_message: str
    image: str
    """Only while it waits."""
    started: int | None
    finished: int | None
    exit_code: int | None
    reason: str
    """Why it ended: Completed, Error, OOMKilled, ContainerCannotRun, …"""
    result: str
    """The last 4 KiB of its termination message."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of one of our Jobs. Instants are seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    resource_version: int = field(compare=False)
    execution: str
    job: str
    job_uid: str
    created: int
    deleting: bool
    phase: str
    reason: str
    """Of the pod itself, such as Evicted; or of the condition DisruptionTarget."""
    message: str
    disrupted: bool
    """The cluster ends it, not what runs in it: its condition DisruptionTarget (KEP-3329)."""
    scheduled: int | None
    """When a node took it."""
    unschedulable: str
    """What the scheduler says while no node takes it."""
    unschedulable_since: int | None
    mounted: bool
    """Its volumes are there, and its sandbox (KEP-3085)."""
    containers: tuple[Container, ...]
    """The main one first, then the others, then init containers; sidecars are left out."""
    progress: Progress | None
    gone: bool = False
    """It has been deleted; kept for what it said last."""

    @property
    def execution_key(self) -> str:
        return f"{self.namespace}/{self.execution}"

    @property
    def over(self) -> bool:
        """It runs no more."""
        return self.gone or self.phase in ("Succeeded", "Failed")


def pod_from(obj: Mapping[str, Any]) -> Pod:
    """Observed pod from its decoded JSON."""
    meta: Mapping[str, Any] = obj["metadata"]
    spec: Mapping[str, Any] = obj.get("spec") or {}
    status: Mapping[str, Any] = obj.get("status") or {}
    owner: Mapping[str, Any] = next(
        (o for o in meta.get("ownerReferences") or () if o["kind"] == "Job"), {}
    )
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    reason, message = status.get("reason", ""), status.get("message", "")
    scheduled: int | None = None
    unschedulable, unschedulable_since, disrupted, mounted = "", None, False, False
    for condition in status.get("conditions") or ():
        holds = condition["status"] == "True"
        if condition["type"] == "PodScheduled":
            if holds:
                scheduled = instant_or_none(condition.get("lastTransitionTime"))
            elif condition.get("reason") == "Unschedulable":
                unschedulable = condition.get("message", "")
                unschedulable_since = instant_or_none(condition.get("lastTransitionTime"))
        elif condition["type"] == "PodReadyToStartContainers":
            mounted = holds
        elif condition["type"] == "DisruptionTarget" and holds:
            disrupted = True
            reason = reason or condition.get("reason", "")
            message = message or condition.get("message", "")
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        resource_version=int(meta["resourceVersion"]),
        execution=(meta.get("labels") or {}).get(names.LABEL_EXECUTION, ""),
        job=owner.get("name", ""),
        job_uid=owner.get("uid", ""),
        created=parse_instant(meta["creationTimestamp"]),
        deleting="deletionTimestamp" in meta,
        phase=status.get("phase", "Pending"),
        reason=reason,
        message=message,
        disrupted=disrupted,
        scheduled=scheduled,
        unschedulable=unschedulable,
        unschedulable_since=unschedulable_since,
        mounted=mounted,
        containers=_containers(spec, status, annotations.get(_DEFAULT_CONTAINER, "")),
        progress=progress_from(annotations.get(names.ANNOTATION_PROGRESS)),
    )


def progress_from(text: str | None) -> Progress | None:
    """The annotation `taskrunner.dev/progress`: "40", "40%", "40 Copying" or "Copying".

    >>> progress_from("40% Copying files")
    Progress(percent=40, message='Copying files')
    """
    if not text or not text.strip():
        return None
    match = _PROGRESS.fullmatch(text.strip())
    assert match is not None  # It matches every text.
    percent, message = match.groups()
    return Progress(int(percent) if percent else None, message[:_PROGRESS_CHARACTERS])


def recorded_progress(wire: Mapping[str, Any] | None) -> Progress | None:
    """From the status of an execution."""
    return Progress(wire.get("percent"), wire.get("message", "")) if wire else None


def tail(text: str, size: int = RESULT_BYTES) -> str:
    """The last `size` bytes of a text in UTF-8, beginning with a whole character."""
    data = text.encode()
    return text if len(data) <= size else data[-size:].decode(errors="ignore")


def _containers(
    spec: Mapping[str, Any], status: Mapping[str, Any], main: str
) -> tuple[Container, ...]:
    """In the order of the spec, the main one first; a kubelet lists statuses by name. An init
    container that is restarted always is a sidecar (KEP-753)."""
    found: list[Container] = []
    for init, given, shown in (
        (False, "containers", "containerStatuses"),
        (True, "initContainers", "initContainerStatuses"),
    ):
        known = {s["name"]: s for s in status.get(shown) or ()}
        ordered = [c["name"] for c in spec.get(given) or () if c.get("restartPolicy") != "Always"]
        if not init:
            ordered.sort(key=lambda name: name != main)
        found += [_container(name, init, known.get(name) or _NO_STATE) for name in ordered]
    return tuple(found)


def _container(name: str, init: bool, status: Mapping[str, Any]) -> Container:
    state: Mapping[str, Any] = status.get("state") or _NO_STATE
    waiting: Mapping[str, Any] = state.get("waiting") or _NO_STATE
    running: Mapping[str, Any] = state.get("running") or _NO_STATE
    ended: Mapping[str, Any] = (
        state.get("terminated")
        or (status.get("lastState") or _NO_STATE).get("terminated")
        or _NO_STATE
    )
    return Container(
        name=name,
        init=init,
        waiting=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        image=status.get("image", "") if waiting else "",
        started=instant_or_none(ended.get("startedAt"))
        or instant_or_none(running.get("startedAt")),
        finished=instant_or_none(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        reason=ended.get("reason", ""),
        result=tail(ended.get("message", "")),
    )


def instant_or_none(text: str | None) -> int | None:
    """A time that others have written; None when it is none. Kubernetes takes the year 0, small
    letters in the text of a custom resource, and offsets of 25 hours: whoever may write an event or
    an execution must not be able to stop the watch of them with it."""
    try:
        return parse_instant(text.upper()) if text else None
    except ValueError:
        return None
