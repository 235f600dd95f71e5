"""Arguments of runs: what a task takes, whether what is given fits, and what containers get of it.

A task that declares parameters takes those and no others. One that declares none takes any argument
as text, so that a CronJob can be run by hand with a value more, without a word of definition.

Values from Secrets and ConfigMaps are references that the kubelet resolves; they are never read
here, and no argument replaces them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from taskrunner.api.v1alpha1 import parameters as api
from taskrunner.api.v1alpha1.parameters import ParameterType
from taskrunner.api.v1alpha1.scheduled_task import ScheduledTaskSpec
from taskrunner.errors import Problem, SpecError

EnvVar = dict[str, Any]
"""One entry of `env` of a container, on the wire."""

_VALUE_MAX: Final = 80
_CHOICES_MAX: Final = 12
_FORMS: Final[Mapping[ParameterType, re.Pattern[str]]] = {
    "integer": re.compile("-?(0|[1-9][0-9]{0,30})"),
    "number": re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"),
    "boolean": re.compile("true|false"),
}
"""As JSON writes them, so that one value has one form: programs compare texts."""
_MISFORMED: Final[Mapping[ParameterType, tuple[str, str]]] = {
    "integer": ("This is not a whole number.", "Write digits without leading zeros, e.g. 3."),
    "number": ("This is not a number.", "Write digits, with a point if need be, e.g. 0.5."),
    "boolean": ("This is not true or false.", "Write true or false, in lower case."),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One variable of a task's containers."""

    name: str
    type: ParameterType
    enum: tuple[str, ...]
    minimum: int | None
    maximum: int | None
    default: str | None
    value_from: Mapping[str, Any] | None
    """As in `env` of a container; None for a value that arguments give."""

    @property
    def required(self) -> bool:
        """Whether each run must give a value."""
        return self.default is None and self.value_from is None

    def misfit(self, value: str) -> tuple[str, str] | None:
        """Why a value does not fit, and the remedy; None when it does."""
        form = _FORMS.get(self.type)
        if form is not None and not form.fullmatch(value):
            return _MISFORMED[self.type]
        if self.enum and value not in self.enum:
            message = "This is not one of the values that the parameter takes."
            return message, f"Write {_choice(self.enum)}."
        return self._out_of_bounds(value)

    def _out_of_bounds(self, value: str) -> tuple[str, str] | None:
        if self.minimum is None and self.maximum is None:
            return None
        number = Decimal(value)
        if self.minimum is not None and number < self.minimum:
            return f"The number is less than {self.minimum}.", self._bounds
        if self.maximum is not None and number > self.maximum:
            return f"The number is more than {self.maximum}.", self._bounds
        return None

    @property
    def _bounds(self) -> str:
        if self.maximum is None:
            return f"Write at least {self.minimum}."
        if self.minimum is None:
            return f"Write at most {self.maximum}."
        return f"Write {self.minimum} to {self.maximum}."


@dataclass(frozen=True, slots=True)
class Parameters:
    """What arguments a task takes."""

    declared: tuple[Parameter, ...] = ()
    taken: frozenset[str] = frozenset()
    """Variables that the Job template itself takes from a Secret or the like (`valueFrom`)."""

    def problems(self, arguments: Mapping[str, str], field: str) -> Iterator[Problem]:
        """What is wrong with arguments; `field` is where they are, e.g. `spec.arguments`.

        Of a name that is wrong, the value is not repeated: it may be meant for a Secret's place.
        """
        known = {parameter.name: parameter for parameter in self.declared}
        for name, value in arguments.items():
            place = f"{field}.{name}"
            parameter = known.get(name)
            if parameter is None:
                yield from self._undeclared(place, name)
            elif parameter.value_from is not None:
                yield Problem(
                    place,
                    "",
                    f"The task takes this value from {_origin(parameter.value_from)}, and no"
                    " argument replaces it.",
                    "Remove the argument.",
                )
            elif found := parameter.misfit(value):
                yield Problem(place, _shown(value), *found)
        for parameter in self.declared:
            if parameter.required and parameter.name not in arguments:
                yield Problem(
                    f"{field}.{parameter.name}",
                    "",
                    "The task needs this argument: the parameter has no default.",
                    _example(parameter),
                )

    def environment(self, arguments: Mapping[str, str]) -> list[EnvVar]:
        """What each container gets, in the order of the definitions, so that one may refer to
        those before it. Raises SpecError when the arguments do not fit."""
        problems = tuple(self.problems(arguments, "spec.arguments"))
        if problems:
            raise SpecError(*problems)
        if not self.declared:
            return [_plain(name, value) for name, value in arguments.items()]
        return list(self._environment(arguments))

    def _environment(self, arguments: Mapping[str, str]) -> Iterator[EnvVar]:
        for parameter in self.declared:
            if parameter.value_from is not None:
                yield {"name": parameter.name, "valueFrom": parameter.value_from}
            else:
                value = arguments.get(parameter.name, parameter.default)
                assert value is not None
                yield _plain(parameter.name, value)

    def _undeclared(self, place: str, name: str) -> Iterator[Problem]:
        if self.declared:
            # What a Secret fills cannot be given, so it is no remedy.
            names = [one.name for one in self.declared if one.value_from is None]
            close = get_close_matches(name, names, n=1)
            remedy = (
                f"Did you mean {close[0]}?"
                if close
                else f"Remove it; the task takes {_listed(names) or 'no arguments'}."
            )
            yield Problem(place, "", "The task has no such parameter.", remedy)
        elif name in self.taken:
            yield Problem(
                place,
                "",
                "The Job template takes this variable from elsewhere (valueFrom), and the argument"
                " would replace it.",
                "Remove the argument, or declare it in spec.parameters of the task.",
            )


NONE: Final = Parameters()
"""Of a task that declares no parameters."""


def compile_parameters(
    declared: Sequence[api.Parameter], template: Mapping[str, Any]
) -> tuple[Parameters, list[Problem]]:
    """The parameters of a task, and what is wrong with their definitions.

    `template` is the Job template, as given: its form is not checked yet.
    """
    found: list[Parameter] = []
    problems: list[Problem] = []
    for position, one in enumerate(declared):
        parameter = Parameter(
            name=one.name,
            type=one.type,
            enum=tuple(one.enum),
            minimum=one.minimum,
            maximum=one.maximum,
            default=one.default,
            value_from=None if one.value_from is None else one.value_from.to_wire(),
        )
        found.append(parameter)
        problems += _definition_problems(parameter, f"spec.parameters[{position}]")
    taken = frozenset() if found else frozenset(_taken(template))
    if not found and not taken:
        return NONE, problems
    return Parameters(tuple(found), taken), problems


def _definition_problems(parameter: Parameter, place: str) -> Iterator[Problem]:
    """Values in a definition that no argument could have."""
    form = _FORMS.get(parameter.type)
    for position, value in enumerate(parameter.enum):
        if form is not None and not form.fullmatch(value):
            yield Problem(f"{place}.enum[{position}]", _shown(value), *_MISFORMED[parameter.type])
    if parameter.default is not None and (wrong := parameter.misfit(parameter.default)):
        yield Problem(f"{place}.default", _shown(parameter.default), *wrong)


def schedule_problems(spec: ScheduledTaskSpec, parameters: Parameters) -> list[Problem]:
    """What is wrong with the arguments of the schedules."""
    missing = [one.name for one in parameters.declared if one.required]
    problems: list[Problem] = []
    if spec.schedule is not None and missing:
        problems.append(
            Problem(
                "spec.schedule",
                spec.schedule,
                f"Its runs have no value for {_listed(missing)}, which"
                f" {'has' if len(missing) == 1 else 'have'} no default.",
                "Write defaults in spec.parameters, or an entry of spec.schedules with arguments.",
            )
        )
    for position, entry in enumerate(spec.schedules):
        field = f"spec.schedules[{position}].arguments"
        problems += parameters.problems(entry.arguments, field)
    return problems


def containers_of(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The containers of a pod's spec, those that run first included."""
    for field in ("initContainers", "containers"):
        found = pod.get(field)
        for container in found if isinstance(found, list) else ():
            if isinstance(container, dict):
                yield container


def _taken(template: Mapping[str, Any]) -> Iterator[str]:
    pod: Any = template
    for part in ("spec", "template", "spec"):
        pod = pod.get(part) if isinstance(pod, Mapping) else None
    for container in containers_of(pod) if isinstance(pod, Mapping) else ():
        variables = container.get("env")
        for variable in variables if isinstance(variables, list) else ():
            if isinstance(variable, Mapping) and variable.get("valueFrom"):
                yield str(variable.get("name"))


def _plain(name: str, value: str) -> EnvVar:
    """A value that containers get exactly as it was given. The kubelet would expand $(OTHER) in it,
    so that an argument could fetch what a Secret holds; $$ stands for one $.
    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return {"name": name, "value": value.replace("$", "$$")}


def _origin(value_from: Mapping[str, Any]) -> str:
    secret = value_from.get("secretKeyRef")
    reference = secret or value_from.get("configMapKeyRef") or {}
    return f'the {"Secret" if secret else "ConfigMap"} "{reference.get("name", "")}"'


def _example(parameter: Parameter) -> str:
    values: Mapping[ParameterType, str] = {"integer": "3", "number": "0.5", "boolean": "true"}
    if parameter.enum:
        value = parameter.enum[0]
    elif parameter.minimum is not None:
        value = str(parameter.minimum)
    else:
        value = values.get(parameter.type, "…")
    return f'Write e.g. arguments: {{{parameter.name}: "{value}"}}, or give it a default.'


def _choice(values: Sequence[str]) -> str:
    shown = [_shown(value) or '""' for value in values[:_CHOICES_MAX]]
    if len(values) > _CHOICES_MAX:
        return f"one of {', '.join(shown)} and {len(values) - _CHOICES_MAX} more"
    return _listed(shown, "or")


def _listed(values: Iterable[str], word: str = "and") -> str:
    *others, last = list(values) or [""]
    return f"{', '.join(others)} {word} {last}" if others else last


def _shown(value: str) -> str:
    return value if len(value) <= _VALUE_MAX else value[: _VALUE_MAX - 1] + "…"
