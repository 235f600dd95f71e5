"""A small world for engine tests: one server, a Job controller, and replicas that can be killed.

The server is the fake one of the contract tests; time moves only when a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fakes.api import Crash, FakeApi
from fakes.clock import FakeClock, settle
from fakes.server import FakeServer
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.engine.admit import BackfillSink, CalendarSink, TaskSink
from taskrunner.engine.pace import Pace
from taskrunner.engine.pause_sinks import PAUSED_NAMESPACES, ConfigSink, NamespaceSink
from taskrunner.engine.pod_sinks import NoticeSink, PodSink, slim_notice, slim_pod
from taskrunner.engine.queues import TaskQueueSink
from taskrunner.engine.slim import slim_execution, slim_job
from taskrunner.engine.store import ExecutionSink, JobSink, Store
from taskrunner.engine.tick import Cycle
from taskrunner.kube.reflector import Reflector
from taskrunner.metrics import Metrics
from taskrunner.ports import (
    BACKFILLS,
    CALENDARS,
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    SCHEDULED_TASKS,
    TASK_EXECUTIONS,
    TASK_QUEUES,
    Api,
    Obj,
    Resource,
    Sink,
    Term,
)

NS = "team"
SLIM = {JOBS: slim_job, TASK_EXECUTIONS: slim_execution}
START = 1_790_000_000  # 2026-09-21T14:13:20Z: 40 s before a full minute
TEMPLATE: Obj = {
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}}}
}


@dataclass
class Held:
    """A Lease that is ours for as long as a test says so."""

    identity: str
    epoch: int
    seconds: float = 10.0

    def remaining(self) -> float:
        return self.seconds


@dataclass
class Recorded:
    """ports.Events that remembers."""

    events: list[tuple[str, str, str, str]] = field(default_factory=list)

    def record(self, regarding: Obj, *, kind: str, reason: str, message: str) -> None:
        self.events.append((regarding["metadata"]["name"], kind, reason, message))


class Replica:
    """One process: caches, and a cycle when it leads."""

    def __init__(
        self,
        server: FakeServer,
        clock: FakeClock,
        number: int,
        default_retries: int = 0,
        *,
        api: FakeApi | None = None,
    ) -> None:
        self._default_retries = default_retries
        self.api = api or FakeApi(clock, server)
        self.clock = clock
        self.store = Store()
        self.events = Recorded()
        self.metrics = Metrics()
        self.term = Held(f"replica-{number}", number)
        self.cycle: Cycle | None = None
        self.most_active: int | None = None
        self.pace: Pace | None = None
        self._tasks: list[asyncio.Task[None]] = []
        sinks: dict[Resource, Sink] = {
            CALENDARS: CalendarSink(self.store),
            SCHEDULED_TASKS: TaskSink(self.store),
            BACKFILLS: BackfillSink(self.store),
            TASK_EXECUTIONS: ExecutionSink(self.store),
            JOBS: JobSink(self.store),
            TASK_QUEUES: TaskQueueSink(self.store),
        }
        self._watches = [
            Reflector(self.api, clock, resource, sink, trim=SLIM.get(resource), rng=lambda: 0.5)
            for resource, sink in sinks.items()
        ]
        self._pod_sink = PodSink(self.store)
        self._watches += [
            Reflector(self.api, clock, PODS, self._pod_sink, trim=slim_pod, rng=lambda: 0.5),
            Reflector(
                self.api,
                clock,
                NAMESPACES,
                NamespaceSink(self.store),
                label_selector=PAUSED_NAMESPACES,
                rng=lambda: 0.5,
            ),
            Reflector(
                self.api,
                clock,
                CONFIG_MAPS,
                ConfigSink(self.store),
                namespace="taskrunner-system",
                field_selector="metadata.name=taskrunner-config",
                rng=lambda: 0.5,
            ),
            Reflector(
                self.api, clock, EVENTS, NoticeSink(self.store), trim=slim_notice, rng=lambda: 0.5
            ),
        ]

    async def watch(self) -> None:
        """Keep the caches up to date, as a standby does."""
        for watch in self._watches:
            self.start(watch.run())
        await settle()

    def pods_behind(self) -> None:
        """The watch of pods tells nothing any more; the server still does."""
        self._pod_sink.seen = lambda event, obj: None  # type: ignore[method-assign]

    async def refresh(self) -> None:
        """Consistent LISTs of everything."""
        for watch in self._watches:
            await watch.refresh()

    def work(self, term: Term, api: Api) -> Cycle:
        """What is done in one term."""
        return Cycle(
            api=api,
            clock=self.clock,
            store=self.store,
            term=term,
            events=self.events,
            metrics=self.metrics,
            shard="0",
            parallel=16,
            status_interval=10.0,
            default_retries=self._default_retries,
            most_active=self.most_active,
            pace=self.pace,
        )

    async def lead(self) -> None:
        """Take over: list, then act."""
        await self.refresh()
        self.cycle = self.work(self.term, self.api)
        self.start(self.cycle.run())
        await settle()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something until the process is killed."""
        self._tasks.append(asyncio.ensure_future(_until_dead(work)))

    async def kill(self) -> None:
        """SIGKILL: nothing of it writes any more."""
        self.api.crashed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


class Pods:
    """The pods of Jobs, as the scheduler and a kubelet write them."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.stuck: dict[str, Obj] = {}
        """Status of the pods of a task that do not get on."""
        self.refused: set[str] = set()
        """Tasks whose Jobs get no pod."""
        self.ends: dict[str, Obj] = {}
        """How the container of a task's pods ends: exitCode, reason, message."""
        self.late: float = 0.0
        """Seconds after the Job's end at which the watch tells of the pod's."""

    def create(self, job: Obj, now: str) -> str:
        """A pod of the Job; its name."""
        meta, template = job["metadata"], job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        body = {
            "metadata": {
                "name": f"{meta['name']}-x7k2p",
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner | {"controller": True}],
            },
            "spec": template["spec"],
        }
        name: str = self._server.create(PODS, meta["namespace"], body)["metadata"]["name"]
        task = meta["labels"]["taskrunner.dev/task"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
        running = {"phase": "Running", **_container({"running": {"startedAt": now}})}
        self.write(
            meta["namespace"], name, self.stuck.get(task, running | {"conditions": [scheduled]})
        )
        return name

    def end(self, job: Obj, name: str, *, code: int, started: str, now: str) -> None:
        """The pod has ended."""
        task = job["metadata"]["labels"]["taskrunner.dev/task"]
        how = {"exitCode": code, "reason": "Error"} if code else {"exitCode": 0}
        ended = {**how, **self.ends.get(task, {}), "startedAt": started, "finishedAt": now}
        phase = "Failed" if code else "Succeeded"
        status = {"phase": phase, **_container({"terminated": ended})}
        self.write(job["metadata"]["namespace"], name, status)

    def write(self, namespace: str, name: str, status: Obj) -> None:
        """Set the status of a pod, if it is there."""
        if name in self._server.objects(PODS):
            self._server.patch(PODS, namespace, name, {"status": status}, subresource="status")


def _container(state: Obj) -> Obj:
    return {"containerStatuses": [{"name": "main", "state": state}]}


class World:
    """Server, clock, Job controller and replicas."""

    def __init__(self) -> None:
        self.clock = FakeClock(now=float(START))
        self.server = FakeServer(self.clock)
        self.run_for: dict[str, int | None] = {}
        """Seconds that Jobs of a task run; None for ever. Default: 3."""
        self.most_active: int | None = None
        """The maximum of the operator over all tasks."""
        self.fail: set[str] = set()
        """Tasks whose Jobs fail."""
        self.codes: dict[str, list[int]] = {}
        """Exit codes of a task's attempts, in order; the last one stays."""
        self.grace: dict[str, int] = {}
        """Seconds that pods of a task outlive their deletion."""
        self.lax = False
        """The Job controller forgets about activeDeadlineSeconds."""
        self.pods = Pods(self.server)
        self.jobs_created: list[str] = []
        self._replicas: list[Replica] = []
        self._controller: asyncio.Task[None] | None = None

    async def __aenter__(self) -> World:
        self._controller = asyncio.ensure_future(self._control_jobs())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._controller is not None
        self._controller.cancel()
        await asyncio.gather(self._controller, return_exceptions=True)
        for replica in self._replicas:
            await replica.kill()

    async def replica(self, *, lead: bool = True, default_retries: int = 0) -> Replica:
        """A new process; the leader unless told otherwise."""
        replica = Replica(self.server, self.clock, len(self._replicas) + 1, default_retries)
        replica.most_active = self.most_active
        self._replicas.append(replica)
        await replica.watch()
        if lead:
            await replica.lead()
        return replica

    def apply(self, name: str, **spec: Any) -> Obj:
        """Create a ScheduledTask, or replace the spec of the one that is there."""
        body: Obj = {"metadata": {"name": name}, "spec": {"jobTemplate": TEMPLATE, **spec}}
        present = self.server.objects(SCHEDULED_TASKS).get(name)
        if present is None:
            return self.server.create(SCHEDULED_TASKS, NS, body)
        present["spec"] = body["spec"]
        return self.server.replace(SCHEDULED_TASKS, NS, name, present)

    def run_by_hand(self, name: str, task: str, **spec: Any) -> Obj:
        """Create a Manual execution as a person does."""
        body = {"metadata": {"name": name}, "spec": {"taskRef": {"name": task}, **spec}}
        body["spec"].setdefault("type", "Manual")
        return self.server.create(TASK_EXECUTIONS, NS, body)

    def backfill(self, name: str, task: str, begin: int, end: int, **spec: Any) -> Obj:
        """Create a Backfill; `begin` and `end` in seconds since the start of the test."""
        times = {"from": format_instant(START + begin), "to": format_instant(START + end)}
        body = {"metadata": {"name": name}, "spec": {"taskRef": {"name": task}, **times, **spec}}
        return self.server.create(BACKFILLS, NS, body)

    def task(self, name: str) -> Obj:
        return self.server.get(SCHEDULED_TASKS, NS, name)

    def status(self, name: str) -> Obj:
        return dict(self.task(name).get("status") or {})

    def executions(self, task: str = "") -> list[Obj]:
        """In the order of their names: for slots, of time."""
        found = self.server.objects(TASK_EXECUTIONS).values()
        return [e for e in found if task in ("", e["spec"]["taskRef"]["name"])]

    def decisions(self, task: str) -> list[tuple[int, str, str]]:
        """(seconds since the start of the test, decision, phase) of each execution."""
        return [
            (
                _seconds(e["spec"].get("scheduledTime")),
                e["spec"].get("decision", {}).get("type", ""),
                e.get("status", {}).get("phase", ""),
            )
            for e in self.executions(task)
        ]

    def jobs(self) -> dict[str, Obj]:
        return self.server.objects(JOBS)

    def started(self, task: str) -> list[int]:
        """Slots of the Jobs that were ever created, in seconds since the start of the test."""
        prefix = f"{task}-"
        names = [name for name in self.jobs_created if name.startswith(prefix)]
        return sorted(int(name.removeprefix(prefix).split("-")[0]) - START for name in names)

    def exit_code(self, job: Obj) -> int:
        """The exit code of a Job's pod."""
        task = job["metadata"].get("labels", {}).get("taskrunner.dev/task", "")
        codes = self.codes.get(task, [1 if task in self.fail else 0])
        attempt = int(job["metadata"]["name"].rpartition("-")[2])
        return codes[min(attempt, len(codes)) - 1]

    async def _control_jobs(self) -> None:
        """What the Job controller, scheduler and kubelet do, in seconds of the clock."""
        running: dict[str, asyncio.Task[None]] = {}
        suspended: set[str] = set()
        ending: list[asyncio.Task[None]] = []
        try:
            while True:
                changed = self.server.changed()
                for name, job in self.jobs().items():
                    uid = job["metadata"]["uid"]
                    if uid not in running:
                        self.jobs_created.append(name)
                        running[uid] = asyncio.ensure_future(self._run(job))
                    if not job["spec"].get("suspend") and uid in suspended:
                        suspended.discard(uid)
                        running[uid] = asyncio.ensure_future(self._run(job))
                    if job["spec"].get("suspend") and uid not in suspended:
                        suspended.add(uid)
                        running[uid].cancel()
                        ending.append(asyncio.ensure_future(self._suspend(job)))
                await changed
        finally:
            for task in (*running.values(), *ending):
                task.cancel()
            await asyncio.gather(*running.values(), *ending, return_exceptions=True)

    async def _suspend(self, job: Obj) -> None:
        """Delete the pods; they go when their grace period is over, or somebody kills them."""
        meta, task = job["metadata"], job["metadata"]["labels"]["taskrunner.dev/task"]
        if any(c["type"] in ("Complete", "Failed") for c in _conditions(job)):
            return
        held = {"type": "Suspended", "status": "True", "reason": "JobSuspended"}
        end = self.clock.now() + self.grace.get(task, 0)
        while True:
            left = self.server.list(PODS, namespace=meta["namespace"])
            left = [p for p in left if p["metadata"]["name"].startswith(meta["name"])]
            if left and self.clock.now() >= end:
                for pod in left:
                    self.server.delete(PODS, meta["namespace"], pod["metadata"]["name"])
                left = []
            status = {"active": 0, "ready": 0, "terminating": len(left), "conditions": [held]}
            if not self._set_job_status(job, status) or not left:
                return
            await self.clock.sleep(1)

    async def _run(self, job: Obj) -> None:
        if job["spec"].get("suspend"):
            return
        task = job["metadata"].get("labels", {}).get("taskrunner.dev/task", "")
        started = format_instant(self.clock.now())
        if task in self.pods.refused:
            return
        pod = self.pods.create(job, started)
        stuck = task in self.pods.stuck
        ready = 0 if stuck else 1
        if not self._set_job_status(job, {"startTime": started, "active": 1, "ready": ready}):
            return
        seconds = None if stuck else self.run_for.get(task, 3)
        deadline = None if self.lax else job["spec"].get("activeDeadlineSeconds")
        if deadline is not None and (seconds is None or seconds > deadline):
            await self.clock.sleep(deadline)
            self._end_job(job, started, format_instant(self.clock.now()), failed=True, overdue=True)
            return
        if seconds is None:
            return
        await self.clock.sleep(seconds)
        code, now = self.exit_code(job), format_instant(self.clock.now())
        if not self.pods.late:
            self.pods.end(job, pod, code=code, started=started, now=now)
        self._end_job(job, started, now, failed=code != 0)
        if self.pods.late:
            await self.clock.sleep(self.pods.late)
            self.pods.end(job, pod, code=code, started=started, now=now)

    def _end_job(
        self, job: Obj, started: str, now: str, *, failed: bool, overdue: bool = False
    ) -> None:
        condition = {
            "type": "Failed" if failed else "Complete",
            "status": "True",
            "lastTransitionTime": now,
        }
        if failed:
            condition |= {
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }
        if overdue:
            condition |= {
                "reason": "DeadlineExceeded",
                "message": "Job was active longer than specified deadline",
            }
        done: Obj = {"startTime": started, "active": 0, "ready": 0, "conditions": [condition]}
        if failed:
            self._set_job_status(job, done | {"failed": 1})
        else:
            self._set_job_status(job, done | {"succeeded": 1, "completionTime": now})

    def _set_job_status(self, job: Obj, status: Obj) -> bool:
        meta = job["metadata"]
        present = self.jobs().get(meta["name"])
        if present is None or present["metadata"]["uid"] != meta["uid"]:
            return False
        self.server.patch(
            JOBS, meta["namespace"], meta["name"], {"status": status}, subresource="status"
        )
        return True


def _conditions(job: Obj) -> list[Obj]:
    return list(job.get("status", {}).get("conditions") or ())


def phases(executions: Iterable[Obj]) -> list[str]:
    """The phase of each execution."""
    return [e.get("status", {}).get("phase", "") for e in executions]


async def _until_dead(work: Any) -> None:
    with suppress(Crash):
        try:
            await work
        except BaseExceptionGroup as group:
            # A crash inside a task group: the process is dead, and so are its other tasks.
            if group.subgroup(Crash) is None:
                raise


def _seconds(text: str | None) -> int:
    return parse_instant(text) - START if text else -1
