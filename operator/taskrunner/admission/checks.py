"""What is right and wrong with an object: the judgement, without HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from taskrunner.admission.calendars import Calendars, ReadApi, Unusable
from taskrunner.admission.neighbours import NeighbourApi, alike, doubled, missing_queue
from taskrunner.admission.review import Request, Verdict
from taskrunner.admission.template import Findings, TrialApi, check_template
from taskrunner.api.v1alpha1.names import CALENDAR, SCHEDULED_TASK, TASK_EXECUTION
from taskrunner.api.v1alpha1.parse import (
    parse_calendar,
    parse_scheduled_task,
    parse_task_execution,
)
from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.api.v1alpha1.task_execution import TaskExecution
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.domain.instants import format_instant
from taskrunner.domain.parameters import compile_parameters
from taskrunner.domain.skipping import no_slot
from taskrunner.domain.warnings import warnings_for, warnings_for_calendar
from taskrunner.errors import ApiError, NotFound, Problem, SpecError
from taskrunner.ports import SCHEDULED_TASKS, Clock

log = logging.getLogger(__name__)

JsonMap = Mapping[str, Any]
T = TypeVar("T")

_THREADS: Final = 4
_WARNING_SECONDS: Final = 0.8
"""Time for looking for warnings. Refusals are found in milliseconds; but whether fifty schedules
coincide takes long, and a review has few seconds."""
_NOT_LOOKED: Final = "No time was left to look for warnings about the schedules."


class Api(ReadApi, TrialApi, NeighbourApi, Protocol):
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
        self._calendars = Calendars(api, self._apart)
        self._call_timeout = call_timeout
        # Planning is all computing. In threads, one task that takes long holds up neither the
        # other reviews nor the probes, and is given up when its time is over.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="checks")

    async def check(self, request: Request) -> Verdict:
        """The verdict on one object.

        An update is refused only for what it makes wrong: a task that was invalid before (it was
        applied while the webhook was down, or a new version is stricter) can still be suspended.
        """
        if request.operation not in ("CREATE", "UPDATE") or unchanged(request):
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
        planned, (problems, warnings) = await asyncio.gather(
            self._planned(request, obj), self._template(request, obj)
        )
        return Found([*planned.problems, *problems], [*planned.warnings, *warnings])

    async def _planned(self, request: Request, obj: JsonMap) -> Found:
        """All but the template of the Job."""
        names = _calendar_names(obj)
        calendars = await self._calendars.read(request.namespace, names)
        usable = {name: _or_empty(name, calendar) for name, calendar in calendars.items()}
        found = Found()
        for position, name in enumerate(names):
            calendar = calendars[name]
            if isinstance(calendar, Unusable):
                found.warnings.append(f'spec.calendars[{position}].name "{name}": {calendar.why}')
        try:
            compiled = await self._apart(lambda: compile_task(parse_scheduled_task(obj), usable))
        except SpecError as error:
            found.problems += error.problems
        else:
            found.warnings += await self._warnings(request, compiled)
        return found

    async def _warnings(self, request: Request, task: CompiledTask) -> list[str]:
        now = int(self._clock.now())
        try:
            async with asyncio.timeout(_WARNING_SECONDS):
                found = await missing_queue(self._api, request.namespace, task)
                found += await self._apart(lambda: warnings_for(task, now))
                found += await self._doubled(request, task, now)
        except TimeoutError:
            log.info("%s %s: no time was left to look for warnings", request.uid, request.label)
            return [_NOT_LOOKED]
        return [str(warning) for warning in found]

    async def _doubled(self, request: Request, task: CompiledTask, now: int) -> list[Problem]:
        template = _template_of(request.obj)
        if template is None or not task.entries or task.suspended:
            return []
        others = await alike(self._api, request.namespace, task.name, template)
        return await self._apart(lambda: doubled(task, others, now)) if others else []

    async def _execution(self, request: Request, obj: JsonMap) -> Found:
        try:
            execution = parse_task_execution(obj)
        except SpecError as error:
            return Found(list(error.problems))
        task = execution.spec.task_ref.name
        skips = asks_to_skip(execution)
        if request.old is not None or not (execution.spec.type == "Manual" or skips):
            return Found()
        try:
            present = await self._api.get(SCHEDULED_TASKS, request.namespace, task)
        except NotFound:
            return Found(
                warnings=[
                    f'spec.taskRef.name "{task}": There is no ScheduledTask of this name in the'
                    f' namespace "{request.namespace}"; without it the run fails.'
                ]
            )
        except ApiError:
            return (
                Found()
            )  # The operator looks again when it starts the run, and says what it finds.
        return (
            await self._skipping(request, execution, present)
            if skips
            else _fitting(execution, present)
        )

    async def _skipping(
        self, request: Request, execution: TaskExecution, present: JsonMap
    ) -> Found:
        """Whether there is a slot to skip. A task that cannot be followed has none to look for."""
        calendars = await self._calendars.read(request.namespace, _calendar_names(present))
        usable = {name: _or_empty(name, calendar) for name, calendar in calendars.items()}
        time = execution.spec.scheduled_time
        assert time is not None  # parsed
        nominal, now = int(time.timestamp()), int(self._clock.now())

        def judged() -> Found:
            task = compile_task(parse_scheduled_task(present), usable)
            problem = no_slot(task, nominal, request.name)
            if problem:
                field = "spec.scheduledTime" if problem.startswith("The task") else "metadata.name"
                value = format_instant(nominal) if field[0] == "s" else request.name
                remedy = "Write one of these, or use taskrunner skip."
                return Found([Problem(field, value, problem, remedy)])
            if nominal <= now:
                text = "The slot is over or under way; if it was decided, nothing is skipped."
                return Found(warnings=[f'spec.scheduledTime "{format_instant(nominal)}": {text}'])
            return Found()

        try:
            return await self._apart(judged)
        except SpecError:
            return Found()

    async def _calendar(self, _: Request, obj: JsonMap) -> Found:
        def compiled() -> Found:
            calendar = compile_calendar(parse_calendar(obj))
            return Found([], [str(warning) for warning in warnings_for_calendar(calendar)])

        try:
            return await self._apart(compiled)
        except SpecError as error:
            return Found(list(error.problems))

    async def _template(self, request: Request, obj: JsonMap) -> Findings:
        """A template that is not new is not tried again: it runs already, and it costs time."""
        template = _template_of(obj)
        if template is None or (request.old and _template_of(request.old) == template):
            return [], []
        return await check_template(
            self._api, request.namespace, request.name, template, timeout=self._call_timeout
        )

    async def _apart(self, compute: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, compute)


def asks_to_skip(execution: TaskExecution) -> bool:
    """Whether a person decides that a slot does not run."""
    decision = execution.spec.decision
    return (
        execution.spec.type == "Scheduled"
        and decision is not None
        and (decision.type, decision.reason) == ("Skip", ExecutionReason.REQUESTED)
    )


def _fitting(execution: TaskExecution, present: JsonMap) -> Found:
    """Whether the arguments are those that the task takes, as it is now."""
    try:
        spec = parse_scheduled_task(present).spec
        parameters, problems = compile_parameters(spec.parameters, spec.job_template)
        if problems:
            raise SpecError(*problems)
    except SpecError as error:
        name = execution.spec.task_ref.name
        why = f"The task itself cannot be followed, and until it is corrected, runs fail: {error}"
        return Found(warnings=[f'spec.taskRef.name "{name}": {why}'])
    return Found(list(parameters.problems(execution.spec.arguments, "spec.arguments")))


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
