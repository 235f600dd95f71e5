"""`taskrunner skip`, on the API server of the contract tests. It is 2026-09-21T14:13:20Z."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import yaml
from typer.testing import CliRunner, Result

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.cli.main import build
from taskrunner.cli.shared import Session
from taskrunner.ports import CALENDARS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from world import TEMPLATE

NIGHTLY = ["nightly-1790042400", "nightly-1790128800", "nightly-1790215200"]
"""The next slots: 02:00 on the 22nd, 23rd and 24th."""


class Cluster:
    """The task nightly, at 02:00 UTC, and others."""

    def __init__(self) -> None:
        self.api = FakeApi(FakeClock())
        self.task("nightly", schedule="0 2 * * *")
        self.task("jittery", schedule="0 * * * *", jitterSeconds=600)
        self.task("manual")
        self.task("over", schedule="0 2 * * *", endTime="2026-09-21T00:00:00Z")

    def task(self, name: str, **spec: object) -> None:
        body: Obj = {"metadata": {"name": name}, "spec": {"jobTemplate": TEMPLATE, **spec}}
        self.api.server.create(SCHEDULED_TASKS, "qa", body)

    def run(self, *words: str) -> Result:
        @asynccontextmanager
        async def connect(kubeconfig: str, context: str) -> AsyncGenerator[Session, None]:
            yield Session(self.api, "qa")

        return CliRunner().invoke(build(self.api.clock, connect), ["skip", *words])

    def skipped(self) -> list[str]:
        return sorted(self.api.server.objects(TASK_EXECUTIONS))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize(
    ("words", "skipped"),
    [
        pytest.param([], NIGHTLY[:1], id="the next"),
        pytest.param(["--next", "3"], NIGHTLY, id="the next three"),
        pytest.param(["--at", "2026-09-23T02:00:00Z"], NIGHTLY[1:2], id="the one at a time"),
        pytest.param(
            ["--at", "2026-09-23T04:00", "--zone", "Europe/Berlin"], NIGHTLY[1:2], id="local time"
        ),
    ],
)
def test_it_takes_the_names_of_slots(
    cluster: Cluster, words: list[str], skipped: list[str]
) -> None:
    result = cluster.run("nightly", *words, "--because", "Freeze")
    assert result.exit_code == 0, result.output
    assert cluster.skipped() == skipped
    for name in skipped:
        assert name in result.stdout
        spec = cluster.api.server.get(TASK_EXECUTIONS, "qa", name)["spec"]
        assert spec["type"] == "Scheduled"
        assert spec["decision"] == {"type": "Skip", "reason": "Requested", "message": "Freeze"}


def test_each_call_skips_one_more(cluster: Cluster) -> None:
    cluster.run("nightly")
    result = cluster.run("nightly")
    assert cluster.skipped() == NIGHTLY[:2]
    assert result.stdout == f"2026-09-23T02:00:00Z: nightly is skipped ({NIGHTLY[1]})\n"


def test_it_finds_a_slot_by_the_time_at_which_jitter_starts_it(cluster: Cluster) -> None:
    told = cluster.run("jittery").stdout
    time = told.partition(": ")[0]
    assert not time.endswith(":00:00Z")
    name = cluster.skipped()[0]
    cluster.run("jittery", "--undo")
    cluster.run("jittery", "--at", time)
    assert cluster.skipped() == [name]


@pytest.mark.parametrize(
    ("words", "left", "says"),
    [
        pytest.param([], [], "2026-09-22T02:00:00Z: nightly runs", id="all that are to come"),
        pytest.param(
            ["--at", "2026-09-23T02:00:00Z"], [NIGHTLY[0]], "nightly runs", id="the one at a time"
        ),
        pytest.param(
            ["--at", "2026-09-24T02:00:00Z"],
            NIGHTLY[:2],
            'No slot of "nightly" at 2026-09-24T02:00:00Z that is to come is skipped by request.',
            id="one that is not skipped",
        ),
    ],
)
def test_undo_takes_it_back(cluster: Cluster, words: list[str], left: list[str], says: str) -> None:
    cluster.run("nightly", "--next", "2")
    result = cluster.run("nightly", "--undo", *words)
    assert cluster.skipped() == left
    assert says in result.output


def test_what_is_over_is_not_taken_back(cluster: Cluster) -> None:
    cluster.run("nightly")
    cluster.api.clock.suspend(86_400)  # type: ignore[attr-defined]
    assert "No slot" in cluster.run("nightly", "--undo").stdout
    assert cluster.skipped() == NIGHTLY[:1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            ["nightly", "--at", "2026-09-23T03:00:00Z"],
            'error: --at "2026-09-23T03:00:00Z": The task "nightly" has no slot then. Slots near'
            " it: 2026-09-23T02:00:00Z, 2026-09-24T02:00:00Z, 2026-09-25T02:00:00Z.",
            id="no slot",
        ),
        pytest.param(
            ["nightly", "--at", "2026-09-20T02:00:00Z"],
            'error: --at "2026-09-20T02:00:00Z": This time is over. Only slots to come can be'
            " skipped; to stop a run: taskrunner cancel.",
            id="over",
        ),
        pytest.param(["nightli"], 'Did you mean "nightly"?', id="no such task"),
        pytest.param(["manual"], "has no schedule", id="no schedule"),
        pytest.param(["over"], 'The task "over" has no slot to come.', id="ended"),
        pytest.param(["nightly", "--at", "later"], "This is not a time.", id="no time"),
    ],
)
def test_it_says_what_is_wrong(cluster: Cluster, words: list[str], says: str) -> None:
    result = cluster.run(*words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not cluster.skipped()


def test_a_slot_that_was_decided_meanwhile_is_told(cluster: Cluster) -> None:
    spec = {"taskRef": {"name": "nightly"}, "type": "Scheduled"}
    spec |= {"decision": {"type": "Run", "reason": "OnSchedule"}}
    cluster.api.server.create(
        TASK_EXECUTIONS, "qa", {"metadata": {"name": NIGHTLY[0]}, "spec": spec}
    )
    result = cluster.run("nightly")
    assert result.exit_code == 1
    assert "was decided meanwhile" in result.stderr


def test_a_dry_run_prints_what_kubectl_would_create(cluster: Cluster) -> None:
    result = cluster.run("nightly", "--dry-run", "--next", "2")
    assert [obj["metadata"]["name"] for obj in yaml.safe_load_all(result.stdout)] == NIGHTLY[:2]
    assert not cluster.skipped()


def test_a_calendar_is_followed(cluster: Cluster) -> None:
    calendar: Obj = {"metadata": {"name": "days"}, "spec": {"exclude": {"dates": ["2026-09-22"]}}}
    cluster.api.server.create(CALENDARS, "qa", calendar)
    cluster.task("working", schedule="0 2 * * *", calendars=[{"name": "days"}])
    assert "2026-09-23T02:00:00Z" in cluster.run("working").stdout
