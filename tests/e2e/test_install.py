"""From `helm install` to uninstall on a real node, with the image that the Dockerfile builds.

The tests are in the order of a release's life: each leaves a working installation to the next.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator

import pytest
import yaml

from charts import NAMESPACE, RELEASE, ROOT, Helm, Json
from e2e.installation import (
    LEASE,
    OPERATOR,
    Installation,
    Space,
    eventually,
    every,
    lags,
    moment,
    task,
)
from testbed import Cluster, CommandError, image
from testbed.image_base import BASE_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
FAILOVER_SECONDS = 20
"""From the death of the leader to the next start, with the default settings (product.md)."""

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Figures for people, past pytest's capture."""

    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)

    return show


@pytest.fixture(scope="module")
def installation(real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    real_cluster.real_node.load_images(image.archive())
    make_namespace(real_cluster, NAMESPACE)
    helm = Helm(tmp_path_factory.mktemp("helm"), real_cluster.kubeconfig)
    return Installation(real_cluster, helm)


@pytest.fixture
def space(real_cluster: Cluster) -> Iterator[Space]:
    """A restricted namespace for a test's tasks."""
    name = f"tasks-{secrets.token_hex(3)}"
    make_namespace(real_cluster, name)
    yield Space(real_cluster, name)
    real_cluster.kubectl("delete", "namespace", name, "--wait=false")


def make_namespace(cluster: Cluster, name: str) -> None:
    metadata = {"name": name, "labels": RESTRICTED}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.kubectl("create", "-f", "-", input=namespace)


def test_a_task_applied_right_after_the_install_runs_within_a_minute(
    installation: Installation, space: Space, say: Say
) -> None:
    installation.install()
    installed = time.time()
    # Policies that mutate learn of a new definition some seconds after everybody else, and the API
    # server asks to try again until then.
    first = task("first", ["echo", "I am the first."], **every(5))
    eventually(lambda: space.is_applied(first), "the task is accepted", 20)
    say(f"helm install → task accepted {time.time() - installation.started:.1f} s")
    (run, *_) = eventually(lambda: space.ended("first"), "the first run has ended", 120)
    assert run["status"]["phase"] == "Succeeded"
    installation.await_ready()

    since = installation.started
    say(f"helm install took {installed - since:.1f} s")
    (job, *_) = space.get("jobs", "--sort-by=.metadata.creationTimestamp")["items"]
    created = moment(job["metadata"]["creationTimestamp"]) - since
    ended = moment(run["status"]["completionTime"]) - since
    say(f"helm install → first Job created {created:.0f} s, first run succeeded {ended:.0f} s")
    for component in ("operator", "webhook"):
        for pod in installation.pods(component):
            ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
            at = moment(ready["lastTransitionTime"]) - since
            say(f"helm install → {pod['metadata']['name']} ready {at:.0f} s")
            assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert ended < 60


def test_the_pods_have_nothing_to_complain_about(installation: Installation) -> None:
    """Once they are ready. Something that fails again and again may still look as if it worked."""
    namespaces = ("get", "namespaces", "-o=jsonpath={.items[*].status.phase}")
    eventually(
        lambda: "Terminating" not in installation.kubectl(*namespaces),
        "the namespace of the test before is gone",
        60,
    )
    time.sleep(5)
    for component in ("operator", "webhook"):
        for pod in installation.pods(component):
            said = installation.kubectl("logs", pod["metadata"]["name"], "--since=5s")
            assert [
                line for line in said.splitlines() if not re.search(" (INFO|DEBUG) ", line)
            ] == []


def test_the_first_example_runs_on_time_in_a_real_pod(
    installation: Installation, space: Space, say: Say
) -> None:
    (file,) = (ROOT / "examples").glob("01-*.yaml")
    example = yaml.safe_load(file.read_text())
    # No registry can be reached from the node: the image is one that is on it.
    (container,) = example["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    container |= {"image": BASE_IMAGE, "imagePullPolicy": "Never"}
    space.apply(example)
    (run, *_) = eventually(lambda: space.ended("hello"), "a full minute has run", 90)

    assert run["status"]["phase"] == "Succeeded"
    (lag,) = lags([run])
    assert lag < 1
    assert space.kubectl("logs", "-l=taskrunner.dev/task=hello") == "Hello from taskrunner\n"
    status = eventually(
        lambda: s if (s := space.get("stask", "hello")["status"]).get("lastSuccessfulTime") else {},
        "the task's status tells of the run",
        20,
    )
    assert status["lastExecution"]["name"] == run["metadata"]["name"]
    assert status["lastScheduleTime"] == run["spec"]["scheduledTime"]
    say(f"slot → Job created {lag * 1000:.0f} ms")
    say(space.kubectl("get", "stask,texec,job,pod").replace("\n", "\n  "))


def test_arguments_reach_the_container_as_they_were_given(
    installation: Installation, space: Space
) -> None:
    """The kubelet expands $(NAME) in args and env, in the order of the definitions; what an
    argument says is not expanded, and a Secret's value is in no object of ours."""
    space.kubectl("create", "secret", "generic", "ci", "--from-literal=token=hunter2")
    made = task("argued", ["sh", "-c", 'echo "$0 $1 $SUITE $URL ${TOKEN#hunter}"'])
    made["spec"]["parameters"] = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "ci", "key": "token"}}},
        {"name": "SUITE", "enum": ["smoke", "full"], "default": "smoke"},
        {"name": "TARGET"},
    ]
    (container,) = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    container["args"] = ["$(SUITE)", "$(TARGET)"]
    container["env"] = [{"name": "URL", "value": "//$(SUITE)"}]
    eventually(lambda: space.is_applied(made), "the task is accepted", 20)
    odd = "a $(TOKEN) $$ $5 ($) b"
    run = {
        "apiVersion": made["apiVersion"],
        "kind": "TaskExecution",
        "metadata": {"name": "by-hand"},
        "spec": {"taskRef": {"name": "argued"}, "arguments": {"TARGET": odd}},
    }
    space.kubectl("create", "-f", "-", obj=run)
    (ended,) = eventually(lambda: space.ended("argued"), "the run has ended", 60)
    assert ended["status"]["phase"] == "Succeeded"
    said = space.kubectl("logs", "-l=taskrunner.dev/task=argued")
    assert said == f"smoke {odd} smoke //smoke 2\n"
    ours = space.kubectl("get", "stask,texec,job,event", "-o=yaml")
    logs = installation.kubectl("logs", f"deployment/{RELEASE}-operator", "--all-pods")
    assert "hunter2" not in ours + logs


def test_the_webhook_refuses_a_bad_task_with_the_reason(
    installation: Installation, space: Space
) -> None:
    installation.await_ready()
    bad = task("bad", ["true"], schedule="61 * * * *", timeZone="Etc/UTC")
    with pytest.raises(CommandError) as error:
        space.apply(bad)
    said = 'spec.schedule: Invalid value: "61": 61 is out of range in the minute field.'
    assert said in error.value.stderr


def test_helm_test_passes(installation: Installation, say: Say) -> None:
    started = time.monotonic()
    where = ("--namespace", NAMESPACE)
    said = installation.helm.run("test", RELEASE, *where, "--logs", seconds=180)
    say(f"helm test passed after {time.monotonic() - started:.0f} s")
    assert "A run has succeeded" in said
    left = installation.get("stask,pod,role,rolebinding", "-l=app.kubernetes.io/component=test")
    assert [obj["metadata"]["name"] for obj in left["items"]] == []


def test_the_other_replica_goes_on_when_the_leader_is_killed(
    installation: Installation, space: Space, say: Say
) -> None:
    installation.await_ready()
    space.apply(task("steady", ["true"], **every(2)))
    eventually(lambda: len(space.ended("steady")) >= 2, "the task runs", 30)

    victim, before = installation.leader(), installation.holder()
    killed = time.time()
    installation.kill(victim)
    after = eventually(
        lambda: h if (h := installation.holder()) not in ("", before) else "",
        "somebody else leads",
        60,
    )
    late = eventually(
        lambda: [r for r in space.runs("steady") if _starts_after(r, killed)],
        "a run starts after the kill",
        60,
    )
    gap = min(moment(run["status"]["startTime"]) for run in late) - killed
    say(f"leader killed → next start {gap:.0f} s ({before} → {after})")
    assert gap <= FAILOVER_SECONDS
    _assert_no_slot_is_lost(space, "steady", 2, until=killed + gap)


def test_an_upgrade_while_tasks_run_loses_no_slot(
    installation: Installation, space: Space, say: Say
) -> None:
    installation.await_ready()
    before = {pod["metadata"]["name"] for pod in installation.pods("operator")}
    space.apply(task("long", ["sleep", "5"], **every(5)))
    eventually(lambda: space.ended("long"), "the task runs", 40)

    started = time.time()
    installation.upgrade(settings={"statusInterval": 5})
    upgraded = time.time()
    after = {pod["metadata"]["name"] for pod in installation.pods("operator")}
    assert not before & after
    eventually(
        lambda: [r for r in space.ended("long") if moment(r["spec"]["scheduledTime"]) > upgraded],
        "the task runs on",
        40,
    )
    _assert_no_slot_is_lost(space, "long", 5, until=upgraded)
    during = [
        run
        for run in space.ended("long")
        if started - 5 < moment(run["spec"]["scheduledTime"]) < upgraded
    ]
    assert {run["status"]["phase"] for run in during} == {"Succeeded"}
    jobs = space.get("jobs", "-l=taskrunner.dev/task=long")["items"]
    assert len(jobs) == len(space.runs("long"))
    say(
        f"helm upgrade took {upgraded - started:.0f} s, {len(during)} slots in it; "
        f"greatest lag {max(lags(during)):.1f} s"
    )


def test_the_rights_are_enough_and_none_is_left_over(installation: Installation, say: Say) -> None:
    """Every request of ours since the start was allowed, and every right was needed for one."""
    used: dict[str, set[tuple[str, str]]] = {"operator": set(), "webhook": set()}
    refused = []
    for event in installation.cluster.audit_events():
        user = event["user"]["username"]
        component = user.removeprefix(f"system:serviceaccount:{NAMESPACE}:{RELEASE}-")
        if component not in used:
            continue
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
            refused.append(f"{user} {event['verb']} {event['requestURI']}")
        if reference := event.get("objectRef"):
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            used[component].add((event["verb"], resource))
    assert refused == []
    for component, rights in used.items():
        say(f"{component} used: " + ", ".join(" ".join(right) for right in sorted(rights)))
        unused = _granted(installation, component) - rights - NEEDED_AT_TIMES[component]
        assert unused == set()


NEEDED_AT_TIMES = {
    "operator": {
        # One live look before absence is believed.
        ("get", "jobs"),
        ("get", "scheduledtasks"),
        ("get", "calendars"),
        ("get", "backfills"),
        ("get", "taskqueues"),
        # How far a Backfill is; none is in these tests.
        ("patch", "backfills/status"),
        # Who runs and waits in a TaskQueue; none is in these tests.
        ("patch", "taskqueues/status"),
        # A slot that another leader has decided.
        ("get", "taskexecutions"),
        # Executions made by hand are made children of their task.
        ("patch", "taskexecutions"),
        # The history limits of these tests keep everything.
        ("delete", "taskexecutions"),
        ("deletecollection", "taskexecutions"),
        # The ttlSecondsAfterFinished of a Job.
        ("delete", "jobs"),
        # A run that is stopped: its Job is suspended, and its pods go at once with `Immediate`.
        ("patch", "jobs"),
        ("deletecollection", "pods"),
        # Only what is not a clean success.
        ("create", "events"),
        ("patch", "events"),
    },
    "webhook": {
        ("get", "calendars"),
        ("get", "taskqueues"),
        ("get", "scheduledtasks"),
    },
}


def test_the_pods_are_small(installation: Installation, say: Say) -> None:
    for component in ("operator", "webhook"):
        for container in installation.usage(component):
            memory = container["memory"]["workingSetBytes"] / 1e6
            resident = container["memory"]["rssBytes"] / 1e6
            cores = container["cpu"].get("usageNanoCores", 0) / 1e9
            figures = f"working set {memory:.0f} MB, RSS {resident:.0f} MB, {cores:.3f} cores"
            say(f"{component}: {figures}")
            assert memory < 128


def test_uninstall_says_what_stays_and_a_new_install_finds_it(
    installation: Installation, space: Space, say: Say
) -> None:
    space.apply(task("kept", ["true"], **every(5)))
    eventually(lambda: space.ended("kept"), "the task runs", 40)
    where = ("--namespace", NAMESPACE)
    wait = ("--wait", "--timeout=120s")
    said = installation.helm.run("uninstall", RELEASE, *where, *wait, seconds=150)
    say(said.replace("\n", "\n  "))
    assert "[CustomResourceDefinition] scheduledtasks.taskrunner.dev" in said
    eventually(lambda: not installation.get("pods")["items"], "the pods have ended", 60)
    kinds = "all,secret,sa,role,rolebinding,pdb,lease,stask,texec"
    left = installation.kubectl("get", kinds, "-o=name").split()
    assert left == ["serviceaccount/default", f"lease.coordination.k8s.io/{LEASE}"]
    cluster_wide = installation.cluster.kubectl(
        *("get", "clusterrole,clusterrolebinding,validatingwebhookconfiguration", "-o=name"),
        "-l=app.kubernetes.io/part-of=taskrunner",
    )
    assert cluster_wide == ""

    history = space.slots("kept")
    assert history == sorted(set(history))
    time.sleep(7)  # long enough for a slot to pass
    assert space.slots("kept") == history

    installation.install()
    eventually(lambda: len(space.ended("kept")) > len(history), "the task runs again", 60)
    _assert_no_slot_is_lost(space, "kept", 5, until=time.time() - 5)
    assert installation.get("deployment", OPERATOR)["spec"]["replicas"] == 2


def _starts_after(run: Json, instant: float) -> bool:
    started = run.get("status", {}).get("startTime")
    return bool(started) and moment(started) > instant


def _assert_no_slot_is_lost(space: Space, of: str, seconds: int, *, until: float) -> None:
    """Each slot from the first record to `until` has one record, and it is a run."""
    runs = space.runs(of)
    slots = space.slots(of)
    due = list(range(slots[0], int(until) + 1, seconds))
    assert [slot for slot in slots if slot <= until] == due
    assert {run["spec"]["decision"]["type"] for run in runs} == {"Run"}


def _granted(installation: Installation, component: str) -> set[tuple[str, str]]:
    roles = installation.cluster.get("clusterrole", "-l=app.kubernetes.io/part-of=taskrunner")
    found = roles["items"] + installation.get("role")["items"]
    return {
        (verb, resource)
        for role in found
        if role["metadata"]["labels"].get("app.kubernetes.io/component") == component
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
