"""The narrow interfaces between the engine and the world: clock, API server, watches, events.

`taskrunner.kube` implements them on a real API server; `tests/fakes` in memory. One set of contract
tests runs against both, so that a fake can stand in for speed and never for truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from taskrunner.api.v1alpha1 import names

Obj = dict[str, Any]
"""A Kubernetes object as decoded JSON."""

EventType = Literal["LISTED", "ADDED", "MODIFIED", "DELETED"]
"""LISTED: found by a list, which says nothing about what has happened to it."""
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object as the API server addresses it. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def _ours(resource: names.Resource) -> Resource:
    return Resource(names.GROUP, names.VERSION, resource.plural, resource.kind)


SCHEDULED_TASKS: Final = _ours(names.SCHEDULED_TASK)
TASK_EXECUTIONS: Final = _ours(names.TASK_EXECUTION)
BACKFILLS: Final = _ours(names.BACKFILL)
CALENDARS: Final = _ours(names.CALENDAR)
TASK_QUEUES: Final = _ours(names.TASK_QUEUE)
SHARDS: Final = _ours(names.SHARD)
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
PODS: Final = Resource("", "v1", "pods", "Pod")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")


class Clock(Protocol):
    """Time, injected: nothing else in the program may ask what time it is."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch (UTC). May jump."""
        ...

    def boot(self) -> float:
        """Seconds since boot, suspend included (CLOCK_BOOTTIME). Never jumps; only differences
        mean anything. Lease validity is judged by it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; when they are not positive, once others have had a turn."""
        ...


class Api(Protocol):
    """Calls to the API server. Every method raises `errors.ApiError` subclasses, nothing else.

    Bodies and answers are decoded JSON. `timeout` bounds the call on both sides: it is sent as
    `?timeout=` where the verb has it, so that the server too gives up, and is at most the remaining
    validity of the caller's Lease.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """The live object (never from a cache). Raises NotFound."""
        ...

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Obj]:
        """A consistent LIST, read in pages; of all namespaces when `namespace` is empty."""
        ...

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Obj:
        """POST. Raises AlreadyExists when the name is taken. A dry run validates strictly."""
        ...

    async def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        timeout: float | None = None,
    ) -> Obj:
        """PUT; the resourceVersion in the body is the precondition. Raises Conflict, NotFound."""
        ...

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
        timeout: float | None = None,
    ) -> Obj:
        """JSON merge patch (RFC 7386); a `metadata.resourceVersion` in the patch is a precondition.

        `metadata.uid` is one only without a subresource: a write of the status keeps the metadata
        that is there, and the server says nothing. A uid is not to be relied on; a version is.
        Raises Conflict, NotFound.
        """
        ...

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        propagation: Propagation = "Background",
        timeout: float | None = None,
    ) -> None:
        """DELETE with preconditions. Raises NotFound, Conflict."""
        ...

    async def delete_selected(
        self,
        resource: Resource,
        namespace: str,
        *,
        label_selector: str,
        field_selector: str = "",
        grace_seconds: int | None = None,
        timeout: float | None = None,
    ) -> Sequence[Obj]:
        """DELETE of a collection (in the background): one call for all objects that are selected.
        `grace_seconds` is for pods: 0 kills them.

        Answers with the objects as they were found. There are no preconditions: the selectors must
        match nothing else. The server deletes one after the other, so an error may have left some
        of them deleted; one that somebody else deleted meanwhile is no error.
        """
        ...

    async def warm(self, calls: int) -> None:
        """So many calls will be made at once in a few seconds. A hint: it never fails, and may do
        nothing."""
        ...


class Term(Protocol):
    """The time during which this process holds a shard's Lease."""

    @property
    def identity(self) -> str:
        """Who holds it: unique per process, never reused."""
        ...

    @property
    def epoch(self) -> int:
        """A number that only grows from holder to holder (the Lease's `leaseTransitions`)."""
        ...

    def remaining(self) -> float:
        """Seconds for which the Lease is still certainly ours, by the boot clock; 0 when it may
        have passed to somebody else. No write may start, or be waited for, beyond it."""
        ...


class Sink(Protocol):
    """Where a watch delivers what it sees. Calls are synchronous and cheap: note it and return.

    A list comes object by object, LISTED, with other work and newer changes in between, so that a
    long one holds up nothing; `synced` ends it.
    """

    def seen(self, event: EventType, obj: Obj) -> None:
        """One object, or one change."""
        ...

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """All of a list, taken at `resource_version`, has been seen, and `present` is the uids by
        `namespace/name`, changes since then worked in: nothing else exists, unless it is newer."""
        ...


class Watch(Protocol):
    """A list and watch that keeps a sink up to date until it is cancelled.

    Survives 410, ERROR events, broken and hanging connections, and restarts of the server; compares
    with a fresh LIST periodically, because a watch that has silently lost a delete cannot tell.
    """

    async def run(self) -> None:
        """Keep the sink up to date; returns only by cancellation."""
        ...

    async def refresh(self) -> None:
        """LIST now, or wait for a list that begins later; returns when it has been delivered."""
        ...


class Events(Protocol):
    """Kubernetes Events for people; best effort, rate-limited, never awaited by the data path."""

    def record(
        self, regarding: Obj, *, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Post an event about an object. `regarding` needs apiVersion, kind and metadata."""
        ...
