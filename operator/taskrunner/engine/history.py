"""Cleaning up: finished executions beyond the limits go, and Jobs whose time is over.

In the background, and late on purpose: what is to go is gathered for up to a minute, per namespace,
and goes in calls of up to 100 executions. Every delete may be lost with the process or done twice:
what is still there is found again by the next leader, and what has gone is no error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from taskrunner.domain.backfill_status import is_needed
from taskrunner.domain.history import (
    ENDED,
    MOST_AT_ONCE,
    batches,
    expendable,
    job_expiry,
    next_expiry,
    selector,
)
from taskrunner.domain.naming import job_name
from taskrunner.domain.observed import Execution, Job, job_from
from taskrunner.domain.starts import UNCERTAIN_SECONDS, WINDOW_SECONDS
from taskrunner.engine.launch import Launcher
from taskrunner.engine.progress import Progress
from taskrunner.engine.store import Store, TaskState
from taskrunner.engine.timetable import Timetable
from taskrunner.engine.work import Key
from taskrunner.errors import NotFound
from taskrunner.ports import JOBS, TASK_EXECUTIONS, Api, Clock

log = logging.getLogger(__name__)

HELD_SECONDS: Final = WINDOW_SECONDS + UNCERTAIN_SECONDS
GATHER_SECONDS: Final = 60.0
"""How long what is to go may stay, so that much of it goes in one call."""


class History:
    """Deletes what is no longer kept, for one term of leadership; `progress` says how far a task
    has been decided. Its keys are namespaces."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        store: Store,
        launcher: Launcher,
        timetable: Timetable,
        progress: Callable[[str], Progress | None],
        *,
        dead_letters: int,
    ) -> None:
        self._dead_letters = dead_letters
        self._api = api
        self._clock = clock
        self._store = store
        self._launcher = launcher
        self._timetable = timetable
        self._progress = progress
        self._noted: dict[str, dict[str, int]] = {}
        """By namespace, the tasks to look at, and how much of each is to go already."""
        self._waiting: dict[str, int] = {}
        """By namespace, how much is to go."""

    def note(self, state: TaskState) -> None:
        """Something about a task has changed: see when there is something to delete."""
        key, now = Key("history", state.namespace), self._clock.now()
        tasks = self._noted.setdefault(state.namespace, {})
        found = len(self._expendable(state, now)) + len(self._jobs(state, now))
        found += len(_unowned(state))
        expiries = [e for e in self._expiries(state, now) if e is not None]
        waiting = self._waiting.get(state.namespace, 0) + found - tasks.pop(state.key, 0)
        self._waiting[state.namespace] = waiting
        if not found and not expiries:
            return
        tasks[state.key] = found
        if waiting >= MOST_AT_ONCE:
            self._timetable.wake(key)
        else:
            first = now if found else min(expiries)
            self._timetable.within(key, first - now + GATHER_SECONDS)

    def begin(self, task_key: str) -> None:
        """Once a term: what leaders before had no time for is to go, too."""
        state, progress = self._store.tasks.get(task_key), self._progress(task_key)
        if state is not None and progress is not None and not progress.tidied:
            progress.tidied = True
            self.note(state)

    def presses(self, namespace: str) -> bool:
        """Whether more is to go than one call takes: it makes every list longer."""
        return self._waiting.get(namespace, 0) >= MOST_AT_ONCE

    async def handle(self, namespace: str) -> None:
        """Delete what is to go in a namespace, and note when there is more."""
        # They stay noted until all is done: an error in between leads back here.
        noted = list(self._noted.get(namespace, ()))
        states = [self._store.tasks[key] for key in noted if key in self._store.tasks]
        now = self._clock.now()
        for state in states:
            await self._adopt(state)
        gone = [e for state in states for e in self._expendable(state, now)]
        present = (e for e in self._store.executions() if e.namespace == namespace)
        for batch in batches(gone, present):
            await self._delete(batch)
        for state in states:
            for job in self._jobs(state, now):
                await self._delete_job(job)
                await self._delete_earlier(job)
        # What was noted meanwhile may be gone already: the minute begins anew for what is left.
        self._timetable.forget(Key("history", namespace))
        self._waiting.pop(namespace, None)
        for key in self._noted.pop(namespace, {}):
            if key in self._store.tasks:
                self.note(self._store.tasks[key])

    async def _delete(self, batch: list[Execution]) -> None:
        """Delete executions; their Jobs, run Leases and pods go with them, by the garbage
        collector."""
        first = batch[0]
        if len(batch) > 1:
            found = await self._api.delete_selected(
                TASK_EXECUTIONS,
                first.namespace,
                label_selector=selector(batch),
                field_selector=ENDED,
                timeout=self._launcher.timeout(),
            )
            deleted = {obj["metadata"]["uid"] for obj in found}
            for execution in batch:
                if execution.uid in deleted:
                    self._store.drop_execution(execution.key, execution.uid)
            # What is left was deleted by somebody else, or its labels were changed just now.
            batch = [execution for execution in batch if execution.uid not in deleted]
        for execution in batch:
            try:
                await self._api.delete(
                    TASK_EXECUTIONS,
                    execution.namespace,
                    execution.name,
                    uid=execution.uid,
                    propagation="Background",
                    timeout=self._launcher.timeout(),
                )
            except NotFound:
                log.debug("execution %s was deleted by somebody else", execution.key)
            self._store.drop_execution(execution.key, execution.uid)

    async def _adopt(self, state: TaskState) -> None:
        """Make runs by hand that ended before they could start children of their task, so that
        they go with it."""
        for execution in _unowned(state):
            try:
                await self._launcher.adopt(state.uid, execution)
            except NotFound:
                log.debug("execution %s was deleted by somebody else", execution.key)

    async def _delete_job(self, job: Job) -> None:
        try:
            await self._api.delete(
                JOBS,
                job.namespace,
                job.name,
                uid=job.uid,
                propagation="Background",
                timeout=self._launcher.timeout(),
            )
        except NotFound:
            log.debug("Job %s was deleted by somebody else", job.key)
        self._store.drop_job(job)

    async def _delete_earlier(self, last: Job) -> None:
        """Delete the Jobs of the attempts before the last one, which are not in memory."""
        for attempt in range(1, last.attempt):
            name = job_name(last.execution, attempt)
            try:
                job = job_from(await self._api.get(JOBS, last.namespace, name))
            except NotFound:
                continue
            if job.owner_uid == last.owner_uid and not job.deleting:
                await self._delete_job(job)

    def _expendable(self, state: TaskState, now: float) -> list[Execution]:
        task, progress = state.compiled, self._progress(state.key)
        if task is None or progress is None or state.deleting:
            return []
        found = expendable(
            state.executions.values(),
            succeeded=task.successful_history_limit,
            failed=task.failed_history_limit,
            decided_until=progress.acknowledged,
            dead_letters=self._dead_letters,
            ttl=task.ttl,
            now=now,
            needed=lambda e: is_needed(self._store.backfill_of(e), e),
        )
        if task.places.queue:
            # A new leader counts from them how many have started within the last minute.
            found = [e for e in found if e.finished is None or e.finished + HELD_SECONDS <= now]
        return found

    def _jobs(self, state: TaskState, now: float) -> list[Job]:
        """Jobs whose time is over."""
        return [job for job, expiry in self._job_expiries(state) if expiry <= now]

    def _expiries(self, state: TaskState, now: float) -> list[int | None]:
        if state.compiled is None or state.deleting:
            return []
        jobs = [expiry for _, expiry in self._job_expiries(state) if expiry > now]
        return [next_expiry(state.executions.values(), state.compiled.ttl, now), *jobs]

    def _job_expiries(self, state: TaskState) -> list[tuple[Job, int]]:
        task = state.compiled
        if task is None or task.job_ttl is None or state.deleting:
            return []
        found: list[tuple[Job, int]] = []
        for execution in state.executions.values():
            job = self._store.jobs.get(execution.key)
            expiry = None if job is None else job_expiry(execution, job, task.job_ttl)
            if job is not None and expiry is not None:
                found.append((job, expiry))
        return found


def _unowned(state: TaskState) -> list[Execution]:
    if state.deleting:
        return []
    found = state.executions.values()
    return [e for e in found if e.terminal and not e.deleting and not e.owner_uid]
