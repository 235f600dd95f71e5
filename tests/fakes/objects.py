"""What the fake API server does with single objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from taskrunner.errors import Conflict, Refused
from taskrunner.ports import Obj, Resource

Key = tuple[str, str, str, str]
"""Group, plural, namespace, name."""


def key_of(resource: Resource, namespace: str, name: str) -> Key:
    return (resource.group, resource.plural, namespace, name)


def by_key(item: tuple[Key, tuple[Resource, Obj]]) -> Key:
    return item[0]


def copied(obj: Mapping[str, Any]) -> Obj:
    """By way of JSON, so that what could not be sent to a server is an error here too."""
    same: Obj = orjson.loads(orjson.dumps(obj))
    return same


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def counted(obj: Obj) -> Iterable[tuple[str, Any]]:
    """What generation counts: all but metadata and status."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}.items()


def kept_metadata(metadata: Obj, was: Obj) -> Obj:
    """Fields of metadata that a client cannot change."""
    kept = {key: value for key, value in metadata.items() if value not in ({}, [], None)}
    for field in (
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "namespace",
        "name",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        kept.pop(field, None)
        if field in was:
            kept[field] = was[field]
    return kept


def conflict(resource: Resource, name: str, why: str) -> Conflict:
    text = f'Operation cannot be fulfilled on {qualified(resource)} "{name}": {why}'
    return Conflict(text, code=409, reason="Conflict")


def qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def refused(message: str, code: int) -> Refused:
    return Refused(message, code=code, reason="Invalid" if code == 422 else "BadRequest")
