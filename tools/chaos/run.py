"""A whole run: replicas and tasks, faults in lanes, and the reckoning."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

from chaos.faults import FAULTS, OFTEN, ChaosError, Fault, mend
from chaos.field import BEGAN, Field
from chaos.install import install
from chaos.ledger import Ledger, Sink, seconds
from chaos.load import NAMESPACES, Task, tasks
from chaos.replicas import Replica
from chaos.report import Recorded, Report
from chaos.verdict import judge
from taskrunner.errors import ApiError, Transient
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from testbed import Cluster
from testbed.errors import TestbedError

_WARM_UP_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 3.0


async def run(cluster: Cluster, directory: Path, options: argparse.Namespace) -> Report:
    """The whole run on a cluster that is up."""
    began = time.time()
    rng = random.Random(options.seed)
    ledger = Ledger()
    kubeconfig = await asyncio.to_thread(install, cluster)
    for namespace in NAMESPACES:
        await asyncio.to_thread(cluster.kubectl, "create", "namespace", namespace)
    load = list(tasks(options.tasks, options.fast, rng))
    replicas = [
        Replica(f"r{n + 1}", kubeconfig, directory, cluster) for n in range(options.replicas)
    ]
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            ApiClient(from_kubeconfig(str(cluster.kubeconfig)), clock, pool=16)
        )
        for replica in replicas:
            await replica.start()
            stack.push_async_callback(replica.stop)
        sinks = {TASK_EXECUTIONS: Sink(ledger, "execution"), JOBS: Sink(ledger, "job")}
        watches = [
            asyncio.create_task(Reflector(client, clock, resource, sink).run())
            for resource, sink in sinks.items()
        ]
        born = {}
        for task in load:
            obj = await _create(client, task)
            born[task.key] = seconds(obj["metadata"]["creationTimestamp"])
        ledger.say(f"{len(load)} tasks applied; {len(replicas)} replicas")
        await asyncio.sleep(_WARM_UP_SECONDS)
        field = Field(cluster, replicas, client, ledger, rng)
        recorded = await Lanes(field, options).run()
        await mend(field)
        until, decided = await _settle(field, load, options.settle)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        memory = max(replica.memory() for replica in replicas)
        restarts = sum(replica.restarts for replica in replicas)
    ledger.say("reading the audit log")
    await asyncio.to_thread(lambda: ledger.audit(cluster.audit_events(writes=True)))
    verdict = judge(load, born, decided, until, ledger)
    if verdict.keys:
        events = cluster.audit_events(writes=True)
        await asyncio.to_thread(ledger.follow, events, verdict.keys)
        verdict = judge(load, born, decided, until, ledger)
    took = time.time() - began
    return Report(options, verdict, recorded, ledger, memory, restarts, took)


class Lanes:
    """Faults, several at a time where they leave each other alone."""

    def __init__(self, field: Field, options: argparse.Namespace) -> None:
        self._field = field
        self._options = options
        chosen = [f for f in FAULTS if not options.only or f.__name__ in options.only]
        self._chosen = [fault for fault in chosen for _ in range(3 if fault in OFTEN else 1)]
        self._bag: list[int] = []
        self._begun = 0
        self._stopped = False
        self._recorded: list[Recorded] = []

    async def run(self) -> list[Recorded]:
        """In random order until time and count are over, or Ctrl-C."""
        end = time.monotonic() + self._options.minutes * 60
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._stop)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.lanes):
                group.create_task(self._lane(end))
        return sorted(self._recorded, key=lambda fault: fault.at)

    async def _lane(self, end: float) -> None:
        field, pause = self._field, self._options.pause
        while not self._stopped and (time.monotonic() < end or self._begun < self._options.faults):
            self._begun += 1
            await self._one(self._next())
            await asyncio.sleep(field.between(pause / 2, pause * 1.5))

    def _stop(self) -> None:
        self._field.ledger.say("stopping: no new faults; once more to give up")
        self._stopped = True
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    async def _one(self, fault: Fault) -> None:
        name = fault.__name__
        BEGAN.set(time.time())
        try:
            detail = await fault(self._field)
        except (ApiError, ChaosError, OSError, TestbedError) as error:
            # One may meet another; then it does not count.
            self._begun -= 1
            self._field.ledger.say(f"{name} was cut short: {error}")
            return
        began = BEGAN.get()
        self._recorded.append(Recorded(began, name.replace("_", " "), detail))
        took = time.time() - began
        self._field.ledger.say(f"{len(self._recorded)}: {name} {detail} ({took:.0f} s)")

    def _next(self) -> Fault:
        if not self._bag:
            self._bag = self._field.rng.sample(range(len(self._chosen)), len(self._chosen))
        return self._chosen[self._bag.pop()]


async def _create(client: ApiClient, task: Task) -> Obj:
    """Policies and definitions that were just made are not all known to the server at once."""
    while True:
        try:
            return await client.create(SCHEDULED_TASKS, task.namespace, task.manifest())
        except Transient:
            await asyncio.sleep(0.5)


async def _settle(field: Field, load: list[Task], patience: float) -> tuple[int, dict[str, int]]:
    """No faults any more: every slot until now must be decided, and every run must end.

    Args:
        field: where.
        load: the tasks.
        patience: seconds without progress after which it is given up.

    Returns:
        The instant until which all must be decided, and how far each task was decided.
    """
    ledger, until = field.ledger, int(time.time())
    ledger.say("no more faults; waiting until all is decided")
    decided: dict[str, int] = {}
    waiting = Waiting(patience)
    while True:
        for obj in await field.patient_list(SCHEDULED_TASKS):
            meta, status = obj["metadata"], obj.get("status") or {}
            if at := status.get("decidedUntil"):
                decided[f"{meta['namespace']}/{meta['name']}"] = seconds(at)
        undecided = [len(task.slots(decided.get(task.key, 0), until)) for task in load]
        if waiting.over(sum(undecided)):
            break
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
    behind = sum(count > 0 for count in undecided)
    ledger.say(f"{behind} tasks are behind; suspending all")
    for task in load:
        suspended = {"spec": {"suspend": True}}
        await field.patient_patch(SCHEDULED_TASKS, task.namespace, task.name, suspended)
    waiting = Waiting(patience)
    while True:
        left, began = 0, time.monotonic()
        for resource, kept in ((TASK_EXECUTIONS, ledger.executions), (JOBS, ledger.jobs)):
            objects = await field.patient_list(resource)
            ledger.living(kept, objects)
            left += sum(not _has_ended(obj) for obj in objects)
        if waiting.over(left):
            break
        # Long lists are a load of their own.
        await asyncio.sleep(max(_LOOK_EVERY_SECONDS, 4 * (time.monotonic() - began)))
    ledger.say(f"settled; {left} executions and Jobs have not ended")
    return until, decided


class Waiting:
    """Patience that lasts as long as less and less is left: a slow machine is not a stuck one."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._least: int | None = None
        self._deadline = 0.0

    def over(self, left: int) -> bool:
        """Whether nothing is left, or it has not become less for too long."""
        if self._least is None or left < self._least:
            self._least, self._deadline = left, time.monotonic() + self._patience
        return not left or time.monotonic() > self._deadline


def _has_ended(obj: Obj) -> bool:
    """Of an execution or a Job."""
    status = obj.get("status") or {}
    conditions = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    return "completionTime" in status or bool(conditions & {"Complete", "Failed"})
