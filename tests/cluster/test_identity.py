"""Who may have tasks run, and that it is written down who asked: on a real API server, with users
of different rights, while the webhook is up and while it is down.

The policies are the chart's, for one namespace. Jane may create Jobs and tasks there, carol too;
bob may write tasks and runs, but not create Jobs. The operator is a process with the rights of its
ServiceAccount.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from charts import Helm
from golden.refused import GOOD, Json, merged
from policies import OPERATOR, Policies
from replicas import OperatorProcess, eventually
from taskrunner.api.v1alpha1.names import ANNOTATION_REQUESTED_BY as BY
from testbed.base import BaseCluster
from testbed.cluster import Cluster
from testbed.errors import UnsupportedError
from webhooks import ACCOUNT, CRDS, SECRET, Process, configuration, rights, task, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

TASKS = {
    "apiGroups": ["taskrunner.dev"],
    "resources": ["scheduledtasks", "taskexecutions", "backfills"],
    "verbs": ["get", "list", "create", "update", "patch", "delete"],
}
JOBS = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}
PEOPLE = {"jane": ["dev", "qa"], "carol": ["dev"], "bob": ["dev"]}
"""Users and their groups; all but bob may create Jobs."""


@dataclass
class Space:
    """A namespace with the policies, its users, and a webhook."""

    cluster: Cluster
    name: str
    policies: Policies
    replica: Process | None = None

    @property
    def stamped(self) -> bool:
        """Whether who asked is written down now: by a policy always, or by a webhook that is up."""
        return self.policies.stamping is None or self.replica is not None

    def user(self, name: str) -> Path:
        """The kubeconfig of one of PEOPLE, or of the operator."""
        if name == "operator":
            return self.cluster.kubeconfig_for_service_account(self.name, OPERATOR)
        return self.cluster.kubeconfig_for(name, PEOPLE[name])

    def kubectl(
        self, *arguments: str, by: str = "", obj: Json | None = None
    ) -> tuple[bool, str, str]:
        """Whether it went through, what it printed, and what it complained about."""
        done = subprocess.run(
            [self.cluster.bin("kubectl"), f"-n={self.name}", *arguments],
            env={
                **os.environ,
                "KUBECONFIG": str(self.user(by) if by else self.cluster.kubeconfig),
            },
            input=json.dumps(obj) if obj else "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0, done.stdout, done.stderr

    def create(self, obj: Json, by: str) -> Json:
        """What the API server stored."""
        done, said, complaint = self.kubectl("create", "-f=-", "-o=json", by=by, obj=obj)
        assert done, complaint
        stored: Json = json.loads(said)
        return stored

    def refusal(self, obj: Json, by: str) -> str:
        done, said, complaint = self.kubectl("create", "-f=-", by=by, obj=obj)
        assert not done, said
        return complaint

    def patch(self, name: str, change: Json, by: str) -> tuple[bool, str]:
        """Whether a task may be changed so, and the complaint if not."""
        done, _, complaint = self.kubectl(
            "patch", "stask", name, "--type=merge", f"-p={json.dumps(change)}", by=by
        )
        return done, complaint

    def get(self, kind: str, name: str) -> Json:
        found: Json = self.cluster.get(f"-n={self.name}", kind, name)
        return found

    def requested_by(self, name: str) -> str | None:
        """What a task says."""
        found: str | None = self.get("stask", name)["metadata"].get("annotations", {}).get(BY)
        return found


@pytest.fixture(scope="module")
def prepared(
    cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Space, Callable[[], Process]]]:
    """The namespace, and a way to start the webhook for it."""
    if not isinstance(cluster, Cluster):
        raise UnsupportedError(
            f"In a cluster of kind {cluster.kind!r} the API server cannot call this machine's"
            " loopback address."
        )
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    name = f"identity-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    directory = tmp_path_factory.mktemp("identity")
    policies = Policies.render(cluster, Helm(directory), name)
    space = Space(cluster, name, policies)
    _grant(space)
    policies.install()
    try:
        _await_policies(space)
        yield space, lambda: _start_webhook(space, directory / "webhook.log")
    finally:
        policies.remove()
        for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
            cluster.kubectl("delete", kind, name, "--ignore-not-found")
        cluster.kubectl("delete", "clusterrole,clusterrolebinding", name, "--ignore-not-found")
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module", params=["the webhook is up", "the webhook is down"])
def space(
    request: pytest.FixtureRequest, prepared: tuple[Space, Callable[[], Process]]
) -> Iterator[Space]:
    found, start = prepared
    if request.param == "the webhook is down":
        yield found
        return
    found.replica = start()
    yield found
    found.replica.stop()
    found.replica = None


def _grant(space: Space) -> None:
    """RBAC: people, the operator, and the webhook's account."""
    roles = [
        {"kind": "Role", "metadata": {"name": "tasks"}, "rules": [TASKS]},
        {"kind": "Role", "metadata": {"name": "jobs"}, "rules": [JOBS]},
        *rights(space.name),
    ]
    items = [{"apiVersion": "rbac.authorization.k8s.io/v1"} | role for role in roles]
    _admin(space, "apply", "-f=-", obj={"apiVersion": "v1", "kind": "List", "items": items})
    for account in (ACCOUNT, OPERATOR):
        _admin(space, "create", "serviceaccount", account)
    _admin(space, "create", "secret", "generic", SECRET)
    for user in PEOPLE:
        for role in ("tasks",) if user == "bob" else ("tasks", "jobs"):
            _admin(
                space, "create", "rolebinding", f"{user}-{role}", f"--role={role}", f"--user={user}"
            )
    for name, role, account in (
        (OPERATOR, "--clusterrole=cluster-admin", OPERATOR),
        (ACCOUNT, f"--role={ACCOUNT}", ACCOUNT),
    ):
        subject = f"--serviceaccount={space.name}:{account}"
        _admin(space, "create", "rolebinding", name, role, subject)
    subject = f"--serviceaccount={space.name}:{ACCOUNT}"
    _admin(
        space, "create", "clusterrolebinding", space.name, f"--clusterrole={space.name}", subject
    )


def _admin(space: Space, *arguments: str, obj: Json | None = None) -> None:
    done, _, complaint = space.kubectl(*arguments, obj=obj)
    assert done, complaint


def _await_policies(space: Space) -> None:
    """Policies are followed a moment after they are created, mutating ones after some seconds."""
    for kind in ("ScheduledTask", "TaskExecution"):
        for by in ("bob", "jane"):

            def followed(kind: str = kind, by: str = by) -> bool:
                command = ("create", "--dry-run=server", "-f=-", "-o=json")
                done, said, _ = space.kubectl(*command, by=by, obj=GOOD[kind])
                if by == "bob":
                    return not done
                return done and (space.policies.stamping is not None or '"jane"' in said)

            until(followed, f"the policies on {kind} are not followed")


def _start_webhook(space: Space, log: Path) -> Process:
    settings = {
        "namespace": space.name,
        "configuration_name": space.name,
        "mutating_configuration_name": space.name if space.policies.stamping else "",
        "secret_name": SECRET,
        "hosts": "127.0.0.1",
        "address": "127.0.0.1",
        "port": "0",
        "probe_address": "127.0.0.1",
        "probe_port": "0",
        "check_interval": "0.2",
        "drain_period": "0",
    }
    kubeconfig = space.cluster.kubeconfig_for_service_account(space.name, ACCOUNT)
    replica = Process(kubeconfig, settings, log)
    _admin(space, "apply", "-f=-", obj=configuration(space.name, space.name, replica.url))
    if space.policies.stamping:
        stamping: Json = json.loads(json.dumps(space.policies.stamping))
        for hook in stamping["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            url = f"https://127.0.0.1:{replica.ports[0]}{path}"
            hook["clientConfig"] = {"url": url}
        _admin(space, "apply", "-f=-", obj=stamping)
    replica.wait_ready()
    bad = task("probe", {"schedule": "61 * * * *"})

    def is_called() -> bool:
        done, *_ = space.kubectl("create", "--dry-run=server", "-f=-", by="jane", obj=bad)
        if done or not space.policies.stamping:
            return not done
        command = ("create", "--dry-run=server", "-f=-", "-o=json")
        return '"jane"' in space.kubectl(*command, by="jane", obj=task("probe"))[1]

    until(is_called, f"the API server does not call the webhook: {replica.said}")
    return replica


def fresh(spec: Json | None = None, *, by: str | None = None) -> Json:
    """A task of a name of its own."""
    change = {"metadata": {"annotations": {BY: by}}} if by else {}
    return merged(task(f"t-{uuid.uuid4().hex[:8]}", spec), change)


def run(of: Json | str = "nightly", **spec: Any) -> Json:
    """A run by hand."""
    name = of if isinstance(of, str) else of["metadata"]["name"]
    return {
        "apiVersion": GOOD["TaskExecution"]["apiVersion"],
        "kind": "TaskExecution",
        "metadata": {"generateName": f"{name[:20]}-"},
        "spec": {"taskRef": {"name": name}, **spec},
    }


def past(of: str = "nightly", **spec: Any) -> Json:
    """A Backfill."""
    times = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    return {
        "apiVersion": GOOD["Backfill"]["apiVersion"],
        "kind": "Backfill",
        "metadata": {"generateName": f"{of[:20]}-"},
        "spec": {"taskRef": {"name": of}, **times, **spec},
    }


# --- who may ------------------------------------------------------------------------------------

_NO_JOBS = 'User "bob" may not create Jobs in namespace "{namespace}", and a {kind} creates Jobs.'
_ASK = "Ask for the right to create jobs of group batch there; the role edit has it."


def test_who_may_not_create_jobs_creates_no_task_and_no_run(space: Space) -> None:
    for obj in (fresh(), run(), past()):
        said = space.refusal(obj, by="bob")
        assert _NO_JOBS.format(namespace=space.name, kind=obj["kind"]) in said
        assert _ASK in said


def test_who_may_create_jobs_creates_tasks_and_runs(space: Space) -> None:
    made = space.create(fresh(), by="jane")
    space.create(run(made), by="carol")
    space.create(past(made["metadata"]["name"]), by="carol")


CHANGES: dict[str, Json] = {
    "another template": {"jobTemplate": {"metadata": {"labels": {"a": "b"}}}},
    "a value from a Secret": {
        "parameters": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]
    },
    "a schedule": {"schedule": "@daily"},
    "a field less": {"timeZone": None},
}


@pytest.mark.parametrize("title", CHANGES)
def test_who_may_not_create_jobs_changes_nothing_of_what_runs(space: Space, title: str) -> None:
    name = space.create(fresh(), by="jane")["metadata"]["name"]
    done, complaint = space.patch(name, {"spec": CHANGES[title]}, by="bob")
    assert not done
    assert _NO_JOBS.format(namespace=space.name, kind="ScheduledTask") in complaint
    assert space.patch(name, {"spec": CHANGES[title]}, by="jane") == (True, "")


def test_who_may_not_create_jobs_may_suspend_resume_label_and_delete(space: Space) -> None:
    name = space.create(fresh(), by="jane")["metadata"]["name"]
    for change in (
        {"spec": {"suspend": True}},
        {"spec": {"suspend": False}},
        {"metadata": {"labels": {"a": "b"}}},
    ):
        assert space.patch(name, change, by="bob") == (True, "")
    assert space.kubectl("delete", "stask", name, by="bob")[0]


CLAIMS: dict[str, tuple[Json, str]] = {
    "a slot": (
        {
            "type": "Scheduled",
            "decision": {"type": "Run", "reason": "OnSchedule"},
            "scheduledTime": "2026-01-01T00:00:00Z",
        },
        "spec.type Scheduled is for the operator. Write type: Manual, or leave it out, to run a"
        " task by hand; to skip a slot, use taskrunner skip, or write decision: {type: Skip,"
        " reason: Requested}.",
    ),
    "a skip for another reason": (
        {
            "type": "Scheduled",
            "decision": {"type": "Skip", "reason": "Suspended"},
            "scheduledTime": "2026-01-01T00:00:00Z",
        },
        "spec.type Scheduled is for the operator.",
    ),
    "a skip of a range": (
        {
            "type": "Scheduled",
            "decision": {"type": "Skip", "reason": "Requested", "count": 7},
            "scheduledTime": "2026-01-01T00:00:00Z",
        },
        "spec.type Scheduled is for the operator.",
    ),
    "a miss": (
        {
            "type": "Scheduled",
            "decision": {"type": "Miss", "reason": "Requested"},
            "scheduledTime": "2026-01-01T00:00:00Z",
        },
        "spec.type Scheduled is for the operator.",
    ),
    "another name": (
        {"requestedBy": {"username": "carol"}},
        'User "jane" asks, and spec.requestedBy says "carol" or groups that are not theirs. Remove'
        " it; it is filled in.",
    ),
    "another's groups": (
        {"requestedBy": {"username": "jane", "groups": ["dev", "system:masters"]}},
        "or groups that are not theirs",
    ),
    "the operator's signature": (
        {"writer": {"shard": "0", "epoch": "somebody/1"}},
        "spec.writer is for the operator; remove it.",
    ),
}


@pytest.mark.parametrize("title", CLAIMS)
def test_nobody_claims_to_be_somebody_else(space: Space, title: str) -> None:
    spec, sentence = CLAIMS[title]
    assert sentence in space.refusal(run(**spec), by="jane")


def test_nobody_asks_for_the_past_in_the_name_of_somebody_else(space: Space) -> None:
    said = space.refusal(past(requestedBy={"username": "carol"}), by="jane")
    assert 'User "jane" asks, and spec.requestedBy says "carol"' in said


def test_the_operator_creates_what_only_it_may(space: Space) -> None:
    slot = CLAIMS["a slot"][0] | {"requestedBy": {"username": "jane"}}
    made = run(**slot)
    made["metadata"] = {"name": f"nightly-{uuid.uuid4().int % 10**10:010d}"}
    stored = space.create(made, by="operator")
    assert stored["spec"]["requestedBy"] == {"username": "jane"}


def test_other_namespaces_are_not_looked_at(space: Space) -> None:
    """The policies of one installation do not reach beyond the namespace that it watches."""
    other = f"{space.name}-{uuid.uuid4().hex[:4]}"
    space.cluster.kubectl("create", "namespace", other)
    try:
        grant = ("create", "rolebinding", "bob", "--clusterrole=cluster-admin", "--user=bob")
        space.cluster.kubectl(*grant, f"-n={other}")
        by = space.user("bob")
        spec = {"requestedBy": {"username": "carol"}}
        create = ("create", "-f=-", f"-n={other}")
        space.cluster.kubectl(*create, input=run(**spec), kubeconfig=by)
    finally:
        space.cluster.kubectl("delete", "namespace", other, "--wait=false")


# --- who asked ----------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [run(), past()], ids=["run", "backfill"])
def test_a_run_says_who_asked_for_it(space: Space, made: Json) -> None:
    stored = space.create(made, by="jane")["spec"]
    everybody = "system:authenticated"
    jane = {"username": "jane", "groups": ["dev", "qa", everybody]}
    assert stored.get("requestedBy") == (jane if space.stamped else None)
    claimed = merged(made, {"spec": {"requestedBy": {"username": "jane"}}})
    true = space.create(claimed, by="jane")
    assert true["spec"]["requestedBy"]["username"] == "jane"


def test_nobody_changes_afterwards_who_asked(space: Space) -> None:
    name = space.create(run(requestedBy={"username": "jane"}), by="jane")["metadata"]["name"]
    for value in ({"username": "carol"}, None):
        patch = json.dumps({"spec": {"requestedBy": value}})
        command = ("patch", "texec", name, "--type=merge", f"-p={patch}")
        done, _, complaint = space.kubectl(*command, by="jane")
        assert not done
        assert "spec.requestedBy cannot be changed" in complaint


def test_a_task_says_who_last_changed_what_runs(space: Space) -> None:
    name = space.create(fresh(), by="jane")["metadata"]["name"]
    if not space.stamped:
        assert space.requested_by(name) is None
        return
    assert space.requested_by(name) == "jane"
    space.patch(name, {"spec": {"suspend": True}}, by="bob")
    space.patch(name, {"metadata": {"labels": {"a": "b"}}}, by="carol")
    assert space.requested_by(name) == "jane"
    space.patch(name, {"spec": {"schedule": "@daily"}}, by="carol")
    assert space.requested_by(name) == "carol"


def test_a_task_never_names_whom_a_client_names(space: Space) -> None:
    """A manifest that was exported from elsewhere is accepted where somebody can correct it."""
    claimed = fresh(by="carol")
    if not space.stamped:
        said = space.refusal(claimed, by="jane")
        assert (
            'User "jane" may not write the annotation taskrunner.dev/requested-by: "carol"' in said
        )
        assert "Remove the annotation." in said
        return
    name = space.create(claimed, by="jane")["metadata"]["name"]
    assert space.requested_by(name) == "jane"
    for value in ("carol", None):
        space.patch(name, {"metadata": {"annotations": {BY: value}}}, by="carol")
        assert space.requested_by(name) == "jane"


def test_a_stale_name_does_not_stay_when_nobody_can_correct_it(space: Space) -> None:
    """Before 1.36, with the webhook down: the next one who changes the task is told what to do."""
    name = space.create(fresh(by="jane"), by="jane")["metadata"]["name"]
    change = {"spec": {"schedule": "@daily"}}
    if space.stamped:
        assert space.patch(name, change, by="carol") == (True, "")
        assert space.requested_by(name) == "carol"
        return
    done, complaint = space.patch(name, change, by="carol")
    assert not done
    assert "Remove the annotation." in complaint
    assert space.patch(name, {"metadata": {"annotations": {BY: None}}}, by="carol") == (True, "")
    assert space.patch(name, change, by="carol") == (True, "")


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["by the client", "by the server"])
def test_applying_the_same_again_changes_nothing(space: Space, how: tuple[str, ...]) -> None:
    """What was written into the object is no drift, whoever applies next."""
    wanted = fresh({"schedule": "@daily"})
    versions = []
    for by in ("jane", "jane", "carol"):
        done, _, complaint = space.kubectl("apply", *how, "-f=-", by=by, obj=wanted)
        assert done, complaint
        found = space.get("stask", wanted["metadata"]["name"])
        versions.append(found["metadata"]["resourceVersion"])
    assert len(set(versions)) == 1
    assert space.kubectl("diff", *how, "-f=-", by="jane", obj=wanted) == (True, "", "")


# --- arguments, from the hand to the container --------------------------------------------------

SUITE = {"name": "SUITE", "enum": ["smoke", "full"], "default": "smoke"}
TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}}
TARGET = {"name": "TARGET"}


@pytest.fixture
def operator(space: Space, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator, with the account that the policies know."""
    replica = OperatorProcess(space.user("operator"), space.name, tmp_path / "operator.log")
    replica.wait_for_log("; acting")
    yield replica
    replica.stop()


def _argued(space: Space) -> Json:
    """A task with parameters whose containers print them."""
    pod = {
        "restartPolicy": "Never",
        "initContainers": [{"name": "first", "image": "busybox", "args": ["$(TARGET)"]}],
        "containers": [
            {
                "name": "main",
                "image": "busybox",
                "args": ["$(SUITE)", "on", "$(TARGET)"],
                "env": [{"name": "SUITE", "value": "old"}, {"name": "URL", "value": "//$(TARGET)"}],
            }
        ],
    }
    template = {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    spec = {"jobTemplate": template, "parameters": [TOKEN, SUITE, TARGET]}
    return space.create(fresh(spec), by="jane")


def _env(space: Space, job: str) -> dict[str, list[Json]]:
    pod = space.get("job", job)["spec"]["template"]["spec"]
    containers = pod.get("initContainers", []) + pod["containers"]
    return {container["name"]: container.get("env", []) for container in containers}


def test_a_run_by_hand_gets_its_arguments_in_every_container(
    space: Space, operator: OperatorProcess
) -> None:
    made = _argued(space)
    asked = space.create(run(made, arguments={"TARGET": "a $(TOKEN) $$ b"}), by="carol")
    name = asked["metadata"]["name"]

    def ended() -> Json | None:
        status: Json = space.get("texec", name)["status"]
        return status if status.get("phase") in ("Succeeded", "Failed") else None

    status = eventually(ended, "the run ends", lambda: operator.log[-3000:])
    assert status
    assert status["phase"] == "Succeeded"
    given = [TOKEN, {"name": "SUITE", "value": "smoke"}]
    given.append({"name": "TARGET", "value": "a $$(TOKEN) $$$$ b"})
    url = {"name": "URL", "value": "//$(TARGET)"}
    assert _env(space, f"{name}-1") == {"first": given, "main": [*given, url]}


def test_arguments_that_do_not_fit_are_refused_or_fail_the_run(
    space: Space, operator: OperatorProcess
) -> None:
    made = _argued(space)
    bad = run(made, arguments={"SUITE": "smok", "TARGET": "x", "TOKEN": "hunter2"})
    suite = "This is not one of the values that the parameter takes. Write smoke or full."
    token = 'The task takes this value from the Secret "ci", and no argument replaces it.'
    if space.replica is not None:
        said = space.refusal(bad, by="carol")
        assert f'spec.arguments.SUITE: Invalid value: "smok": {suite}' in said
        assert f"spec.arguments.TOKEN: {token}" in said
        assert "hunter2" not in said
        return
    name = space.create(bad, by="carol")["metadata"]["name"]

    def ended() -> Json | None:
        status: Json = space.get("texec", name)["status"]
        return status if status.get("phase") == "Failed" else None

    status = eventually(ended, "the run fails", lambda: operator.log[-3000:])
    assert status
    assert status["reason"] == "InvalidArguments"
    assert f'spec.arguments.SUITE "smok": {suite}' in status["message"]
    assert f"spec.arguments.TOKEN: {token}" in status["message"]
    assert "hunter2" not in status["message"] + operator.log
    assert "NotFound" in space.kubectl("get", "job", f"{name}-1")[2]


def test_a_schedule_whose_arguments_do_not_fit_is_refused_or_not_ready(
    space: Space, operator: OperatorProcess
) -> None:
    schedules = [{"name": "a", "everySeconds": 3600, "arguments": {"SUIT": "full"}}]
    bad = fresh({"parameters": [SUITE], "schedules": schedules})
    sentence = "The task has no such parameter. Did you mean SUITE?"
    if space.replica is not None:
        assert f"spec.schedules[0].arguments.SUIT: {sentence}" in space.refusal(bad, by="jane")
        return
    name = space.create(bad, by="jane")["metadata"]["name"]

    def not_ready() -> Json | None:
        conditions: list[Json] = space.get("stask", name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if (c["type"], c["status"]) == ("Ready", "False")), None)

    ready = eventually(not_ready, "the task is not ready", lambda: operator.log[-3000:])
    assert ready
    assert sentence in ready["message"]


def test_who_may_run_a_task_may_have_a_slot_of_it_skipped(
    space: Space, operator: OperatorProcess
) -> None:
    """And nobody else; on record is who asked."""
    every = {"schedules": [{"name": "a", "everySeconds": 10}], "catchUp": {"policy": "All"}}
    name = space.create(fresh(every, by="jane"), by="jane")["metadata"]["name"]

    def skip(by: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "taskrunner", "skip", name, *options]
        return subprocess.run(
            [*command, "-n", space.name, f"--kubeconfig={space.user(by)}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    no = skip("bob")
    assert no.returncode == 1
    assert _NO_JOBS.format(namespace=space.name, kind="TaskExecution") in no.stderr
    done = skip("carol", "--because=A test")
    assert done.returncode == 0, done.stderr
    skipped = done.stdout.split("(")[-1].rstrip(")\n")
    stored = space.get("texec", skipped)["spec"]
    if space.stamped:
        assert stored["requestedBy"]["username"] == "carol"
    assert stored["decision"] == {"type": "Skip", "reason": "Requested", "message": "A test"}
    nominal = int(skipped.rpartition("-")[2])

    def after() -> bool:
        return space.kubectl("get", "job", f"{name}-{nominal + 10}-1")[0]

    eventually(after, "the slot after it starts", lambda: operator.log[-3000:], seconds=40)
    status = space.get("texec", skipped)["status"]
    assert (status["phase"], status["reason"]) == ("Skipped", "Requested")
    assert status["message"].startswith("A test")
    assert "NotFound" in space.kubectl("get", "job", f"{skipped}-1")[2]
    if space.replica is not None:
        wrong = json.loads(json.dumps({"metadata": {"name": f"{name}-{nominal + 10_001}"}}))
        wrong |= {"apiVersion": "taskrunner.dev/v1alpha1", "kind": "TaskExecution"}
        time = datetime.fromtimestamp(nominal + 10_001, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        decision = {"type": "Skip", "reason": "Requested"}
        reference = {"taskRef": {"name": name}, "type": "Scheduled", "scheduledTime": time}
        wrong["spec"] = {**reference, "decision": decision}
        assert f"The task has no slot at {time}. Slots near it:" in space.refusal(wrong, "carol")


def test_a_slot_keeps_who_asked_for_the_task(space: Space, operator: OperatorProcess) -> None:
    soon = {"schedules": [{"name": "a", "everySeconds": 1}], "maxExecutions": 1}
    name = space.create(fresh(soon, by="jane"), by="jane")["metadata"]["name"]

    def slots() -> list[Json]:
        found: list[Json] = space.cluster.get(
            f"-n={space.name}", "texec", f"-l=taskrunner.dev/task={name}"
        )["items"]
        return found

    (slot,) = eventually(slots, "a slot", lambda: operator.log[-3000:])
    assert slot["spec"]["requestedBy"] == {"username": "jane"}
