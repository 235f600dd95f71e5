"""Parameters of a task: what arguments its runs take, and where other values come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from taskrunner.api.v1alpha1.common import ENV_NAME, SET, Items, Rule, SpecModel, wrong
from taskrunner.errors import Problem

ParameterType = Literal["string", "integer", "number", "boolean"]

_OBJECT_NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_KEY = "^[-._a-zA-Z0-9]+$"
_LARGEST: Final = 2**53 - 1
"""Of whole numbers that every JSON reader keeps exactly (RFC 8259, section 6)."""
_NEITHER = (
    "taskrunner never reads the value of a Secret or ConfigMap, so it cannot check it; remove type,"
    " enum, minimum and maximum"
)


def _check_env_name(value: str) -> str:
    if not re.fullmatch(ENV_NAME, value) or len(value) > 128:
        raise wrong(
            "This cannot be the name of an environment variable.",
            "Write letters, digits and underscores, not beginning with a digit, at most 128"
            " characters.",
        )
    return value


def _check_object_name(value: str) -> str:
    if not re.fullmatch(_OBJECT_NAME, value) or len(value) > 253:
        raise wrong(
            "This is not a valid name of an object.",
            "Write lower-case letters, digits, hyphens and dots.",
        )
    return value


def _check_key(value: str) -> str:
    if not re.fullmatch(_KEY, value) or len(value) > 253:
        raise wrong(
            "A Secret or ConfigMap cannot have such a key.",
            "Write letters, digits, hyphens, underscores and dots.",
        )
    return value


class KeyRef(SpecModel):
    """One key of a Secret or ConfigMap, as in `env` of a container."""

    name: Annotated[
        str,
        AfterValidator(_check_object_name),
        WithJsonSchema(
            {"type": "string", "pattern": _OBJECT_NAME, "minLength": 1, "maxLength": 253}
        ),
    ] = Field(description="Name of the object, in this namespace.", examples=["ci"])
    key: Annotated[
        str,
        AfterValidator(_check_key),
        WithJsonSchema({"type": "string", "pattern": _KEY, "minLength": 1, "maxLength": 253}),
    ] = Field(description="The key whose value is taken.", examples=["token"])
    optional: bool = Field(
        False,
        description="Start the pod without the variable when the object or the key is not there."
        " Default: false.",
        examples=[True],
    )


class ParameterValueFrom(SpecModel):
    """Where the kubelet takes the value from: exactly one of the two. The operator never reads
    it."""

    rules: ClassVar = (
        Rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef)].filter(given, given).size() == 1",
            "set exactly one of secretKeyRef and configMapKeyRef",
        ),
    )

    secret_key_ref: KeyRef | None = Field(
        None,
        description="A key of a Secret in this namespace.",
        examples=[{"name": "ci", "key": "token"}],
    )
    config_map_key_ref: KeyRef | None = Field(
        None,
        description="A key of a ConfigMap in this namespace.",
        examples=[{"name": "ci", "key": "region"}],
    )

    def problems(self) -> Iterator[Problem]:
        if (self.secret_key_ref is None) == (self.config_map_key_ref is None):
            found = "Neither is set." if self.secret_key_ref is None else "Both are set."
            yield Problem("", "", found, "Set exactly one of secretKeyRef and configMapKeyRef.")


class Parameter(SpecModel):
    """One environment variable of the task's containers: an argument that its runs take, or a
    value from a Secret or ConfigMap."""

    rules: ClassVar = (
        Rule(
            "!has(self.valueFrom) || !has(self.default)",
            "a value from a Secret or ConfigMap has no default; remove default or valueFrom",
            "default",
        ),
        Rule(
            "!has(self.valueFrom) || ((!has(self.type) || self.type == 'string') && !has(self.enum)"
            " && !has(self.minimum) && !has(self.maximum))",
            _NEITHER,
            "valueFrom",
        ),
        Rule(
            "(!has(self.minimum) && !has(self.maximum)) || has(self.valueFrom)"
            " || (has(self.type) && self.type in ['integer', 'number'])",
            "minimum and maximum are for numbers; write type: integer or type: number, or remove"
            " them",
            "type",
        ),
        Rule(
            "!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum",
            "maximum must not be less than minimum; write a larger maximum or remove one of them",
            "maximum",
        ),
    )

    name: Annotated[
        str,
        AfterValidator(_check_env_name),
        WithJsonSchema({"type": "string", "pattern": ENV_NAME, "minLength": 1, "maxLength": 128}),
    ] = Field(
        description="Name of the environment variable, unique in the list: letters, digits and"
        " underscores. Kubernetes expands $(NAME) in command, args and env of each container.",
        examples=["SUITE"],
    )
    description: str | None = Field(
        None,
        max_length=1000,
        description="What the value is for, for people; at most 1000 characters.",
        examples=["Which tests to run"],
    )
    type: ParameterType = Field(
        "string",
        description="What values look like: string, integer (3), number (0.5) or boolean (true,"
        " false). Each is written in quotes. Default: string.",
        examples=["integer"],
    )
    enum: Items[Annotated[str, Field(max_length=1024)]] = Field(
        (),
        max_length=50,
        description="The values that are allowed, at most 50. Default: any.",
        json_schema_extra=SET,
        examples=[["smoke", "full"]],
    )
    minimum: int | None = Field(
        None,
        ge=-_LARGEST,
        le=_LARGEST,
        description="The least number allowed. Default: any.",
        examples=[1],
    )
    maximum: int | None = Field(
        None,
        ge=-_LARGEST,
        le=_LARGEST,
        description="The largest number allowed. Default: any.",
        examples=[10],
    )
    default: str | None = Field(
        None,
        max_length=4096,
        description="Value of runs whose arguments do not name the parameter. Without it and"
        " without `valueFrom`, each run must give a value.",
        examples=["smoke"],
    )
    value_from: ParameterValueFrom | None = Field(
        None,
        description="Take the value from a Secret or ConfigMap when the pod starts; then no"
        " argument can give it. The operator never reads it.",
        examples=[{"secretKeyRef": {"name": "ci", "key": "token"}}],
    )

    def problems(self) -> Iterator[Problem]:
        bounded = self.minimum is not None or self.maximum is not None
        if self.value_from is not None:
            if self.default is not None:
                yield Problem(
                    "default",
                    "",
                    "A value from a Secret or ConfigMap has no default.",
                    "Remove default or valueFrom.",
                )
            if self.type != "string" or self.enum or bounded:
                yield Problem(
                    "valueFrom",
                    "",
                    "taskrunner never reads the value of a Secret or ConfigMap, so it cannot check"
                    " it.",
                    "Remove type, enum, minimum and maximum.",
                )
        elif bounded and self.type not in ("integer", "number"):
            yield Problem(
                "type",
                self.type,
                "minimum and maximum are for numbers.",
                "Write type: integer or type: number, or remove them.",
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            yield Problem(
                "maximum",
                str(self.maximum),
                "It is less than minimum.",
                "Write a larger maximum or remove one of them.",
            )
