"""`taskrunner backfill`: run slots of a task's past, and say beforehand which these are."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from taskrunner.cli.cluster import Kubeconfig, KubeContext, Namespace, on_cluster
from taskrunner.cli.shared import Session, fail
from taskrunner.cli.tables import Format, Output
from taskrunner.ports import BACKFILLS, CALENDARS, TASK_EXECUTIONS, Api, Clock, Obj

if TYPE_CHECKING:
    from taskrunner.domain.backfill import BackfillPlan, Request
    from taskrunner.domain.compile import CompiledTask

SHOWN: Final = 20
"""Slots in the table of a dry run."""


class Order(StrEnum):
    """Which slots go first."""

    oldest = "oldest"
    newest = "newest"


def backfill(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task whose slots to run.")],
    start: Annotated[
        str, typer.Option("--from", help='First moment, e.g. "2026-11-01" or RFC 3339.')
    ],
    to: Annotated[
        str | None,
        typer.Option(help="Moment to stop before. Default: now. Slots to come are never run."),
    ] = None,
    only_missed: Annotated[
        bool, typer.Option("--only-missed", help="Only slots that are known to have been missed.")
    ] = False,
    max_concurrent: Annotated[int, typer.Option(min=1, max=100, help="Most runs at once.")] = 1,
    order: Annotated[Order, typer.Option(help="Which slots go first.")] = Order.oldest,
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", help="NAME=VALUE for each run. May be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the Backfill; default: made up.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be run, and what is not known.")
    ] = False,
    zone: Annotated[
        str | None, typer.Option(help="Time zone of --from and --to without an offset.")
    ] = None,
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Run slots of a task's past, a few at a time, behind its live runs.

      taskrunner backfill report --from 2026-11-01 --to 2026-11-15 --dry-run

      taskrunner backfill report --from 2026-11-01 --only-missed --max-concurrent 5

    It creates a Backfill: `kubectl get backfills` shows how far it is. To cancel what has not
    started: kubectl delete backfill NAME. What runs then finishes.
    """
    from taskrunner.cli.cluster import task_called
    from taskrunner.cli.run import arguments_option
    from taskrunner.cli.shared import time_option, zone_option
    from taskrunner.cli.tables import named, plain, write_data
    from taskrunner.domain.backfill import Request

    clock: Clock = context.obj.clock
    shown_zone = zone_option(zone)
    begin, end = time_option("--from", start, shown_zone), time_option("--to", to, shown_zone)
    assert begin is not None
    end = int(clock.now()) if end is None else end
    if end <= begin:
        fail(f'--to "{to or "now"}" is not after --from "{start}". Write a later time.')
    newest, arguments = order is Order.newest, arguments_option(arg or ())
    request = Request(task, begin, end, only_missed, newest, arguments)

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        found = await task_called(session.api, where, task)
        if dry_run:
            compiled = await _compiled(session.api, found)
            _show(compiled, request, await _plan(session.api, found, compiled, request), output)
            return 0
        made = await session.api.create(BACKFILLS, where, _body(request, name, max_concurrent))
        if output in (Format.json, Format.yaml):
            write_data(plain(BACKFILLS, made), output)
        elif output is Format.name:
            typer.echo(named(BACKFILLS, made))
        else:
            made_name = made["metadata"]["name"]
            typer.echo(f"{made_name}: created; kubectl get backfill {made_name} -n {where} -w")
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


def _body(request: Request, name: str, max_concurrent: int) -> Obj:
    from taskrunner.domain.instants import format_instant

    spec: dict[str, Any] = {
        "taskRef": {"name": request.task},
        "from": format_instant(request.begin),
        "to": format_instant(request.end),
        "maxConcurrent": max_concurrent,
    }
    if request.only_missed:
        spec["onlyMissed"] = True
    if request.newest_first:
        spec["order"] = "NewestFirst"
    if request.arguments:
        spec["arguments"] = dict(request.arguments)
    return {
        "apiVersion": BACKFILLS.api_version,
        "kind": BACKFILLS.kind,
        # As a name made up by the server has five characters more, and is a label of the runs.
        "metadata": {"name": name} if name else {"generateName": f"{request.task[:50]}-"},
        "spec": spec,
    }


async def _compiled(api: Api, found: Obj) -> CompiledTask:
    from taskrunner.api.v1alpha1.parse import parse_calendar, parse_scheduled_task
    from taskrunner.domain.calendar_compile import compile_calendar
    from taskrunner.domain.compile import compile_task

    calendars = {}
    if found["spec"].get("calendars"):
        for obj in await api.list(CALENDARS, namespace=found["metadata"]["namespace"]):
            calendars[obj["metadata"]["name"]] = compile_calendar(parse_calendar(obj))
    return compile_task(parse_scheduled_task(found), calendars)


async def _plan(api: Api, found: Obj, task: CompiledTask, request: Request) -> BackfillPlan:
    """What the operator would decide, from the same objects."""
    from taskrunner.domain.backfill import Known, missed_ranges, plan_backfill
    from taskrunner.domain.backfill_status import backfill_from, standing_of
    from taskrunner.domain.instants import parse_instant
    from taskrunner.domain.observed import execution_from

    status = found.get("status") or {}
    if not status.get("decidedUntil"):
        fail(
            f'The operator has not looked at task "{request.task}" yet, so nothing of its past is'
            " decided. `taskrunner doctor` tells whether an operator runs."
        )
    where, selector = task.namespace, f"spec.taskRef.name={request.task}"
    runs = await api.list(TASK_EXECUTIONS, namespace=where, field_selector=selector)
    others = await api.list(BACKFILLS, namespace=where, field_selector=selector)
    standings = {obj["metadata"]["name"]: standing_of(backfill_from(obj)) for obj in others}
    known = Known(
        parse_instant(status["decidedUntil"]),
        parse_instant(status["plan"]["since"]),
        missed_ranges(status),
        [execution_from(obj) for obj in runs],
        {name: s.spans for name, s in standings.items() if s.planned and s.task_uid == task.uid},
    )
    return plan_backfill(task, request, known)


def _show(task: CompiledTask, request: Request, plan: BackfillPlan, output: Format) -> None:
    from itertools import islice

    from taskrunner.cli.tables import table, write_data
    from taskrunner.domain.backfill import slots_in
    from taskrunner.domain.instants import format_instant
    from taskrunner.domain.preview import local_time, zone_of

    slots = [
        slot
        for _, group in slots_in(task, plan.spans, newest_first=request.newest_first)
        for slot in group
    ]
    left_out = [part.to_wire() for part in plan.left_out]
    if output in (Format.json, Format.yaml):
        times = [format_instant(slot.nominal) for slot in slots]
        write_data({"total": plan.total, "slots": times, "leftOut": left_out}, output)
        return
    if slots:
        rows = [
            (format_instant(s.nominal), local_time(s.nominal, zone_of(task, s)), s.schedule)
            for s in islice(slots, SHOWN)
        ]
        table(("SLOT (UTC)", "LOCAL", "SCHEDULE"), rows)
        if len(slots) > SHOWN:
            typer.echo(
                f"… and {len(slots) - SHOWN} more, up to {format_instant(slots[-1].nominal)}"
            )
    typer.echo(f"{plan.total} slots would be run.")
    if left_out:
        typer.echo("\nNothing is run of:")
        table(
            ("FROM", "TO", "REASON", "MESSAGE"),
            [(p["from"], p["to"], p["reason"], p["message"]) for p in left_out],
        )
