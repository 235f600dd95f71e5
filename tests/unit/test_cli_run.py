"""`taskrunner run`, `suspend`, `resume`, `cancel`, `pause` and `unpause`."""

from __future__ import annotations

from typing import Any

import pytest

from taskrunner.errors import Refused
from taskrunner.ports import CONFIG_MAPS, NAMESPACES, SCHEDULED_TASKS, TASK_EXECUTIONS
from unit.command_line import CommandLine


@pytest.fixture
def line() -> CommandLine:
    found = CommandLine()
    found.task("nightly")
    found.task("load", parameters=[{"name": "USERS", "type": "integer", "minimum": 1}])
    return found


def made(line: CommandLine) -> list[dict[str, Any]]:
    return [found["spec"] for found in line.api.server.list(TASK_EXECUTIONS)]


# --- run ------------------------------------------------------------------------------------------


def test_a_run_by_hand_is_an_execution_of_the_task(line: CommandLine) -> None:
    assert line.told("run", "nightly").startswith("nightly-")
    assert made(line) == [{"taskRef": {"name": "nightly"}, "type": "Manual"}]


def test_what_is_given_reaches_the_spec(line: CommandLine) -> None:
    words = ["--arg", "USERS=5", "--priority", "900", "--timeout", "2h", "--not-before", "+30m"]
    line.told("run", "load", *words, "--name", "by-hand")
    assert line.spec("by-hand") == {
        "taskRef": {"name": "load"},
        "type": "Manual",
        "arguments": {"USERS": "5"},
        "priority": 900,
        "timeoutSeconds": 7200,
        "notBefore": "2026-03-02T12:30:00Z",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nihgtly"], 'no task "nihgtly" in namespace "qa". Did you mean "nightly"?'),
        (["nightly", "--arg", "SUITE"], '--arg "SUITE": It has no name. Write NAME=VALUE.'),
        (["nightly", "--arg", "A=1", "--arg", "A=2"], '--arg "A=2": A is given twice.'),
        (["load", "--arg", "USERS=many"], '--arg.USERS "many": This is not a whole number.'),
        (["load"], "--arg.USERS: The task needs this argument"),
        (["nightly", "--timeout", "soon"], '--timeout "soon": This is not a length of time.'),
        (["nightly", "--not-before", "later"], '--not-before "later": This is not a time.'),
        (["nightly", "--not-before", "+x"], '--not-before "x": This is not a length of time.'),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    line: CommandLine, words: list[str], told: str
) -> None:
    done = line.run("run", *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert made(line) == []


def test_what_the_server_refuses_is_a_sentence(line: CommandLine) -> None:
    line.api.fail("create", TASK_EXECUTIONS, error=Refused("you may not create Jobs", code=403))
    done = line.run("run", "nightly")
    assert (done.exit_code, done.stderr) == (1, "error: you may not create Jobs\n")


@pytest.mark.parametrize(("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Cancelled", 1)])
def test_waiting_tells_each_phase_and_how_it_ended(
    line: CommandLine, phase: str, code: int
) -> None:
    line.clock.then = [
        line.phase("x", "Running", message="It runs."),
        lambda: None,
        line.phase("x", phase, reason="Why", message="Done."),
    ]
    done = line.run("run", "nightly", "--name", "x", "--wait")
    assert done.exit_code == code
    assert done.stdout.splitlines() == ["x: created", "x: Running: It runs.", f"x: {phase}: Done."]


def test_a_wait_ends_after_its_time_and_leaves_the_run_alone(line: CommandLine) -> None:
    line.clock.then = [line.phase("x", "Running")]
    done = line.run("run", "nightly", "--name", "x", "--wait", "--wait-timeout", "5s")
    assert done.exit_code == 3
    assert "`taskrunner cancel x` stops it" in done.stderr
    assert "stop" not in line.spec("x")


def test_following_shows_the_logs_of_all_attempts(line: CommandLine) -> None:
    line.clock.then = [
        line.writes("p1", "x", 1, "one\n"),
        line.phase("x", "Retrying", attempt=2),
        line.writes("p2", "x", 2, "two\n"),
        lambda: None,
        line.phase("x", "Succeeded", attempt=2),
    ]
    done = line.run("run", "nightly", "--name", "x", "--follow")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines.index("[1/p1/main] one") < lines.index("[2/p2/main] two")


def test_the_object_can_be_had_for_programs(line: CommandLine) -> None:
    found = line.data("run", "nightly", "--name", "x")
    assert (found["kind"], found["metadata"]["name"]) == ("TaskExecution", "x")
    name = line.told("run", "nightly", "--name", "y", "-o", "name")
    assert name == "taskexecution.taskrunner.dev/y\n"


# --- suspend, resume ------------------------------------------------------------------------------


def suspended(line: CommandLine) -> list[str]:
    tasks = line.api.server.list(SCHEDULED_TASKS)
    return [task["metadata"]["name"] for task in tasks if task["spec"].get("suspend")]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["nightly"], ["nightly"]),
        (["nightly", "load"], ["load", "nightly"]),
        (["-l", "team=l"], ["load"]),
        (["--all"], ["load", "nightly"]),
    ],
)
def test_tasks_are_suspended_and_resumed(
    line: CommandLine, words: list[str], names: list[str]
) -> None:
    line.task("far", namespace="elsewhere")
    told = line.told("suspend", *words)
    assert suspended(line) == names
    assert all(f"{name}: suspended" in told for name in names)
    assert "is suspended already" in line.told("suspend", *words)
    line.told("resume", *words)
    assert suspended(line) == []


@pytest.mark.parametrize("command", ["suspend", "resume"])
def test_what_to_suspend_is_said_in_one_way(line: CommandLine, command: str) -> None:
    for words in ([], ["nightly", "--all"]):
        done = line.run(command, *words)
        assert done.exit_code == 2
        assert "one or more names, or -l with a label selector, or --all" in done.stderr


def test_one_refusal_does_not_keep_the_others(line: CommandLine) -> None:
    refusal = Refused("not yours", code=403)
    line.api.fail("patch", SCHEDULED_TASKS, name="load", error=refusal)
    done = line.run("suspend", "--all")
    assert done.exit_code == 1
    assert "error: load: not yours" in done.stderr
    assert suspended(line) == ["nightly"]


# --- cancel ---------------------------------------------------------------------------------------


def test_a_run_is_stopped_gracefully_and_then_at_once(line: CommandLine) -> None:
    line.execution("x", "nightly", status={"phase": "Running"})
    assert line.told("cancel", "x") == "x: is stopped\n"
    assert line.spec("x")["stop"] == "Graceful"
    assert line.told("cancel", "x") == "x: is being stopped already\n"
    assert line.told("cancel", "x", "--now") == "x: is killed\n"
    assert line.spec("x")["stop"] == "Immediate"
    assert line.told("cancel", "x") == "x: is being stopped already\n"


def test_all_runs_of_a_task_that_have_not_ended_are_stopped(line: CommandLine) -> None:
    line.execution("a", "nightly", status={"phase": "Running"})
    line.execution("b", "nightly", status={"phase": "Succeeded"})
    line.execution("c", "load", status={"phase": "Running"})
    assert line.told("cancel", "--task", "nightly") == "a: is stopped\n"
    assert line.told("cancel", "b") == "b: has ended already (Succeeded)\n"


def test_what_to_cancel_is_said_in_one_way(line: CommandLine) -> None:
    assert line.run("cancel").exit_code == 2
    assert line.run("cancel", "a", "--task", "b").exit_code == 2


# --- pause ----------------------------------------------------------------------------------------


def test_a_namespace_is_paused_by_its_label(line: CommandLine) -> None:
    line.namespace("qa")
    assert line.told("pause", "-n", "qa") == "namespace qa: paused\n"
    labels = line.api.server.get(NAMESPACES, "", "qa")["metadata"]["labels"]
    assert labels["taskrunner.dev/paused"] == "true"
    assert "is paused already" in line.told("pause", "-n", "qa")
    assert line.told("unpause", "-n", "qa") == "namespace qa: goes on\n"
    assert "not paused already" in line.told("unpause", "-n", "qa")


def test_a_label_that_says_false_is_no_pause(line: CommandLine) -> None:
    line.namespace("qa", **{"taskrunner.dev/paused": "false"})
    assert line.told("pause", "-n", "qa") == "namespace qa: paused\n"


def config_map(line: CommandLine, namespace: str) -> None:
    labels = {
        "app.kubernetes.io/name": "taskrunner",
        "app.kubernetes.io/component": "operator",
    }
    metadata = {"name": "release-config", "labels": labels}
    line.put(CONFIG_MAPS, namespace, {"metadata": metadata, "data": {"paused": "false"}})


def test_everything_is_paused_by_the_operators_configuration(line: CommandLine) -> None:
    config_map(line, "ops")
    assert "everything is paused" in line.told("pause", "--all")
    assert line.api.server.get(CONFIG_MAPS, "ops", "release-config")["data"] == {"paused": "true"}
    line.told("unpause", "--all")
    assert line.api.server.get(CONFIG_MAPS, "ops", "release-config")["data"] == {"paused": "false"}


def test_of_several_operators_one_is_to_be_chosen(line: CommandLine) -> None:
    assert "No ConfigMap of an operator" in line.run("pause", "--all").stderr
    config_map(line, "ops")
    config_map(line, "other")
    done = line.run("pause", "--all")
    assert done.exit_code == 1
    assert "ops/release-config, other/release-config" in done.stderr
    line.told("pause", "--all", "--operator-namespace", "other")
    assert line.api.server.get(CONFIG_MAPS, "ops", "release-config")["data"] == {"paused": "false"}


@pytest.mark.parametrize("words", [[], ["-n", "qa", "--all"]])
def test_what_to_pause_is_written(line: CommandLine, words: list[str]) -> None:
    assert line.run("pause", *words).exit_code == 2


def test_a_namespace_that_is_not_there_is_told(line: CommandLine) -> None:
    done = line.run("pause", "-n", "nowhere")
    assert done.exit_code == 2
    assert 'no namespace "nowhere"' in done.stderr


def test_a_cluster_that_cannot_be_reached_ends_in_a_sentence(line: CommandLine) -> None:
    done = line.run("suspend", "nightly", "--context", "nowhere")
    assert (done.exit_code, done.stderr) == (1, 'error: There is no context "nowhere".\n')
