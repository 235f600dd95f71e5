"""Limits for each namespace and the owner-only mode: the chart's policies on a real API server.

Jane and carol may write tasks and create Jobs; root may besides use the verb own.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from charts import Helm
from golden.refused import GOOD, Json, merged
from policies import Policies
from replicas import eventually
from testbed.base import BaseCluster
from webhooks import CRDS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

LIMITS = {"minIntervalSeconds": 120, "maxSchedules": 2, "maxConcurrent": 3, "maxHistory": 10}
RIGHTS = (
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]},
    {
        "apiGroups": ["taskrunner.dev"],
        "resources": ["scheduledtasks", "taskexecutions", "backfills"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"],
    },
)
OWN = {"apiGroups": ["taskrunner.dev"], "resources": ["scheduledtasks"], "verbs": ["own"]}


@dataclass
class Space:
    """A namespace with the policies."""

    cluster: Any
    name: str

    def kubectl(self, *arguments: str, by: str = "jane", obj: Json | None = None) -> str:
        """What was complained about; "" when it went through."""
        done = subprocess.run(
            [self.cluster.bin("kubectl"), f"-n={self.name}", *arguments],
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig_for(by, ["dev"]))},
            input=json.dumps(obj) if obj else "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return "" if done.returncode == 0 else done.stderr

    def create(self, obj: Json, by: str = "jane", *, dry_run: bool = False) -> str:
        return self.kubectl("create", "-f=-", *(["--dry-run=server"] * dry_run), by=by, obj=obj)


def good(kind: str, name: str, **spec: Any) -> Json:
    if kind == "ScheduledTask":
        spec = {"maxConcurrent": 1, **spec}
    return merged(GOOD[kind], {"metadata": {"name": name}, "spec": spec})


@pytest.fixture(scope="module")
def space(cluster: BaseCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    name = f"rails-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    for role, rules, users in (
        ("people", list(RIGHTS), ("jane", "carol", "root")),
        ("owners", [OWN], ("root",)),
    ):
        body = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": role, "namespace": name},
            "rules": rules,
        }
        cluster.kubectl("apply", "-f", "-", input=body)
        people = [f"--user={user}" for user in users]
        cluster.kubectl("create", "rolebinding", role, f"-n={name}", f"--role={role}", *people)
    values = {"guardRails": {"enabled": True, "ownerOnly": True, **LIMITS}}
    policies = Policies.render(cluster, Helm(tmp_path_factory.mktemp("rails")), name, values)
    space = Space(cluster, name)
    policies.install()
    try:
        for obj in (
            good("ScheduledTask", "probe", maxConcurrent=4),
            merged(good("TaskExecution", "probe"), {"metadata": {"labels": LABEL}}),
        ):
            eventually(lambda obj=obj: space.create(obj, dry_run=True), "the policies")  # type: ignore[misc]
        owner = "requested-by"
        made = good("ScheduledTask", "stamped")

        def stamped() -> bool:
            told = cluster.kubectl(
                f"-n={name}", "create", "-f=-", "--dry-run=server", "-o=json", input=made
            )
            return owner in told

        eventually(stamped, "the stamp")
        yield space
    finally:
        policies.remove()
        cluster.kubectl("delete", "namespace", name, "--wait=false")


LABEL = {"taskrunner.dev/execution": "probe"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"schedule": "*/2 * * * *"}, ""),
        ({"schedule": "H H * * *"}, ""),
        ({"schedule": "@every 2m"}, ""),
        ({"schedule": "0 */2 * * * *"}, ""),
        ({"schedule": "@every 119s"}, "this is more often: @every 119s."),
        ({"schedule": "* * * * *"}, "a task may start at most every 120 s"),
        ({"schedule": "*/30 0 2 * * *"}, "this is more often: */30 0 2 * * *."),
        ({"schedule": "0 * 2 * * *"}, "this is more often: 0 * 2 * * *."),
        (
            {"schedules": [{"name": "a", "everySeconds": 60}, {"name": "b", "cron": "@daily"}]},
            "this is more often: everySeconds: 60.",
        ),
        (
            {"schedules": [{"name": n, "cron": "@daily"} for n in "abc"]},
            "a task may have 2 schedules, and this one has 3.",
        ),
        ({"maxConcurrent": 4}, "at most 3 runs of a task may be active."),
        ({"maxConcurrent": None}, "at most 3 runs of a task may be active."),
        ({"maxConcurrent": None, "concurrencyPolicy": "Forbid"}, ""),
        ({"successfulJobsHistoryLimit": 10}, "a task may keep 10 runs."),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_task_beyond_the_limits_is_refused_with_the_remedy(
    space: Space, spec: Json, said: str
) -> None:
    complaint = space.create(good("ScheduledTask", "t", **spec), dry_run=True)
    assert said in complaint
    assert bool(said) == bool(complaint), complaint


def test_a_backfill_beyond_the_limits_is_refused(space: Space) -> None:
    assert not space.create(good("Backfill", "b", maxConcurrent=3), dry_run=True)
    complaint = space.create(good("Backfill", "b", maxConcurrent=4), dry_run=True)
    assert "at most 3 runs of a task may be active." in complaint


def test_an_annotation_of_the_namespace_wins_and_what_is_there_can_be_suspended(
    space: Space,
) -> None:
    often = good("ScheduledTask", "often", schedule="* * * * *")
    note = "taskrunner.dev/min-interval-seconds"
    space.cluster.kubectl("annotate", "namespace", space.name, f"{note}=60")
    eventually(lambda: not space.create(often), "the annotation to be known")
    space.cluster.kubectl("annotate", "namespace", space.name, f"{note}-")
    again = {**often, "metadata": {"name": "again"}}
    eventually(lambda: space.create(again, dry_run=True), "the annotation to be gone")
    patch = ("patch", "stask", "often", "--type=merge", "-p")
    assert not space.kubectl(*patch, '{"spec":{"suspend":true}}')
    assert not space.kubectl("label", "stask", "often", "team=qa")
    refused = space.kubectl(*patch, '{"spec":{"priority":1}}')
    assert "a task may start at most every 120 s" in refused


def test_only_who_made_a_task_or_who_may_own_all_changes_runs_and_deletes_it(space: Space) -> None:
    assert not space.create(good("ScheduledTask", "hers", schedule="@daily"))
    patch = ("patch", "stask", "hers", "--type=merge", "-p", '{"spec":{"priority":1}}')
    theirs = 'Task "hers" is that of "jane", and "carol" may'
    run = good("TaskExecution", "now", taskRef={"name": "hers"})
    past = good("Backfill", "past", taskRef={"name": "hers"})
    eventually(lambda: theirs in space.create(run, "carol", dry_run=True), "the task to be known")
    assert f"{theirs} run only tasks of their own." in space.create(past, "carol")
    assert f"{theirs} change only tasks of their own." in space.kubectl(*patch, by="carol")
    assert f"{theirs} change" in space.kubectl("delete", "stask", "hers", by="carol")
    labelled = merged(run, {"metadata": {"labels": LABEL}})
    assert "taskrunner.dev/execution is for the operator" in space.create(labelled, "carol")
    for who in ("jane", "root"):
        assert not space.create(run, who, dry_run=True), who
        assert not space.create(past, who, dry_run=True), who
    assert not space.kubectl(*patch)
    assert not space.kubectl("delete", "stask", "hers", by="root")
