"""`taskrunner import cronjobs`, on CronJobs as common charts make them (tests/golden/cronjobs).

`UPDATE_GOLDEN=1` writes the report and the tasks anew.
"""

from __future__ import annotations

import os
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.cli.importing import CRON_JOBS
from taskrunner.domain.compile import compile_task
from taskrunner.domain.cronjob_compare import YEAR, compare
from taskrunner.domain.cronjob_import import Choices, imported
from unit.command_line import NOW, CommandLine
from unit.planning import JOB

GOLDEN = Path(__file__).parents[1] / "golden" / "cronjobs"
FILES = sorted(str(path) for path in GOLDEN.glob("*.yaml"))
Json = dict[str, Any]


@pytest.fixture
def line() -> CommandLine:
    return CommandLine()


def golden(name: str, text: str) -> str:
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, "utf-8")
    return (GOLDEN / name).read_text("utf-8")


def cronjob(**spec: Any) -> Json:
    metadata = {"name": "x", "namespace": "qa"}
    spec = {"schedule": "0 3 * * *", "timeZone": "UTC", "jobTemplate": JOB} | spec
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


def files(paths: list[str]) -> list[str]:
    return [word for path in paths for word in ("-f", path)]


def test_the_report_on_cronjobs_of_common_charts(line: CommandLine) -> None:
    done = line.run("import", "cronjobs", *files(FILES), "--report-only", "--diff")
    assert done.exit_code == 1  # one of them cannot be taken
    assert golden("report.txt", done.stdout) == done.stdout
    assert int(re.search(r"^(\d+) CronJobs:", done.stdout, re.MULTILINE)[1]) >= 20  # type: ignore[index]


def test_the_guide_shows_lines_of_the_report() -> None:
    page = (GOLDEN.parents[2] / "docs" / "how-to" / "migrate-from-cronjob.md").read_text("utf-8")
    (block,) = re.findall(r"```console\n\$ taskrunner import.*?\n(.*?)```", page, re.DOTALL)[:1]
    report = (GOLDEN / "report.txt").read_text("utf-8").splitlines()
    assert [line for line in block.splitlines() if line not in (*report, "…")] == []


def test_the_tasks_made_of_cronjobs_of_common_charts(line: CommandLine) -> None:
    done = line.run("import", "cronjobs", *files(FILES))
    assert golden("tasks.txt", done.stdout) == done.stdout
    tasks = list(yaml.safe_load_all(done.stdout))
    assert len(tasks) >= 20
    for task in tasks:
        compile_task(parse_scheduled_task(task), {})


def test_with_keep_dst_the_slots_of_a_year_are_those_of_cronjob() -> None:
    """But for the two whose zones change at midnight or by half an hour, where CronJob errs."""
    different = {}
    documents = (yaml.safe_load_all(Path(path).read_text("utf-8")) for path in FILES)
    for one in (one for obj in chain(*documents) for one in obj.get("items", [obj])):
        item = imported(one, Choices(keep_dst=True))
        found = None if item.level == "refused" else compare(item, NOW, NOW + YEAR)
        if found is not None and not found.same:
            different[item.name] = item.zone
    assert set(different.values()) <= {"Asia/Beirut", "Australia/Lord_Howe"}


@pytest.mark.parametrize(
    ("spec", "about"),
    [
        ({}, []),
        ({"timeZone": None}, ["time zone"]),
        ({"schedule": "TZ=Europe/Berlin 0 4 * * *", "timeZone": None}, ["time zone"]),
        ({"schedule": "30 2 * * *", "timeZone": "Europe/Berlin"}, ["DST", "DST"]),
        ({"schedule": "@every 5m"}, ["schedule"]),
        ({"startingDeadlineSeconds": 5}, ["missed runs"]),
        ({"startingDeadlineSeconds": 10}, []),
        ({"concurrencyPolicy": "Forbid"}, []),
        ({"concurrencyPolicy": "Replace"}, ["concurrency"]),
        ({"jobTemplate": {"spec": {**JOB["spec"], "ttlSecondsAfterFinished": 60}}}, ["Job TTL"]),
        ({"successfulJobsHistoryLimit": 0}, ["history"]),
        ({"suspend": True}, ["suspend"]),
        ({"schedule": "0 0 31 2 *"}, ["spec"]),
    ],
)
def test_what_is_told_of_a_spec(spec: Json, about: list[str]) -> None:
    found = imported(cronjob(**spec), Choices())
    assert [finding.about for finding in found.findings] == about


def test_a_zone_is_written_where_none_is_given() -> None:
    made = imported(cronjob(timeZone=None), Choices(zone="Europe/Berlin"))
    assert made.task["spec"]["timeZone"] == "Europe/Berlin"
    prefixed = imported(cronjob(schedule="TZ=Asia/Tokyo 0 4 * * *", timeZone=None), Choices())
    assert prefixed.task["spec"]["timeZone"] == "Asia/Tokyo"
    assert prefixed.task["spec"]["schedule"] == "0 4 * * *"


def test_dst_is_written_only_where_it_matters() -> None:
    choices = Choices(keep_dst=True)
    berlin = cronjob(schedule="30 2 * * *", timeZone="Europe/Berlin")
    assert imported(berlin, choices).task["spec"]["dst"] == {"gap": "Skip", "overlap": "Both"}
    assert imported(berlin, choices).level == "same"
    assert "dst" not in imported(cronjob(), choices).task["spec"]


def test_the_rest_of_the_spec_stays_as_it_is() -> None:
    spec = {"concurrencyPolicy": "Forbid", "failedJobsHistoryLimit": 7, "suspend": False}
    before = cronjob(**spec)
    assert imported(before, Choices()).task["spec"] == before["spec"]


def test_marks_of_tools_are_left_out_and_told() -> None:
    marks = {"meta.helm.sh/release-name": "x", "mine": "yes"}
    obj = cronjob()
    obj["metadata"] |= {"annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    obj["metadata"] |= {"uid": "1", "resourceVersion": "2", "managedFields": []}
    made = imported(obj, Choices())
    kept = {"name": "x", "namespace": "qa", "annotations": {"mine": "yes"}}
    assert made.task["metadata"] == kept
    assert next(f.text for f in made.findings if f.about == "source").startswith(
        "It is kept by Helm"
    )


def test_the_cronjobs_of_a_cluster_are_read_with_the_rights_of_the_user(line: CommandLine) -> None:
    line.put(CRON_JOBS, "qa", cronjob())
    line.put(CRON_JOBS, "far", {**cronjob(), "metadata": {"name": "y"}})
    (task,) = yaml.safe_load_all(line.told("import", "cronjobs", "--suspend"))
    assert (task["metadata"]["name"], task["spec"]["suspend"]) == ("x", True)
    assert len(list(yaml.safe_load_all(line.told("import", "cronjobs", "-A")))) == 2
    assert line.api.writes == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Deployment", "There is no CronJob in it"),
        ("kind: CronJob\nmetadata: {name: x}\nspec: {}", "apiVersion is missing or wrong"),
        ("apiVersion: batch/v1\nkind: CronJob\nspec: {}", "metadata.name is missing"),
        ("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}", "spec is missing"),
        ("{", "It is not YAML or JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(line: CommandLine, text: str, told: str) -> None:
    done = line.run("import", "cronjobs", "-f", "-", stdin=text)
    assert done.exit_code == 2
    assert told in done.stderr


def test_an_unknown_zone_is_told(line: CommandLine) -> None:
    done = line.run("import", "cronjobs", "-f", FILES[0], "--zone", "Europe/Berln")
    assert done.exit_code == 2
    assert "Europe/Berlin" in done.stderr
