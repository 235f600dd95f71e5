"""What is right and wrong with an object: the judgement, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from taskrunner.admission.calendars import Calendars, ReadApi, Unusable
from taskrunner.admission.review import Request, Verdict
from taskrunner.admission.template import Findings, TrialApi, check_template
from taskrunner.api.v1alpha1.names import CALENDAR, SCHEDULED_TASK, TASK_EXECUTION
from taskrunner.api.v1alpha1.parse import (
    parse_calendar,
    parse_scheduled_task,
    parse_task_execution,
)
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.compile import compile_task
from taskrunner.errors import ApiError, NotFound, Problem, SpecError
from taskrunner.ports import SCHEDULED_TASKS, Clock

JsonMap = Mapping[str, Any]


class Api(ReadApi, TrialApi, Protocol):
    """What the checks ask of the API server."""


@dataclass(slots=True)
class Found:
    """Problems and warnings while they are collected."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


ALLOWED: Final = Verdict()


class Checker:
    """Judges objects; keeps nothing of them."""

    def __init__(self, api: Api, clock: Clock, *, call_timeout: float) -> None:
        self._api = api
        self._clock = clock
        self._calendars = Calendars(api)
        self._call_timeout = call_timeout

    async def check(self, request: Request) -> Verdict:
        """The verdict on one object.

        An update is refused only for what it makes wrong: a task that was invalid before (it was
        applied while the webhook was down, or a new version is stricter) can still be suspended.
        """
        if unchanged(request):
            return ALLOWED
        judge = {
            SCHEDULED_TASK.kind: self._task,
            TASK_EXECUTION.kind: self._execution,
            CALENDAR.kind: self._calendar,
        }.get(request.kind)
        if judge is None:
            return ALLOWED
        found = await judge(request, request.obj)
        if found.problems and request.old is not None:
            before = await judge(request, request.old)
            if set(found.problems) <= set(before.problems):
                found.warnings[:0] = [f"As before: {problem}" for problem in found.problems]
                found.problems.clear()
        return Verdict(tuple(found.problems), tuple(found.warnings))

    # --- kinds ----------------------------------------------------------------------------------

    async def _task(self, request: Request, obj: JsonMap) -> Found:
        names = _calendar_names(obj)
        (problems, warnings), calendars = await asyncio.gather(
            self._template(request, obj), self._calendars.read(request.namespace, names)
        )
        found = Found(list(problems), list(warnings))
        usable = {name: _or_empty(name, calendar) for name, calendar in calendars.items()}
        for position, name in enumerate(names):
            calendar = calendars[name]
            if isinstance(calendar, Unusable):
                found.warnings.append(f'spec.calendars[{position}].name "{name}": {calendar.why}')
        try:
            compile_task(parse_scheduled_task(obj), usable)
        except SpecError as error:
            found.problems[:0] = error.problems
        return found

    async def _execution(self, request: Request, obj: JsonMap) -> Found:
        try:
            execution = parse_task_execution(obj)
        except SpecError as error:
            return Found(list(error.problems))
        task = execution.spec.task_ref.name
        if request.old is not None or execution.spec.type != "Manual":
            return Found()
        try:
            await self._api.get(SCHEDULED_TASKS, request.namespace, task)
        except NotFound:
            return Found(
                warnings=[
                    f'spec.taskRef.name "{task}": There is no ScheduledTask of this name in the'
                    f' namespace "{request.namespace}"; without it the run fails.'
                ]
            )
        except ApiError:
            pass  # The operator looks again when it starts the run, and says what it finds.
        return Found()

    async def _calendar(self, _: Request, obj: JsonMap) -> Found:
        try:
            compile_calendar(parse_calendar(obj))
        except SpecError as error:
            return Found(list(error.problems))
        return Found()

    async def _template(self, request: Request, obj: JsonMap) -> Findings:
        """A template that is not new is not tried again: it runs already, and it costs time."""
        template = _template_of(obj)
        if template is None or (request.old and _template_of(request.old) == template):
            return [], []
        return await check_template(
            self._api, request.namespace, request.name, template, timeout=self._call_timeout
        )


def unchanged(request: Request) -> bool:
    """Whether only metadata or status is written: that is never held up."""
    return request.old is not None and request.old.get("spec") == request.obj.get("spec")


def _template_of(obj: JsonMap) -> dict[str, Any] | None:
    """The Job template, if it has the form that a dry run takes; if not, parsing says so."""
    spec = obj.get("spec")
    template = spec.get("jobTemplate") if isinstance(spec, dict) else None
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return None
    return template if isinstance(template.get("metadata") or {}, dict) else None


def _calendar_names(obj: JsonMap) -> Sequence[str]:
    spec = obj.get("spec")
    references = spec.get("calendars") if isinstance(spec, dict) else None
    if not isinstance(references, list):
        return []
    return [str(one.get("name")) if isinstance(one, dict) else "" for one in references]


def _or_empty(name: str, calendar: CompiledCalendar | Unusable) -> CompiledCalendar:
    """A calendar that is not there yet excludes nothing: the rest of the task is checked so."""
    return CompiledCalendar(name, ()) if isinstance(calendar, Unusable) else calendar
