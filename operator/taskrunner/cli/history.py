"""`taskrunner history`: what became of the slots and runs of a task."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from taskrunner.cli.cluster import (
    AllNamespaces,
    Kubeconfig,
    KubeContext,
    Namespace,
    on_cluster,
    status_of,
    task_called,
)
from taskrunner.cli.shared import Session
from taskrunner.cli.tables import Column, Format, Output, show
from taskrunner.cli.times import instant, length, milliseconds
from taskrunner.ports import TASK_EXECUTIONS, Clock, Obj

COUNT: Final = 20


def history(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A task. Default: all of the namespace.")] = "",
    phase: Annotated[str, typer.Option(help="Only what is in this phase, e.g. Failed.")] = "",
    since: Annotated[str | None, typer.Option(help="Only what is not older, e.g. 2d.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Most lines.")] = COUNT,
    all_namespaces: AllNamespaces = False,
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Show what became of slots and runs, the latest first.

      taskrunner history nightly

      taskrunner history -A --phase Failed --since 1d

      taskrunner history nightly -o wide

    A slot that was skipped or missed is a line, too; slots with one reason in a row share one. How
    much is kept, the task's history limits say.
    """
    from taskrunner.cli.times import seconds_option

    clock: Clock = context.obj.clock
    age = seconds_option("--since", since)

    async def work(session: Session) -> int:
        where = "" if all_namespaces else namespace or session.namespace
        if task and where:
            await task_called(session.api, where, task)
        fields = [f"spec.taskRef.name={task}"] if task else []
        fields += [f"status.phase={_phase(phase)}"] if phase else []
        found = await session.api.list(
            TASK_EXECUTIONS, namespace=where, field_selector=",".join(fields)
        )
        found.sort(key=moment, reverse=True)
        if age is not None:
            found = [one for one in found if moment(one)[0] >= clock.now() - age]
        columns = ([NAMESPACE] if all_namespaces else []) + COLUMNS
        empty = "No executions are kept" + (f" of {task}." if task else ".")
        show(found[:count], columns, output, TASK_EXECUTIONS, empty=empty)
        if len(found) > count and output in (Format.table, Format.wide):
            typer.echo(f"… and {len(found) - count} more; --count shows them.", err=True)
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


def _phase(text: str) -> str:
    """A phase, however it is written. Exits for one that does not exist."""
    from typing import get_args

    from taskrunner.api.v1alpha1.task_execution import Phase
    from taskrunner.cli.shared import fail
    from taskrunner.errors import Problem

    phases: dict[str, str] = {known.lower(): known for known in get_args(Phase)}
    if text.lower() not in phases:
        remedy = f"Write one of {', '.join(phases.values())}."
        fail(str(Problem("--phase", text, "There is no such phase.", remedy)))
    return phases[text.lower()]


def moment(execution: Obj) -> tuple[int, str]:
    """What executions are ordered by: when they were due, or asked for."""
    spec, meta = execution["spec"], execution["metadata"]
    found = instant(spec.get("scheduledTime")) or instant(meta.get("creationTimestamp")) or 0
    return found, meta["name"]


def _status(field: str) -> Any:
    return lambda execution: str(status_of(execution).get(field) or "")


def _phase_of(execution: Obj) -> str:
    return str(status_of(execution).get("phase") or "Pending")


def _reason(execution: Obj) -> str:
    status = status_of(execution)
    return str(status.get("reason") or (execution["spec"].get("decision") or {}).get("reason", ""))


def _slots(execution: Obj) -> str:
    """How many slots the line stands for."""
    return str((execution["spec"].get("decision") or {}).get("count", 1))


def _took(execution: Obj) -> str:
    status = status_of(execution)
    if status.get("durationSeconds") is not None:
        return length(status["durationSeconds"])
    return "0s" if status.get("startTime") and status.get("completionTime") else ""


def _slot(execution: Obj) -> str:
    meta = execution["metadata"]
    return str(execution["spec"].get("scheduledTime") or meta.get("creationTimestamp") or "")


def _asked_by(execution: Obj) -> str:
    return str((execution["spec"].get("requestedBy") or {}).get("username", ""))


def _exit_code(execution: Obj) -> str:
    attempts = status_of(execution).get("attempts") or ()
    code = attempts[-1].get("exitCode") if attempts else None
    return "" if code is None else str(code)


NAMESPACE: Final = Column("NAMESPACE", lambda obj: str(obj["metadata"]["namespace"]))
COLUMNS: Final = [
    Column("NAME", lambda obj: str(obj["metadata"]["name"])),
    Column("TYPE", lambda obj: str(obj["spec"].get("type", "Manual"))),
    Column("PHASE", _phase_of),
    Column("REASON", _reason),
    Column("SLOT", _slot),
    Column("SLOTS", _slots, wide=True),
    Column("TOOK", _took),
    Column("ATTEMPT", _status("attempt")),
    Column("EXIT", _exit_code, wide=True),
    Column("LAG", lambda obj: milliseconds(status_of(obj).get("startLagMilliseconds"))),
    Column("ASKED BY", _asked_by, wide=True),
    Column("MESSAGE", _status("message"), wide=True),
]
