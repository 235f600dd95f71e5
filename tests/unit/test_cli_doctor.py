"""`taskrunner doctor`, its bundle, and `taskrunner version`."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from taskrunner.admission.certificates import issue
from taskrunner.api.crdgen import DEFINITIONS as CRDS
from taskrunner.api.crdgen import definition
from taskrunner.cli.bundle import without_secrets
from taskrunner.cli.checks import BINDINGS, DEFINITIONS, DEPLOYMENTS, POLICIES, REVIEWS, WEBHOOKS
from taskrunner.domain.instants import format_instant
from taskrunner.errors import Refused, Transient
from taskrunner.ports import LEASES, SCHEDULED_TASKS, SHARDS, Obj, Resource
from unit.command_line import NOW, CommandLine

DAY = 86_400
LABELS = {"app.kubernetes.io/name": "taskrunner"}


class Installation(CommandLine):
    """A cluster on which all is well."""

    def __init__(self) -> None:
        super().__init__()
        self.texts.found["/version"] = b'{"major":"1","minor":"36+","gitVersion":"v1.36.3"}'
        self.allowed = True
        self._reviews()
        for of in CRDS:
            status = {"conditions": [{"type": "Established", "status": "True"}]}
            self.put(DEFINITIONS, "", definition(of) | {"status": status})
        for name in ("release-fence", "release-identity-tasks"):
            self.put(POLICIES, "", {"metadata": {"name": name, "labels": LABELS}, "spec": {}})
            self.put(BINDINGS, "", {"metadata": {"name": name}, "spec": {"policyName": name}})
        container = {"name": "operator", "image": "images/taskrunner:0.1.0"}
        self.put(
            DEPLOYMENTS,
            "ops",
            {
                "metadata": {"name": "release-operator", "labels": LABELS},
                "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
                "status": {"readyReplicas": 2},
            },
        )
        self.shard({"type": "Fenced", "status": "True", "message": "It stands."}, lag=40)
        self.lease(5)

    def shard(self, condition: Obj, lag: int) -> None:
        spec = {"epoch": "one/1", "number": 1, "shards": 1, "released": False}
        status = {"conditions": [condition], "lagMilliseconds": lag, "tasks": 3}
        self.again(SHARDS, "taskrunner-shard-0", spec, status)

    def lease(self, age: int, holder: str = "one") -> None:
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 15}
        spec |= {"renewTime": format_instant(NOW - age)}
        self.again(LEASES, "taskrunner-shard-0", spec)

    def again(self, resource: Resource, name: str, spec: Obj, status: Obj | None = None) -> None:
        """Make it, or make it anew."""
        if any(o["metadata"]["name"] == name for o in self.api.server.list(resource)):
            self.api.server.delete(resource, "ops", name)
        self.put(
            resource, "ops", {"metadata": {"name": name}, "spec": spec, "status": status or {}}
        )

    def webhook(self, days: float, *, answers: bool) -> None:
        authority, _ = issue(["x"], now=NOW - 2 * DAY, lifetime=days * DAY + 2 * DAY)
        bundle = authority.public_bytes(Encoding.PEM)
        config = {"caBundle": base64.b64encode(bundle).decode()}
        hooks = [{"name": "validate.taskrunner.dev", "clientConfig": config}]
        body = {"metadata": {"name": "release", "labels": LABELS}, "webhooks": hooks}
        self.put(WEBHOOKS, "", body)

        def refuse(verb: str, resource: Resource, obj: Obj) -> None:
            if answers and resource == SCHEDULED_TASKS:
                raise Refused('spec.schedule "61": out of bounds', code=403)

        self.api.server.admission.append(refuse)

    def _reviews(self) -> None:
        create = self.api.create

        async def reviewed(resource: Resource, *arguments: Any, **options: Any) -> Obj:
            if resource == REVIEWS:
                return {"status": {"allowed": self.allowed}}
            return await create(resource, *arguments, **options)

        self.api.create = reviewed  # type: ignore[method-assign]


@pytest.fixture
def well() -> Installation:
    return Installation()


def test_on_an_installation_that_is_well_all_is_ok(well: Installation) -> None:
    found = well.data("doctor")
    assert {one["level"] for one in found} == {"ok"}, found
    assert well.run("doctor").exit_code == 0


def unready(line: Installation) -> None:
    patch = {"status": {"readyReplicas": 0}}
    line.api.server.patch(DEPLOYMENTS, "ops", "release-operator", patch, subresource="status")


def unfenced(line: Installation) -> None:
    line.shard({"type": "Fenced", "status": "False", "message": "Not there."}, lag=1)


def slow(line: Installation) -> None:
    line.shard({"type": "Fenced", "status": "True", "message": ""}, lag=5_000)


def nobody(line: Installation) -> None:
    line.lease(5, holder="")


def broken_task(line: Installation) -> None:
    condition = {"type": "Ready", "status": "False", "reason": "InvalidSpec"}
    line.task("bad", status={"conditions": [condition]})


def overdue(line: Installation) -> None:
    line.task("late", status={"nextRunTime": format_instant(NOW - 300)})


def dead(line: Installation) -> None:
    line.execution("x", "load", status={"phase": "Failed", "reason": "RetriesExhausted"})


def no_definition(line: Installation) -> None:
    line.api.server.delete(DEFINITIONS, "", "calendars.taskrunner.dev")


def other_definition(line: Installation) -> None:
    name = "calendars.taskrunner.dev"
    line.api.server.delete(DEFINITIONS, "", name)
    schema: Obj = {"properties": {"spec": {"properties": {"new": {}}}}}
    version = {"name": "v1alpha1", "schema": {"openAPIV3Schema": schema}}
    status = {"conditions": [{"type": "Established", "status": "True"}]}
    body = {"metadata": {"name": name}, "spec": {"versions": [version]}, "status": status}
    line.put(DEFINITIONS, "", body)


def unbound(line: Installation) -> None:
    line.api.server.delete(BINDINGS, "", "release-fence")


def skewed(line: Installation) -> None:
    line.skew = -4.5


def old_cluster(line: Installation) -> None:
    line.texts.found["/version"] = b'{"major":"1","minor":"29","gitVersion":"v1.29.0"}'


@pytest.mark.parametrize(
    ("ill", "level", "told"),
    [
        (unready, "FAIL", "0 of 2 pods are ready"),
        (unfenced, "FAIL", "Not there."),
        (slow, "warn", "at most 5000 ms after"),
        (nobody, "FAIL", "Nobody holds its Lease"),
        (lambda line: line.lease(60), "FAIL", "renewed its Lease 60s ago"),
        (broken_task, "FAIL", "1 cannot be followed: qa/bad"),
        (overdue, "FAIL", "1 should have run: qa/late"),
        (dead, "warn", "1 have exhausted their retries: qa/x"),
        (no_definition, "FAIL", "calendars.taskrunner.dev is not there"),
        (other_definition, "warn", "has other fields"),
        (unbound, "FAIL", "Without a binding: release-fence"),
        (lambda line: setattr(line, "allowed", False), "warn", "You may not, in namespace qa"),
        (skewed, "warn", "This machine's clock is 4.5 s behind"),
        (old_cluster, "FAIL", "v1.29.0"),
        (lambda line: line.webhook(90, answers=False), "FAIL", "It does not answer"),
        (lambda line: line.webhook(3, answers=True), "warn", "Its authority expires on"),
        (lambda line: line.webhook(-1, answers=True), "FAIL", "Its authority expires on"),
    ],
)
def test_what_is_ill_is_told_with_a_remedy(
    well: Installation, ill: Callable[[Installation], None], level: str, told: str
) -> None:
    ill(well)
    done = well.run("doctor", "-o", "json")
    (found,) = (one for one in json.loads(done.stdout) if one["level"] != "ok")
    assert found["level"] == level
    assert told in found["text"]
    assert found["remedy"]
    assert done.exit_code == (1 if level == "FAIL" else 0)


def test_a_webhook_that_answers_is_well(well: Installation) -> None:
    well.webhook(90, answers=True)
    assert {one["level"] for one in well.data("doctor")} == {"ok"}


@pytest.mark.parametrize(
    ("error", "level"),
    [(Refused("leases is forbidden", code=403), "warn"), (Transient("no answer"), "FAIL")],
)
def test_what_cannot_be_looked_at_is_told_and_the_rest_looked_at(
    well: Installation, error: Exception, level: str
) -> None:
    well.api.fail("list", SHARDS, error=error)  # type: ignore[arg-type]
    found = json.loads(well.run("doctor", "-o", "json").stdout)
    assert [one["level"] for one in found if one["check"] == "shards"] == [level]
    assert found[-1]["check"] == "dead letters"


# --- bundle ---------------------------------------------------------------------------------------


SECRET = "hunter2"


def secretive() -> Obj:
    container = {
        "name": "main",
        "image": "busybox",
        "command": [SECRET],
        "args": [SECRET],
        "env": [{"name": "TOKEN", "value": SECRET}],
    }
    pod = {"containers": [container], "restartPolicy": "Never"}
    return {
        "kind": "ScheduledTask",
        "metadata": {"name": "x", "annotations": {"note": SECRET}},
        "spec": {
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
            "schedules": [{"name": "a", "cron": "0 3 * * *", "arguments": {"TOKEN": SECRET}}],
            "parameters": [{"name": "TOKEN", "default": SECRET, "enum": [SECRET]}],
            "arguments": {"TOKEN": SECRET},
            "timeZone": "UTC",
        },
        "status": {"result": SECRET, "message": SECRET, "progress": {"message": SECRET}},
    }


def test_nothing_secret_is_in_a_bundle_and_what_helps_is() -> None:
    text = json.dumps(without_secrets(secretive()))
    assert SECRET not in text
    for kept in ("busybox", "0 3 * * *", "TOKEN", "UTC"):
        assert kept in text


def test_a_bundle_has_findings_objects_and_logs(well: Installation, tmp_path: Path) -> None:
    file = tmp_path / "support.tar.gz"
    well.put(SCHEDULED_TASKS, "qa", secretive())
    well.told("doctor", "--bundle", str(file))
    with tarfile.open(file) as archive:
        texts = {m.name: archive.extractfile(m).read().decode() for m in archive}  # type: ignore[union-attr]
    assert json.loads(texts["taskrunner/doctor.json"])[0]["check"] == "cluster"
    assert "taskrunner-shard-0" in texts["taskrunner/leases.json"]
    assert not [name for name, text in texts.items() if SECRET in text]


def test_a_bundle_that_cannot_be_written_is_told(well: Installation) -> None:
    done = well.run("doctor", "--bundle", "/nowhere/support.tar.gz")
    assert (done.exit_code, "cannot be written" in done.stderr) == (2, True)


# --- version --------------------------------------------------------------------------------------


def test_versions(well: Installation) -> None:
    assert set(well.data("version", "--client")) == {"client", "tzdata"}
    found = well.data("version")
    assert found["kubernetes"] == "v1.36.3"
    assert found["release-operator"] == "images/taskrunner:0.1.0"
