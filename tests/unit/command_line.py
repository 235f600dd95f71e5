"""The command line on the API server of the contract tests."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from typer.testing import CliRunner, Result

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.cli.main import build
from taskrunner.cli.shared import Session
from taskrunner.errors import NotFound, TaskrunnerError
from taskrunner.ports import NAMESPACES, PODS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj, Resource
from unit.planning import JOB, at

NOW = at("2026-03-02 12:00")
TURNS = 100
"""Of the event loop in one sleep, for all others to come to rest."""


class RunningClock(FakeClock):
    """Sleeping takes no time, and brings `then` about, step by step."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.then: list[Callable[[], None]] = []

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await super().sleep(seconds)
            return
        self.suspend(seconds)
        for _ in range(TURNS):
            await super().sleep(0)
        if self.then:
            self.then.pop(0)()


class Texts:
    """`cli.shared.Raw`: what is written under a path."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        self.asked.append((path, dict(query or {})))
        key = path if path in self.found else f"{path}?{(query or {}).get('container', '')}"
        if key not in self.found:
            raise NotFound(f"get {path}: 404", code=404)
        return self.found[key]

    async def lines(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        for line in (await self.read(path, query)).splitlines():
            yield line


class CommandLine:
    """A cluster, and a user whose context says namespace qa."""

    def __init__(self) -> None:
        self.clock = RunningClock(NOW)
        self.api = FakeApi(self.clock)
        self.texts = Texts()
        self.skew: float | None = 0.0

    def run(self, *words: str, stdin: str | None = None) -> Result:
        @asynccontextmanager
        async def connect(kubeconfig: str, context: str) -> AsyncGenerator[Session, None]:
            if context == "nowhere":
                raise TaskrunnerError('There is no context "nowhere".')
            yield Session(self.api, "qa", self.texts, lambda: self.skew, "a test")

        return CliRunner().invoke(build(self.clock, connect), list(words), input=stdin)

    def told(self, *words: str) -> str:
        """Standard output of a command that succeeds."""
        done = self.run(*words)
        assert done.exit_code == 0, done.output
        return done.stdout

    def data(self, *words: str) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.told(*words, "-o", "json"))

    def put(self, resource: Resource, namespace: str, obj: Obj) -> Obj:
        """Create it, and then its status."""
        made = self.api.server.create(resource, namespace, obj)
        if status := obj.get("status"):
            name = made["metadata"]["name"]
            patch = {"status": status}
            made = self.api.server.patch(resource, namespace, name, patch, subresource="status")
        return made

    def task(
        self, name: str, *, namespace: str = "qa", status: Obj | None = None, **spec: Any
    ) -> Obj:
        metadata = {"name": name, "labels": {"team": name[0]}}
        body: Obj = {"metadata": metadata, "spec": {"jobTemplate": JOB, **spec}}
        return self.put(SCHEDULED_TASKS, namespace, body | {"status": status or {}})

    def execution(
        self, name: str, task: str, *, namespace: str = "qa", status: Obj | None = None, **spec: Any
    ) -> Obj:
        body: Obj = {
            "metadata": {"name": name, "labels": {"taskrunner.dev/task": task}},
            "spec": {"taskRef": {"name": task}, "type": "Manual", **spec},
        }
        return self.put(TASK_EXECUTIONS, namespace, body | {"status": status or {}})

    def phase(self, name: str, phase: str, **status: Any) -> Callable[[], None]:
        """Something that happens: the run comes into a phase."""

        def happen() -> None:
            patch = {"status": {"phase": phase, **status}}
            self.api.server.patch(TASK_EXECUTIONS, "qa", name, patch, subresource="status")

        return happen

    def pod(
        self, name: str, execution: str, attempt: int, *containers: str, started: bool = True
    ) -> None:
        labels = {
            "taskrunner.dev/execution": execution,
            "batch.kubernetes.io/job-name": f"{execution}-{attempt}",
        }
        state = {"running": {"startedAt": "2026-03-02T11:59:00Z"}} if started else {"waiting": {}}
        self.put(
            PODS,
            "qa",
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {"containers": [{"name": one} for one in containers]},
                "status": {"containerStatuses": [{"name": n, "state": state} for n in containers]},
            },
        )

    def writes(self, pod: str, execution: str, attempt: int, text: str) -> Callable[[], None]:
        """Something that happens: a pod comes up and writes."""

        def happen() -> None:
            self.pod(pod, execution, attempt, "main")
            self.log(pod, text)

        return happen

    def log(self, pod: str, text: str, container: str = "main") -> None:
        path = f"/api/v1/namespaces/qa/pods/{pod}/log?{container}"
        self.texts.found[path] = text.encode()

    def namespace(self, name: str, **labels: str) -> None:
        self.put(NAMESPACES, "", {"metadata": {"name": name, "labels": labels}})

    def spec(self, name: str, namespace: str = "qa") -> Obj:
        """The spec of an execution."""
        found: Obj = self.api.server.get(TASK_EXECUTIONS, namespace, name)["spec"]
        return found
