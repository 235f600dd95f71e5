"""The chart on a real API server: accepted whole, upgraded, uninstalled, and just enough rights.

The cluster is one of its own, because definitions and roles are shared by all who use a cluster.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from charts import CHART, NAMESPACE, RELEASE, ROOT, Helm, Json, Rendered
from testbed import Cluster, ClusterSpec, CommandError, UnsupportedError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
WARN = {"pod-security.kubernetes.io/warn": "restricted"}
CASES: dict[str, Json] = {
    "default": {},
    "one namespace": {"watchNamespace": "tasks"},
    "no extras": {
        "rbac": {"aggregateRoles": False},
        "operator": {"podDisruptionBudget": {"enabled": False}},
    },
}
NO_PODS: Json = {"operator": {"replicas": 0}, "webhook": {"replicas": 0}}
"""Simulated nodes run pods that do nothing; none are made."""
TASK: Json = {
    "apiVersion": "taskrunner.dev/v1alpha1",
    "kind": "ScheduledTask",
    "metadata": {"name": "kept"},
    "spec": {
        "schedule": "0 0 29 2 *",
        "timeZone": "Etc/UTC",
        "jobTemplate": {
            "spec": {
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "main", "image": "busybox:1.37"}],
                    }
                }
            }
        },
    },
}


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest, k8s_version: str) -> Iterator[Cluster]:
    if request.config.getoption("--cluster") != "local":
        raise UnsupportedError("These tests change what a whole cluster shares.")
    with Cluster(ClusterSpec(name="chart", version=k8s_version, audit=True)) as cluster:
        for name, labels in {NAMESPACE: RESTRICTED | WARN, "tasks": {}}.items():
            metadata = {"name": name, "labels": labels}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            cluster.kubectl("create", "-f", "-", input=namespace)
        yield cluster


@pytest.fixture(scope="module")
def helm(own: Cluster, tmp_path_factory: pytest.TempPathFactory, k8s_version: str) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"), own.kubeconfig, kube_version=k8s_version)


@pytest.fixture
def installed(own: Cluster, helm: Helm) -> Helm:
    """The release is there, without pods, and the API server takes tasks: policies that mutate
    learn of a new definition some seconds after everybody else."""
    helm.run("upgrade", "--install", RELEASE, CHART, *_where(), values=NO_PODS)
    _eventually(partial(_accepts, own, TASK), "a task is accepted")
    return helm


# --- objects --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("case", CASES)
def test_the_server_accepts_every_object(own: Cluster, helm: Helm, case: str) -> None:
    """Strictly, and without a warning: neither of the schema, of a deprecated version, nor of the
    Pod Security Standard."""
    rendered = Rendered(helm.template(CASES[case]))
    # A pod's ServiceAccount would have to exist; see the next test. The Prometheus operator's kinds
    # are not there; promtool looks at the rules.
    objects = [
        obj
        for obj in rendered
        if obj["kind"] != "Pod" and not obj["apiVersion"].startswith("monitoring.coreos.com/")
    ]
    assert len(objects) >= len(rendered.objects) - 3
    _dry_run(own, objects, "apply", "--server-side", "--force-conflicts")


@pytest.mark.parametrize("case", CASES)
def test_the_restricted_standard_admits_every_pod(own: Cluster, helm: Helm, case: str) -> None:
    specs = Rendered(helm.template(CASES[case])).pod_specs
    assert len(specs) >= 3
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "chart-", "namespace": NAMESPACE},
            "spec": {**spec, "serviceAccountName": "default"},
        }
        for spec in specs.values()
    ]
    _dry_run(own, pods, "create")


# --- life of a release ----------------------------------------------------------------------------


def test_an_upgrade_brings_the_definitions_of_the_new_chart(
    own: Cluster, installed: Helm, tmp_path: Path
) -> None:
    """Helm alone would leave them as they were at the first install."""
    newer = tmp_path / "taskrunner"
    shutil.copytree(CHART, newer)
    file = newer / "files" / "crds" / "taskrunner.dev_scheduledtasks.yaml"
    crd = yaml.safe_load(file.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string", "description": "A field of the next version."}
    file.write_text(yaml.safe_dump(crd))

    assert "later" not in _fields(own)
    installed.run("upgrade", RELEASE, newer, *_where(), values=NO_PODS)
    assert "later" in _fields(own)
    installed.run("rollback", RELEASE, *_where())
    assert "later" not in _fields(own)


def test_definitions_and_tasks_outlive_an_uninstall(own: Cluster, installed: Helm) -> None:
    own.kubectl("apply", "-n=tasks", "-f", "-", input=TASK)
    said = installed.run("uninstall", RELEASE, *_where(), "--wait")

    assert "CustomResourceDefinition" in said  # helm says what it kept
    assert own.get("stask", "kept", "-n=tasks")["spec"]["schedule"] == "0 0 29 2 *"
    kept = own.kubectl(
        *("get", "all,sa,role,rolebinding,pdb,lease", f"-n={NAMESPACE}", "-o=name"),
        f"-l=app.kubernetes.io/instance={RELEASE}",
    )
    assert kept == ""
    roles = own.kubectl("get", "clusterrole,clusterrolebinding", "-o=name")
    assert "taskrunner" not in roles

    again = installed.run("install", RELEASE, CHART, *_where(), values=NO_PODS)
    assert "STATUS: deployed" in again
    assert own.get("stask", "kept", "-n=tasks")["metadata"]["name"] == "kept"


def test_a_second_operator_is_told_that_the_definitions_are_there(
    own: Cluster, installed: Helm
) -> None:
    with pytest.raises(CommandError, match=r"cannot be imported into the current release"):
        installed.run("install", "second", CHART, "--namespace=tasks", values=NO_PODS)
    values = {**NO_PODS, "crds": {"install": False}, "watchNamespace": "tasks"}
    installed.run("install", "second", CHART, "--namespace=tasks", values=values)
    installed.run("uninstall", "second", "--namespace=tasks", "--wait")


def test_definitions_that_kubectl_applied_can_be_taken_over(own: Cluster, helm: Helm) -> None:
    """As docs/how-to/install.md says."""
    helm.run("uninstall", RELEASE, *_where(), "--ignore-not-found", "--wait")
    own.kubectl("apply", "--server-side", "--force-conflicts", "-f", CHART / "files" / "crds")
    ours = ("--take-ownership", "--force-conflicts")
    helm.run("upgrade", "--install", RELEASE, CHART, *_where(), *ours, values=NO_PODS)
    helm.run("upgrade", RELEASE, CHART, *_where(), values=NO_PODS)


def test_the_first_task_of_the_notes_can_be_pasted(
    own: Cluster, installed: Helm, tmp_path: Path
) -> None:
    said = installed.run("get", "notes", RELEASE, *_where())
    command = re.search(r"^kubectl apply --namespace default (?:.*\n)+?EOF$", said, re.MULTILINE)
    assert command is not None
    path = {"PATH": f"{own.bin('kubectl').parent}:/usr/bin:/bin", "KUBECONFIG": str(own.kubeconfig)}
    subprocess.run(["sh", "-euc", command[0]], cwd=tmp_path, env=path, check=True, timeout=30)
    assert own.get("stask", "hello", "-n=default")["spec"]["schedule"] == "* * * * *"
    own.kubectl("delete", "stask", "hello", "-n=default")


# --- rights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (
            "view",
            ["get scheduledtasks", "watch taskexecutions", "list calendars"],
            ["create scheduledtasks", "delete taskexecutions"],
        ),
        (
            "edit",
            ["create scheduledtasks", "delete taskexecutions", "patch calendars"],
            ["patch scheduledtasks/status", "patch taskexecutions/status"],
        ),
        (
            "admin",
            ["create scheduledtasks", "deletecollection taskexecutions"],
            ["update scheduledtasks/status"],
        ),
    ],
)
@pytest.mark.usefixtures("installed")
def test_users_get_their_rights_from_kubernetes_own_roles(
    own: Cluster, role: str, may: list[str], may_not: list[str]
) -> None:
    user = f"user-{role}"
    own.kubectl(
        "create", "rolebinding", user, "-n=tasks", f"--clusterrole={role}", f"--user={user}"
    )
    try:
        # The roles are aggregated by a controller, a moment later.
        for question in may:
            _eventually(partial(_may, own, user, "tasks", question), f"{user} may {question}")
        assert [question for question in may_not if _may(own, user, "tasks", question)] == []
        assert [question for question in may if _may(own, user, "default", question)] == []
    finally:
        own.kubectl("delete", "rolebinding", user, "-n=tasks")


def test_one_namespace_is_all_that_the_operator_needs(own: Cluster, helm: Helm) -> None:
    """The process runs here, with the rights of the chart's account and no others."""
    where = ("--namespace=tools", "--create-namespace")
    values = NO_PODS | {
        "watchNamespace": "tasks",
        "crds": {"install": False},
        "rbac": {"aggregateRoles": False},
        "webhook": {"enabled": False},
    }
    # For the definitions. Its policies would take the other operator for a user, and its fence
    # waits for a Shard that nobody makes here.
    others = NO_PODS | {"identity": {"enabled": False}, "fence": {"enabled": False}}
    helm.run("upgrade", "--install", RELEASE, CHART, f"--namespace={NAMESPACE}", values=others)
    helm.run("upgrade", "--install", "one", CHART, *where, values=values)
    account = own.kubeconfig_for_service_account("tools", "one-taskrunner-operator")
    environment = {
        "SCHEDULER_NAMESPACE": "tools",
        "SCHEDULER_WATCH_NAMESPACE": "tasks",
        "SCHEDULER_CONFIG_MAP": "one-taskrunner-config",
        "SCHEDULER_PROBE_PORT": "0",
        "SCHEDULER_STATUS_INTERVAL": "1",
    }
    user = "system:serviceaccount:tools:one-taskrunner-operator"
    # The authorizer learns of new roles a moment later.
    _eventually(partial(_may, own, user, "tasks", "watch calendars"), "the role holds")
    _eventually(partial(_accepts, own, TASK), "a task is accepted")
    mark = own.audit_mark()

    def requests() -> list[Json]:
        return list(own.audit_events(since=mark, user=user))

    def done() -> set[tuple[str, str]]:
        references = [(e["verb"], e["objectRef"]) for e in requests() if "objectRef" in e]
        return {(verb, reference["resource"]) for verb, reference in references}

    operator = own.spawn(
        "operator-of-one-namespace",
        [sys.executable, "-m", "taskrunner", "operator", "--kubeconfig", account],
        {"PYTHONPATH": str(ROOT / "operator"), "PATH": os.environ["PATH"], **environment},
    )
    try:
        often = {"schedules": [{"name": "often", "everySeconds": 1}]}
        spec = {
            "jobTemplate": TASK["spec"]["jobTemplate"],
            "successfulJobsHistoryLimit": 0,
            **often,
        }
        metadata = {"name": "often"}
        own.kubectl(
            "apply", "-n=tasks", "-f", "-", input=TASK | {"metadata": metadata, "spec": spec}
        )
        by_hand = {
            "apiVersion": TASK["apiVersion"],
            "kind": "TaskExecution",
            "metadata": {"name": "by-hand"},
            "spec": {"taskRef": metadata},
        }
        # So does the policy that says who asked.
        _eventually(partial(_accepts, own, by_hand), "a run by hand is accepted")
        own.kubectl("create", "-n=tasks", "-f", "-", input=by_hand)
        all_of_it = {
            *(("watch", "scheduledtasks"), ("watch", "calendars"), ("create", "jobs")),
            *(("create", "leases"), ("update", "leases"), ("deletecollection", "taskexecutions")),
            *(("patch", "taskexecutions"), ("watch", "pods"), ("watch", "events")),
            *(("watch", "namespaces"), ("watch", "configmaps")),
        }
        _eventually(
            lambda: all_of_it <= done(),
            lambda: f"{all_of_it - done()} is done: {operator.log.read_text()[-3000:]}",
            120,  # History goes once in a minute.
        )
    finally:
        operator.stop()
    decision = "authorization.k8s.io/decision"
    assert [e["requestURI"] for e in requests() if e["annotations"][decision] != "allow"] == []
    # Discovery has no object and no namespace.
    references = [e["objectRef"] for e in requests() if "resource" in e.get("objectRef", {})]
    # The Namespace itself is in no namespace: whether it is paused.
    itself = [r for r in references if r["resource"] == "namespaces"]
    assert {reference["name"] for reference in itself} == {"tasks"}
    assert {r.get("namespace") for r in references if r not in itself} == {"tasks", "tools"}


def _accepts(cluster: Cluster, obj: Json) -> bool:
    try:
        cluster.kubectl("apply", "-n=tasks", "--dry-run=server", "-f", "-", input=obj)
    except CommandError:
        return False
    return True


def _dry_run(cluster: Cluster, objects: list[Json], *command: str) -> None:
    strict = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    manifest = {"apiVersion": "v1", "kind": "List", "items": objects}
    said = cluster.kubectl(*command, *strict, "-f", "-", input=manifest).splitlines()
    assert len(said) == len(objects)
    assert all(line.endswith("(server dry run)") for line in said)


def _may(cluster: Cluster, user: str, namespace: str, question: str) -> bool:
    """Whether the server's authorizer lets the user do it."""
    verb, _, resource = question.partition(" ")
    resource, _, subresource = resource.partition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:authenticated"],
            "resourceAttributes": {
                "namespace": namespace,
                "verb": verb,
                "group": "taskrunner.dev",
                "resource": resource,
                "subresource": subresource,
            },
        },
    }
    answer = cluster.api.request(
        "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review
    )
    return bool(answer["status"]["allowed"])


def _fields(cluster: Cluster) -> set[str]:
    crd = cluster.get("crd", "scheduledtasks.taskrunner.dev")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return set(schema["properties"]["spec"]["properties"])


def _where() -> tuple[str, ...]:
    return (f"--namespace={NAMESPACE}",)


def _eventually(
    holds: Callable[[], bool], what: str | Callable[[], str], seconds: float = 20
) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"After {seconds:g} s it is not so that {said}.")
        time.sleep(0.2)
