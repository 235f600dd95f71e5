"""What a task has to do with the other objects of its namespace: it doubles one, or names a queue
that is not there. Never more than a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.domain.runs import runs_after
from taskrunner.errors import ApiError, NotFound, Problem, SpecError
from taskrunner.ports import SCHEDULED_TASKS, TASK_QUEUES, Obj, Resource

_SLOTS: Final = 50
"""Runs to come that are compared before two tasks are said to have the same slots."""
_LOOKED_AT: Final = 20
"""Tasks with the same template that are looked at."""


class NeighbourApi(Protocol):
    """The part of the API server's client that is needed here."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """The live object. Raises NotFound and other ApiErrors."""
        ...

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Obj]:
        """All objects of a kind in a namespace. Raises ApiErrors."""
        ...


async def missing_queue(api: NeighbourApi, namespace: str, task: CompiledTask) -> list[Problem]:
    """A warning when the TaskQueue that the task names is not there (yet)."""
    name = task.places.queue
    if not name:
        return []
    try:
        await api.get(TASK_QUEUES, namespace, name)
    except NotFound:
        message = f'There is no TaskQueue of this name in the namespace "{namespace}": runs wait.'
        return [Problem("spec.queue.name", name, message, "Create it, or correct the name.")]
    except ApiError:
        pass  # The operator looks for itself, and says what it finds.
    return []


async def alike(
    api: NeighbourApi, namespace: str, name: str, template: Mapping[str, Any]
) -> Sequence[Obj]:
    """The other tasks of a namespace with the same Job template."""
    try:
        found = await api.list(SCHEDULED_TASKS, namespace=namespace)
    except ApiError:
        return []
    same = (
        other
        for other in found
        if other["metadata"]["name"] != name
        and other.get("spec", {}).get("jobTemplate") == template
        and not other["spec"].get("suspend")
    )
    return list(islice(same, _LOOKED_AT))


def doubled(task: CompiledTask, others: Sequence[Obj], now: int) -> list[Problem]:
    """A warning for the first of the others that runs the same at the same times."""
    mine = _runs(task, now)
    calendars = {use.calendar.name: use.calendar for use in task.calendars}
    for other in others if mine else ():
        try:
            compiled = compile_task(parse_scheduled_task(other), calendars)
        except SpecError:
            continue
        if _runs(compiled, now) == mine:
            text = f'ScheduledTask "{compiled.name}" has the same slots and the same template:'
            message = f"{text} each time, the same is run twice."
            return [Problem("spec", "", message, "Remove one of the two, or shift its schedule.")]
    return []


def _runs(task: CompiledTask, now: int) -> list[tuple[int, tuple[tuple[str, str], ...]]]:
    slots = islice(runs_after(task, now), _SLOTS)
    return sorted((slot.nominal, tuple(sorted(slot.arguments.items()))) for slot in slots)
