"""What was ever seen of executions and Jobs, from watches and, at the end, from the audit log."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from taskrunner.ports import EventType, Obj

Kind = Literal["execution", "job"]
_EXECUTION = "taskrunner.dev/execution"
_AROUND_SECONDS = 20.0


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
    reason: str = ""
    decision: str = ""
    attempt: int = 0
    """Of a Job: its number, from 1."""
    owner: str = ""
    """Of a Job: the uid of its execution; empty when only the audit log knows it."""


@dataclass(frozen=True)
class Removal:
    """An object that a fault deleted.

    `recorded`: by then the server knew that the slot was decided (the task's watermark had passed
    it), or that the attempt was made (it was in the execution's status). Then it must not come back
    in any case.
    """

    kind: Kind
    name: str
    recorded: bool = False


@dataclass(frozen=True)
class Miss:
    """A record that slots were missed: those due from `first` to `last`."""

    first: int
    last: int
    reason: str
    created: int


class Ledger:
    """Objects by `namespace/execution`, each uid apart."""

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Seen]] = defaultdict(dict)
        self.jobs: dict[str, dict[str, Seen]] = defaultdict(dict)
        self.removed: dict[str, list[Removal]] = defaultdict(list)
        """What faults deleted of a slot: its execution, its Jobs."""
        self.misses: dict[str, set[Miss]] = defaultdict(set)
        """By `namespace/task`."""
        self.timeline: list[tuple[float, str]] = []
        self.requests: dict[str, list[str]] = defaultdict(list)
        """Writes on the objects of a slot, told one by one; only where `follow` was asked to."""

    def say(self, text: str) -> None:
        """Note what was done."""
        self.timeline.append((time.time(), text))
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def execution(self, obj: Obj, *, deleted: bool = False) -> None:
        """Note a TaskExecution."""
        status = obj.get("status") or {}
        seen = self._seen(self.executions, "execution", _key(obj, obj["metadata"]["name"]), obj)
        seen.phase = status.get("phase", seen.phase)
        seen.reason = status.get("reason", seen.reason)
        decision = obj["spec"].get("decision") or {}
        seen.decision = decision.get("type", "Run")
        seen.deleted = seen.deleted or deleted
        if seen.decision == "Miss":
            last = obj["spec"]["scheduledTime"]
            first, reason = decision.get("from", last), decision.get("reason", "")
            miss = Miss(seconds(first), seconds(last), reason, seen.created)
            self.misses[_key(obj, obj["spec"]["taskRef"]["name"])].add(miss)

    def job(self, obj: Obj, *, deleted: bool = False) -> None:
        """Note a Job of ours."""
        execution = (obj["metadata"].get("labels") or {}).get(_EXECUTION)
        if execution is None:
            return
        seen = self._seen(self.jobs, "job", _key(obj, execution), obj)
        seen.attempt = int(obj["metadata"]["name"].rpartition("-")[2])
        seen.owner = next((o["uid"] for o in obj["metadata"].get("ownerReferences") or ()), "")
        for condition in (obj.get("status") or {}).get("conditions") or ():
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                seen.ended = seconds(condition["lastTransitionTime"])
                seen.phase = condition["type"]
        seen.deleted = seen.deleted or deleted

    def audit(self, events: Iterable[dict[str, Any]]) -> None:
        """Add creations that no watch told of, because it was cut off just then: where the server
        has accepted more under a name than was seen of it."""
        accepted: dict[tuple[Kind, str, int], list[int]] = defaultdict(list)
        for event in events:
            where = event.get("objectRef") or {}
            if event["verb"] != "create" or event["responseStatus"].get("code") != 201:
                continue
            if where.get("subresource") or "dryRun=All" in event.get("requestURI", ""):
                continue
            at = seconds(event["requestReceivedTimestamp"])
            if where.get("resource") == "jobs" and "name" in where:
                # The name of an attempt is the execution's and the attempt's number.
                execution, _, attempt = where["name"].rpartition("-")
                if attempt.isdigit():
                    key = f"{where['namespace']}/{execution}"
                    accepted["job", key, int(attempt)].append(at)
            elif where.get("resource") == "taskexecutions" and "name" in where:
                accepted["execution", f"{where['namespace']}/{where['name']}", 0].append(at)
        for (kind, key, attempt), times in accepted.items():
            kept = (self.jobs if kind == "job" else self.executions)[key]
            known = sum(seen.attempt == attempt for seen in kept.values())
            for number, at in enumerate(times[known:]):
                uid = f"audit-{attempt}-{number}"
                kept[uid] = Seen(kind, uid, at, at, deleted=True, decision="Run", attempt=attempt)

    def living(self, kept: dict[str, dict[str, Seen]], objects: Iterable[Obj]) -> None:
        """Note which of a kind are there by a LIST: all others are gone, also those whose deletion
        no watch told of."""
        note = self.execution if kept is self.executions else self.job
        living = set()
        for obj in objects:
            note(obj)
            living.add(obj["metadata"]["uid"])
        for versions in kept.values():
            for seen in versions.values():
                seen.deleted = seen.deleted or seen.uid not in living

    def follow(self, events: Iterable[dict[str, Any]], keys: Collection[str]) -> None:
        """Keep all writes on the objects of these slots, for their timelines."""
        for event in events:
            where = event.get("objectRef") or {}
            name = where.get("name", "")
            for candidate in (name, name.rpartition("-")[0]):
                if (key := f"{where.get('namespace')}/{candidate}") in keys:
                    part = f"/{where['subresource']}" if where.get("subresource") else ""
                    self.requests[key].append(
                        f"{event['requestReceivedTimestamp'][11:23]} {event['verb']} "
                        f"{where.get('resource')}{part} {name} by {event['user'].get('username')}: "
                        f"{event['responseStatus'].get('code')}"
                    )

    def life_of(self, key: str) -> Iterator[str]:
        """Everything known of one slot, for the timeline of a violation."""
        found = [*self.executions[key].values(), *self.jobs[key].values()]
        for seen in found:
            state = f"{seen.phase} {seen.reason}".strip() or ("ended" if seen.ended else "open")
            number = f"attempt {seen.attempt} " if seen.attempt else ""
            gone = ", deleted" if seen.deleted else ""
            when = clock(seen.created)
            yield f"{when} {seen.kind} {number}{seen.uid} {seen.decision} {state}{gone}"
        for removal in self.removed.get(key, ()):
            yield f"a fault deleted the {removal.kind} {removal.name}: {removal}"
        due = int(key.rpartition("-")[2]) if key.rpartition("-")[2].isdigit() else 0
        last = max((seen.first for seen in found), default=due)
        for at, text in self.timeline:
            if due - _AROUND_SECONDS <= at <= last + _AROUND_SECONDS:
                yield f"{clock(at)} fault {text}"
        yield from self.requests.get(key, ())

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

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What has gone is in the audit log."""

    def seen(self, event: EventType, obj: Obj) -> None:
        self._note(obj, deleted=event == "DELETED")


def seconds(text: str) -> int:
    """An RFC 3339 instant in UTC seconds."""
    return int(datetime.fromisoformat(text).timestamp())


def clock(at: float) -> str:
    """A time of day, UTC, as in the audit log."""
    return time.strftime("%H:%M:%S", time.gmtime(at))


def _key(obj: Obj, execution: str) -> str:
    return f"{obj['metadata']['namespace']}/{execution}"
