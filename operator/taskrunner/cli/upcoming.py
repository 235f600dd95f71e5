"""`taskrunner next`: what is due across tasks, in the order in which it will start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from taskrunner.cli.cluster import (
    AllNamespaces,
    Kubeconfig,
    KubeContext,
    Namespace,
    Selector,
    on_cluster,
    place_of,
    status_of,
)
from taskrunner.cli.shared import Session, fail, warn
from taskrunner.cli.tables import Format, Output, table, write_data
from taskrunner.cli.times import instant, length
from taskrunner.errors import SpecError
from taskrunner.ports import (
    CALENDARS,
    NAMESPACES,
    SCHEDULED_TASKS,
    TASK_EXECUTIONS,
    Api,
    Clock,
    Obj,
)

if TYPE_CHECKING:
    from taskrunner.domain.calendar import CompiledCalendar

COUNT: Final = 20
WITHIN: Final = "1d"
NOT_ENDED: Final = ",".join(
    f"status.phase!={phase}" for phase in ("Succeeded", "Failed", "Cancelled", "Skipped", "Missed")
)
"""Field selector: executions that have not ended."""


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """One start that is to come."""

    time: int
    namespace: str
    task: str
    schedule: str = ""
    note: str = ""
    held: str = ""
    """Why it will not start after all, as things are."""


def next_(
    context: typer.Context,
    task: Annotated[
        list[str] | None, typer.Argument(help="Only these tasks.", metavar="[TASK]...")
    ] = None,
    within: Annotated[str, typer.Option(help="How far to look, e.g. 2h or 7d.")] = WITHIN,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Most starts.")] = COUNT,
    zone: Annotated[
        str | None, typer.Option(help="Show local times of this IANA time zone, too.")
    ] = None,
    selector: Selector = "",
    all_namespaces: AllNamespaces = False,
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Show what starts next, across tasks and namespaces, as a timeline.

      taskrunner next -A

      taskrunner next -A --within 7d --count 100 --zone Europe/Berlin

      taskrunner next nightly -o json

    Slots are computed from the tasks and calendars as they are, with jitter and DST; retries and
    runs that are deferred are in it, too. What is suspended or paused is marked.
    """
    from taskrunner.cli.shared import zone_option
    from taskrunner.cli.times import seconds_option

    clock: Clock = context.obj.clock
    span = seconds_option("--within", within) or 0
    shown = zone_option(zone)
    if output is Format.name:
        fail("-o name is for objects, and what is to come is none. Write -o json.")

    async def work(session: Session) -> int:
        where = "" if all_namespaces else namespace or session.namespace
        now = int(clock.now())
        found = await gathered(session.api, where, selector, task or (), now, now + span, count)
        rows = sorted(found)[:count]
        if output in (Format.json, Format.yaml):
            write_data([_data(row) for row in rows], output)
            return 0
        if not rows:
            typer.echo(f"Nothing is due within {within}.", err=True)
            return 0
        from taskrunner.domain.preview import local_time

        titles = ["IN", "TIME (UTC)", "LOCAL", "NAMESPACE", "TASK", "SCHEDULE", "NOTE"]
        lines = [
            [
                length(row.time - now),
                _data(row)["time"],
                local_time(row.time, shown) if shown else "",
                row.namespace,
                row.task,
                row.schedule,
                "; ".join(part for part in (row.held, row.note) if part),
            ]
            for row in rows
        ]
        used = [n for n, title in enumerate(titles) if title == "TASK" or any(r[n] for r in lines)]
        table([titles[n] for n in used], ([line[n] for n in used] for line in lines))
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


def _data(row: Due) -> dict[str, str]:
    from taskrunner.domain.instants import format_instant

    found = {"time": format_instant(row.time), "namespace": row.namespace, "task": row.task}
    more = {"schedule": row.schedule, "note": row.note, "held": row.held}
    return found | {key: value for key, value in more.items() if value}


async def gathered(
    api: Api,
    namespace: str,
    selector: str,
    wanted: Iterable[str],
    now: int,
    until: int,
    count: int,
) -> list[Due]:
    """Everything that is to start with now < time ≤ until, at most `count` slots of each task."""
    tasks = await api.list(SCHEDULED_TASKS, namespace=namespace, label_selector=selector)
    names = set(wanted)
    if missing := names - {task["metadata"]["name"] for task in tasks}:
        fail(f"There is no task {', '.join(sorted(missing))}. `kubectl get stask` lists the tasks.")
    tasks = [task for task in tasks if not names or task["metadata"]["name"] in names]
    calendars = await _calendars(api, namespace)
    held = await _held(api)
    asked = await api.list(
        TASK_EXECUTIONS, namespace=namespace, field_selector="status.reason=Requested"
    )
    skipped = frozenset(place_of(execution) for execution in asked)
    found: list[Due] = []
    for task in tasks:
        place = place_of(task)
        why = "suspended" if task["spec"].get("suspend") else held.get(place[0], "")
        found += _slots(task, calendars.get(place[0], {}), skipped, now, until, count, why)
    chosen = {place_of(task) for task in tasks}
    runs = await api.list(TASK_EXECUTIONS, namespace=namespace, field_selector=NOT_ENDED)
    found += [
        due
        for run in runs
        for due in _waiting(run)
        if now < due.time <= until and (due.namespace, due.task) in chosen
    ]
    return found


async def _held(api: Api) -> Mapping[str, str]:
    """Namespaces that are paused, as far as the user may know."""
    from taskrunner.engine.pause_sinks import PAUSED_NAMESPACES
    from taskrunner.errors import Refused

    try:
        paused = await api.list(NAMESPACES, label_selector=PAUSED_NAMESPACES)
    except Refused:
        return {}
    return {found["metadata"]["name"]: "namespace paused" for found in paused}


async def _calendars(api: Api, namespace: str) -> dict[str, dict[str, CompiledCalendar]]:
    from taskrunner.api.v1alpha1.parse import parse_calendar
    from taskrunner.domain.calendar_compile import compile_calendar

    found: dict[str, dict[str, CompiledCalendar]] = {}
    for obj in await api.list(CALENDARS, namespace=namespace):
        at, name = place_of(obj)
        try:
            found.setdefault(at, {})[name] = compile_calendar(parse_calendar(obj))
        except SpecError as error:
            warn([f"calendar {at}/{name}: {error}"])
    return found


def _slots(
    obj: Obj,
    calendars: Mapping[str, CompiledCalendar],
    skipped: frozenset[tuple[str, str]],
    now: int,
    until: int,
    count: int,
    held: str,
) -> Iterator[Due]:
    from itertools import islice

    from taskrunner.api.v1alpha1.parse import parse_scheduled_task
    from taskrunner.domain.compile import compile_task
    from taskrunner.domain.preview import upcoming
    from taskrunner.domain.skipping import leaving_out

    namespace, name = place_of(obj)
    try:
        task = compile_task(parse_scheduled_task(obj), calendars)
        task = leaving_out(task, frozenset(slot for at, slot in skipped if at == namespace))
    except SpecError as error:
        warn([f"task {namespace}/{name} cannot be followed: {error}"])
        return
    left = None
    if task.max_executions is not None:
        left = max(0, task.max_executions - status_of(obj).get("scheduledCount", 0))
    for slot in islice(upcoming(task, now, left=left), count):
        if slot.start > until:
            return
        # A slot that is deferred and decided already is an execution, told by itself.
        if slot.due > now:
            yield Due(slot.start, namespace, name, slot.schedule, "; ".join(slot.notes), held)


def _waiting(run: Obj) -> Iterator[Due]:
    """When an execution starts that has been created already."""
    namespace, name = place_of(run)
    spec, status = run["spec"], status_of(run)
    retry, later = instant(status.get("nextRetryTime")), instant(spec.get("notBefore"))
    task = spec["taskRef"]["name"]
    if status.get("phase") == "Retrying" and retry is not None:
        yield Due(retry, namespace, task, "", f"attempt {status.get('attempt', 1) + 1} of {name}")
    elif later is not None and status.get("phase", "Pending") in ("Pending", "Queued"):
        yield Due(later, namespace, task, "", f"{name} waits until then")
