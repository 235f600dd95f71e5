"""Who asked, written into the object at admission, on clusters whose API server cannot do it.

From Kubernetes 1.36 on, a MutatingAdmissionPolicy of the chart does the same inside the API server
(templates/policies/stamp.yaml), and this is not called. On both, a ValidatingAdmissionPolicy
refuses what a client claims in the name of others, also while the webhook is down. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from taskrunner.admission.review import Request
from taskrunner.api.v1alpha1.names import (
    ANNOTATION_REQUESTED_BY,
    BACKFILL,
    SCHEDULED_TASK,
    TASK_EXECUTION,
)

Patch = list[dict[str, Any]]
"""Operations of a JSON patch (RFC 6902)."""

MOST_GROUPS: Final = 256
"""As many as `spec.requestedBy.groups` takes."""


def stamp(request: Request) -> Patch:
    """What to write into the object of a request; empty when all is right as it is."""
    if request.kind in (TASK_EXECUTION.kind, BACKFILL.kind) and request.operation == "CREATE":
        return _stamp_execution(request)
    if request.kind == SCHEDULED_TASK.kind and request.operation in ("CREATE", "UPDATE"):
        return _stamp_task(request)
    return []


def _stamp_execution(request: Request) -> Patch:
    """What is given already is not replaced, but refused by the policy unless it is true."""
    spec = request.obj.get("spec")
    if not isinstance(spec, dict) or spec.get("requestedBy") is not None:
        return []
    groups = list(request.groups) if len(request.groups) <= MOST_GROUPS else []
    value = {"username": request.username, "groups": groups}
    return [{"op": "add", "path": "/spec/requestedBy", "value": value}]


def _stamp_task(request: Request) -> Patch:
    """The annotation names who last changed more than `suspend`, whatever the client sends."""
    present = _requested_by(request.obj)
    right = request.username if _is_changed(request) else _requested_by(request.old or {})
    if present == right:
        return []
    path = "/metadata/annotations/" + ANNOTATION_REQUESTED_BY.replace("/", "~1")
    if not right:
        return [{"op": "remove", "path": path}]
    if not (request.obj.get("metadata") or {}).get("annotations"):
        value = {ANNOTATION_REQUESTED_BY: right}
        return [{"op": "add", "path": "/metadata/annotations", "value": value}]
    return [{"op": "add", "path": path, "value": right}]


def _is_changed(request: Request) -> bool:
    if request.old is None:
        return True
    return _but_suspend(request.obj) != _but_suspend(request.old)


def _but_suspend(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = obj.get("spec")
    fields: Sequence[tuple[str, Any]] = list(spec.items()) if isinstance(spec, dict) else []
    return {field: value for field, value in fields if field != "suspend"}


def _requested_by(obj: Mapping[str, Any]) -> str:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(ANNOTATION_REQUESTED_BY) or "")
