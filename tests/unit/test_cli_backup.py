"""`taskrunner backup` and `restore`, and what a restore makes of each object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskrunner.domain.restoring import body_of, is_ended_here, left_out, status_of
from taskrunner.errors import Refused, Transient
from taskrunner.ports import CALENDARS, LEASES, NAMESPACES, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from unit.command_line import NOW, CommandLine

EARLIER, LATER = "2026-03-02T11:00:00Z", "2026-03-02T13:00:00Z"
KINDS = [
    {"name": "scheduledtasks", "kind": "ScheduledTask"},
    {"name": "scheduledtasks/status", "kind": "ScheduledTask"},
    {"name": "taskexecutions", "kind": "TaskExecution"},
    {"name": "calendars", "kind": "Calendar"},
    {"name": "shards", "kind": "Shard"},
]


def cluster() -> CommandLine:
    line = CommandLine()
    answer = json.dumps({"resources": KINDS}).encode()
    line.texts.found["/apis/taskrunner.dev/v1alpha1"] = answer
    return line


@pytest.fixture
def old() -> CommandLine:
    """A cluster at work."""
    line = cluster()
    line.namespace("qa")
    line.namespace("held", **{"taskrunner.dev/paused": "true"})
    line.put(CALENDARS, "qa", {"metadata": {"name": "quiet"}, "spec": {"exclude": {}}})
    status: Obj = {"decidedUntil": EARLIER, "scheduledCount": 7, "activeCount": 1}
    status |= {"plan": {"hash": "abc", "since": EARLIER}, "observedGeneration": 4}
    task = line.task("nightly", schedule="0 * * * *", status=status)
    owner = {"apiVersion": "taskrunner.dev/v1alpha1", "kind": "ScheduledTask", "name": "nightly"}
    for name, when, phase in (
        ("ended", EARLIER, "Succeeded"),
        ("running", EARLIER, "Running"),
        ("deferred", LATER, "Pending"),
    ):
        line.put(
            TASK_EXECUTIONS,
            "qa",
            {
                "metadata": {
                    "name": name,
                    "ownerReferences": [owner | {"uid": task["metadata"]["uid"]}],
                },
                "spec": {
                    "taskRef": {"name": "nightly"},
                    "type": "Scheduled",
                    "decision": {"type": "Run", "reason": "OnSchedule"},
                    "scheduledTime": EARLIER,
                    "notBefore": when,
                },
                "status": {"phase": phase},
            },
        )
    return line


def saved(line: CommandLine, folder: Path) -> str:
    file = str(folder / "backup.yaml")
    line.told("backup", "-A", "-f", file)
    return file


def restored(folder: Path, old: CommandLine, *words: str) -> CommandLine:
    new = cluster()
    new.namespace("qa")
    new.namespace("held")
    done = new.run("restore", "-f", saved(old, folder), *words)
    assert done.exit_code == 0, done.output
    return new


def get(line: CommandLine, name: str) -> Obj:
    found: Obj = line.api.server.get(TASK_EXECUTIONS, "qa", name)
    return found


def test_a_backup_has_all_objects_and_their_state(old: CommandLine, tmp_path: Path) -> None:
    found = list(yaml.safe_load_all(Path(saved(old, tmp_path)).read_text()))
    kinds = [obj["kind"] for obj in found]
    assert kinds == ["Namespace", "Calendar", "ScheduledTask", *["TaskExecution"] * 3]
    assert found[2]["status"]["decidedUntil"] == EARLIER


def test_tasks_are_read_before_executions(old: CommandLine, tmp_path: Path) -> None:
    saved(old, tmp_path)
    asked = [call.resource.kind for call in old.api.calls if call.verb == "list"]
    assert asked.index("ScheduledTask") < asked.index("TaskExecution")


def test_a_task_comes_back_with_its_watermark_and_counts(old: CommandLine, tmp_path: Path) -> None:
    new = restored(tmp_path, old)
    task = new.api.server.get(SCHEDULED_TASKS, "qa", "nightly")
    assert task["status"]["decidedUntil"] == EARLIER
    assert task["status"]["scheduledCount"] == 7
    assert task["status"]["plan"]["hash"] == "abc"
    assert task["status"]["observedGeneration"] == 1
    assert "activeCount" not in task["status"]


def test_executions_belong_to_the_new_task(old: CommandLine, tmp_path: Path) -> None:
    new = restored(tmp_path, old)
    uid = new.api.server.get(SCHEDULED_TASKS, "qa", "nightly")["metadata"]["uid"]
    for name in ("ended", "running", "deferred"):
        assert [o["uid"] for o in get(new, name)["metadata"]["ownerReferences"]] == [uid]


def test_what_may_have_run_does_not_run_again(old: CommandLine, tmp_path: Path) -> None:
    new = restored(tmp_path, old)
    assert get(new, "ended")["status"]["phase"] == "Succeeded"
    running = get(new, "running")["status"]
    assert (running["phase"], running["reason"]) == ("Failed", "JobDeleted")
    assert "taskrunner retry running -n qa" in running["message"]
    assert get(new, "deferred")["status"]["phase"] == "Pending"


def test_paused_namespaces_are_paused_again(old: CommandLine, tmp_path: Path) -> None:
    new = restored(tmp_path, old)
    labels = new.api.server.get(NAMESPACES, "", "held")["metadata"]["labels"]
    assert labels == {"taskrunner.dev/paused": "true"}


def test_restoring_twice_changes_nothing(old: CommandLine, tmp_path: Path) -> None:
    new = restored(tmp_path, old)
    before = len(new.api.writes)
    done = new.run("restore", "-f", str(tmp_path / "backup.yaml"))
    assert done.exit_code == 0
    assert "TaskExecution qa/running: exists already, left alone" in done.stdout
    assert {call.verb for call in new.api.writes[before:]} <= {"create", "patch"}
    assert {call.resource for call in new.api.writes[before:] if call.verb == "patch"} == {
        NAMESPACES
    }


def test_a_restore_that_broke_off_is_finished_by_the_next(old: CommandLine, tmp_path: Path) -> None:
    file, new = saved(old, tmp_path), cluster()
    new.namespace("qa")
    new.namespace("held")
    new.api.fail("patch", TASK_EXECUTIONS, name="running", error=Transient("gone"))
    assert new.run("restore", "-f", file).exit_code == 1
    new.told("restore", "-f", file)
    assert get(new, "running")["status"]["phase"] == "Failed"


def test_a_dry_run_writes_nothing(old: CommandLine, tmp_path: Path) -> None:
    new = restored(tmp_path, old, "--dry-run")
    assert [call for call in new.api.writes if call.resource is not NAMESPACES] == []
    assert new.api.server.list(SCHEDULED_TASKS) == []


def test_missing_namespaces_are_told_or_made(old: CommandLine, tmp_path: Path) -> None:
    file, new = saved(old, tmp_path), cluster()
    done = new.run("restore", "-f", file)
    assert (done.exit_code, "Namespaces are missing: held, qa." in done.stderr) == (2, True)
    assert new.run("restore", "-f", file, "--create-namespaces").exit_code == 0


def lease(age: int) -> Obj:
    from taskrunner.domain.instants import format_instant

    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15}
    metadata = {"name": "taskrunner-shard-0"}
    return {"metadata": metadata, "spec": spec | {"renewTime": format_instant(NOW - age)}}


@pytest.mark.parametrize(("age", "code"), [(5, 1), (60, 0)])
def test_nothing_is_restored_while_an_operator_acts(
    old: CommandLine, tmp_path: Path, age: int, code: int
) -> None:
    file, new = saved(old, tmp_path), cluster()
    new.put(LEASES, "ops", lease(age))
    done = new.run("restore", "-f", file, "--create-namespaces")
    assert done.exit_code == code, done.output
    assert ("one holds the Lease taskrunner-shard-0 in namespace ops" in done.stderr) is bool(code)
    assert new.run("restore", "-f", file, "--create-namespaces", "--force").exit_code == 0


def test_what_policies_refuse_is_told_with_what_to_do(old: CommandLine, tmp_path: Path) -> None:
    def policy(verb: str, resource: Any, obj: Obj) -> None:
        if resource == TASK_EXECUTIONS and obj["spec"].get("type") == "Scheduled":
            raise Refused("spec.type Scheduled is for the operator.", code=403)

    file, new = saved(old, tmp_path), cluster()
    new.api.server.admission.append(policy)
    done = new.run("restore", "-f", file, "--create-namespaces")
    assert done.exit_code == 1
    assert "Restore before installing, or install with identity.enabled=false" in done.stderr


def test_a_file_of_something_else_is_told(old: CommandLine) -> None:
    done = old.run("restore", "-f", "-", stdin="apiVersion: v1\nkind: Pod\nmetadata: {name: x}")
    assert (done.exit_code, "no objects of taskrunner" in done.stderr) == (2, True)


# --- each object ----------------------------------------------------------------------------------


def execution(phase: str = "", *, due: str = EARLIER, decision: str = "Run", **status: Any) -> Obj:
    return {
        "apiVersion": "taskrunner.dev/v1alpha1",
        "kind": "TaskExecution",
        "metadata": {"name": "x", "namespace": "qa", "uid": "1", "resourceVersion": "1",
                     "creationTimestamp": EARLIER},
        "spec": {"taskRef": {"name": "t"}, "type": "Scheduled", "scheduledTime": EARLIER,
                 "notBefore": due, "decision": {"type": decision, "reason": "OnSchedule"}},
        "status": {"phase": phase, **status} if phase else {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "phase"),
    [
        (execution("Succeeded"), "Succeeded"),
        (execution("Missed", decision="Miss"), "Missed"),
        (execution("Pending"), "Failed"),
        (execution(), "Failed"),
        (execution("Queued", due=LATER), "Failed"),
        (execution("Running"), "Failed"),
        (execution("Retrying", attempt=1, nextRetryTime=LATER), "Failed"),
        (execution("Pending", due=LATER), "Pending"),
        (execution("Pending", due=LATER, attempt=1), "Failed"),
        (execution("", due=LATER), None),
        (execution("", decision="Skip"), "Skipped"),
        (execution("", decision="Miss"), "Missed"),
    ],
)
def test_a_run_goes_on_only_if_it_cannot_have_started(obj: Obj, phase: str | None) -> None:
    status = status_of(obj, NOW)
    assert status.get("phase") == phase
    assert is_ended_here(obj, NOW) is (phase != (obj["status"].get("phase")))
    assert "nextRetryTime" not in status


def test_an_owner_that_is_not_there_is_no_owner() -> None:
    obj = execution("Succeeded")
    obj["metadata"]["ownerReferences"] = [{"kind": "ScheduledTask", "name": "t", "uid": "gone"}]
    body = body_of(obj, {"other": "new"})
    assert body["metadata"] == {"name": "x", "namespace": "qa"}
    assert "status" not in body


@pytest.mark.parametrize(
    ("kind", "conditions", "restored"),
    [
        ("Calendar", [], True),
        ("Shard", [], False),
        ("Backfill", [], False),
        ("Backfill", [{"type": "Complete", "status": "True"}], True),
    ],
)
def test_which_kinds_come_back(kind: str, conditions: list[Obj], restored: bool) -> None:
    obj = {"kind": kind, "metadata": {"name": "x"}, "status": {"conditions": conditions}}
    assert (left_out(obj) == "") is restored


def test_what_was_being_deleted_stays_away() -> None:
    obj = execution("Succeeded")
    obj["metadata"]["deletionTimestamp"] = EARLIER
    assert left_out(obj) == "it was being deleted"
