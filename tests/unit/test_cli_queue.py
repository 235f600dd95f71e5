"""`taskrunner queue` and `taskrunner queue move`."""

from __future__ import annotations

from typing import Any

import pytest

from taskrunner.ports import TASK_EXECUTIONS, TASK_QUEUES
from unit.command_line import CommandLine

NS = "qa"


@pytest.fixture
def line() -> CommandLine:
    found = CommandLine()
    for name in ("a", "b"):
        found.task(name, queue={"name": "shared"})
    found.task("alone")
    spec = {"maxConcurrent": 1, "taskWeights": [{"name": "b", "weight": 2}]}
    body = {"metadata": {"name": "shared"}, "spec": spec}
    found.api.server.create(TASK_QUEUES, NS, body)
    run(found, "a-0", "a", "Running")
    for name in ("a-1", "a-2", "b-1", "b-2", "b-3"):
        run(found, name, name[0], "Queued")
    run(found, "alone-1", "alone", "Queued")
    return found


def run(line: CommandLine, name: str, task: str, phase: str, **spec: Any) -> None:
    body = {"metadata": {"name": name}, "spec": {"taskRef": {"name": task}, **spec}}
    server = line.api.server
    server.create(TASK_EXECUTIONS, NS, body)
    status = {"phase": phase, "queuedTime": "2026-03-02T11:59:00Z"}
    server.patch(TASK_EXECUTIONS, NS, name, {"status": status}, subresource="status")


def order(text: str) -> list[str]:
    rows = [row.split()[0] for row in text.splitlines()[2:] if row.strip()]
    return [row for row in rows if "-" in row]


def test_the_queues_of_a_namespace_are_listed(line: CommandLine) -> None:
    text = line.told("queue")
    assert text.splitlines()[0].split()[:2] == ["NAME", "RUNNING"]
    assert "shared" in text


def test_the_line_is_in_the_order_in_which_runs_would_start(line: CommandLine) -> None:
    text = line.told("queue", "shared")
    assert text.startswith("shared: 1 of 1 active, 5 waiting")
    assert order(text) == ["b-1", "b-2", "a-1", "b-3", "a-2"]


def test_a_moved_run_goes_first_in_its_task(line: CommandLine) -> None:
    assert "b-3: has the priority 900 now" in line.told("queue", "move", "b-3", "--priority", "900")
    assert order(line.told("queue", "show", "shared"))[0] == "b-3"


def test_what_runs_already_is_not_moved(line: CommandLine) -> None:
    done = line.run("queue", "move", "a-0", "--priority", "1")
    assert done.exit_code == 1
    assert "a-0: It does not wait any more (Running)." in done.output
