"""Job manifests: the user's template, plus what taskrunner owns on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from taskrunner.api.v1alpha1 import names
from taskrunner.domain.instants import format_instant
from taskrunner.domain.observed import Execution
from taskrunner.domain.parameters import EnvVar, containers_of
from taskrunner.domain.policy import HALT_ANNOTATION, POLICY_ANNOTATION, RunPolicy, policy_text

SCHEDULED_TIMESTAMP: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""Set on Jobs as the CronJob controller does (KEP-4026), because programs read it; on pods, too, so
that a program learns its slot from the downward API."""

_NO_POLICY: Final = RunPolicy()
_CONTROLLER_MADE: Final = frozenset(
    {
        "controller-uid",
        "job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/job-tracking",
    }
)
"""Labels and annotations that belong to one Job and would be refused, or be wrong, on another."""
_NOT_TAKEN: Final = frozenset(
    {
        "name",
        "uid",
        "resourceVersion",
        "generation",
        "selfLink",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    }
)
"""Metadata of a template that is not a Job's to have: the server and the operator assign it."""


def owner_reference(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    """A controller reference. It does not block the owner's deletion: that would need rights on the
    owner's finalizers, and a run is stopped through its Job, not by holding up its task."""
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}


def labels_for(task: str, execution: str) -> dict[str, str]:
    """The labels of everything that belongs to one run."""
    return {
        names.LABEL_TASK: task,
        names.LABEL_EXECUTION: execution,
        names.LABEL_MANAGED_BY: names.MANAGER,
    }


def job_manifest(
    template: bytes,
    execution: Execution,
    name: str,
    policy: RunPolicy = _NO_POLICY,
    *,
    environment: Sequence[EnvVar] = (),
) -> dict[str, Any]:
    """The Job of a first attempt.

    - The template's own metadata and spec are kept, our labels win over equal keys.
    - `ttlSecondsAfterFinished` is taken out: a Job stays until its outcome is recorded.
    - Every container gets `environment`: what parameters and arguments come to. Kubernetes expands
      `$(NAME)` in command and args itself.
    - `policy` stays on it as an annotation. With retries and no `backoffLimit` in the template, the
      Job itself starts no second pod: 4 attempts would be 28 pods.
    - The time-out is set as `activeDeadlineSeconds`, unless the template's own is shorter.
    """
    given: dict[str, Any] = orjson.loads(template)
    meta: dict[str, Any] = given.get("metadata") or {}
    spec: dict[str, Any] = given["spec"]
    spec.pop("ttlSecondsAfterFinished", None)
    if policy.suspended:
        spec["suspend"] = True
    if policy.retry.max_retries:
        spec.setdefault("backoffLimit", 0)
    if policy.timeout is not None:
        own = spec.get("activeDeadlineSeconds")
        spec["activeDeadlineSeconds"] = min(policy.timeout, own or policy.timeout)
    ours = labels_for(execution.task, execution.name)
    pod: dict[str, Any] = spec.setdefault("template", {})
    pod_meta: dict[str, Any] = pod.get("metadata") or {}
    slot = {SCHEDULED_TIMESTAMP: format_instant(execution.nominal)}
    pod["metadata"] = {
        **pod_meta,
        "labels": {**(pod_meta.get("labels") or {}), **ours},
        "annotations": {**(pod_meta.get("annotations") or {}), **slot},
    }
    if environment:
        _add_environment(pod.get("spec") or {}, environment)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": execution.namespace,
            "labels": {**(meta.get("labels") or {}), **ours},
            "annotations": {
                **(meta.get("annotations") or {}),
                **slot,
                POLICY_ANNOTATION: policy_text(policy),
            },
            "ownerReferences": [_owner(execution)],
        },
        "spec": spec,
    }


def is_suspended(template: bytes) -> bool:
    """Whether the Jobs of a template are to be made suspended, for another controller to start
    them: it says so, or names a queue of Kueue."""
    given: dict[str, Any] = orjson.loads(template)
    labels = (given.get("metadata") or {}).get("labels") or {}
    return bool(given["spec"].get("suspend")) or names.LABEL_KUEUE_QUEUE in labels


def retry_manifest(
    previous: Mapping[str, Any], execution: Execution, name: str, policy: RunPolicy
) -> dict[str, Any]:
    """The Job of a later attempt: the Job of the attempt before as the server has it, without what
    the server, its controller and a halt of ours have added. The task may have been edited since.
    """
    meta, spec = previous["metadata"], dict(previous["spec"])
    if not spec.get("manualSelector"):
        spec.pop("selector", None)
    spec.pop("suspend", None)
    if policy.suspended:
        spec["suspend"] = True
    pod = dict(spec["template"])
    pod["metadata"] = _without_controller(pod.get("metadata") or {})
    kept = _without_controller(meta)
    notes = {k: v for k, v in (kept.get("annotations") or {}).items() if k != HALT_ANNOTATION}
    labels = dict(kept.get("labels") or {})
    if queue := notes.pop(names.ANNOTATION_KUEUE_QUEUE, ""):
        labels[names.LABEL_KUEUE_QUEUE] = queue
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": execution.namespace,
            "labels": labels,
            "annotations": notes,
            "ownerReferences": [_owner(execution)],
        },
        "spec": {**spec, "template": pod},
    }


def _owner(execution: Execution) -> dict[str, Any]:
    return owner_reference(
        names.API_VERSION, names.TASK_EXECUTION.kind, execution.name, execution.uid
    )


def _without_controller(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Labels and annotations that the Job controller has not made; nothing else."""
    return {
        field: {k: v for k, v in (metadata.get(field) or {}).items() if k not in _CONTROLLER_MADE}
        for field in ("labels", "annotations")
    }


def trial_manifest(namespace: str, task: str, template: Mapping[str, Any]) -> dict[str, Any]:
    """A Job for a server-side dry run: the template under a name that no run has. Metadata that no
    object has, such as a misspelled field, stays in, for the server to refuse."""
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **{key: value for key, value in meta.items() if key not in _NOT_TAKEN},
            "generateName": f"{task[:40]}-dry-run-",
            "namespace": namespace,
        },
        "spec": template["spec"],
    }


def _add_environment(pod_spec: dict[str, Any], environment: Sequence[EnvVar]) -> None:
    """They replace variables of the same name, and come first so that others may use them."""
    given = {variable["name"] for variable in environment}
    for container in containers_of(pod_spec):
        kept = [v for v in container.get("env") or () if v.get("name") not in given]
        container["env"] = [*environment, *kept]
