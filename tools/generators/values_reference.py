"""`docs/reference/values.md`: every value of the chart.

The words come from the comments in values.yaml, the types and bounds from values.schema.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_CHART = Path(__file__).parents[2] / "helm" / "taskrunner"
_KEY = re.compile(r"( *)([A-Za-z]\w*):")
_INTRODUCTION = """\
<!-- Generated from helm/taskrunner/values.yaml by `make generate`; do not edit. -->
# Values of the Helm chart

Set them with `--set name=value` or in a file with `--values`. A name or a value that the chart does
not know is refused before anything is changed.

| value | type | default | what |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Value:
    """One value that can be set; `path` is as in `--set`."""

    path: str
    text: str


def generate() -> dict[str, str]:
    """The text of the page by its path in the repository."""
    text = (_CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((_CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load(text)
    rows = [
        f"| `{value.path}` | {_type(_at(schema, value.path), schema)} "
        f"| `{_default(defaults, value.path)}` | {_cell(value.text)} |\n"
        for value in documented(text)
    ]
    return {"docs/reference/values.md": _INTRODUCTION + "".join(rows)}


def documented(text: str) -> Iterator[Value]:
    """The values that have a comment right above them, with it.

    What is inside a value with a comment belongs to that value.
    """
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    inside = -1
    """Indentation of the value with a comment that the line may be inside of; -1: of none."""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
            continue
        if match := _KEY.match(line):
            indent = len(match[1])
            path = [entry for entry in path if entry[0] < indent] + [(indent, match[2])]
            if inside < 0 or indent <= inside:
                inside = -1
                if comment:
                    inside = indent
                    yield Value(".".join(name for _, name in path), " ".join(comment))
        comment = []


def _at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    found = schema
    for name in path.split("."):
        found = _resolved(found["properties"][name], schema)
    return found


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if reference := node.get("$ref"):
        node = schema["definitions"][reference.removeprefix("#/definitions/")]
    return node


def _type(node: dict[str, Any], schema: dict[str, Any]) -> str:
    node = _resolved(node, schema)
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if "anyOf" in node:
        return " or ".join(_type(entry, schema) for entry in node["anyOf"])
    kind = node["type"]
    if kind == "array":
        return f"list of {_type(node['items'], schema)}"
    if kind == "object" and node.get("additionalProperties") == {"type": "string"}:
        return "map of strings"
    if "minimum" in node and "maximum" in node:
        return f"{kind}, {node['minimum']} to {node['maximum']}"
    return str(kind)


def _default(defaults: Any, path: str) -> str:
    for name in path.split("."):
        defaults = defaults[name]
    return _cell(json.dumps(defaults))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
