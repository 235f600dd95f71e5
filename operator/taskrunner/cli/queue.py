"""`taskrunner queue`: TaskQueues, who waits in them and in which order, and to change that."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from taskrunner.cli.cluster import (
    Kubeconfig,
    KubeContext,
    Namespace,
    execution_called,
    on_cluster,
    queue_called,
    status_of,
)
from taskrunner.cli.shared import Session
from taskrunner.cli.tables import Column, Format, Output, show
from taskrunner.cli.times import since
from taskrunner.ports import SCHEDULED_TASKS, TASK_EXECUTIONS, TASK_QUEUES, Clock, Obj

_ENDED: Final = ("Succeeded", "Failed", "Cancelled", "Skipped", "Missed")


class Group(TyperGroup):
    """`taskrunner queue` and `taskrunner queue NAME` are short for `taskrunner queue show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `show` in where no command is named."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["show", *args]
        found: list[str] = super().parse_args(ctx, args)
        return found


app = typer.Typer(
    cls=Group,
    help="Show TaskQueues and who waits in them; put runs before others. `queue NAME` is short for"
    " `queue show NAME`.",
)


@app.command("show")
def queue(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A TaskQueue. Default: all of the namespace.")] = "",
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Show TaskQueues; of one, who waits in it, in the order in which they would start.

      taskrunner queue

      taskrunner queue staging

    The order is computed from the objects: tasks take turns by weight and by what runs, and the
    runs of each go by priority and age. Who has had how much before is known to the operator alone.
    """
    clock: Clock = context.obj.clock

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        if not name:
            found = await session.api.list(TASK_QUEUES, namespace=where)
            now = clock.now()
            columns = _columns(now)
            show(found, columns, output, TASK_QUEUES, empty=f"No TaskQueue in {where}.")
            return 0
        one = await queue_called(session.api, where, name)
        tasks = await session.api.list(SCHEDULED_TASKS, namespace=where)
        runs = await session.api.list(TASK_EXECUTIONS, namespace=where)
        line, running = in_line(one, tasks, runs)
        if output in (Format.table, Format.wide):
            _say(one, running, line, clock.now())
        show(line, _waiting(clock.now()), output, TASK_EXECUTIONS, empty="Nobody waits.")
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


@app.command("move")
def move(
    context: typer.Context,
    execution: Annotated[str, typer.Argument(help="A run that waits.")],
    priority: Annotated[
        int, typer.Option(min=0, max=1000, help="The larger, the sooner; 500 is usual.")
    ],
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Put a waiting run before or behind the others of its task: set its priority.

      taskrunner queue move nightly-1790000040 --priority 900

    Between tasks of a queue, weights count (spec.taskWeights of the TaskQueue).
    """

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        found = await execution_called(session.api, where, execution)
        phase = status_of(found).get("phase") or "Pending"
        if phase not in ("Pending", "Queued"):
            typer.echo(f"error: {execution}: It does not wait any more ({phase}).", err=True)
            return 1
        patch = {"spec": {"priority": priority}}
        await session.api.patch(TASK_EXECUTIONS, where, execution, patch)
        typer.echo(f"{execution}: has the priority {priority} now")
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


def in_line(queue: Obj, tasks: list[Obj], runs: list[Obj]) -> tuple[list[Obj], int]:
    """The runs that wait in a queue, in the order in which they would start if places became free
    one after the other; and how many are active."""
    from taskrunner.domain.observed import execution_from
    from taskrunner.domain.places import Limits, Places
    from taskrunner.domain.queueing import DEFAULT_PRIORITY, order_of
    from taskrunner.domain.task_queue import task_queue_from

    name = queue["metadata"]["name"]
    mine = {
        task["metadata"]["name"]: task["spec"].get("priority")
        for task in tasks
        if (task["spec"].get("queue") or {}).get("name") == name
    }
    weights = task_queue_from(queue).weights
    places = Places()
    by_name: dict[str, Obj] = {}
    for obj in runs:
        run = execution_from(obj)
        if run.task not in mine or run.phase in _ENDED or not run.is_run:
            continue
        places.limit(run.task, Limits(weight=weights.get(run.task, 1)))
        if run.phase == "Queued":
            own = run.priority if run.priority is not None else mine[run.task]
            priority = DEFAULT_PRIORITY if own is None else own
            places.wait(run.name, run.task, order_of(priority, max(run.due, run.created), run.name))
            by_name[run.name] = obj
        elif run.phase in ("Running", "Retrying") or run.reason:
            places.hold(run.name, run.task)
    running = places.held
    line: list[Obj] = []
    while (first := places.take()) is not None:
        line.append(by_name[first])
    return line, running


def _columns(now: float) -> list[Column]:
    def text(*path: str) -> Any:
        def found(obj: Obj) -> str:
            value: Any = obj
            for part in path:
                value = (value or {}).get(part)
            return "" if value is None else str(value)

        return found

    return [
        Column("NAME", text("metadata", "name")),
        Column("RUNNING", text("status", "running")),
        Column("MAX", text("spec", "maxConcurrent")),
        Column("PER MINUTE", text("spec", "startsPerMinute")),
        Column("WAITING", text("status", "length")),
        Column("LONGEST", lambda obj: since(status_of(obj).get("oldestWaitTime"), now)),
        Column("WEIGHT", text("spec", "weight"), wide=True),
    ]


def _waiting(now: float) -> list[Column]:
    return [
        Column("NEXT", lambda obj: str(obj["metadata"]["name"])),
        Column("TASK", lambda obj: str(obj["spec"]["taskRef"]["name"])),
        Column("PRIORITY", lambda obj: str(obj["spec"].get("priority", ""))),
        Column("WAITS", lambda obj: since(status_of(obj).get("queuedTime"), now)),
        Column("FOR", lambda obj: str(status_of(obj).get("reason", ""))),
        Column("MESSAGE", lambda obj: str(status_of(obj).get("message", "")), wide=True),
    ]


def _say(queue: Obj, running: int, line: list[Obj], now: float) -> None:
    spec = queue["spec"]
    most, pace = spec.get("maxConcurrent"), spec.get("startsPerMinute")
    limits = f" of {most}" if most is not None else ""
    paced = f", at most {pace} starts a minute" if pace is not None else ""
    times = [status_of(obj).get("queuedTime") for obj in line]
    oldest = min((str(time) for time in times if time), default="")
    waits = f", the longest for {since(oldest, now)}" if oldest else ""
    name = queue["metadata"]["name"]
    typer.echo(f"{name}: {running}{limits} active, {len(line)} waiting{waits}{paced}")
