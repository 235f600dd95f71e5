"""The support bundle of `taskrunner doctor --bundle`: what helps, and nothing that is secret."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final

from taskrunner.cli.checks import DEFINITIONS, DEPLOYMENTS, LABEL
from taskrunner.cli.cluster import place_of
from taskrunner.cli.shared import Session, fail
from taskrunner.errors import ApiError
from taskrunner.ports import (
    CALENDARS,
    EVENTS,
    LEASES,
    PODS,
    SCHEDULED_TASKS,
    SHARDS,
    TASK_EXECUTIONS,
    Obj,
    Resource,
)

LINES: Final = 5_000
"""Last lines of each log."""
REMOVED: Final = "(left out)"
_KEPT_METADATA: Final = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "ownerReferences", "labels",
)  # fmt: skip
_SECRET_STATUS: Final = ("result", "message", "progress")
"""Fields of a run's status that the run itself, or a cluster's parts quoting it, have written."""


async def write(session: Session, file: str, findings: list[dict[str, str]]) -> int:
    """Write the bundle; how many files are in it."""
    from taskrunner.cli.tables import as_json

    count = 0
    try:
        with tarfile.open(file, "w:gz") as archive:
            async for name, data in _parts(session, findings):
                text = (data if isinstance(data, str) else as_json(data)).encode()
                entry = tarfile.TarInfo(f"taskrunner/{name}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))
                count += 1
    except OSError as error:
        fail(f"{file}: It cannot be written: {error.strerror}.")
    return count


async def _parts(
    session: Session, findings: list[dict[str, str]]
) -> AsyncGenerator[tuple[str, Any], None]:
    from taskrunner import __version__
    from taskrunner.domain.zones import tzdata_version

    yield "doctor.json", findings
    yield "version.json", {"taskrunner": __version__, "tzdata": tzdata_version()}
    for resource, selector in (
        (SCHEDULED_TASKS, ""),
        (TASK_EXECUTIONS, ""),
        (CALENDARS, ""),
        (SHARDS, ""),
        (LEASES, ""),
        (EVENTS, ""),
        (DEPLOYMENTS, LABEL),
        (PODS, LABEL),
        (DEFINITIONS, ""),
    ):
        try:
            found = await session.api.list(resource, label_selector=selector)
        except ApiError as error:
            yield f"{resource.plural}.error.txt", f"{error}\n"
            continue
        yield f"{resource.plural}.json", list(_reduced(resource, found))
        if resource is PODS:
            async for part in _logs(session, found):
                yield part


async def _logs(session: Session, pods: Iterable[Obj]) -> AsyncGenerator[tuple[str, str], None]:
    for pod in pods:
        namespace, name = place_of(pod)
        for container in pod["spec"]["containers"]:
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
            query = {"container": container["name"], "tailLines": str(LINES)}
            try:
                text = (await session.raw.read(path, query)).decode(errors="replace")
            except ApiError as error:
                text = f"{error}\n"
            yield f"logs/{namespace}/{name}/{container['name']}.log", text


def _reduced(resource: Resource, found: Iterable[Obj]) -> Iterable[Obj]:
    """Only what is of interest, and of that nothing that may be secret."""
    for obj in found:
        name = obj["metadata"]["name"]
        if resource is DEFINITIONS:
            if name.endswith("taskrunner.dev"):
                yield {"name": name, "status": obj.get("status")}
        elif resource is LEASES:
            if name.startswith("taskrunner-"):
                yield _plain(obj)
        elif resource is EVENTS:
            kind = (obj.get("regarding") or {}).get("kind")
            if kind in ("ScheduledTask", "TaskExecution"):
                kept = ("reason", "type", "regarding", "eventTime", "series", "deprecatedCount")
                yield {field: obj[field] for field in kept if field in obj}
        else:
            yield without_secrets(obj)


def without_secrets(obj: Obj) -> Obj:
    """An object without annotations, values, commands, and what runs have written."""
    found = _plain(obj)
    spec = dict(obj.get("spec") or {})
    if "jobTemplate" in spec:
        spec["jobTemplate"] = _containers(spec["jobTemplate"])
    if "template" in spec:
        spec["template"] = _containers({"spec": {"template": spec["template"]}})
    if "containers" in spec:
        spec = _containers({"spec": {"template": {"spec": spec}}})
    for field in ("arguments", "parameters", "description", "schedules"):
        if field in spec:
            spec[field] = _masked(spec[field])
    status = {k: v for k, v in (obj.get("status") or {}).items() if k not in _SECRET_STATUS}
    if obj.get("kind") == TASK_EXECUTIONS.kind and "conditions" in status:
        status["conditions"] = [c | {"message": REMOVED} for c in status["conditions"]]
    return {**found, "spec": spec, "status": status}


def _plain(obj: Obj) -> Obj:
    metadata = {k: v for k, v in obj["metadata"].items() if k in _KEPT_METADATA}
    return {**{k: v for k, v in obj.items() if k != "metadata"}, "metadata": metadata}


def _containers(template: Any) -> Obj:
    """Of a Job template or a pod, the names and images of its containers."""
    pod = (((template.get("spec") or {}).get("template") or {}).get("spec")) or {}
    return {
        part: [{"name": c.get("name"), "image": c.get("image")} for c in pod.get(part) or ()]
        for part in ("initContainers", "containers")
        if pod.get(part)
    }


def _masked(value: Any) -> Any:
    """Names stay, values go; of schedules, the arguments' values only."""
    if isinstance(value, list):
        return [_masked_entry(entry) for entry in value]
    return dict.fromkeys(value, REMOVED) if isinstance(value, dict) else REMOVED


def _masked_entry(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return REMOVED
    hidden = {field: REMOVED for field in ("default", "enum", "valueFrom") if field in entry}
    if "arguments" in entry:
        hidden["arguments"] = _masked(entry["arguments"])
    return entry | hidden
