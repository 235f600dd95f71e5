"""The command line: preview, explain and the version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from fakes.clock import FakeClock
from taskrunner import __version__
from taskrunner.__main__ import as_kubectl_takes_it
from taskrunner.cli.main import build
from unit.planning import JOB, at

NOW = at("2026-03-02 12:00")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(build(FakeClock(now=NOW)), [*arguments], input=stdin)


def written(*documents: dict[str, Any]) -> str:
    return yaml.safe_dump_all(documents)


def scheduled(name: str = "nightly", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "ScheduledTask",
        "metadata": {"name": name},
        "spec": {"jobTemplate": JOB, **spec},
    }


def weekend(namespace: str = "default") -> dict[str, Any]:
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "Calendar",
        "metadata": {"name": "weekend", "namespace": namespace},
        "spec": {"exclude": {"weekdays": ["Saturday", "Sunday"]}},
    }


DAILY = written(scheduled(schedule="0 9 * * *"))


def slots(*arguments: str, stdin: str = DAILY) -> list[dict[str, Any]]:
    done = run("preview", "-f", "-", "-o", "json", *arguments, stdin=stdin)
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


# --- preview --------------------------------------------------------------------------------------


def test_json_is_a_list_of_four_fields() -> None:
    stdin = written(scheduled(schedules=[{"name": "day", "cron": "0 9 * * *",
                                          "timeZone": "Europe/Berlin"}]))  # fmt: skip
    assert slots("--count", "1", stdin=stdin) == [
        {
            "time": "2026-03-03T08:00:00Z",
            "local": "2026-03-03T09:00:00+01:00",
            "schedule": "day",
            "notes": [],
        }
    ]


def test_five_slots_from_now_on() -> None:
    assert [slot["time"][:10] for slot in slots()] == [f"2026-03-0{day}" for day in range(3, 8)]


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        (["--from", "2026-03-05T09:00:00Z", "--count", "1"], ["2026-03-05T09:00:00Z"]),
        (["--from", "2026-03-05T09:00:01Z", "--count", "1"], ["2026-03-06T09:00:00Z"]),
        (["--from", "2026-03-05", "--to", "2026-03-07"],
         ["2026-03-05T09:00:00Z", "2026-03-06T09:00:00Z"]),
        (["--from", "2026-03-05", "--to", "2026-03-06T09:00:00Z"], ["2026-03-05T09:00:00Z"]),
        (["--from", "2026-03-05", "--to", "2026-03-20", "--count", "1"], ["2026-03-05T09:00:00Z"]),
        (["--from", "2026-03-05T10:00", "--zone", "Europe/Berlin", "--count", "1"],
         ["2026-03-05T09:00:00Z"]),
        (["--from", "2020-01-01", "--count", "1"], ["2020-01-01T09:00:00Z"]),
    ],
)  # fmt: skip
def test_from_to_and_count(arguments: list[str], times: list[str]) -> None:
    assert [slot["time"] for slot in slots(*arguments)] == times


def test_zone_changes_the_local_times_only() -> None:
    (slot,) = slots("--count", "1", "--zone", "Asia/Tokyo")
    assert (slot["time"], slot["local"]) == ("2026-03-03T09:00:00Z", "2026-03-03T18:00:00+09:00")


def test_notes_tell_what_jitter_calendars_and_dst_did() -> None:
    spec: dict[str, Any] = {
        "schedule": "30 2 29 3 *",
        "timeZone": "Europe/Berlin",
        "jitterSeconds": 300,
        "calendars": [{"name": "weekend", "onExcluded": "NextBusinessDay"}],
    }
    stdin = written(scheduled(**spec), weekend())
    (slot,) = slots("--count", "1", stdin=stdin)
    assert slot["time"].startswith("2026-03-30T01:0")
    dst, moved, jitter = slot["notes"]
    assert dst == "moved by the DST gap"
    assert moved == "moved to the next business day by calendar weekend (Sunday)"
    assert jitter.startswith("jitter +")


def test_coinciding_schedules_are_one_slot_with_a_note() -> None:
    entries = [{"name": name, "cron": "0 9 * * *"} for name in ("a", "b")]
    (slot,) = slots("--count", "1", stdin=written(scheduled(schedules=entries)))
    assert (slot["schedule"], slot["notes"]) == ("a", ["also due by b: one run"])


def test_skipped_slots_are_left_out_unless_asked_for() -> None:
    spec: dict[str, Any] = {"schedule": "0 9 * * *", "calendars": [{"name": "weekend"}]}
    stdin = written(scheduled(**spec), weekend())
    begin = ("--from", "2026-03-28", "--count", "2")
    assert [slot["time"][:10] for slot in slots(*begin, stdin=stdin)] == [
        "2026-03-30", "2026-03-31",
    ]  # fmt: skip
    first, _ = slots(*begin, "--skipped", stdin=stdin)
    assert first["time"] == "2026-03-28T09:00:00Z"
    assert first["notes"] == ['skipped: The calendar "weekend" excludes it (Saturday).']


def test_calendars_may_come_from_another_file(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "schedule": "0 9 * * 6",
        "calendars": [{"name": "weekend", "onExcluded": "Defer"}],
    }
    (tmp_path / "task.yaml").write_text(written(scheduled(**spec)))
    (tmp_path / "calendar.yaml").write_text(written(weekend("qa")))
    done = run(
        "preview", "-f", str(tmp_path / "task.yaml"), "--calendar",
        str(tmp_path / "calendar.yaml"), "-n", "qa", "-o", "json", "--count", "1",
    )  # fmt: skip
    assert json.loads(done.stdout)[0]["time"] == "2026-03-09T00:00:00Z"


def test_a_cronjob_is_previewed_as_it_is() -> None:
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "backup"},
        "spec": {"schedule": "*/5 * * * *", "jobTemplate": JOB},
    }
    assert [slot["time"] for slot in slots("--count", "2", stdin=written(cron_job))] == [
        "2026-03-02T12:00:00Z",
        "2026-03-02T12:05:00Z",
    ]


def test_what_kubectl_prints_can_be_piped_in() -> None:
    items = [scheduled("a", schedule="0 9 * * *"), scheduled("b", schedule="0 8 * * *"), 1]
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    found = slots("--count", "1", stdin=stdin)
    assert [(slot["task"], slot["time"][11:16]) for slot in found] == [
        ("default/b", "08:00"), ("default/a", "09:00"),
    ]  # fmt: skip


def test_other_kinds_and_empty_documents_are_passed_over() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    assert len(slots(stdin=f"---\n---\n{written(config)}---\n{DAILY}")) == 5


def test_dates_in_yaml_need_no_quotes() -> None:
    stdin = DAILY.replace("  schedule:", "  startTime: 2026-04-01T00:00:00Z\n  schedule:")
    assert slots("--count", "1", stdin=stdin)[0]["time"] == "2026-04-01T09:00:00Z"


def test_no_more_than_max_executions() -> None:
    started = {**scheduled(schedule="0 9 * * *", maxExecutions=5), "status": {"scheduledCount": 3}}
    assert len(slots(stdin=written(started))) == 2
    assert len(slots(stdin=written(scheduled(schedule="0 9 * * *", maxExecutions=1)))) == 1


def test_warnings_go_to_standard_error() -> None:
    stdin = written(scheduled(schedule="30 2 * * *", timeZone="Europe/Berlin", suspend=True))
    done = run("preview", "-f", "-", "-o", "json", stdin=stdin)
    assert "02:00 to 03:00 on 2026-03-29" in done.stderr
    assert "spec.suspend is true" in done.stderr
    assert "warning" not in done.stdout


# --- table and ics --------------------------------------------------------------------------------


def test_a_table_reads_well() -> None:
    entries = [{"name": "day", "cron": "0 9 * * *", "timeZone": "Europe/Berlin"}]
    done = run("preview", "-f", "-", "--count", "1", stdin=written(scheduled(schedules=entries)))
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines == [
        "default/nightly  day",
        "TIME (UTC)            LOCAL                           SCHEDULE  NOTES",
        "2026-03-03T08:00:00Z  Tue 2026-03-03 09:00:00 +01:00  day",
        "",
    ]


def test_a_table_of_skipped_slots_of_a_single_schedule() -> None:
    spec: dict[str, Any] = {"schedule": "0 9 * * *", "calendars": [{"name": "weekend"}]}
    done = run("preview", "-f", "-", "--from", "2026-03-28", "--skipped",
               stdin=written(scheduled(**spec), weekend()))  # fmt: skip
    assert "SCHEDULE" not in done.stdout
    assert "skipped: The calendar" in done.stdout


def test_a_task_without_runs_says_so() -> None:
    done = run("preview", "-f", "-", stdin=written(scheduled()))
    assert "No run to come." in done.stdout


def test_a_calendar_program_can_read_the_slots() -> None:
    entries = [{"name": "day", "cron": "0 9 * * *", "arguments": {"A": "ü" * 5}},
               {"name": "two", "cron": "0 9 * * *", "arguments": {"A": "ü" * 5}}]  # fmt: skip
    done = run("preview", "-f", "-", "-o", "ics", "--count", "1",
               stdin=written(scheduled(schedules=entries)))  # fmt: skip
    lines = done.stdout_bytes.decode().split("\r\n")
    assert lines[:3] == ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//taskrunner//preview//EN"]
    assert lines[-2:] == ["END:VCALENDAR", ""]
    assert "DTSTART:20260303T090000Z" in lines
    assert "DTSTAMP:20260302T120000Z" in lines
    assert "SUMMARY:nightly (day)" in lines
    assert "DESCRIPTION:also due by two: one run" in lines


def test_long_lines_of_a_calendar_file_are_folded_and_escaped() -> None:
    from taskrunner.cli.output import _escaped, _folded

    line = "DESCRIPTION:" + "ü" * 100
    folded = list(_folded(line))
    assert all(len(part.encode()) <= 75 for part in folded)
    assert folded[0] + "".join(part[1:] for part in folded[1:]) == line
    assert _escaped("a;b,c\\d\ne") == "a\\;b\\,c\\\\d\\ne"


def test_skipped_slots_are_marked_in_a_calendar_file() -> None:
    spec: dict[str, Any] = {"schedule": "0 9 * * *", "calendars": [{"name": "weekend"}]}
    done = run("preview", "-f", "-", "-o", "ics", "--from", "2026-03-28", "--skipped",
               stdin=written(scheduled(**spec), weekend()))  # fmt: skip
    assert "SUMMARY:skipped: nightly" in done.stdout


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stdin", "arguments", "parts"),
    [
        (DAILY.replace("0 9", "0 25"), [], ["ScheduledTask nightly", "spec.schedule", '"25"',
                                            "from 0 to 23"]),
        (DAILY.replace("schedule:", "shedule:"), [], ["spec.shedule", "Did you mean schedule?"]),
        (written(scheduled(schedule="0 9 * * *", calendars=[{"name": "x"}])), [],
         ["spec.calendars[0].name", '"x"', "Create it"]),
        (written(weekend(), scheduled(schedule="0 9 * * *")).replace("Saturday", "Caturday"), [],
         ["Calendar weekend", "spec.exclude.weekdays[0]", "Caturday"]),
        (DAILY.replace("name: nightly", "nam: x"), [], ["metadata.name", "Write metadata.name."]),
        (DAILY.replace("metadata:\n  name: nightly", "metadata: 1"), [], ["metadata.name"]),
        ("a: [", [], ["It is not YAML or JSON"]),
        ("- a", [], ["Document 1 is not an object", "Write apiVersion"]),
        (f"{DAILY}\n---\nnote", [], ["Document 2 is not an object"]),
        ("kind: ConfigMap", [], ["There is no ScheduledTask or CronJob in it, only: ConfigMap"]),
        ("kind: scheduledtask", [], ['There is no kind "scheduledtask"', "mean ScheduledTask?"]),
        ("", [], ["It is empty", "kind: ScheduledTask"]),
        ("[" * 100_000, [], ["nested too deeply"]),
        ("kind: CronJob", [], ["apiVersion is missing", "Write apiVersion: batch/v1"]),
        (DAILY.replace("name: nightly", "name: 5"), [], ["metadata.name", '"5"', "in quotes"]),
        (DAILY + "kind: Pod\n", [], ['the key "kind" is written twice']),
        ("schedule: * * * * *", [], ["It is not YAML", 'schedule: "* * * * *"']),
        (DAILY, ["--from", "9999-01-01"], ["--from", "from 1971 to 2198"]),
        (DAILY, ["--from", "2026-02-02", "--to", "2026-02-01"], ["--to", "not after --from"]),
        (DAILY, ["--zone", "Moon"], ["--zone", '"Moon"', "Did you mean"]),
        (DAILY, ["--from", "soon"], ["--from", '"soon"', "Write e.g."]),
        (DAILY, ["--to", "2026-13-01"], ["--to", '"2026-13-01"', "Write e.g."]),
    ],
)  # fmt: skip
def test_bad_input_is_told_with_field_value_and_remedy(
    stdin: str, arguments: list[str], parts: list[str]
) -> None:
    done = run("preview", "-f", "-", *arguments, stdin=stdin)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


def test_a_file_that_is_not_there() -> None:
    done = run("preview", "-f", "/nowhere/task.yaml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "/nowhere/task.yaml: It cannot be read: No such file or directory." in done.stderr


def test_every_problem_of_every_document_is_told() -> None:
    stdin = written(scheduled("a", schedule="61 * * * *"), scheduled("b", schedule="* 24 * * *"))
    done = run("preview", "-f", "-", stdin=stdin)
    assert len(done.stderr.strip().splitlines()) == 2


# --- explain and version --------------------------------------------------------------------------


def test_a_file_that_is_not_utf_8_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_bytes(b"\xff\xfek\0i\0n\0d\0")
    done = run("preview", "-f", str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "It is not text in UTF-8 (byte 0). Save it as UTF-8." in done.stderr


def test_a_byte_order_mark_and_merged_keys_are_taken() -> None:
    base = "x: &base {kind: ScheduledTask, spec: 1}\n"
    done = run("preview", "-f", "-", stdin=f"\ufeff{base}<<: *base\nkind: CronJob\n")
    assert "CronJob: apiVersion is missing" in done.stderr  # its own key wins, and is no second one


def test_too_many_slots_are_refused() -> None:
    done = run("preview", "-f", "-", "--count", "99999999999999999999", stdin=DAILY)
    assert done.exit_code == 2
    assert "10000" in done.stderr


def test_explain_says_it_in_words_and_lists_five_times() -> None:
    done = run("explain", "30 2 * * *", "--zone", "Europe/Berlin", "--from", "2026-03-28")
    assert done.exit_code == 0
    assert done.stdout.startswith("At 02:30, every day.")
    assert "does not exist runs right after the gap" in done.stdout
    assert "2026-03-29T03:00:00+02:00  2026-03-29T01:00:00Z  (moved by the DST gap)" in done.stdout
    assert done.stdout.count("T0") == 10


def test_explain_tells_that_wildcards_follow_the_clock() -> None:
    done = run("explain", "*/30 * * * *", "--zone", "Europe/Berlin")
    assert "it goes on with the clock" in done.stdout
    assert "When clocks change" not in run("explain", "0 9 * * *").stdout


def test_explain_begins_after_now() -> None:
    assert "2026-03-02T13:00:00Z" in run("explain", "0 * * * *").stdout
    assert "2026-03-02T12:00:00Z" not in run("explain", "0 * * * *").stdout


def test_explain_takes_intervals_and_ends_where_planning_ends() -> None:
    assert run("explain", "@every 90s").stdout.startswith("Every 1 minute and 30 seconds")
    done = run("explain", "0 0 1 1 *", "--from", "2198-01-01")
    assert done.stdout.count("2198-") + done.stdout.count("2199-") == 4


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["61 * * * *"], ["expression", '"61"', "from 0 to 59"]),
        (["0 9 * * *", "--zone", "Moon"], ["--zone", '"Moon"']),
        (["0 0 30 2 *"], ["never matches"]),
        (["0", "2", "*", "*", "*"], ["one argument", 'taskrunner explain "0 2 * * *"']),
        (["H 2 * * *", "--task", "nightly"], ["--task", "namespace/name"]),
    ],
)
def test_explain_tells_what_is_wrong(arguments: list[str], parts: list[str]) -> None:
    done = run("explain", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    for part in parts:
        assert part in done.stderr


def test_explain_warns_of_an_alias() -> None:
    done = run("explain", "0 2 * * *", "--zone", "US/Eastern")
    assert done.exit_code == 0
    assert "Write America/New_York." in done.stderr


def test_the_version_names_the_time_zone_database() -> None:
    done = run("--version")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"taskrunner {__version__} (time zones: tzdata 20")


def test_without_a_command_the_help_is_shown() -> None:
    done = run()
    assert "preview" in done.output
    assert "explain" in done.output


def test_help_teaches() -> None:
    done = run("preview", "--help")
    assert done.exit_code == 0
    assert "kubectl get stask nightly -o yaml" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("-n=qa", ["-n", "qa"]),
        ("-l=team=qa", ["-l", "team=qa"]),
        ("-n=", ["-n", ""]),
        ("-n", ["-n"]),
        ("--namespace=qa", ["--namespace=qa"]),
        ("--", ["--"]),
        ("-1=2", ["-1=2"]),
    ],
)
def test_options_are_read_as_kubectl_reads_them(word: str, words: list[str]) -> None:
    assert as_kubectl_takes_it(word) == words
