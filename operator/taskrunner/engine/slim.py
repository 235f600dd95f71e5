"""What is left of objects in lists and watches: a list of thousands is in memory as a whole for a
moment, and pod templates and field managers are most of it."""

from __future__ import annotations

from typing import Any

from taskrunner.ports import Obj

_OF_A_JOB = ("suspend", "activeDeadlineSeconds")


def slim_job(obj: Obj) -> Obj:
    """A Job for a reflector to hand on, with all that `job_from` reads."""
    spec = obj.get("spec") or {}
    return {
        "metadata": _metadata(obj),
        "spec": {field: spec[field] for field in _OF_A_JOB if field in spec},
        "status": obj.get("status"),
    }


def slim_execution(obj: Obj) -> Obj:
    """A TaskExecution for a reflector to hand on, with all that `execution_from` reads."""
    status = obj.get("status") or {}
    return {
        "metadata": _metadata(obj),
        "spec": obj["spec"],
        "status": {field: value for field, value in status.items() if field != "conditions"},
    }


def _metadata(obj: Obj) -> dict[str, Any]:
    return {field: value for field, value in obj["metadata"].items() if field != "managedFields"}
