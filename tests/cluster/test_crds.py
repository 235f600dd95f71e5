"""The CRDs on a real API server: they are served, they explain themselves, they refuse what is bad.

What is refused, and in which words, is the table that the unit tests of `parse` read, too.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from golden.refused import GOOD, JOB_TEMPLATE, REFUSED, Json, Refused, merged
from taskrunner.api.v1alpha1.names import (
    BACKFILL,
    CALENDAR,
    SCHEDULED_TASK,
    SHARD,
    TASK_EXECUTION,
    TASK_QUEUE,
)
from taskrunner.api.v1alpha1.parse import (
    parse_backfill,
    parse_calendar,
    parse_scheduled_task,
    parse_task_execution,
    parse_task_queue,
)
from testbed.base import BaseCluster
from testbed.errors import CommandError

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "crds"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
RESOURCES = (SCHEDULED_TASK, TASK_EXECUTION, BACKFILL, CALENDAR, TASK_QUEUE, SHARD)
STORED_DEFAULTS: dict[str, Json] = {
    "ScheduledTask": {
        "suspend": False,
        "concurrencyPolicy": "Allow",
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    },
    "TaskExecution": {"type": "Manual"},
    "Calendar": {},
    "Backfill": {},
    "TaskQueue": {},
}
PARSERS = {
    "ScheduledTask": parse_scheduled_task,
    "TaskExecution": parse_task_execution,
    "Calendar": parse_calendar,
    "Backfill": parse_backfill,
    "TaskQueue": parse_task_queue,
}


class Space:
    """A namespace of its own on a cluster that has the CRDs."""

    def __init__(self, cluster: BaseCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name

    def kubectl(self, *arguments: str | Path, obj: Json | None = None) -> str:
        return self._cluster.kubectl(f"-n={self._name}", *arguments, input=obj)

    def apply(self, obj: Json) -> None:
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", obj=obj)

    def create(self, obj: Json) -> Json:
        """Create it, strictly; the object as the API server stored it."""
        arguments = ("create", "--validate=strict", "-o=yaml", "-f", "-")
        stored: Json = yaml.safe_load(self.kubectl(*arguments, obj=obj))
        return stored

    def refusal(self, *arguments: str | Path, obj: Json | None = None) -> str:
        """What kubectl said when it was refused."""
        with pytest.raises(CommandError) as error:
            self.kubectl(*arguments, obj=obj)
        return error.value.stderr

    def get(self, kind: str, name: str) -> Json:
        found: Json = self._cluster.get(f"-n={self._name}", kind, name)
        return found

    def names(self, kind: str, *arguments: str) -> set[str]:
        text = self.kubectl("get", kind, "-o=name", *arguments)
        return {line.partition("/")[2] for line in text.split()}

    def set_status(self, kind: str, name: str, status: Json) -> None:
        patch = yaml.safe_dump({"status": status})
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", f"-p={patch}")


@pytest.fixture(scope="module")
def installed(cluster: BaseCluster) -> BaseCluster:
    cluster.kubectl("apply", "--server-side", "--warnings-as-errors", "-f", CRDS)
    names = [f"crd/{resource.crd_name}" for resource in RESOURCES]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return cluster


@pytest.fixture(scope="module")
def space(installed: BaseCluster) -> Iterator[Space]:
    name = f"crds-{uuid.uuid4().hex[:8]}"
    installed.kubectl("create", "namespace", name)
    yield Space(installed, name)
    installed.kubectl("delete", "namespace", name, "--wait=false")


def named(kind: str, name: str, spec: Json | None = None) -> Json:
    return merged(GOOD[kind], {"metadata": {"name": name}, "spec": spec or {}})


# --- the definitions ----------------------------------------------------------------------------


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_a_definition_is_established_and_structural(installed: BaseCluster, resource: Any) -> None:
    crd = installed.get("crd", resource.crd_name)
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    (version,) = crd["spec"]["versions"]
    assert version["subresources"] == {"status": {}}


def test_applying_the_definitions_again_changes_nothing(installed: BaseCluster) -> None:
    def versions() -> list[str]:
        crds = [installed.get("crd", resource.crd_name) for resource in RESOURCES]
        return [crd["metadata"]["resourceVersion"] for crd in crds]

    before = versions()
    installed.kubectl("apply", "--server-side", "--warnings-as-errors", "-f", CRDS)
    assert versions() == before


def test_short_names_and_categories_are_served(space: Space) -> None:
    space.apply(named("ScheduledTask", "short"))
    assert "short" in space.names("stask")
    assert "short" in space.names("taskrunner")
    assert "short" in space.names("all")
    space.names("texec")
    space.names("tcal")
    space.names("tshard")


def test_explain_shows_what_a_user_needs_to_write_a_schedule(installed: BaseCluster) -> None:
    text = installed.kubectl("explain", "scheduledtask.spec.schedules")
    words = " ".join(text.split())
    assert "FIELD: schedules <[]Object>" in text
    assert "exactly one of cron, everySeconds, at and atLocal" in words
    assert "name <string> -required-" in words
    assert 'Cron expression: minute, hour, day of month, month, day of week, as in "30 2' in words
    assert "everySeconds <integer> Run every so many seconds" in words


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_explain_describes_each_field(installed: BaseCluster, resource: Any) -> None:
    text = installed.kubectl("explain", resource.singular, "--recursive")
    assert "<no description>" not in text
    text = installed.kubectl("explain", f"{resource.singular}.spec")
    assert "<no description>" not in text


# --- what is accepted ---------------------------------------------------------------------------


def documents(file: Path) -> list[Json]:
    return list(yaml.safe_load_all(file.read_text()))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_stored_as_it_is_written(space: Space, file: Path) -> None:
    for obj in documents(file):
        kind = obj["kind"]
        if "name" in obj["metadata"]:
            space.kubectl("apply", "--validate=strict", "-f", file)
            stored = space.get(kind, obj["metadata"]["name"])
        else:
            stored = space.create(obj)
        assert stored["spec"] == STORED_DEFAULTS[kind] | obj["spec"]
        assert stored.get("status") == ({"phase": "Pending"} if kind == "TaskExecution" else None)
        PARSERS[kind](stored)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_begins_with_what_it_shows(file: Path) -> None:
    lines = file.read_text().splitlines()
    comment = [line for line in lines[:5] if line.startswith("# ")]
    assert 2 <= len(comment) <= 5
    assert "Expect" in " ".join(comment) or "run it" in " ".join(comment)


def test_applying_objects_again_changes_nothing(space: Space) -> None:
    items = [
        merged(obj, {"metadata": {"name": f"again-{obj['metadata']['name']}"}})
        for file in EXAMPLES
        for obj in documents(file)
        if "name" in obj["metadata"]
    ]

    def versions() -> dict[str, str]:
        text = space.kubectl("get", "stask,tcal,taskqueues,backfills", "-o=yaml")
        found = [obj["metadata"] for obj in yaml.safe_load(text)["items"]]
        return {meta["name"]: meta["resourceVersion"] for meta in found}

    space.apply({"apiVersion": "v1", "kind": "List", "items": items})
    before = versions()
    space.apply({"apiVersion": "v1", "kind": "List", "items": items})
    assert versions() == before
    assert {obj["metadata"]["name"] for obj in items} <= before.keys()


CRON_JOBS: dict[str, Json] = {
    "the smallest": {"schedule": "* * * * *", "jobTemplate": JOB_TEMPLATE},
    "all fields": {
        "schedule": "0 2 * * 1-5",
        "timeZone": "Europe/Berlin",
        "startingDeadlineSeconds": 200,
        "concurrencyPolicy": "Forbid",
        "suspend": True,
        "successfulJobsHistoryLimit": 0,
        "failedJobsHistoryLimit": 5,
        "jobTemplate": merged(
            JOB_TEMPLATE,
            {
                "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                "spec": {"backoffLimit": 2, "ttlSecondsAfterFinished": 60, "suspend": False},
            },
        ),
    },
    "empty values": {
        "schedule": "@every 90s",
        "timeZone": None,
        "startingDeadlineSeconds": None,
        "concurrencyPolicy": None,
        "suspend": None,
        "successfulJobsHistoryLimit": None,
        "jobTemplate": JOB_TEMPLATE | {"metadata": {"creationTimestamp": None}},
    },
    "no deadline at all": {
        "schedule": "@hourly",
        "startingDeadlineSeconds": 0,
        "jobTemplate": JOB_TEMPLATE,
    },
}


@pytest.mark.parametrize("title", CRON_JOBS)
def test_the_spec_of_a_cron_job_is_taken_as_it_is(space: Space, title: str) -> None:
    spec = CRON_JOBS[title]
    name = f"from-{title.replace(' ', '-')}"
    cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}}
    space.create(cron_job | {"spec": spec})
    stored = space.create(
        merged(GOOD["ScheduledTask"], {"metadata": {"name": name}}) | {"spec": spec}
    )
    theirs = space.get("cronjob", name)["spec"]
    for field in STORED_DEFAULTS["ScheduledTask"]:
        assert stored["spec"][field] == theirs[field]
    given = {field: value for field, value in spec.items() if value is not None}
    assert {field: stored["spec"][field] for field in given} == given
    parse_scheduled_task(stored)


def test_null_is_taken_for_every_optional_field(space: Space) -> None:
    spec = dict.fromkeys(
        (
            "schedule", "timeZone", "suspend", "startingDeadlineSeconds", "concurrencyPolicy",
            "displayName", "schedules", "dst", "startTime", "maxExecutions", "jitterSeconds",
            "calendars", "parameters", "priority", "retryPolicy",
        )
    )  # fmt: skip
    obj = named("ScheduledTask", "nulls")
    obj["spec"] |= spec | {"catchUp": {"limit": None}}
    stored = space.create(obj)
    assert parse_scheduled_task(stored).spec.catch_up.limit is None


def test_the_template_of_the_job_is_kept_whatever_is_in_it(space: Space) -> None:
    template = merged(JOB_TEMPLATE, {"spec": {"fromTheFuture": {"a": [1, None, {"b": "c"}]}}})
    stored = space.create(named("ScheduledTask", "kept", {"jobTemplate": template}))
    assert stored["spec"]["jobTemplate"] == template


def test_an_execution_by_hand_needs_only_the_task(space: Space) -> None:
    obj = merged(GOOD["TaskExecution"], {"metadata": {"name": None, "generateName": "good-"}})
    obj["spec"] = {"taskRef": {"name": "good"}}
    stored = space.create(obj)
    assert stored["spec"] == {"taskRef": {"name": "good"}, "type": "Manual"}


SCHEDULED: Json = {
    "type": "Scheduled",
    "decision": {"type": "Run", "reason": "OnSchedule"},
    "scheduledTime": "2026-01-01T00:00:00Z",
    "notBefore": "2026-01-01T00:00:05.250000Z",
    "arguments": {"SUITE": "full"},
    "requestedBy": {"username": "jane", "groups": ["qa"]},
    "writer": {"shard": "0", "epoch": "taskrunner-7f9c/12"},
}


@pytest.mark.parametrize("name", ["good-1767225600", "good-1767225600-0a1f"])
def test_the_operator_may_use_the_name_of_a_slot(space: Space, name: str) -> None:
    stored = space.create(named("TaskExecution", name, SCHEDULED))
    assert stored["spec"] == GOOD["TaskExecution"]["spec"] | SCHEDULED


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.kind}: {case.title}")
def test_a_bad_object_is_refused_at_apply(space: Space, case: Refused) -> None:
    said = space.refusal("apply", "--validate=strict", "-f", "-", obj=case.obj)
    # Where a rule fails, the minors differ: the value, the name of its type, or nothing.
    said = re.sub(r'Invalid value: "(object|string|)": ', "Invalid value: ", said)
    for sentence in case.server:
        assert sentence in said


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("taskRef", {"name": "other"}),
        ("type", "Manual"),
        ("decision", {"type": "Skip"}),
        ("scheduledTime", "2026-01-01T00:00:01Z"),
        ("notBefore", None),
        ("arguments", {"SUITE": "smoke"}),
        ("arguments", None),
        ("requestedBy", {"username": "mallory"}),
        ("writer", {"epoch": "taskrunner-7f9c/13"}),
    ],
)
def test_the_spec_of_an_execution_cannot_be_changed(
    space: Space, field: str, change: object
) -> None:
    space.apply(named("TaskExecution", "fixed-1767225600", SCHEDULED))
    patch = yaml.safe_dump({"spec": {field: change}})
    said = space.refusal(
        "patch", "texec", "fixed-1767225600", "--type=merge", "--dry-run=server", f"-p={patch}"
    )
    assert f"spec.{field} cannot be changed; create a new TaskExecution instead" in said


def test_an_argument_cannot_be_added_to_an_execution(space: Space) -> None:
    space.apply(named("TaskExecution", "plain"))
    said = space.refusal(
        "patch", "texec", "plain", "--type=merge", '-p={"spec": {"arguments": {"A": "b"}}}'
    )
    assert "spec.arguments cannot be changed; create a new TaskExecution instead" in said


# --- status, columns, selectors -----------------------------------------------------------------


def test_an_execution_is_pending_before_anything_is_written_to_it(space: Space) -> None:
    space.create(merged(GOOD["TaskExecution"], {"metadata": {"name": "untouched"}}))
    assert space.get("texec", "untouched")["status"] == {"phase": "Pending"}
    assert "untouched" in space.names("texec", "--field-selector=status.phase=Pending")


def test_status_is_written_apart_and_leaves_the_generation(space: Space) -> None:
    obj = named("ScheduledTask", "statuses") | {"status": {"activeCount": 7}}
    assert "status" not in space.create(obj)
    space.set_status("stask", "statuses", {"activeCount": 1})
    stored = space.get("stask", "statuses")
    assert stored["status"] == {"activeCount": 1}
    assert stored["metadata"]["generation"] == 1


def test_a_status_with_all_fields_is_kept_and_read(space: Space) -> None:
    time = "2026-12-24T18:00:00Z"
    status = {
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Ready", "status": "True", "reason": "Planned", "message": "Planned.",
                "lastTransitionTime": time, "observedGeneration": 3,
            }
        ],
        "decidedUntil": time,
        "plan": {"hash": "0123", "since": time},
        "nextRunTime": time,
        "nextRuns": [{"time": time, "schedule": "a", "note": "moved by the DST gap"}],
        "scheduleSummary": "0 2 * * *",
        "lastScheduleTime": time, "lastSuccessfulTime": time, "lastFailureTime": time,
        "lastMissedTime": time, "lastSkippedTime": time, "lastUpdateTime": time,
        "consecutiveFailures": 0, "scheduledCount": 40,
        "missedRanges": [{"from": time, "to": time, "count": 1, "reason": "PlanChanged"}],
        "activeCount": 1,
        "active": [{"name": "full-1767225600", "startTime": time}],
        "lastExecution": {
            "name": "full-1767225600", "phase": "Running", "startTime": time,
            "completionTime": time,
        },
    }  # fmt: skip
    space.apply(named("ScheduledTask", "full"))
    space.set_status("stask", "full", status)
    stored = space.get("stask", "full")
    assert stored["status"] == status
    assert parse_scheduled_task(stored).status.to_wire() == status


def test_kubectl_get_shows_a_next_run_that_is_yet_to_come(space: Space) -> None:
    space.apply(named("ScheduledTask", "columns"))
    status = {
        "scheduleSummary": "0 2 * * *",
        "activeCount": 1,
        "nextRunTime": "2099-01-01T02:00:00Z",
        "lastExecution": {"name": "columns-1767225600", "phase": "Running"},
    }
    space.set_status("stask", "columns", status)
    head, row = space.kubectl("get", "stask", "columns").splitlines()
    assert " ".join(head.split()) == (
        "NAME SCHEDULE SUSPEND ACTIVE LAST RUN LAST RESULT NEXT RUN AGE"
    )
    assert row.split()[:-1] == [
        "columns", "0", "2", "*", "*", "*", "false", "1", "Running", "2099-01-01T02:00:00Z",
    ]  # fmt: skip


def test_tasks_are_selected_by_suspend(space: Space) -> None:
    space.apply(named("ScheduledTask", "asleep", {"suspend": True}))
    space.apply(named("ScheduledTask", "awake"))
    asleep = space.names("stask", "--field-selector=spec.suspend=true")
    awake = space.names("stask", "--field-selector=spec.suspend=false")
    assert "asleep" in asleep - awake
    assert "awake" in awake - asleep


@pytest.mark.parametrize(
    "selector",
    [
        "spec.taskRef.name=selected",
        "spec.taskRef.name=selected,spec.type=Manual",
        "spec.taskRef.name=selected,status.phase=Failed",
        "spec.taskRef.name=selected,status.reason=RetriesExhausted",
    ],
)
def test_executions_are_selected(space: Space, selector: str) -> None:
    for name, task in (("chosen", "selected"), ("another", "other")):
        space.apply(named("TaskExecution", name, {"taskRef": {"name": task}}))
    status = {"phase": "Failed", "reason": "RetriesExhausted"}
    space.set_status("texec", "chosen", status)
    assert space.names("texec", f"--field-selector={selector}") == {"chosen"}


def test_a_reason_outside_of_the_list_is_refused(space: Space) -> None:
    space.apply(named("TaskExecution", "reasons"))
    patch = '-p={"status": {"reason": "Whatever"}}'
    said = space.refusal("patch", "texec", "reasons", "--subresource=status", "--type=merge", patch)
    assert 'status.reason: Unsupported value: "Whatever"' in said
