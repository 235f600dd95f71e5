"""Watches of pods, and of Events that tell what pods cannot tell themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from taskrunner.domain.instants import parse_instant
from taskrunner.domain.pod_problems import Notice
from taskrunner.domain.pods import Pod, instant_or_none, pod_from
from taskrunner.engine.store import Store
from taskrunner.engine.work import Key
from taskrunner.ports import EventType, Obj

NOTICES: Final = (
    "regarding.kind=Job,reason=FailedCreate",
    "regarding.kind=Pod,reason=FailedMount",
)
"""Field selectors of the events to watch: what the status of a Job or pod does not tell. On a
healthy cluster there are few of them, whoever they are about."""


def slim_pod(obj: Obj) -> Obj:
    """A pod for a reflector to hand on: parsed, so that a long list of them costs little."""
    meta = obj["metadata"]
    return {
        "metadata": {key: meta[key] for key in ("namespace", "name", "uid")},
        "parsed": pod_from(obj),
    }


class PodSink:
    """ports.Sink for the pods of our Jobs, as `slim_pod` leaves them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods = store.pods

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there, and not newer than the list, has been deleted."""
        uids = set(present.values())
        gone = [
            pod
            for pod in self._pods
            if pod.uid not in uids and pod.resource_version <= resource_version and not pod.gone
        ]
        for pod in gone:
            self._note(replace(pod, gone=True, resource_version=resource_version + 1))

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        pod: Pod = obj["parsed"]
        self._note(replace(pod, gone=True) if event == "DELETED" else pod)

    def _note(self, pod: Pod) -> None:
        if pod.job and pod.execution and self._pods.put(pod):
            self._store.wake(Key("run", pod.execution_key))


class NoticeSink:
    """ports.Sink for Events (events.k8s.io/v1) about Jobs whose pods are refused, or about pods
    whose volumes cannot be mounted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods = store.pods

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """Events live an hour: one that is gone is no news."""

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        about = obj["regarding"]
        uid = about.get("uid", "")
        if event == "DELETED" or not uid:
            return
        if about.get("kind") == "Job":
            # Whether it is one of ours is known to who is asked for the execution of that name.
            key = f"{about.get('namespace', '')}/{about.get('name', '').rpartition('-')[0]}"
        else:
            key = self._pods.execution_of(uid)
        if key:
            self._pods.notice(_notice(uid, obj))
            self._store.wake(Key("run", key))


def slim_notice(obj: Obj) -> Obj:
    """An event without what nobody reads."""
    kept = ("regarding", "note", "eventTime", "series")
    times = ("deprecatedFirstTimestamp", "deprecatedLastTimestamp")
    return {
        "metadata": obj["metadata"],
        **{field: obj[field] for field in (*kept, *times) if field in obj},
    }


def _notice(uid: str, obj: Obj) -> Notice:
    series: Obj = obj.get("series") or {}
    first = _time(obj.get("deprecatedFirstTimestamp"), obj.get("eventTime"), obj)
    last = _time(series.get("lastObservedTime"), obj.get("deprecatedLastTimestamp"), obj)
    return Notice(uid, obj.get("note", ""), first, max(first, last))


def _time(one: str | None, other: str | None, obj: Obj) -> int:
    """The first of these that is a time, else when the event was created."""
    found = instant_or_none(one)
    if found is None:
        found = instant_or_none(other)
    return parse_instant(obj["metadata"]["creationTimestamp"]) if found is None else found
