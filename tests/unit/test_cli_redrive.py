"""`taskrunner redrive` and `taskrunner retry`, on the API server of the contract tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.cli.main import build
from taskrunner.cli.shared import Session
from taskrunner.errors import Refused, TaskrunnerError
from taskrunner.ports import TASK_EXECUTIONS, Obj


class Cluster:
    """Dead letters a and b of the task load, c of the task other; d succeeded."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.api = FakeApi(self.clock)
        for name, task, reason in (
            ("a", "load", "RetriesExhausted"),
            ("b", "load", "RetriesExhausted"),
            ("c", "other", "RetriesExhausted"),
            ("d", "load", "JobComplete"),
        ):
            self.execution(name, task, reason)

    def execution(self, name: str, task: str, reason: str, namespace: str = "qa") -> None:
        spec: Obj = {"taskRef": {"name": task}, "type": "Manual", "arguments": {"SUITE": name}}
        spec |= {"timeoutSeconds": 60, "stop": "Graceful", "notBefore": "2026-01-01T00:00:00Z"}
        labels = {"taskrunner.dev/task": task}
        server = self.api.server
        server.create(
            TASK_EXECUTIONS, namespace, {"metadata": {"name": name, "labels": labels}, "spec": spec}
        )
        status = {"phase": "Failed", "reason": reason}
        server.patch(TASK_EXECUTIONS, namespace, name, {"status": status}, subresource="status")

    def run(self, *words: str) -> Result:
        @asynccontextmanager
        async def connect(kubeconfig: str, context: str) -> AsyncGenerator[Session, None]:
            if context == "nowhere":
                raise TaskrunnerError('There is no context "nowhere".')
            yield Session(self.api, "qa")

        return CliRunner().invoke(build(self.clock, connect), list(words))

    def made(self) -> dict[str, Obj]:
        """The repetitions, by what they repeat."""
        found = self.api.server.list(TASK_EXECUTIONS)
        return {e["spec"]["redriveOf"]: e for e in found if "redriveOf" in e["spec"]}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize(
    ("words", "repeated"),
    [
        pytest.param(["a"], ["a"], id="one"),
        pytest.param(["a", "c"], ["a", "c"], id="some"),
        pytest.param(["-l", "taskrunner.dev/task=load"], ["a", "b"], id="by label"),
        pytest.param(["--all"], ["a", "b", "c"], id="all of the namespace"),
        pytest.param(["--all", "-n", "none"], [], id="none there"),
    ],
)
def test_which_dead_letters_are_repeated(
    cluster: Cluster, words: list[str], repeated: list[str]
) -> None:
    cluster.execution("far", "load", "RetriesExhausted", namespace="elsewhere")
    done = cluster.run("redrive", *words)
    assert done.exit_code == 0, done.output
    assert sorted(cluster.made()) == repeated
    for name in repeated:
        assert f"{name}: is repeated by " in done.stdout


def test_a_repetition_is_a_run_by_hand_with_the_same_arguments_and_overrides(
    cluster: Cluster,
) -> None:
    cluster.run("redrive", "a")
    assert cluster.made()["a"]["spec"] == {
        "type": "Manual",
        "taskRef": {"name": "load"},
        "arguments": {"SUITE": "a"},
        "timeoutSeconds": 60,
        "redriveOf": "a",
    }


def test_a_dead_letter_is_repeated_once_however_often_it_is_asked_for(cluster: Cluster) -> None:
    cluster.run("redrive", "a")
    done = cluster.run("redrive", "--all")
    assert done.exit_code == 0
    assert "a: has been repeated already by load-redrive-" in done.stdout
    assert len(cluster.api.server.list(TASK_EXECUTIONS)) == 4 + 3


def test_a_dead_letter_stays_repeated_when_its_repetition_is_deleted(cluster: Cluster) -> None:
    cluster.run("redrive", "a")
    name = cluster.made()["a"]["metadata"]["name"]
    cluster.api.server.delete(TASK_EXECUTIONS, "qa", name)
    done = cluster.run("redrive", "a")
    assert f"a: has been repeated already by {name}" in done.stdout
    assert not cluster.made()


def test_who_may_not_label_is_told_what_follows(cluster: Cluster) -> None:
    cluster.api.fail("patch", TASK_EXECUTIONS, error=Refused("may not patch", code=403))
    done = cluster.run("redrive", "a")
    assert done.exit_code == 0
    assert "a: is repeated by" in done.stdout
    assert "warning: a: It cannot be labelled as repeated" in done.stderr


def test_a_dry_run_changes_nothing(cluster: Cluster) -> None:
    done = cluster.run("redrive", "--all", "--dry-run")
    assert done.exit_code == 0
    assert "a: would be repeated by load-redrive-" in done.stdout
    assert not cluster.made()


def test_what_is_no_dead_letter_is_left_alone_with_a_remedy(cluster: Cluster) -> None:
    done = cluster.run("redrive", "d", "a")
    assert done.exit_code == 1
    assert "taskrunner retry d -n qa" in done.stderr
    assert sorted(cluster.made()) == ["a"]


@pytest.mark.parametrize(
    "words", [[], ["a", "--all"], ["--all", "-l", "x=y"]], ids=["nothing", "two", "other two"]
)
def test_what_to_redrive_is_said_in_one_way(cluster: Cluster, words: list[str]) -> None:
    done = cluster.run("redrive", *words)
    assert done.exit_code == 2
    assert "one or more names, or -l with a label selector, or --all" in done.stderr


def test_retry_runs_anything_again_each_time(cluster: Cluster) -> None:
    for _ in range(2):
        done = cluster.run("retry", "d")
        assert done.exit_code == 0
        assert "created, repeats d" in done.stdout
    found = [e for e in cluster.api.server.list(TASK_EXECUTIONS) if "redriveOf" in e["spec"]]
    assert [e["spec"]["arguments"] for e in found] == [{"SUITE": "d"}] * 2
    assert all(e["metadata"]["name"].startswith("load-retry-") for e in found)


@pytest.mark.parametrize("command", ["redrive", "retry"])
def test_an_unknown_name_is_told_with_what_to_do(cluster: Cluster, command: str) -> None:
    done = cluster.run(command, "nobody")
    assert done.exit_code == 2
    assert 'no execution "nobody" in namespace "qa"' in done.stderr
    assert "kubectl get texec -n qa" in done.stderr


def test_what_the_server_refuses_is_told_and_the_others_go_on(cluster: Cluster) -> None:
    def policy(verb: str, resource: Any, obj: Obj) -> None:
        if obj["spec"].get("redriveOf") == "a":
            raise Refused("you may not create Jobs here", code=403)

    cluster.api.server.admission.append(policy)
    done = cluster.run("redrive", "--all")
    assert done.exit_code == 1
    assert "error: a: you may not create Jobs here" in done.stderr
    assert sorted(cluster.made()) == ["b", "c"]


def test_a_cluster_that_cannot_be_found_ends_in_a_sentence(cluster: Cluster) -> None:
    done = cluster.run("redrive", "--all", "--context", "nowhere")
    assert (done.exit_code, done.stderr) == (1, 'error: There is no context "nowhere".\n')
