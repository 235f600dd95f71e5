"""`docs/reference/api.md`: every field of every kind, from the CRDs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskrunner.api.crdgen import DEFINITIONS, Definition, definition
from taskrunner.api.v1alpha1.names import API_VERSION

Schema = dict[str, Any]

_INTRODUCTION = f"""<!-- Generated from operator/taskrunner/api by `make generate`; do not edit. -->
# API reference: `{API_VERSION}`

Every field of every kind. The same text is in the cluster: `kubectl explain scheduledtask.spec`.

Durations are whole numbers of seconds. Times are RFC 3339. `[]` stands for each entry of a list.
A field is optional unless it says *required*. In a spec, null means the same as leaving the field
out, but for fields with a list of values.
"""


def generate() -> dict[str, str]:
    """The text of the page by its path in the repository."""
    sections = [_INTRODUCTION, *(_section(of) for of in DEFINITIONS)]
    return {"docs/reference/api.md": "\n".join(sections)}


def _section(of: Definition) -> str:
    crd = definition(of)
    version = crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    short = ", ".join(f"`{name}`" for name in of.resource.short_names)
    lines = [f"## {of.resource.kind}", "", schema["description"], ""]
    lines += [f"Short name for kubectl: {short}."]
    if of.selectable:
        fields = ", ".join(f"`{path.removeprefix('.')}`" for path in of.selectable)
        lines += [f"Fields for `--field-selector`: {fields}."]
    lines += ["", *_table(schema["properties"]["spec"], "spec"), ""]
    rules = list(_rules(schema, ""))
    if rules:
        lines += ["What the API server checks besides:", ""]
        lines += [f"- {rule}" for rule in rules] + [""]
    return "\n".join([*lines, *_table(schema["properties"]["status"], "status"), ""])


def _table(schema: Schema, root: str) -> list[str]:
    lines = [
        f"### {root}",
        "",
        schema["description"],
        "",
        "| field | type | what |",
        "|---|---|---|",
    ]
    for path, kind, text in _fields(schema, root):
        lines.append(f"| `{path}` | {kind} | {text} |")
    return lines


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}"
        text = field.get("description", "").replace("|", "\\|").replace("*", "\\*")
        yield place, _type(field) + (", *required*" if name in required else ""), text
        inner = field.get("items", field)
        yield from _fields(inner, place + ("[]" if "items" in field else ""))


def _type(field: Schema) -> str:
    if "enum" in field and len(field["enum"]) <= 9:
        return " or ".join(f"`{value}`" for value in field["enum"])
    match field["type"], field.get("format"):
        case "string", "date-time":
            return "time"
        case "string", "date":
            return "date"
        case "array", _:
            return f"list of {_type(field['items'])}"
        case "object", _ if "additionalProperties" in field:
            return f"map of {_type(field['additionalProperties'])}"
        case kind, _:
            return str(kind)


def _rules(schema: Schema, path: str) -> Iterator[str]:
    """The rules as sentences; what is not supported yet says so at its field."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if "not supported by this version" not in rule["message"]:
            place = (path + rule.get("fieldPath", "")).removeprefix(".")
            yield f"`{place}`: {rule['message']}."
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}".removeprefix(".")
        yield from _rules(field, place)
        if "items" in field:
            yield from _rules(field["items"], f"{place}[]")
