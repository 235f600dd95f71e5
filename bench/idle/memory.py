"""What the memory of 10,000 tasks with their history takes, in a process with all that an operator
imports. Nothing is faked in it: the sinks are those of the watches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from bench.bed import memory_of, scheduled_task
from bench.measures import Measure
from taskrunner.domain.instants import format_instant
from taskrunner.ports import Obj

TASKS = 10_000
HISTORY = 4
"""Executions of each: three that succeeded and one that failed."""
_CREATED = "2026-09-21T14:13:20Z"
_READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Planned",
    "message": "",
    "lastTransitionTime": _CREATED,
}


def measure() -> Iterator[Measure]:
    command = [sys.executable, "-c", "from bench.idle.memory import fill; fill()"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    empty, full, private = map(float, done.stdout.split())
    note = f"{TASKS:,} tasks, {TASKS * HISTORY:,} executions, each with its Job"
    yield Measure("imports alone, RSS", empty, "MiB")
    yield Measure("10,000 tasks with history, RSS", full, "MiB", note)
    yield Measure("10,000 tasks with history, private memory", private, "MiB")
    yield Measure("a task with history", (full - empty) * 1024 / TASKS, "KiB")


def fill() -> None:
    """Fill a store, and print RSS before, RSS and private memory after."""
    import taskrunner.app.operator  # noqa: F401  what a process of the operator imports
    from taskrunner.engine.admit import TaskSink
    from taskrunner.engine.store import ExecutionSink, JobSink, Store

    store = Store()
    before = memory_of(os.getpid())
    tasks, executions, jobs = TaskSink(store), ExecutionSink(store), JobSink(store)
    for number in range(TASKS):
        tasks.seen("ADDED", task_of(number))
        for slot in range(HISTORY):
            execution = execution_of(number, slot)
            executions.seen("ADDED", execution)
            jobs.seen("ADDED", job_of(execution))
    if not all(state.compiled for state in store.tasks.values()):
        raise RuntimeError("the tasks are not usable; nothing was measured")
    after = memory_of(os.getpid())
    print(before.rss, after.rss, after.private)


def _metadata(name: str, number: int) -> Obj:
    return {
        "name": name,
        "namespace": f"team-{number % 50}",
        "uid": f"0b12898b-72a4-48a4-9375-{hash(name) % 10**12:012d}",
        "resourceVersion": str(1_000 + number),
        "generation": 1,
        "creationTimestamp": _CREATED,
    }


def task_of(number: int) -> Obj:
    every = {"name": "daily", "cron": f"{number % 60} {number % 24} * * *"}
    task = scheduled_task(f"task-{number}", [every])
    task["metadata"] = _metadata(f"task-{number}", number)
    task["status"] = {
        "observedGeneration": 1,
        "decidedUntil": _CREATED,
        "nextRuns": [{"time": _CREATED, "schedule": "daily"}] * 5,
        "conditions": [_READY],
    }
    return task


def execution_of(number: int, slot: int) -> Obj:
    task = f"task-{number}"
    nominal = 1_790_000_000 + slot * 86_400 + number * 37
    name, at = f"{task}-{nominal}", format_instant(nominal)
    end = format_instant(nominal + 40)
    metadata = _metadata(name, 20_000 + number * HISTORY + slot)
    owner = {"kind": "ScheduledTask", "name": task, "uid": _metadata(task, number)["uid"]}
    metadata["ownerReferences"] = [owner]
    metadata["labels"] = {"taskrunner.dev/execution": name}
    phase = "Failed" if slot == HISTORY - 1 else "Succeeded"
    attempt = {"number": 1, "jobName": f"{name}-1", "startTime": at, "reason": phase}
    return {
        "metadata": metadata,
        "spec": {
            "taskRef": {"name": task},
            "type": "Scheduled",
            "decision": {"type": "Run", "reason": "OnSchedule", "due": at},
            "scheduledTime": at,
        },
        "status": {
            "phase": phase,
            "reason": "JobComplete",
            "message": "The Job completed.",
            "attempt": 1,
            "attempts": [attempt],
            "startTime": at,
            "completionTime": end,
        },
    }


def job_of(execution: Obj) -> Obj:
    name = f"{execution['metadata']['name']}-1"
    status = execution["status"]
    owner = {"kind": "TaskExecution", **{k: execution["metadata"][k] for k in ("name", "uid")}}
    kind = "Failed" if status["phase"] == "Failed" else "Complete"
    condition = {"type": kind, "status": "True", "lastTransitionTime": status["completionTime"]}
    return {
        "metadata": {
            **execution["metadata"],
            "name": name,
            "uid": execution["metadata"]["uid"][::-1],
            "ownerReferences": [owner],
            "annotations": {"taskrunner.dev/run-policy": '{"taskGeneration":1}'},
        },
        "spec": {},
        "status": {"startTime": status["startTime"], "succeeded": 1, "conditions": [condition]},
    }
