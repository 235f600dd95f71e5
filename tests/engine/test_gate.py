"""The gate's counts are those of the objects at every moment, however they came to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.clock import FakeClock
from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.domain.compile import compile_task
from taskrunner.domain.observed import TERMINAL, Execution, execution_from
from taskrunner.engine.gate import Gate
from taskrunner.engine.store import Store, TaskState
from unit.planning import raw_task

NOW = 1_790_000_000
MOST = 3
TASKS = st.sampled_from(["a", "b"])
RUNS = st.sampled_from([f"run-{n}" for n in range(8)])
PHASES = st.sampled_from(["Running", "Retrying", "Succeeded", "Failed", "Cancelled"])
SPECS: list[dict[str, Any]] = [
    {},
    {"maxConcurrent": 2},
    {"concurrencyPolicy": "Queue"},
    {"concurrencyPolicy": "Queue", "queue": {"maxLength": 1}},
    {"concurrencyPolicy": "Forbid"},
    {"concurrencyPolicy": "Replace"},
]


class Machine(RuleBasedStateMachine):
    """Objects come, change and go in any order; the leader may be another one at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(now=float(NOW))
        self.store = Store()
        self.version = 1
        self.admitted: set[str] = set()
        """Runs that this leader has let start, although no object shows it yet."""
        self.specs: dict[str, dict[str, Any]] = {}
        self.lead()
        for name in "ab":
            self.apply(name, {})

    @rule()
    def lead(self) -> None:
        """A new leader: only the objects are left."""
        self.gate = Gate(self.store, self.clock, most=MOST)
        self.admitted = set()
        self.gate.begin()

    @rule(name=TASKS, spec=st.sampled_from(SPECS))
    def apply(self, name: str, spec: dict[str, Any]) -> None:
        self.specs[name] = spec
        raw = raw_task(spec, name=name, uid=f"uid-{name}")
        raw["metadata"]["namespace"] = "qa"
        state = TaskState(f"qa/{name}", "qa", name, f"uid-{name}", 1, 1, NOW)
        state.compiled = compile_task(parse_scheduled_task(raw), {})
        self.store.put_task(state)

    @rule(name=RUNS, task=TASKS, kind=st.sampled_from(["Scheduled", "Manual"]), later=st.booleans())
    def create(self, name: str, task: str, kind: str, later: bool) -> None:
        if self.store.execution(f"qa/{name}") is None:
            self.put(_execution(name, task, kind, self.version, NOW + 10 if later else NOW))

    @precondition(lambda self: self.here())
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """What the engine does: ask, and write down what it was told."""
        execution = data.draw(st.sampled_from(self.here()))
        state = self.store.tasks[execution.task_key]
        verdict = self.gate.verdict(execution, state, int(self.clock.now()))
        kind = type(verdict).__name__
        if verdict is None and not execution.terminal and execution.due <= self.clock.now():
            self.admitted.add(execution.key)
        if kind == "Hold":
            queued = NOW if execution.queued is None else execution.queued
            self.put(replace(execution, phase="Queued", queued=queued))
        elif kind == "Finish":
            self.put(replace(execution, phase=verdict.phase))  # type: ignore[union-attr]

    @precondition(lambda self: self.started())
    @rule(data=st.data(), phase=PHASES)
    def go_on(self, data: st.DataObject, phase: str) -> None:
        self.put(replace(data.draw(st.sampled_from(self.started())), phase=phase, attempt=1))

    @precondition(lambda self: self.here())
    @rule(data=st.data(), priority=st.integers(0, 1000))
    def reprioritise(self, data: st.DataObject, priority: int) -> None:
        self.put(replace(data.draw(st.sampled_from(self.here())), priority=priority))

    @precondition(lambda self: self.here())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        execution = data.draw(st.sampled_from(self.here()))
        self.admitted.discard(execution.key)
        self.store.drop_execution(execution.key, execution.uid)

    @rule()
    def time_passes(self) -> None:
        self.clock.suspend(7)

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def the_count_is_that_of_the_objects(self) -> None:
        expected = {e.key for e in self.here() if self.holds(e)}
        held = {k for k, s in self.gate._standings.items() if s.where.value == "holding"}
        assert held == expected
        assert self.gate.held == len(expected)

    @invariant()
    def no_limit_is_exceeded_by_what_the_gate_lets_in(self) -> None:
        before = sum(e.phase in ("Running", "Retrying") for e in self.here())
        assert self.gate.held <= max(MOST, before)

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        assert self.gate._places.next() is None

    @invariant()
    def who_has_ended_is_forgotten(self) -> None:
        alive = {e.key for e in self.here() if e.phase not in TERMINAL}
        assert {key for key, _ in self.gate._standings.items()} <= alive

    def here(self) -> list[Execution]:
        return sorted(self.store.executions(), key=lambda e: e.name)

    def started(self) -> list[Execution]:
        return [e for e in self.here() if self.holds(e)]

    def holds(self, execution: Execution) -> bool:
        if execution.terminal:
            return False
        if execution.attempt > 0:
            return True
        known = self.gate._standings.get(execution.key)
        let_in = known is not None and known.where.value == "holding"
        return execution.key in self.admitted or (execution.phase == "Queued" and let_in)

    def put(self, execution: Execution) -> None:
        self.version += 1
        self.store.put_execution(replace(execution, resource_version=self.version))
        if execution.terminal:
            self.admitted.discard(execution.key)


def _execution(name: str, task: str, kind: str, version: int, due: int) -> Execution:
    owner = [{"kind": "ScheduledTask", "name": task, "uid": f"uid-{task}"}]
    return execution_from(
        {
            "metadata": {
                "namespace": "qa",
                "name": name,
                "uid": f"{name}-{version}",
                "resourceVersion": str(version),
                "creationTimestamp": "2026-09-21T14:13:20Z",
                "ownerReferences": owner if kind == "Scheduled" else [],
            },
            "spec": {
                "taskRef": {"name": task},
                "type": kind,
                "scheduledTime": "2026-09-21T14:13:20Z",
                "decision": {"type": "Run"},
                "notBefore": f"2026-09-21T14:13:{20 + due - NOW}Z",
            },
        }
    )


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
