"""`taskrunner backfill`, on the API server of the contract tests."""

from __future__ import annotations

from typing import Any

import pytest

from taskrunner.ports import BACKFILLS, SCHEDULED_TASKS
from unit.command_line import CommandLine

STATUS = {
    "decidedUntil": "2026-03-02T11:59:00Z",
    "plan": {"hash": "x", "since": "2026-03-01T00:00:00Z"},
    "missedRanges": [
        {
            "from": "2026-03-02T04:00:00Z",
            "to": "2026-03-02T06:00:00Z",
            "count": 3,
            "reason": "Superseded",
        }
    ],
}


@pytest.fixture
def line() -> CommandLine:
    line = CommandLine()
    line.clock.jump(-86_400)
    line.task("report", schedule="0 * * * *", status=STATUS)
    line.clock.jump(86_400)
    return line


def made(line: CommandLine) -> list[Any]:
    return line.api.server.list(BACKFILLS)


def test_it_creates_a_backfill(line: CommandLine) -> None:
    said = line.told(
        *("backfill", "report", "--from", "2026-03-01", "--to", "2026-03-02T01:00+01:00"),
        *("--only-missed", "--max-concurrent", "5", "--order", "newest", "-a", "MODE=x"),
    )
    (found,) = made(line)
    assert found["spec"] == {
        "taskRef": {"name": "report"},
        "from": "2026-03-01T00:00:00Z",
        "to": "2026-03-02T00:00:00Z",
        "onlyMissed": True,
        "maxConcurrent": 5,
        "order": "NewestFirst",
        "arguments": {"MODE": "x"},
    }
    name = found["metadata"]["name"]
    assert name.startswith("report-")
    assert said == f"{name}: created; kubectl get backfill {name} -n qa -w\n"


def test_without_an_end_it_goes_up_to_now(line: CommandLine) -> None:
    assert line.told("backfill", "report", "--from", "2026-03-01", "-o", "name", "--name", "b") == (
        "backfill.taskrunner.dev/b\n"
    )
    (found,) = made(line)
    assert found["spec"]["to"] == "2026-03-02T12:00:00Z"


def test_a_dry_run_shows_the_slots_and_creates_nothing(line: CommandLine) -> None:
    said = line.told("backfill", "report", "--from", "2026-03-02T09:30:00Z", "--dry-run")
    assert said.splitlines() == [
        "SLOT (UTC)             LOCAL                       SCHEDULE",
        "2026-03-02T10:00:00Z   2026-03-02T10:00:00+00:00   -",
        "2026-03-02T11:00:00Z   2026-03-02T11:00:00+00:00   -",
        "2 slots would be run.",
        "",
        "Nothing is run of:",
        "FROM                   TO                     REASON       MESSAGE",
        "2026-03-02T11:59:01Z   2026-03-02T12:00:00Z   NotDecided   The schedule has yet to decide"
        " these slots.",
    ]
    assert made(line) == []


def test_a_dry_run_says_what_was_missed_and_what_cannot_be_known(line: CommandLine) -> None:
    line.api.server.patch(
        *(SCHEDULED_TASKS, "qa", "report"),
        {"status": {"plan": {"hash": "x", "since": "2026-03-02T03:30:00Z"}}},
        subresource="status",
    )
    found = line.data(
        *("backfill", "report", "--from", "2026-03-02", "--to", "2026-03-02T09:00:00Z"),
        *("--dry-run", "--only-missed"),
    )
    assert found["slots"] == [f"2026-03-02T{hour:02}:00:00Z" for hour in (4, 5, 6)]
    (part,) = found["leftOut"]
    assert (part["reason"], part["to"]) == ("PlanChanged", "2026-03-02T03:30:00Z")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["nothing", "--from", "2026-03-01"], 'There is no task "nothing"', id="no such task"
        ),
        pytest.param(
            ["report", "--from", "2026-03-05"],
            '--to "now" is not after --from "2026-03-05". Write a later time.',
            id="nothing in between",
        ),
        pytest.param(["report", "--from", "then"], "This is not a time.", id="no time"),
        pytest.param(
            ["report", "--from", "2026-03-01", "-a", "x"], "Write NAME=VALUE.", id="no argument"
        ),
    ],
)
def test_what_is_wrong_is_said(line: CommandLine, words: list[str], said: str) -> None:
    done = line.run("backfill", *words)
    assert done.exit_code == 2
    assert said in done.output
    assert made(line) == []


def test_a_task_that_nobody_has_looked_at_has_no_past(line: CommandLine) -> None:
    line.task("new", schedule="0 * * * *")
    done = line.run("backfill", "new", "--from", "2026-03-01", "--dry-run")
    assert done.exit_code == 2
    assert "The operator has not looked at task" in done.output
