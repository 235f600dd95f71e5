"""Raw objects to models; what is wrong comes out as one `Problem` each, never as library text."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from taskrunner.api.v1alpha1.backfill import Backfill
from taskrunner.api.v1alpha1.calendar import Calendar
from taskrunner.api.v1alpha1.common import NotBuilt, Wire
from taskrunner.api.v1alpha1.names import (
    API_VERSION,
    BACKFILL,
    CALENDAR,
    SCHEDULED_TASK,
    TASK_EXECUTION,
    TASK_QUEUE,
)
from taskrunner.api.v1alpha1.scheduled_task import ScheduledTask
from taskrunner.api.v1alpha1.task_execution import TaskExecution
from taskrunner.api.v1alpha1.task_queue import TaskQueue
from taskrunner.errors import Problem, SpecError

M = TypeVar("M", bound=Wire)
Loc = Sequence[str | int]

_VALUE_MAX = 80


def parse_scheduled_task(obj: Mapping[str, Any]) -> ScheduledTask:
    """A ScheduledTask as the API server or a YAML file gives it. Raises SpecError."""
    return _parse(ScheduledTask, SCHEDULED_TASK.kind, obj)


def parse_task_execution(obj: Mapping[str, Any]) -> TaskExecution:
    """A TaskExecution as the API server or a YAML file gives it. Raises SpecError."""
    return _parse(TaskExecution, TASK_EXECUTION.kind, obj)


def parse_calendar(obj: Mapping[str, Any]) -> Calendar:
    """A Calendar as the API server or a YAML file gives it. Raises SpecError."""
    return _parse(Calendar, CALENDAR.kind, obj)


def parse_backfill(obj: Mapping[str, Any]) -> Backfill:
    """A Backfill as the API server or a YAML file gives it. Raises SpecError."""
    return _parse(Backfill, BACKFILL.kind, obj)


def parse_task_queue(obj: Mapping[str, Any]) -> TaskQueue:
    """A TaskQueue as the API server or a YAML file gives it. Raises SpecError."""
    return _parse(TaskQueue, TASK_QUEUE.kind, obj)


def _parse(model: type[M], kind: str, obj: Mapping[str, Any]) -> M:
    problems = list(_wrong_kind(kind, obj))
    if problems:
        raise SpecError(*problems)
    try:
        # By alias only: the wire knows `timeZone`, not Python's `time_zone`.
        return model.model_validate(obj, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise SpecError(*(problem for detail in details for problem in _problems(model, detail)))


def _wrong_kind(kind: str, obj: Mapping[str, Any]) -> Sequence[Problem]:
    """Items of a list have neither field, so absent is fine."""
    found = []
    for field, expected in (("apiVersion", API_VERSION), ("kind", kind)):
        value = obj.get(field)
        if value is not None and value != expected:
            found.append(
                Problem(
                    field, _shown(value), f"This is not a {kind}.", f"Write {field}: {expected}."
                )
            )
    return found


def _problems(model: type[BaseModel], detail: ErrorDetails) -> list[Problem]:
    loc = detail["loc"]
    path = field_path(loc)
    context = detail.get("ctx", {})
    value = _shown(detail["input"])
    match detail["type"]:
        case "problems":
            return [_placed(path, problem) for problem in context["problems"]]
        case "wrong":
            return [Problem(path, value, context["message"], context["remedy"])]
        case "missing":
            return [Problem(path, "", "The field is required.", _example(model, loc))]
        case "extra_forbidden":
            return [_unknown_field(model, loc, value)]
        case "not_built":
            return [_not_built(model, loc, value)]
        case "string_type" if isinstance(detail["input"], int | float):
            return [Problem(path, value, "This is not text.", f'Put it in quotes: "{value}".')]
        case kind:
            message = _MESSAGES.get(kind, "The value is not valid.").format(**context)
            return [Problem(path, value, message, _expected(model, loc))]


_MESSAGES = {
    "int_type": "This is not a whole number.",
    "int_parsing_size": "The number is too large.",
    "string_type": "This is not text.",
    "bool_type": "This is not true or false.",
    "tuple_type": "This is not a list.",
    "dict_type": "This is not an object with fields.",
    "model_type": "This is not an object with fields.",
    "model_attributes_type": "This is not an object with fields.",
    "literal_error": "This is not one of the values that the field takes.",
    "greater_than_equal": "The number is less than {ge}.",
    "less_than_equal": "The number is more than {le}.",
    "string_too_short": "The text is shorter than {min_length} characters.",
    "string_too_long": "The text is longer than {max_length} characters.",
    "too_short": "At least {min_length} must be listed.",
    "too_long": "At most {max_length} may be listed.",
    "string_pattern_mismatch": "The text does not have the form that the field takes.",
}


def _placed(path: str, problem: Mapping[str, str]) -> Problem:
    """A problem relative to a part of the object, as one of the object."""
    field = ".".join(part for part in (path, problem["field"]) if part)
    return Problem(**{**problem, "field": field})


def _unknown_field(model: type[BaseModel], loc: Loc, value: str) -> Problem:
    parent = _model_at(model, loc[:-1])
    known = [] if parent is None else [_alias(n, f) for n, f in parent.model_fields.items()]
    close = get_close_matches(str(loc[-1]), known, n=1)
    remedy = f"Did you mean {close[0]}?" if close else f"Remove it; known are {_listed(known)}."
    return Problem(field_path(loc), value, "There is no such field.", remedy)


def _not_built(model: type[BaseModel], loc: Loc, value: str) -> Problem:
    field = _field_at(model, loc)
    marker = next((m for m in field.metadata if isinstance(m, NotBuilt)), None) if field else None
    if field is None or marker is None or not marker.values:
        message = "It is not supported by this version of taskrunner."
        return Problem(field_path(loc), value, message, "Remove the field.")
    return Problem(
        field_path(loc),
        value,
        f"{value} is not supported by this version of taskrunner.",
        _choices(field) or "Remove the field.",
    )


def _expected(model: type[BaseModel], loc: Loc) -> str:
    """What to write at this place: its choices, its bounds, or an example."""
    field = _field_at(model, loc)
    if field is None:
        return "See the reference of the API."
    choices = _choices(field)
    if choices:
        return choices
    bounds = {
        name: value
        for constraint in field.metadata
        for name in ("ge", "le")
        if (value := getattr(constraint, name, None)) is not None
    }
    if "ge" in bounds and "le" in bounds:
        return f"Write a whole number from {bounds['ge']} to {bounds['le']}."
    if "ge" in bounds:
        return f"Write a whole number, at least {bounds['ge']}."
    return _example(model, loc)


def _choices(field: FieldInfo) -> str:
    """The values of a Literal field that this version takes."""
    refused = {v for m in field.metadata if isinstance(m, NotBuilt) for v in m.values}
    values = [value for value in _literals(field.annotation) if value not in refused]
    return f"Write {_listed(values, 'or')}." if values else ""


def _literals(annotation: Any) -> list[str]:
    if isinstance(annotation, type) or annotation is None:
        return []
    if get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        return [value for part in get_args(annotation) for value in _literals(part)]
    return [value for value in get_args(annotation) if isinstance(value, str)]


def _example(model: type[BaseModel], loc: Loc) -> str:
    field = _field_at(model, loc)
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    if field is None or not field.examples:
        return f"Set {name}."
    return f"Write e.g. {name}: {_text(field.examples[0])}."


def field_path(loc: Loc) -> str:
    """A place in an object as users write it.

    >>> field_path(("spec", "schedules", 1, "everySeconds"))
    'spec.schedules[1].everySeconds'
    """
    found = ""
    for part in loc:
        if isinstance(part, int):
            found += f"[{part}]"
        elif part != "[key]":
            found += f".{part}" if found else part
    return found


def _alias(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _field_at(model: type[BaseModel], loc: Loc) -> FieldInfo | None:
    """The field at a place, or the list or map that holds the place."""
    found: FieldInfo | None = None
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None:
            return found
        if isinstance(part, int):
            continue
        named = {_alias(name, field): field for name, field in current.model_fields.items()}
        if part not in named:
            return None
        found = named[part]
        current = _model_of(found.annotation)
    return found


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    if not loc:
        return model
    field = _field_at(model, loc)
    return None if field is None else _model_of(field.annotation)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X | None`, `tuple[X, ...]` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_of(part))), None)


def _listed(values: Sequence[str], word: str = "and") -> str:
    if len(values) < 2:
        return "".join(values)
    return f"{', '.join(values[:-1])} {word} {values[-1]}"


def _shown(value: object) -> str:
    """A value as the user wrote it, shortened."""
    text = _text(value)
    return text if len(text) <= _VALUE_MAX else text[: _VALUE_MAX - 1] + "…"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
