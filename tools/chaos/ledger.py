"""What was ever seen of executions and Jobs, from watches and, at the end, from the audit log."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from taskrunner.ports import EventType, Obj

Kind = Literal["execution", "job"]
_EXECUTION = "taskrunner.dev/execution"


@dataclass
class Seen:
    """One object with its uid, over its life."""

    kind: Kind
    uid: str
    first: float
    """When the ledger saw it first, by the wall clock here."""
    created: int
    ended: int | None = None
    deleted: bool = False
    phase: str = ""
    decision: str = ""


class Ledger:
    """Objects by `namespace/execution`, each uid apart."""

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Seen]] = defaultdict(dict)
        self.jobs: dict[str, dict[str, Seen]] = defaultdict(dict)
        self.removed: dict[str, str] = {}
        """Executions and Jobs (`job namespace/execution`) that a fault deleted, and which."""
        self.timeline: list[tuple[float, str]] = []

    def say(self, text: str) -> None:
        """Note what was done."""
        self.timeline.append((time.time(), text))
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def execution(self, obj: Obj, *, deleted: bool = False) -> None:
        """Note a TaskExecution."""
        status = obj.get("status") or {}
        seen = self._seen(self.executions, "execution", _key(obj, obj["metadata"]["name"]), obj)
        seen.phase = status.get("phase", seen.phase)
        seen.decision = (obj["spec"].get("decision") or {}).get("type", "Run")
        seen.deleted = seen.deleted or deleted

    def job(self, obj: Obj, *, deleted: bool = False) -> None:
        """Note a Job of ours."""
        execution = (obj["metadata"].get("labels") or {}).get(_EXECUTION)
        if execution is None:
            return
        seen = self._seen(self.jobs, "job", _key(obj, execution), obj)
        for condition in (obj.get("status") or {}).get("conditions") or ():
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                seen.ended = seconds(condition["lastTransitionTime"])
        seen.deleted = seen.deleted or deleted

    def audit(self, events: Iterable[dict[str, Any]]) -> None:
        """Add creations that no watch told of, because it was cut off just then: where the server
        has accepted more under a name than was seen of it."""
        accepted: dict[tuple[Kind, str], list[int]] = defaultdict(list)
        for event in events:
            where = event.get("objectRef") or {}
            if event["verb"] != "create" or event["responseStatus"].get("code") != 201:
                continue
            if where.get("subresource") or "dryRun=All" in event.get("requestURI", ""):
                continue
            at = seconds(event["requestReceivedTimestamp"])
            if where.get("resource") == "jobs" and "name" in where:
                # The name of an attempt is the execution's and the attempt's number.
                execution = where["name"].rpartition("-")[0]
                accepted["job", f"{where['namespace']}/{execution}"].append(at)
            elif where.get("resource") == "taskexecutions":
                accepted["execution", f"{where['namespace']}/{where['name']}"].append(at)
        for (kind, key), times in accepted.items():
            seen = (self.jobs if kind == "job" else self.executions)[key]
            for number, at in enumerate(times[len(seen) :]):
                uid = f"audit-{number}"
                seen[uid] = Seen(kind, uid, at, at, deleted=True, decision="Run")

    def life_of(self, key: str) -> Iterator[str]:
        """Everything known of one slot, for the timeline of a violation."""
        for seen in (*self.executions[key].values(), *self.jobs[key].values()):
            when = time.strftime("%H:%M:%S", time.localtime(seen.created))
            state = "deleted" if seen.deleted else seen.phase or ("ended" if seen.ended else "open")
            yield f"{when} {seen.kind} {seen.uid} {seen.decision} {state}".strip()

    def _seen(
        self,
        kept: dict[str, dict[str, Seen]],
        kind: Kind,
        key: str,
        obj: Obj,
    ) -> Seen:
        meta = obj["metadata"]
        seen = kept[key].get(meta["uid"])
        if seen is None:
            created = seconds(meta["creationTimestamp"])
            seen = kept[key][meta["uid"]] = Seen(kind, meta["uid"], time.time(), created)
        return seen


class Sink:
    """ports.Sink that notes what a watch tells."""

    def __init__(self, ledger: Ledger, kind: Kind) -> None:
        self._note = ledger.execution if kind == "execution" else ledger.job

    def synced(self, objects: Iterable[Obj], resource_version: int) -> None:
        for obj in objects:
            self._note(obj)

    def seen(self, event: EventType, obj: Obj) -> None:
        self._note(obj, deleted=event == "DELETED")


def seconds(text: str) -> int:
    """An RFC 3339 instant in UTC seconds."""
    return int(datetime.fromisoformat(text).timestamp())


def _key(obj: Obj, execution: str) -> str:
    return f"{obj['metadata']['namespace']}/{execution}"
