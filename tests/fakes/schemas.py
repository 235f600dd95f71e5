"""What the API server does by the schemas in `crds/`: fill in defaults, prune, select fields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from taskrunner.ports import Obj, Resource

_CRDS = Path(__file__).parents[2] / "crds"


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a kind."""

    schema: Obj
    selectable: frozenset[str]
    has_status: bool


def definition(resource: Resource) -> Definition | None:
    """The definition of a kind of ours; None for others."""
    return _definitions().get((resource.group, resource.version, resource.plural))


def complete(resource: Resource, obj: Obj) -> Obj:
    """With the schema's defaults, without fields that it does not know."""
    found = definition(resource)
    return obj if found is None else _complete(found.schema, obj, root=True)


@cache
def _definitions() -> dict[tuple[str, str, str], Definition]:
    found = {}
    for path in sorted(_CRDS.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            fields = {entry["jsonPath"][1:] for entry in version.get("selectableFields", ())}
            key = (spec["group"], version["name"], spec["names"]["plural"])
            found[key] = Definition(
                schema=version["schema"]["openAPIV3Schema"],
                selectable=frozenset(fields),
                has_status="status" in version.get("subresources", {}),
            )
    return found


def _complete(schema: Obj, value: Any, *, root: bool = False) -> Any:
    """https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting"""
    if isinstance(value, list):
        return [_complete(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    properties: dict[str, Obj] = schema.get("properties", {})
    result: Obj = {}
    for name, inner in properties.items():
        if name not in value and "default" in inner:
            result[name] = inner["default"]
    for name, item in value.items():
        if root and name in ("apiVersion", "kind", "metadata"):
            result[name] = item
        elif name in properties:
            item = _defaulted(properties[name], item)
            if item is not None or properties[name].get("nullable"):
                result[name] = _complete(properties[name], item)
        elif "additionalProperties" in schema:
            result[name] = _complete(schema["additionalProperties"], item)
        elif schema.get("x-kubernetes-preserve-unknown-fields"):
            result[name] = item
    return result


def _defaulted(schema: Obj, value: Any) -> Any:
    """A null where none is allowed is as good as nothing."""
    return schema.get("default") if value is None and not schema.get("nullable") else value
