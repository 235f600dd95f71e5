"""The CRDs are structural, described in full, within bounds, and as they were generated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field
from pydantic.fields import FieldInfo

import generate
from taskrunner.api.crdgen import DEFINITIONS, Definition, definition, structural_schema
from taskrunner.api.v1alpha1.common import SpecModel, Wire

Schema = dict[str, Any]
ROOT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("of", DEFINITIONS, ids=lambda of: of.resource.kind)


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field of a schema, with its path."""
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}".removeprefix(".")
        yield place, field
        yield from fields(field.get("items", field), place)


def described(of: Definition) -> Iterator[tuple[str, Schema]]:
    for path, field in fields(structural_schema(of.model)):
        if not path.startswith("metadata"):
            yield path, field


def spec_fields(of: Definition) -> Iterator[tuple[str, FieldInfo]]:
    spec = of.model.model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert issubclass(spec, Wire)
    yield from models(spec)


def models(model: type[Wire]) -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a model and of the models in it."""
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", field
        stack = [field.annotation]
        while stack:
            part = stack.pop()
            if isinstance(part, type) and issubclass(part, Wire):
                yield from models(part)
            stack += getattr(part, "__args__", ())


@EACH
def test_every_field_has_a_description_that_is_a_sentence(of: Definition) -> None:
    for path, field in described(of):
        text = field.get("description", "")
        assert text.endswith("."), path
        assert text[0].isupper() or text[0].isdigit() or text[0] == "`", path


@EACH
def test_descriptions_are_short_enough_for_kubectl_explain(of: Definition) -> None:
    for path, field in described(of):
        assert len(field["description"]) <= 420, path


@EACH
def test_a_spec_field_with_a_default_names_it(of: Definition) -> None:
    for path, field in spec_fields(of):
        default = field.get_default(call_default_factory=True)
        if field.is_required() or default in (None, (), {}) or isinstance(default, Wire | tuple):
            continue
        shown = json.dumps(default).strip('"')
        assert f"Default: {shown}" in (field.description or ""), path


@EACH
def test_a_spec_field_has_an_example_for_the_remedy(of: Definition) -> None:
    for path, field in spec_fields(of):
        assert field.examples, path


@EACH
def test_a_definition_is_below_200_kib(of: Definition) -> None:
    assert len(json.dumps(definition(of))) < 200 * 1024


@EACH
def test_every_part_of_a_spec_that_a_rule_looks_at_is_bounded(of: Definition) -> None:
    """Otherwise the API server reckons with the largest object, and refuses rules as too dear."""
    spec = structural_schema(of.model)["properties"]["spec"]
    for path, field in fields(spec, "spec"):
        if field["type"] == "array":
            assert "maxItems" in field, path
        if "additionalProperties" in field and ".valueFrom" not in path:
            assert "maxProperties" in field, path
            assert "maxLength" in field["additionalProperties"], path
        if field["type"] == "string" and "enum" not in field and "format" not in field:
            assert "maxLength" in field, path


@EACH
def test_every_list_of_a_spec_says_how_its_items_are_told_apart(of: Definition) -> None:
    for path, field in fields(structural_schema(of.model)):
        if field["type"] != "array" or not path.startswith("spec"):
            continue
        if field["items"]["type"] == "object":
            assert field["x-kubernetes-list-type"] == "map", path


@EACH
def test_only_cron_jobs_defaults_and_the_type_are_stored(of: Definition) -> None:
    """A default inside a list makes GitOps tools see drift; the others may change in a release."""
    stored = {path for path, field in fields(structural_schema(of.model)) if "default" in field}
    assert (
        stored
        == {
            "ScheduledTask": {
                "spec.suspend",
                "spec.concurrencyPolicy",
                "spec.successfulJobsHistoryLimit",
                "spec.failedJobsHistoryLimit",
            },
            "TaskExecution": {"spec.type"},
            "Backfill": set(),
            "Calendar": set(),
            "TaskQueue": set(),
            "Shard": set(),
        }[of.resource.kind]
    )


def test_columns_of_a_task_are_those_of_a_cron_job_and_more() -> None:
    columns = definition(DEFINITIONS[0])["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [(column["name"], column["type"]) for column in columns if "priority" not in column]
    assert shown == [
        ("Schedule", "string"),
        ("Suspend", "boolean"),
        ("Active", "integer"),
        ("Last run", "date"),
        ("Last result", "string"),
        ("Next run", "string"),
        ("Age", "date"),
    ]


@EACH
def test_columns_and_selectors_name_fields_that_exist(of: Definition) -> None:
    version = definition(of)["spec"]["versions"][0]
    paths = {f".{path}" for path, _ in fields(version["schema"]["openAPIV3Schema"])}
    named = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    named += [field["jsonPath"] for field in version.get("selectableFields", ())]
    for path in named:
        if not path.startswith(".metadata."):
            assert path.partition("[")[0] in paths


# --- the converter ------------------------------------------------------------------------------


class Part(SpecModel):
    """A part."""

    kind: Literal["a"] = Field(description="One value.")


class Spec(SpecModel):
    """A spec."""

    part: Part | None = Field(None, description="A part, or none.")
    number: int = Field(description="A number.", ge=1)


class Whole(SpecModel):
    """An object
    in two lines."""

    spec: Spec = Field(description="Its spec.")
    status: Part = Field(Part(kind="a"), description="Its status.")


def test_references_and_unions_with_null_are_inlined() -> None:
    schema = structural_schema(Whole)
    assert schema["description"] == "An object in two lines."
    assert schema["properties"]["spec"] == {
        "description": "Its spec.",
        "type": "object",
        "properties": {
            "part": {
                "description": "A part, or none.",
                "type": "object",
                "properties": {
                    "kind": {"description": "One value.", "type": "string", "enum": ["a"]}
                },
                "required": ["kind"],
                "nullable": True,
            },
            "number": {
                "description": "A number.",
                "type": "integer",
                "minimum": 1,
                "format": "int64",
            },
        },
        "required": ["number"],
    }


class UnionSpec(SpecModel):
    """A spec."""

    either: int | str = Field(description="A number or a text.")


class UnionWhole(SpecModel):
    """An object."""

    spec: UnionSpec = Field(description="Its spec.")
    status: Part = Field(Part(kind="a"), description="Its status.")


class MultipleSpec(SpecModel):
    """A spec."""

    share: int = Field(description="A number.", multiple_of=5)


class MultipleWhole(SpecModel):
    """An object."""

    spec: MultipleSpec = Field(description="Its spec.")
    status: Part = Field(Part(kind="a"), description="Its status.")


@pytest.mark.parametrize(
    ("model", "message"),
    [(UnionWhole, "a union has no structural schema"), (MultipleWhole, "spec.share: .*multipleOf")],
)
def test_what_a_structural_schema_cannot_say_is_an_error(
    model: type[SpecModel], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        structural_schema(model)


# --- the generated files ------------------------------------------------------------------------


def test_the_generated_files_are_up_to_date() -> None:
    assert sorted(generate.out_of_date(ROOT)) == []


def test_the_files_hold_what_the_models_say() -> None:
    for of in DEFINITIONS:
        text = (ROOT / f"crds/taskrunner.dev_{of.resource.plural}.yaml").read_text()
        assert yaml.safe_load(text) == definition(of)
        assert "&id" not in text
