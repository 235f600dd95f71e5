"""`taskrunner skip`: leave out one slot of a task that is to come, and take that back."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskrunner.cli.cluster import Kubeconfig, KubeContext, Namespace, on_cluster, task_called
from taskrunner.cli.shared import FAILED, Session, fail, warn
from taskrunner.errors import AlreadyExists, NotFound, Problem, SpecError
from taskrunner.ports import CALENDARS, TASK_EXECUTIONS, Api, Clock, Obj

if TYPE_CHECKING:
    from taskrunner.domain.compile import CompiledTask
    from taskrunner.domain.plan import Slot

MOST = 100
"""Slots that one call skips."""


def skip(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="The slot of this time, as `taskrunner preview` shows it, or of this schedule time"
            ' before jitter: "2026-12-24T02:00:00Z", or "2026-12-24T02:00" in --zone.'
        ),
    ] = None,
    next_: Annotated[
        int, typer.Option("--next", min=1, max=MOST, help="So many of the next slots.")
    ] = 1,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take it back: what was skipped runs after all.")
    ] = False,
    zone: Annotated[str | None, typer.Option(help="IANA time zone of --at. Default: UTC.")] = None,
    because: Annotated[str, typer.Option(help="Why, as a sentence for the record.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the objects, for kubectl create -f -.")
    ] = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Leave out the next slot of a task, or the one at a time; everything else goes on.

      taskrunner skip nightly

      taskrunner skip nightly --at 2026-12-24T02:00 --zone Europe/Berlin --because "Freeze"

      taskrunner skip nightly --next 3

      taskrunner skip nightly --undo

    The slot is decided at once: a TaskExecution of its name records that it is skipped, who asked,
    and why. Until the slot is due, --undo or deleting that object takes it back; without --at, for
    all slots to come. It takes the right to create TaskExecutions and Jobs, and works while the
    task is suspended. To leave out days every year, use a Calendar; to stop for a while, suspend.
    """
    from taskrunner.cli.shared import time_option, zone_option

    clock: Clock = context.obj.clock
    moment = time_option("--at", at, zone_option(zone))

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        obj = await task_called(session.api, where, task)
        compiled = await _compiled(session.api, obj)
        now = int(clock.now())
        present = await _requests(session.api, where, task)
        if undo:
            return await _take_back(session.api, where, compiled, present, now, moment)
        chosen = _chosen(compiled, set(present), now, moment, next_)
        bodies = [_body(compiled, slot, because) for slot in chosen]
        if dry_run:
            _print(bodies)
            return 0
        return await _create(session.api, where, compiled, chosen, bodies)

    on_cluster(context, kubeconfig, kube_context, work)


async def _compiled(api: Api, obj: Obj) -> CompiledTask:
    from taskrunner.api.v1alpha1.parse import parse_calendar, parse_scheduled_task
    from taskrunner.domain.calendar_compile import compile_calendar
    from taskrunner.domain.compile import compile_task

    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    calendars = {}
    for reference in obj["spec"].get("calendars") or ():
        found = await api.get(CALENDARS, namespace, reference["name"])
        try:
            calendars[reference["name"]] = compile_calendar(parse_calendar(found))
        except SpecError as error:
            fail(f'The Calendar "{reference["name"]}" cannot be followed: {error}')
    try:
        compiled = compile_task(parse_scheduled_task(obj), calendars)
    except SpecError as error:
        fail(f'The task "{name}" cannot be followed, so it has no slots to skip: {error}')
    if not compiled.entries:
        fail(f'The task "{name}" has no schedule; it runs by hand, and nothing is to be skipped.')
    return compiled


async def _requests(api: Api, namespace: str, task: str) -> dict[str, Obj]:
    """Slots of the task that somebody has asked to skip, by name."""
    found = await api.list(
        TASK_EXECUTIONS, namespace=namespace, field_selector=f"spec.taskRef.name={task}"
    )
    return {
        e["metadata"]["name"]: e
        for e in found
        if (e["spec"].get("decision") or {}).get("reason") == "Requested"
        and (e.get("status") or {}).get("phase") != "Cancelled"
    }


def _chosen(
    task: CompiledTask, skipped: set[str], now: int, moment: int | None, count: int
) -> list[Slot]:
    """The slots to skip; exits when there are none."""
    from itertools import islice

    from taskrunner.domain.skipping import leaving_out, name_of

    if moment is not None:
        return [slot for slot in _at(task, now, moment) if name_of(task, slot) not in skipped]
    from taskrunner.domain.runs import runs_after

    rest = leaving_out(task, frozenset(skipped))
    found = list(islice((slot for slot in runs_after(rest, now) if slot.start > now), count))
    if not found:
        fail(f'The task "{task.name}" has no slot to come.')
    if len(found) < count:
        warn([f"Only {len(found)} slots are to come."])
    return found


def _at(task: CompiledTask, now: int, moment: int) -> list[Slot]:
    """The slots that start at a time, or are of that time before jitter and calendars."""
    from itertools import islice, takewhile

    from taskrunner.domain.instants import format_instant
    from taskrunner.domain.preview import upcoming
    from taskrunner.domain.skipping import near, slots_at

    when = format_instant(moment)
    if moment <= now:
        remedy = "Only slots to come can be skipped; to stop a run: taskrunner cancel."
        fail(str(Problem("--at", when, "This time is over.", remedy)))
    found = slots_at(task, moment)
    if not found:
        starts = islice(takewhile(lambda s: s.start <= moment, upcoming(task, moment - 1)), MOST)
        found = [slot for slot in starts if slot.start == moment]
    if not found:
        close = ", ".join(_when(slot) for slot in near(task, moment) if slot.start > now)
        remedy = f"Slots near it: {close}." if close else "No slot is to come."
        fail(str(Problem("--at", when, f'The task "{task.name}" has no slot then.', remedy)))
    return found


def _when(slot: Slot) -> str:
    from taskrunner.domain.instants import format_instant

    return format_instant(slot.start) + (f" ({slot.schedule})" if slot.schedule else "")


def _body(task: CompiledTask, slot: Slot, because: str) -> Obj:
    from taskrunner.api.v1alpha1 import names
    from taskrunner.api.v1alpha1.reasons import ExecutionReason
    from taskrunner.domain.instants import format_instant
    from taskrunner.domain.skipping import name_of

    decision: dict[str, Any] = {"type": "Skip", "reason": ExecutionReason.REQUESTED.value}
    if because:
        decision["message"] = because
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.TASK_EXECUTION.kind,
        "metadata": {"name": name_of(task, slot), "namespace": task.namespace},
        "spec": {
            "taskRef": {"name": task.name},
            "type": "Scheduled",
            "decision": decision,
            "scheduledTime": format_instant(slot.nominal),
        },
    }


def _print(bodies: Iterable[Obj]) -> None:
    import yaml

    typer.echo(yaml.safe_dump_all(bodies, sort_keys=False), nl=False)


async def _create(
    api: Api, namespace: str, task: CompiledTask, slots: list[Slot], bodies: list[Obj]
) -> int:
    if not slots:
        typer.echo("That slot is skipped already.")
    for slot, body in zip(slots, bodies, strict=True):
        name = body["metadata"]["name"]
        try:
            await api.create(TASK_EXECUTIONS, namespace, body)
        except AlreadyExists:
            typer.echo(
                f"error: {_when(slot)}: The slot was decided meanwhile;"
                f" look at `kubectl get texec {name} -n {namespace}`.",
                err=True,
            )
            return FAILED
        typer.echo(f"{_when(slot)}: {task.name} is skipped ({name})")
    return 0


async def _take_back(
    api: Api,
    namespace: str,
    task: CompiledTask,
    present: dict[str, Obj],
    now: int,
    moment: int | None,
) -> int:
    from taskrunner.domain.instants import format_instant
    from taskrunner.domain.skipping import name_of, slots_at

    found: list[tuple[str, Slot]] = []
    for name, request in present.items():
        nominal = _nominal(request)
        slot = next((s for s in slots_at(task, nominal) if name_of(task, s) == name), None)
        if slot is not None and slot.due > now and moment in (None, slot.nominal, slot.start):
            found.append((name, slot))
    if not found:
        when = "" if moment is None else f" at {format_instant(moment)}"
        typer.echo(f'No slot of "{task.name}"{when} that is to come is skipped by request.')
        return 0 if moment is None else FAILED
    for name, slot in sorted(found, key=lambda each: each[1].start):
        with suppress(NotFound):
            await api.delete(TASK_EXECUTIONS, namespace, name, uid=present[name]["metadata"]["uid"])
        typer.echo(f"{_when(slot)}: {task.name} runs ({name} is deleted)")
    return 0


def _nominal(request: Obj) -> int:
    from taskrunner.domain.instants import parse_instant

    return parse_instant(request["spec"]["scheduledTime"])
