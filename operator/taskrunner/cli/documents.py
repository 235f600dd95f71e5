"""Tasks and calendars out of YAML or JSON files, as `kubectl apply -f` would read them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from taskrunner.api.v1alpha1.names import API_VERSION, CALENDAR, SCHEDULED_TASK
from taskrunner.api.v1alpha1.parse import parse_calendar, parse_scheduled_task
from taskrunner.api.v1alpha1.scheduled_task import ScheduledTask
from taskrunner.cli.shared import fail
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.errors import Problem, SpecError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A task of a file."""

    task: CompiledTask
    model: ScheduledTask


@dataclass(slots=True)
class Documents:
    """The objects of the files, not yet compiled, each with the file it is from."""

    tasks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    calendars: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """Leaves times as text, as Kubernetes does: the models parse them. A key that is written twice
    is an error, as it is for the API server."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(
                    None, None, f'the key "{key.value}" is written twice', key.start_mark
                )
            seen.add(str(key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(tasks: list[str], calendars: list[str]) -> Documents:
    """Read files (`-` is standard input). Exits with 2 when one cannot be read."""
    found = Documents()
    kinds: list[str] = []
    for name in tasks + calendars:
        for obj in objects(name):
            kind, api_version = obj.get("kind"), obj.get("apiVersion")
            kinds.append(str(kind or "a document without kind"))
            if kind in (CALENDAR.kind, SCHEDULED_TASK.kind, "CronJob") and not api_version:
                ours_or_batch = "batch/v1" if kind == "CronJob" else API_VERSION
                fail(f"{name}: {kind}: apiVersion is missing. Write apiVersion: {ours_or_batch}.")
            if kind == "CronJob" and str(api_version).startswith("batch/"):
                # Every valid CronJob spec is a valid ScheduledTask spec.
                ours = {"apiVersion": API_VERSION, "kind": SCHEDULED_TASK.kind}
                obj = {**ours, "metadata": obj.get("metadata"), "spec": obj.get("spec")}
                found.tasks.append((name, obj))
            elif kind == CALENDAR.kind:
                found.calendars.append((name, obj))
            elif kind == SCHEDULED_TASK.kind:
                found.tasks.append((name, obj))
    if not found.tasks:
        fail(f"{', '.join(tasks)}: {_without_tasks(kinds)}")
    return found


def _without_tasks(kinds: list[str]) -> str:
    if not kinds:
        return "It is empty. Write a document with kind: ScheduledTask."
    for kind in kinds:
        for known in (SCHEDULED_TASK.kind, "CronJob"):
            if get_close_matches(kind.lower(), [known.lower()], cutoff=0.8):
                return f'There is no kind "{kind}". Did you mean {known}?'
    found = ", ".join(dict.fromkeys(kinds))
    return f"There is no ScheduledTask or CronJob in it, only: {found}. Name a file that has one."


def compile_all(documents: Documents, namespace: str) -> list[Loaded]:
    """Compile what was read; objects without a namespace are in `namespace`.

    Exits with 2 after telling every problem of every object.
    """
    errors: list[str] = []
    calendars: dict[str, dict[str, CompiledCalendar]] = {}
    for file, obj in documents.calendars:
        try:
            calendar = parse_calendar(_in_namespace(obj, namespace))
            known = calendars.setdefault(calendar.metadata.namespace, {})
            known[calendar.metadata.name] = compile_calendar(calendar)
        except SpecError as error:
            errors += _told(file, obj, error)
    loaded: list[Loaded] = []
    for file, obj in documents.tasks:
        try:
            model = parse_scheduled_task(_in_namespace(obj, namespace))
            known = calendars.get(model.metadata.namespace, {})
            loaded.append(Loaded(compile_task(model, known), model))
        except SpecError as error:
            errors += _told(file, obj, error)
    if errors:
        fail(*errors)
    return loaded


def objects(name: str) -> Iterator[dict[str, Any]]:
    """The objects of a file (`-` is standard input), also those in lists. Exits with 2 when it
    cannot be read."""
    try:
        read = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        documents = list(yaml.load_all(read.decode("utf-8-sig"), _Loader))
    except OSError as error:
        fail(f"{name}: It cannot be read: {error.strerror}.")
    except UnicodeDecodeError as error:
        fail(f"{name}: It is not text in UTF-8 (byte {error.start}). Save it as UTF-8.")
    except yaml.scanner.ScannerError as error:
        hint = ""
        if error.context == "while scanning an alias":
            hint = '\nText that begins with "*" needs quotes, as in schedule: "* * * * *".'
        fail(f"{name}: It is not YAML or JSON: {error}{hint}")
    except yaml.YAMLError as error:
        fail(f"{name}: It is not YAML or JSON: {error}")
    except RecursionError:
        fail(f"{name}: It is not YAML or JSON of an object: it is nested too deeply.")
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        if not isinstance(document, dict):
            fail(
                f"{name}: Document {number} is not an object."
                " Write apiVersion, kind, metadata and spec."
            )
        items = document.get("items")
        if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
            yield from (item for item in items if isinstance(item, dict))
        else:
            yield document


def _in_namespace(obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or name is None:
        raise SpecError(
            Problem("metadata.name", "", "The object has no name.", "Write metadata.name.")
        )
    if not isinstance(name, str):
        raise SpecError(
            Problem("metadata.name", str(name), "This is not text.", f'Put it in quotes: "{name}".')
        )
    return {**obj, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _told(file: str, obj: dict[str, Any], error: SpecError) -> list[str]:
    metadata = obj.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    return [f"{file}: {obj['kind']} {name}: {problem}" for problem in error.problems]
