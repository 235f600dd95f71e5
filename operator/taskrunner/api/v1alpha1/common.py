"""What all wire models share: their bases, their field types, and the markers on fields.

The models are the one source of the API. `crdgen` turns them into the CustomResourceDefinitions,
`parse` reads objects with them. What both must know about a field is said once, on the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from taskrunner.errors import Problem

T = TypeVar("T")

DNS_LABEL: Final = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ENV_NAME: Final = "^[A-Za-z_][A-Za-z0-9_]*$"
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
LOCAL_TIME: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"

NOT_BUILT: Final = "x-not-built"
STORED_DEFAULT: Final = "x-stored-default"
REQUIRED_BY_RULE: Final = "x-required-by-rule"

STORED: Final[dict[str, Any]] = {STORED_DEFAULT: True}
"""For `json_schema_extra`: the API server writes this default into the object, as it does for
CronJob. All other defaults stay out of it, so that GitOps tools see no drift in lists."""


# --- markers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule of the CRD on the object that the model describes."""

    rule: str
    message: str
    field: str = ""
    """The field that the error names, relative to the object; empty for the object itself."""
    reason: Literal["", "FieldValueRequired", "FieldValueForbidden"] = ""
    """How the error begins after the field; empty for "Invalid value"."""

    def to_wire(self) -> dict[str, str]:
        """As an entry of `x-kubernetes-validations`."""
        found = {"rule": self.rule, "message": self.message}
        found |= {"fieldPath": f".{self.field}"} if self.field else {}
        return found | ({"reason": self.reason} if self.reason else {})


def validations(*rules: Rule) -> dict[str, Any]:
    """For `json_schema_extra`: CEL rules on the value of one field."""
    return {"x-kubernetes-validations": [rule.to_wire() for rule in rules]}


@dataclass(frozen=True, slots=True, init=False)
class NotBuilt:
    """Marks a field (or some values of it) that this version refuses, as its behaviour is missing.

    It is in the schema and the documentation, but the CRD and `parse` refuse it with a sentence.
    Whoever builds the behaviour removes the marker, and nothing else.
    """

    values: tuple[str, ...]
    """The refused values; empty for the field as a whole."""

    def __init__(self, *values: str) -> None:
        object.__setattr__(self, "values", values)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._refuse, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), NOT_BUILT: list(self.values)}

    def _refuse(self, value: object) -> object:
        if value is None or (self.values and value not in self.values):
            return value
        raise PydanticCustomError("not_built", "not built")


# --- field types --------------------------------------------------------------------------------


def wrong(message: str, remedy: str) -> PydanticCustomError:
    """The error of a field's own validator; `parse` makes a `Problem` of it."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "remedy": remedy})


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, with microseconds only when there are any.

    >>> format_time(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00Z'
    """
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


_TIME_REMEDY = 'Write RFC 3339 with an offset, e.g. "2026-12-24T18:00:00Z".'


def parse_time(value: object) -> datetime:
    """RFC 3339 text (or an aware datetime) as a datetime in UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise wrong("The time has no offset from UTC.", _TIME_REMEDY)
        return value.astimezone(UTC)
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise wrong("This is not a time with an offset from UTC.", _TIME_REMEDY)
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong("There is no such time.", _TIME_REMEDY) from None


def _whole_second(moment: datetime) -> datetime:
    if moment.microsecond:
        raise wrong("The time has a fraction of a second.", "Write whole seconds.")
    return moment


def _parse_local(value: object) -> datetime:
    remedy = 'Write a local time without an offset, e.g. "2026-12-24T18:00:00".'
    if isinstance(value, datetime) and value.tzinfo is None:
        return _whole_second(value)
    if not isinstance(value, str) or not re.fullmatch(LOCAL_TIME, value):
        raise wrong("This is not a local time.", remedy)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise wrong("There is no such time.", remedy) from None


def _parse_date(value: object) -> date:
    remedy = 'Write year, month and day, e.g. "2026-12-24".'
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise wrong("This is not a date.", remedy)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise wrong("There is no such date.", remedy) from None


def _check_label(value: str) -> str:
    if not re.fullmatch(DNS_LABEL, value) or len(value) > 63:
        raise wrong(
            "This is not a valid name.",
            "Write at most 63 lower-case letters, digits and hyphens,"
            " with a letter or digit at both ends.",
        )
    return value


def _check_cron(value: str) -> str:
    for prefix in ("TZ=", "CRON_TZ="):
        if value.startswith(prefix):
            zone = value[len(prefix) :].split(" ")[0]
            raise wrong(
                "A time zone inside the expression is not supported.",
                f"Remove it, and write timeZone: {zone} beside the expression.",
            )
    if not value.strip():
        raise wrong("The expression is empty.", 'Write e.g. "0 2 * * *" for 02:00 every day.')
    return value


def _check_arguments(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not re.fullmatch(ENV_NAME, name) or len(name) > 128:
            raise wrong(
                f'"{name}" cannot be the name of an environment variable.',
                "Write names of letters, digits and underscores that do not begin with a digit,"
                " at most 128 characters.",
            )
    return value


Instant = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment on the time line; always in UTC in Python, RFC 3339 on the wire."""

WholeSecond = Annotated[Instant, AfterValidator(_whole_second)]
"""An `Instant` in a spec: planning has seconds resolution."""

LocalTime = Annotated[
    datetime,
    BeforeValidator(_parse_local),
    PlainSerializer(lambda moment: moment.isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "pattern": LOCAL_TIME, "maxLength": 19}),
]
"""A wall-clock time without offset; naive in Python."""

Date = Annotated[
    date,
    BeforeValidator(_parse_date),
    PlainSerializer(lambda day: day.isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "format": "date", "maxLength": 10}),
]

Label = Annotated[
    str,
    AfterValidator(_check_label),
    WithJsonSchema({"type": "string", "pattern": DNS_LABEL, "minLength": 1, "maxLength": 63}),
]
"""A name within one object: a DNS label (RFC 1123)."""

Cron = Annotated[
    str,
    Field(
        max_length=256,
        json_schema_extra=validations(
            Rule(
                "self.trim() != ''",
                'the expression is empty; write e.g. "0 2 * * *" for 02:00 every day',
            ),
            Rule(
                "!self.startsWith('TZ=') && !self.startsWith('CRON_TZ=')",
                "a time zone inside the expression is not supported; remove it, and write timeZone"
                " beside the expression",
            ),
        ),
    ),
    AfterValidator(_check_cron),
]
"""A cron expression, checked here only for what the API server can check, too."""

ZoneName = Annotated[str, Field(min_length=1, max_length=64)]
"""A name of the IANA time zone database; whether it exists is checked when it is compiled."""

Arguments = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(
        max_length=50,
        json_schema_extra=validations(
            Rule(
                f"self.all(name, name.size() <= 128 && name.matches('{ENV_NAME}'))",
                "names of arguments become environment variables; write letters, digits and"
                " underscores, not beginning with a digit, at most 128 characters",
            )
        ),
    ),
    AfterValidator(_check_arguments),
]
"""Values for one run by name; each container gets them as environment variables."""

Items = Annotated[tuple[T, ...], Field(strict=False)]
"""A list on the wire, a tuple in Python."""


def keyed(*keys: str) -> dict[str, Any]:
    """For `json_schema_extra`: a list whose items are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
"""For `json_schema_extra`: a list of values that do not repeat."""


# --- bases --------------------------------------------------------------------------------------


class Wire(BaseModel):
    """A part of an object as it is on the wire: camelCase there, snake_case in Python, frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        frozen=True,
        strict=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        """A field that is null counts as left out, as everywhere in Kubernetes."""
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data

    def to_wire(self) -> dict[str, Any]:
        """As JSON-ready data; fields that nobody set are left out, defaults among them."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


class SpecModel(Wire):
    """A part of a spec: written by users, so an unknown field is an error.

    A subclass says in `rules` what the API server checks across fields, and yields the same from
    `problems`, for objects that never met an API server.
    """

    model_config = ConfigDict(extra="forbid")

    rules: ClassVar[tuple[Rule, ...]] = ()

    def problems(self) -> Iterator[Problem]:
        """What is wrong across the fields of this part; the fields are relative to it."""
        yield from ()

    @model_validator(mode="after")
    def _no_problems(self) -> Self:
        found = [asdict(problem) for problem in self.problems()]
        if found:
            raise PydanticCustomError("problems", "problems across fields", {"problems": found})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = handler(schema)
        if cls.rules:
            target = handler.resolve_ref_schema(found)
            target |= validations(*cls.rules)
        return found


class StatusModel(Wire):
    """A part of a status: written by the operator, read back by any version of it."""

    model_config = ConfigDict(extra="ignore")


class ObjectMeta(StatusModel):
    """The part of metadata that we read.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
    """

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Instant | None = None
    deletion_timestamp: Instant | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Condition(StatusModel):
    """One aspect of the object's state, as every Kubernetes object tells it.

    https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
    """

    type: str = Field(description="What the condition is about, e.g. Ready.", max_length=316)
    status: str = Field(
        description="Whether it holds: True, False or Unknown.",
        json_schema_extra={"enum": ["True", "False", "Unknown"]},
    )
    reason: str = Field(
        description="One word for programs that says why.", min_length=1, max_length=1024
    )
    message: str = Field(description="A sentence for people that says why.", max_length=32768)
    last_transition_time: Instant = Field(description="When `status` last changed.")
    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that the condition was computed from."
    )


Conditions = Annotated[Items[Condition], Field(json_schema_extra=keyed("type"))]


def repeated(values: Iterable[str]) -> list[tuple[int, str]]:
    """The values that came before, each with its position."""
    seen: set[str] = set()
    found: list[tuple[int, str]] = []
    for position, value in enumerate(values):
        if value in seen:
            found.append((position, value))
        seen.add(value)
    return found
