"""Label and field selectors, as the API server reads them."""

from __future__ import annotations

import re
from typing import Any

from fakes.schemas import definition
from taskrunner.errors import Refused
from taskrunner.ports import Obj, Resource

_TERM = re.compile(
    r"\s*(?P<key>!?[\w./-]+)\s*"
    r"(?:(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)

_SELECTABLE = {
    ("", "pods"): {"spec.nodeName", "status.phase"},
    ("batch", "jobs"): {"status.successful"},
}


def matches(resource: Resource, obj: Obj, label_selector: str, field_selector: str) -> bool:
    """Whether an object is selected. Raises Refused as the server does."""
    return _labels(obj["metadata"].get("labels") or {}, label_selector) and all(
        _field(resource, obj, term) for term in field_selector.split(",") if term
    )


def _labels(labels: dict[str, str], selector: str) -> bool:
    at = 0
    while at < len(selector):
        term = _TERM.match(selector, at)
        if term is None:
            raise Refused(f"unable to parse requirement: {selector}", code=400, reason="BadRequest")
        at = term.end()
        if not _label(labels, term):
            return False
    return True


def _label(labels: dict[str, str], term: re.Match[str]) -> bool:
    key, have = term["key"], labels.get(term["key"])
    if term["set"]:
        among = have in {value.strip() for value in term["values"].split(",")}
        return (have is not None and among) if term["set"] == "in" else not among
    match term["op"]:
        case "=" | "==":
            return have == term["value"]
        case "!=":
            return have != term["value"]
        case _:
            return key[1:] not in labels if key.startswith("!") else have is not None


def _field(resource: Resource, obj: Obj, term: str) -> bool:
    path, different, value = term.partition("!=")
    if not different:
        path, _, value = term.replace("==", "=").partition("=")
    known = definition(resource)
    selectable = _SELECTABLE.get((resource.group, resource.plural), set())
    if path not in {"metadata.name", "metadata.namespace"} | selectable | (
        known.selectable if known else set()
    ):
        raise Refused(f"field label not supported: {path}", code=400, reason="BadRequest")
    found: Any = obj
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    text = "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
    return (text != value) if different else (text == value)
