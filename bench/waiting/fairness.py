"""Who gets how much, and who waits how long: the real gate over runs in simulated time.

The small tenant has 10 runs, the big one asked for 1,000 a minute before. Without turns both are
tasks of one namespace, which is one line; with turns each has a namespace of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import yaml

from bench.measures import Measure, percentile
from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.domain.compile import compile_task
from taskrunner.domain.observed import Execution, execution_from
from taskrunner.engine.gate import Gate
from taskrunner.engine.store import Store, TaskState
from taskrunner.engine.work import Key

PLACES = 10
BIG, SMALL, HEAD_START = 1_000, 10, 60
RUN_SECONDS = 5
TENANTS, EACH = 5, 400
_START = 1_790_000_000
_TASK = """
apiVersion: taskrunner.dev/v1alpha1
kind: ScheduledTask
metadata: {name: x, namespace: x, uid: x, generation: 1, creationTimestamp: "2026-09-21T00:00:00Z"}
spec:
  queue: {maxLength: 10000}
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox}]}}}
"""


@dataclass
class Sim:
    """ports.Clock, tenants, and what the engine does at the gate."""

    weights: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.store = Store()
        self.store.pauses.weights = dict(self.weights)
        self.gate = Gate(self.store, self, most=PLACES)
        self.store.wake = self._woken
        self.gate.begin()
        self.asked: dict[str, float] = {}
        self.waits: dict[str, list[float]] = {}
        self.taken: Counter[str] = Counter()
        """Seconds for which places were taken, by task."""
        self.lasts: dict[str, float] = {}
        self.woken: list[str] = []
        self.running: list[tuple[float, str]] = []
        self.version = 0

    def now(self) -> float:
        return _START + self.seconds

    def boot(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def add(self, task: str, runs: int, lasts: float) -> None:
        """A task `namespace/name`, and runs of it that are asked for now."""
        namespace, _, name = task.partition("/")
        raw = yaml.safe_load(_TASK)
        raw["metadata"] |= {"name": name, "namespace": namespace, "uid": task}
        state = TaskState(task, namespace, name, task, 1, 1, _START - 1)
        state.compiled = compile_task(parse_scheduled_task(raw), {})
        self.store.put_task(state)
        self.lasts[task], self.waits[task] = lasts, []
        for number in range(runs):
            self._ask(namespace, name, f"{name}-{number:05}")

    def run(self, until: float = float("inf")) -> None:
        """Until nobody runs any more, or so long."""
        while True:
            for key in self._take_woken():
                self._step(key)
            if not self.running or self.running[0][0] > until:
                self.seconds = min(until, self.seconds + 1e9)
                return
            self.seconds, key = heappop(self.running)
            execution = self.store.execution(key)
            assert execution is not None
            self.taken[execution.task_key] += round(self.lasts[execution.task_key])
            self._put(replace(execution, phase="Succeeded"))

    def _ask(self, namespace: str, task: str, name: str) -> None:
        self.version += 1
        meta = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"}
        meta["creationTimestamp"] = "2026-09-21T00:00:00Z"
        execution = execution_from({"metadata": meta, "spec": {"taskRef": {"name": task}}})
        at = int(self.now())
        execution = replace(execution, created=at, due=at, resource_version=self.version)
        self.asked[execution.key] = self.seconds
        self.store.put_execution(execution)
        self._step(execution.key)

    def _step(self, key: str) -> None:
        execution = self.store.execution(key)
        if execution is None or execution.terminal or execution.attempt:
            return
        state = self.store.tasks[execution.task_key]
        verdict = self.gate.verdict(execution, state, int(self.now()))
        if verdict is None:
            self.waits[execution.task_key].append(self.seconds - self.asked[key])
            heappush(self.running, (self.seconds + self.lasts[execution.task_key], key))
            self._put(replace(execution, phase="Running", attempt=1))
        elif execution.queued is None:
            self._put(replace(execution, phase="Queued", queued=int(self.now())))

    def _put(self, execution: Execution) -> None:
        self.version += 1
        self.store.put_execution(replace(execution, resource_version=self.version))

    def _woken(self, key: Key) -> None:
        self.woken.append(key.name)

    def _take_woken(self) -> list[str]:
        found, self.woken = self.woken, []
        return found


def measure() -> Iterator[Measure]:
    for name, big, small in (
        ("in one line", "team/big", "team/small"),
        ("in turn", "big/task", "small/task"),
    ):
        sim = Sim()
        sim.add(big, BIG, RUN_SECONDS)
        sim.run(HEAD_START)
        sim.add(small, SMALL, RUN_SECONDS)
        sim.run()
        assert (len(sim.waits[big]), len(sim.waits[small])) == (BIG, SMALL)
        yield Measure(
            f"wait of the small tenant p99, {name}", percentile(sim.waits[small], 99), "s"
        )
        yield Measure(f"wait of the big tenant p99, {name}", percentile(sim.waits[big], 99), "s")
    equal = _parts({f"team-{n}": 1 for n in range(TENANTS)}, lambda n: RUN_SECONDS)
    yield Measure("1 - Jain's index, equal weights", 1 - jain(equal), "", f"{TENANTS} tenants")
    mixed = _parts({f"team-{n}": 1 for n in range(TENANTS)}, lambda n: RUN_SECONDS * 2**n)
    yield Measure("1 - Jain's index, runs of 5 to 80 s", 1 - jain(mixed), "")
    unequal = _parts({"team-0": 5, "team-1": 2, "team-2": 1}, lambda n: RUN_SECONDS)
    worst = max(abs(part - 1) for part in unequal)
    yield Measure("off the part at weights 5, 2, 1", 100 * worst, "%")


def _parts(weights: Mapping[str, int], lasts: object) -> list[float]:
    """What each tenant got of the time of places, as a part of what its weight is worth, while all
    had more to do."""
    assert callable(lasts)
    sim = Sim(weights)
    for number, name in enumerate(weights):
        sim.add(f"{name}/task", EACH * max(weights.values()), lasts(number))
    sim.run(EACH * RUN_SECONDS / PLACES * 3)
    whole, sums = sum(sim.taken.values()), sum(weights.values())
    return [sim.taken[f"{n}/task"] / whole * sums / weight for n, weight in weights.items()]


def jain(parts: list[float]) -> float:
    """Jain's index of fairness (Jain, Chiu, Hawe 1984): 1 when all have the same."""
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))
