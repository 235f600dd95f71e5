"""10,000 runs in twenty minutes, a thousand of them active at once, and each accounted for.

Three times as many as in an hour of the steady load. Tasks have so many slots and no more, so that
what must have run is known: a slot is lost when no run of it has succeeded, and was run twice when
the audit log has more than one Job of it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.bed import (
    bed,
    create_all,
    memory_of,
    namespace,
    operator,
    scheduled_task,
    template_for,
)
from bench.measures import Effort, Measure
from taskrunner.domain.instants import format_instant
from taskrunner.ports import Obj
from testbed import Cluster

EVERY = 30
_LOOK_SECONDS = 15
"""Often enough to see each run before history lets it go."""
_LEAD_SECONDS = 30
_GRACE_SECONDS = 300


@dataclass(frozen=True)
class Load:
    """So many tasks, each with a slot every EVERY seconds for so long."""

    short: int
    long: int
    seconds: int
    long_seconds: int
    """How long the pods of the long ones run; those of the others, a second or five."""

    @property
    def slots(self) -> int:
        return (self.short + self.long) * self.seconds // EVERY

    @property
    def at_once(self) -> int:
        """Long runs that are active at a time."""
        return self.long * self.long_seconds // EVERY


FULL = Load(short=150, long=100, seconds=1200, long_seconds=300)
SMALL = Load(short=6, long=4, seconds=60, long_seconds=30)


@dataclass
class Seen:
    """What looks at the cluster have told."""

    phases: dict[str, str] = field(default_factory=dict)
    """Of the runs that have ended, by name."""
    memory: list[tuple[float, int, float]] = field(default_factory=list)
    """When, runs active, MiB."""


def measure(effort: Effort) -> Iterator[Measure]:
    load = SMALL if effort.small else FULL
    with (
        bed("account", audit=True) as cluster,
        namespace(cluster, "load"),
        operator(cluster, "load") as process,
    ):
        mark, seen = cluster.audit_mark(), Seen()
        start = (int(time.time()) + _LEAD_SECONDS) // EVERY * EVERY + EVERY
        _apply(cluster, load, start)
        end = start + load.seconds + load.long_seconds + _GRACE_SECONDS
        while len(seen.phases) < load.slots and time.time() < end:
            time.sleep(_LOOK_SECONDS)
            _look(cluster, process.pid, seen)
        jobs = _jobs(cluster, mark)
    phases = Counter(seen.phases.values())
    note = f"{load.slots} slots in {load.seconds} s, {dict(phases)}, {sum(jobs.values())} Jobs"
    yield Measure("slots lost", load.slots - phases["Succeeded"], "slots", note)
    yield Measure("slots run twice", sum(count > 1 for count in jobs.values()), "slots")
    note = f"{load.at_once} long ones, and short ones"
    yield Measure("most active at once", max(active for _, active, _ in seen.memory), "runs", note)
    full = [rss for _, active, rss in seen.memory if active >= load.at_once * 0.9]
    yield Measure("RSS", max(rss for *_, rss in seen.memory), "MiB", _course(seen, start))
    if full:
        growth = (max(full) / min(full) - 1) * 100
        note = f"{min(full):.0f} to {max(full):.0f} MiB in {len(full)} looks"
        yield Measure("RSS, growth while all are active", growth, "%", note)


def _course(seen: Seen, start: float) -> str:
    """Memory by the minute, for people."""
    minutes = {int((at - start) // 60): rss for at, _, rss in seen.memory if at >= start}
    return "by the minute: " + ", ".join(f"{rss:.0f}" for rss in minutes.values())


def _apply(cluster: Cluster, load: Load, start: int) -> None:
    tasks = []
    for number in range(load.short + load.long):
        seconds = load.long_seconds if number < load.long else 1 + 4 * (number % 2)
        task: Obj = scheduled_task(
            f"task-{number}",
            # A second apart, so that the load is even.
            [
                {
                    "name": "often",
                    "everySeconds": EVERY,
                    "anchor": format_instant(start + number % EVERY),
                }
            ],
            startTime=format_instant(start),
            endTime=format_instant(start + load.seconds),
            jobTemplate={"spec": template_for(f"{seconds}s")},
        )
        tasks.append(task)
    create_all(cluster, "load", tasks)


def _look(cluster: Cluster, pid: int, seen: Seen) -> None:
    found = json.loads(cluster.kubectl("get", "texec", "-n=load", "-o=json", timeout=120))["items"]
    active = 0
    for execution in found:
        status = execution.get("status", {})
        if "completionTime" in status:
            seen.phases[execution["metadata"]["name"]] = status["phase"]
        active += status.get("phase") == "Running"
    seen.memory.append((time.time(), active, memory_of(pid).rss))


def _jobs(cluster: Cluster, mark: int) -> Counter[str]:
    """How many Jobs were created, by the name of the execution."""
    created: Counter[str] = Counter()
    for event in cluster.audit_events(since=mark, writes=True, user_agent="taskrunner/"):
        target, code = event.get("objectRef", {}), event.get("responseStatus", {}).get("code", 0)
        made = (event["verb"], target.get("resource")) == ("create", "jobs") and code == 201
        if made and "dryRun=" not in event["requestURI"]:
            created[str(target["name"]).rpartition("-")[0]] += 1
    return created
