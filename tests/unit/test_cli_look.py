"""`taskrunner history`, `logs`, `next` and `top`, and the forms of output."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from taskrunner.cli.times import length, milliseconds
from taskrunner.cli.top import POD_METRICS, quantity
from taskrunner.errors import Refused
from taskrunner.ports import CALENDARS, NAMESPACES, PODS, SHARDS, Obj
from unit.command_line import CommandLine


@pytest.fixture
def line() -> CommandLine:
    return CommandLine()


def slot(line: CommandLine, name: str, hour: int, phase: str, **status: object) -> None:
    line.execution(
        name,
        "nightly",
        scheduledTime=f"2026-03-02T{hour:02}:00:00Z",
        status={"phase": phase, **status},
    )


# --- history --------------------------------------------------------------------------------------


@pytest.fixture
def past(line: CommandLine) -> CommandLine:
    line.task("nightly")
    slot(line, "a", 8, "Succeeded", durationSeconds=4000, startLagMilliseconds=37, attempt=1)
    slot(line, "b", 10, "Failed", reason="JobFailed", message="It [failed].", attempt=2)
    slot(line, "c", 9, "Missed", reason="DeadlineExceeded")
    line.execution("other", "load", status={"phase": "Running"})
    return line


def test_history_is_the_latest_first(past: CommandLine) -> None:
    told = past.told("history", "nightly").splitlines()
    assert told[0].split() == ["NAME", "TYPE", "PHASE", "REASON", "SLOT", "TOOK", "ATTEMPT", "LAG"]
    assert [words.split()[0] for words in told[1:]] == ["b", "c", "a"]
    assert told[3].split()[-3:] == ["1h6m", "1", "37ms"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["nightly", "--phase", "failed"], ["b"]),
        (["nightly", "--since", "150m"], ["b"]),
        (["nightly", "--count", "2"], ["b", "c"]),
        ([], ["other", "b", "c", "a"]),
        (["-A"], ["other", "far", "b", "c", "a"]),
        (["-n", "elsewhere"], ["far"]),
    ],
)
def test_which_lines_of_history_are_shown(
    past: CommandLine, words: list[str], names: list[str]
) -> None:
    past.execution("far", "else", namespace="elsewhere", status={"phase": "Failed"})
    found = past.data("history", *words)
    assert [one["metadata"]["name"] for one in found["items"]] == names


def test_more_than_is_shown_is_told(past: CommandLine) -> None:
    assert "and 2 more; --count shows them" in past.run("history", "nightly", "--count", "1").stderr


def test_wide_has_the_messages_and_markup_in_them_is_text(past: CommandLine) -> None:
    assert "It [failed]." in past.told("history", "nightly", "-o", "wide")


def test_output_can_be_names_json_and_yaml(past: CommandLine) -> None:
    names = past.told("history", "nightly", "-o", "name").splitlines()
    assert names == [f"taskexecution.taskrunner.dev/{name}" for name in "bca"]
    found = yaml.safe_load(past.told("history", "nightly", "-o", "yaml"))
    assert found == past.data("history", "nightly")
    assert {item["kind"] for item in found["items"]} == {"TaskExecution"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nihgtly"], 'Did you mean "nightly"?'),
        (["nightly", "--phase", "Broken"], '--phase "Broken": There is no such phase. Write one'),
        (["nightly", "--since", "yesterday"], "This is not a length of time"),
    ],
)
def test_wrong_questions_are_told(past: CommandLine, words: list[str], told: str) -> None:
    done = past.run("history", *words)
    assert done.exit_code == 2
    assert told in done.stderr


# --- logs -----------------------------------------------------------------------------------------


@pytest.fixture
def written(line: CommandLine) -> CommandLine:
    line.task("nightly")
    line.execution("x", "nightly", status={"phase": "Running", "attempt": 2})
    line.pod("p2", "x", 2, "main", "side")
    line.pod("p1", "x", 1, "main")
    line.log("p1", "first\n")
    line.log("p2", "second\nthird")
    line.log("p2", "beside\n", container="side")
    return line


def test_logs_are_those_of_all_attempts_the_oldest_first(written: CommandLine) -> None:
    assert written.told("logs", "x").splitlines() == [
        "[1/p1/main] first",
        "[2/p2/main] second",
        "[2/p2/main] third",
        "[2/p2/side] beside",
    ]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["-c", "side"], ["beside"]),
        (["--attempt", "1"], ["first"]),
        (["-c", "main", "--attempt", "2"], ["second", "third"]),
        (["-c", "side", "--prefix"], ["[2/p2/side] beside"]),
        (["--attempt", "2", "--no-prefix"], ["second", "third", "beside"]),
    ],
)
def test_which_logs_are_shown(written: CommandLine, words: list[str], lines: list[str]) -> None:
    assert written.told("logs", "x", *words).splitlines() == lines


def test_the_name_of_a_task_is_its_latest_run(written: CommandLine) -> None:
    written.clock.jump(60)
    written.execution("y", "nightly", status={"phase": "Succeeded"})
    written.pod("p3", "y", 1, "main")
    written.log("p3", "latest\n")
    assert written.told("logs", "nightly") == "latest\n"


def test_what_is_asked_of_the_server(written: CommandLine) -> None:
    written.told("logs", "x", "-c", "side", "--tail", "5", "--since", "10m", "--timestamps")
    query = {"container": "side", "tailLines": "5", "sinceSeconds": "600", "timestamps": "true"}
    assert written.texts.asked[-1][1] == query


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nobody"], 2, 'no execution and no task "nobody"'),
        (["lonely"], 2, 'The task "lonely" has no runs that are kept'),
        (["x", "-c", "maim"], 2, 'No container is called "maim". There are: main, side.'),
        (["x", "--attempt", "7"], 1, "x has no pods of attempt 7."),
        (["gone"], 1, "The pods of gone are gone, and their logs with them. It is Failed. Why."),
        (["new"], 1, "new has not started a pod. It is Queued."),
        (["slow"], 1, "no container of it has started"),
    ],
)
def test_why_there_is_no_log(written: CommandLine, words: list[str], code: int, told: str) -> None:
    written.task("lonely")
    status: Obj = {"phase": "Failed", "attempt": 1, "message": "Why.", "result": "the end"}
    written.execution("gone", "nightly", status=status)
    written.execution("new", "nightly", status={"phase": "Queued"})
    written.execution("slow", "nightly", status={"phase": "Pending"})
    written.pod("p9", "slow", 1, "main", started=False)
    done = written.run("logs", *words)
    assert done.exit_code == code
    assert told in done.stderr
    assert ("the end" in done.stderr) is (words == ["gone"])


def test_who_may_not_list_pods_is_told(written: CommandLine) -> None:
    written.api.fail("list", PODS, error=Refused("pods is forbidden", code=403))
    done = written.run("logs", "x")
    assert (done.exit_code, done.stderr) == (1, "error: pods is forbidden\n")


# --- next -----------------------------------------------------------------------------------------


@pytest.fixture
def planned(line: CommandLine) -> CommandLine:
    line.task("early", schedule="30 12 * * *")
    line.task("late", schedule="0 18 * * *", timeZone="Europe/Berlin")
    line.task("far", namespace="elsewhere", schedule="0 13 * * *")
    line.task("by-hand")
    return line


def starts(line: CommandLine, *words: str) -> list[tuple[str, str]]:
    return [(one["time"][11:16], one["task"]) for one in line.data("next", *words)]


def test_what_is_due_next_comes_in_the_order_of_time(planned: CommandLine) -> None:
    assert starts(planned) == [("12:30", "early"), ("17:00", "late")]
    assert starts(planned, "-A") == [("12:30", "early"), ("13:00", "far"), ("17:00", "late")]
    assert starts(planned, "late") == [("17:00", "late")]
    assert starts(planned, "-A", "--within", "70m") == [("12:30", "early"), ("13:00", "far")]
    assert len(starts(planned, "--within", "7d", "--count", "3")) == 3


def test_the_timeline_says_how_long_it_is_to_go(planned: CommandLine) -> None:
    told = planned.told("next", "--zone", "Europe/Berlin").splitlines()
    assert told[0].split() == ["IN", "TIME", "(UTC)", "LOCAL", "NAMESPACE", "TASK"]
    words = ["30m", "2026-03-02T12:30:00Z", "2026-03-02T13:30:00+01:00", "qa", "early"]
    assert told[1].split() == words


def test_what_is_held_back_is_marked(planned: CommandLine) -> None:
    planned.task("off", schedule="0 13 * * *", suspend=True)
    planned.namespace("elsewhere", **{"taskrunner.dev/paused": "true"})
    held = {one["task"]: one.get("held") for one in planned.data("next", "-A")}
    assert held == {"early": None, "late": None, "far": "namespace paused", "off": "suspended"}


def test_who_may_not_list_namespaces_sees_the_rest(planned: CommandLine) -> None:
    planned.api.fail("list", NAMESPACES, error=Refused("no", code=403))
    assert starts(planned) == [("12:30", "early"), ("17:00", "late")]


def test_retries_and_deferred_runs_are_in_the_timeline(planned: CommandLine) -> None:
    retry: Obj = {"phase": "Retrying", "attempt": 1, "nextRetryTime": "2026-03-02T12:10:00Z"}
    planned.execution("r", "by-hand", status=retry)
    planned.execution("d", "by-hand", notBefore="2026-03-02T12:20:00Z")
    found = {one["note"]: one["time"][11:16] for one in planned.data("next", "by-hand")}
    assert found == {"attempt 2 of r": "12:10", "d waits until then": "12:20"}


def test_calendars_move_what_is_shown(planned: CommandLine) -> None:
    spec = {"exclude": {"weekdays": ["Monday"]}}
    planned.put(CALENDARS, "qa", {"metadata": {"name": "mondays"}, "spec": spec})
    planned.task("moved", schedule="0 14 * * *", calendars=[{"name": "mondays"}])
    assert starts(planned, "moved", "--within", "2d") == [("14:00", "moved")]


def test_only_as_many_starts_as_are_left(planned: CommandLine) -> None:
    planned.task("thrice", schedule="0 * * * *", maxExecutions=3, status={"scheduledCount": 1})
    assert len(starts(planned, "thrice")) == 2


def test_a_task_that_cannot_be_followed_is_told_and_the_others_shown(planned: CommandLine) -> None:
    planned.task("broken", schedule="61 * * * *")
    done = planned.run("next")
    assert done.exit_code == 0
    assert "warning: task qa/broken cannot be followed" in done.stderr
    assert "early" in done.stdout


def test_an_unknown_task_is_an_error(planned: CommandLine) -> None:
    done = planned.run("next", "nobody")
    assert (done.exit_code, "no task nobody" in done.stderr) == (2, True)


# --- top ------------------------------------------------------------------------------------------


@pytest.fixture
def busy(line: CommandLine) -> CommandLine:
    running: Obj = {"phase": "Running", "startTime": "2026-03-02T11:00:00Z"}
    line.execution("a", "load", status=running | {"startLagMilliseconds": 1500})
    line.execution("b", "load", status=running | {"startTime": "2026-03-02T11:50:00Z"})
    line.execution("c", "load", status={"phase": "Queued"})
    line.execution("d", "scan", status={"phase": "Retrying", "startTime": "2026-03-02T11:58:00Z"})
    line.execution("e", "done", status={"phase": "Succeeded"})
    line.clock.jump(30)
    return line


def test_top_counts_what_runs_and_waits(busy: CommandLine) -> None:
    tasks = {one.pop("task"): one for one in busy.data("top")["tasks"]}
    assert tasks["load"] == {
        "namespace": "qa",
        "active": 2,
        "waiting": 1,
        "retrying": 0,
        "longestSeconds": 3630,
        "oldestWaitSeconds": 30,
        "startLagMilliseconds": 1500,
    }
    assert (tasks["scan"]["active"], tasks["scan"]["retrying"]) == (1, 1)
    assert "done" not in tasks


def test_top_shows_resources_where_there_are_metrics(busy: CommandLine) -> None:
    assert "CPU" not in busy.told("top")
    pod = {
        "metadata": {"name": "p", "labels": {"taskrunner.dev/execution": "a"}},
        "containers": [{"usage": {"cpu": "250m", "memory": "128Mi"}}],
    }
    busy.put(POD_METRICS, "qa", pod)
    assert "250m" in busy.told("top")
    assert busy.data("top", "--sort", "cpu")["tasks"][0]["memoryBytes"] == 128 * 2**20


def test_top_says_how_the_operator_keeps_up(busy: CommandLine) -> None:
    status = {"holder": "one_1", "tasks": 12, "lagMilliseconds": 42}
    spec = {"epoch": "one_1/3", "number": 3, "shards": 1, "released": False}
    shard = {"metadata": {"name": "taskrunner-shard-0"}, "spec": spec, "status": status}
    busy.put(SHARDS, "ops", shard)
    told = busy.told("top").splitlines()
    assert told[0] == "ops/taskrunner-shard-0: holder one_1, 12 tasks, lag 42ms"


def test_top_of_nothing_is_a_sentence(line: CommandLine) -> None:
    assert "Nothing runs and nothing waits." in line.run("top").stderr


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (3600, "1h"), (3601, "1h"),
     (11_100, "3h5m"), (90_000, "1d1h"), (86_400 * 40, "40d")],
)  # fmt: skip
def test_lengths_of_time_are_short(seconds: int, text: str) -> None:
    assert length(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (37, "37ms"), (1400, "1.4s"), (150_000, "2m30s")]
)
def test_lags_are_short(value: int | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(("text", "number"), [("250m", 250.0), ("1", 1000.0), ("x", 0.0)])
def test_quantities(text: str, number: float) -> None:
    assert quantity(text, {"m": 1.0, "": 1000.0}) == number


def test_starting_up_loads_nothing_heavy() -> None:
    """`--help` and completion stay quick: it is asserted by what is loaded, not by a clock."""
    code = (
        "import sys; import taskrunner.__main__;"
        "print(*sorted(set(m.split('.')[0] for m in sys.modules)"
        " & {'kopf', 'aiohttp', 'pydantic', 'yaml', 'holidays', 'cryptography', 'orjson',"
        " 'prometheus_client', 'httpx', 'asyncio'}));"
        "print(*(m for m in sys.modules if m.startswith('taskrunner.engine')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
