"""Raw objects become compiled tasks in the store: once per generation, errors kept beside them.

A spec that cannot be followed makes its own task not ready and touches nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import orjson

from taskrunner.api.v1alpha1.parse import parse_calendar, parse_scheduled_task
from taskrunner.domain.backfill_status import Backfill, backfill_from
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.compile import compile_task
from taskrunner.domain.instants import parse_instant
from taskrunner.engine.store import Store, TaskState
from taskrunner.engine.work import Key
from taskrunner.errors import Problem, SpecError
from taskrunner.ports import EventType, Obj

log = logging.getLogger(__name__)


class TaskSink:
    """ports.Sink for ScheduledTasks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there, and not newer than the list, is gone."""
        gone = [
            state
            for state in self._store.tasks.values()
            if state.key not in present and state.resource_version <= resource_version
        ]
        for state in gone:
            self._drop(state)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        key = _key(obj)
        if event != "DELETED":
            self._put(obj)
            return
        state = self._store.tasks.get(key)
        if state is not None and state.uid == obj["metadata"]["uid"]:
            self._drop(state)

    def _put(self, obj: Obj) -> None:
        meta = obj["metadata"]
        key = _key(obj)
        known = self._store.tasks.get(key)
        version = int(meta["resourceVersion"])
        if known is not None and known.resource_version >= version:
            return  # Also one of the same name that was deleted before this one was created.
        if known is not None and known.uid == meta["uid"]:
            known.resource_version = version
            known.status = orjson.dumps(obj.get("status") or {})
            deleting = "deletionTimestamp" in meta
            if known.generation == meta.get("generation", 0) and known.deleting == deleting:
                return
        state = TaskState(
            key=key,
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            resource_version=version,
            generation=meta.get("generation", 0),
            created=parse_instant(meta["creationTimestamp"]),
            deleting="deletionTimestamp" in meta,
            status=orjson.dumps(obj.get("status") or {}),
        )
        compile_into(state, obj, self._store)
        self._store.put_task(state)
        self._store.wake(Key("task", key))
        for name in state.executions:
            self._store.wake(Key("run", f"{state.namespace}/{name}"))

    def _drop(self, state: TaskState) -> None:
        self._store.drop_task(state.key)
        self._store.wake(Key("task", state.key))
        for name in state.executions:
            self._store.wake(Key("run", f"{state.namespace}/{name}"))


class CalendarSink:
    """ports.Sink for Calendars: a change compiles anew the tasks that use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there is gone."""
        for key in set(self._store.calendars) - set(present):
            self._change(key, None)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        if event == "DELETED":
            self._change(_key(obj), None)
        else:
            self._put(obj)

    def _put(self, obj: Obj) -> None:
        compiled: CompiledCalendar | SpecError
        try:
            compiled = compile_calendar(parse_calendar(obj))
        except SpecError as error:
            compiled = error
        self._change(_key(obj), compiled)

    def _change(self, key: str, calendar: CompiledCalendar | SpecError | None) -> None:
        if calendar is None:
            self._store.calendars.pop(key, None)
        elif isinstance(calendar, CompiledCalendar) and self._store.calendars.get(key) == calendar:
            return
        else:
            self._store.calendars[key] = calendar
        namespace, _, name = key.partition("/")
        for state in self._store.tasks.values():
            if state.namespace == namespace and name in state.calendar_names:
                compile_into(state, orjson.loads(state.source), self._store)
                self._store.wake(Key("task", state.key))
                for execution in state.executions.values():
                    if not execution.terminal:  # It may have waited for a spec to follow.
                        self._store.wake(Key("run", execution.key))


class BackfillSink:
    """ports.Sink for Backfills."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What is not there, and not newer than the list, is gone."""
        for backfill in list(self._store.backfills.values()):
            newer = backfill.resource_version > resource_version
            if backfill.key not in present and not newer:
                self._drop(backfill)

    def seen(self, event: EventType, obj: Obj) -> None:
        """Take one object, or one change."""
        if event != "DELETED":
            self._put(obj)
            return
        known = self._store.backfills.get(_key(obj))
        if known is not None and known.uid == obj["metadata"]["uid"]:
            self._drop(known)

    def _put(self, obj: Obj) -> None:
        backfill = backfill_from(obj)
        known = self._store.backfills.get(backfill.key)
        if known is not None and known.resource_version >= backfill.resource_version:
            return
        self._store.backfills[backfill.key] = backfill
        self._store.wake(Key("backfill", backfill.key))
        if backfill.deleting or (known is not None and known.uid != backfill.uid):
            self._wake_runs(backfill)

    def _drop(self, backfill: Backfill) -> None:
        del self._store.backfills[backfill.key]
        self._store.wake(Key("backfill", backfill.key))
        self._wake_runs(backfill)

    def _wake_runs(self, backfill: Backfill) -> None:
        """What has not started is cancelled by its own step; records need not be kept any more."""
        state = self._store.tasks.get(backfill.task_key)
        for execution in list(state.executions.values()) if state is not None else ():
            if execution.backfill is not None and not execution.terminal:
                self._store.wake(Key("run", execution.key))
        self._store.wake(Key("report", backfill.task_key))


def compile_into(state: TaskState, obj: Obj, store: Store) -> None:
    """Compile `obj` and note the outcome in `state`."""
    references = obj.get("spec", {}).get("calendars") or ()
    state.calendar_names = frozenset(r["name"] for r in references if "name" in r)
    state.source = b""
    if state.calendar_names:
        kept = {key: obj[key] for key in ("apiVersion", "kind", "metadata", "spec")}
        kept["metadata"] = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
        state.source = orjson.dumps(kept)
    calendars: dict[str, CompiledCalendar] = {}
    try:
        for name in state.calendar_names:
            found = store.calendars.get(f"{state.namespace}/{name}")
            if isinstance(found, SpecError):
                raise _unusable(name, found)
            if found is not None:
                calendars[name] = found
        state.compiled = compile_task(parse_scheduled_task(obj), calendars)
        state.problems = ()
    except SpecError as error:
        state.compiled = None
        state.problems = error.problems
        log.info("task %s cannot be followed: %s", state.key, error)


def _unusable(calendar: str, error: SpecError) -> SpecError:
    return SpecError(
        Problem(
            "spec.calendars",
            calendar,
            f"The calendar cannot be followed: {error}",
            "Correct the Calendar.",
        )
    )


def _key(obj: Obj) -> str:
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}"
