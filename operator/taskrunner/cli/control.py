"""`taskrunner suspend`, `resume` and `cancel`: what a task and a run are told to do."""

from __future__ import annotations

from typing import Annotated

import typer

from taskrunner.cli.cluster import (
    Kubeconfig,
    KubeContext,
    Namespace,
    Selector,
    chosen_tasks,
    execution_called,
    name_of,
    on_cluster,
    one_way,
    said_no,
    status_of,
)
from taskrunner.cli.shared import FAILED, Session, fail
from taskrunner.errors import ApiError
from taskrunner.ports import SCHEDULED_TASKS, TASK_EXECUTIONS, Api, Obj

Tasks = Annotated[list[str] | None, typer.Argument(help="The tasks.", metavar="[TASK]...")]
Everything = Annotated[bool, typer.Option("--all", help="All of the namespace.")]


def suspend(
    context: typer.Context,
    task: Tasks = None,
    selector: Selector = "",
    everything: Everything = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Start no more runs of tasks on schedule; what runs goes on, and runs by hand start.

      taskrunner suspend nightly

      taskrunner suspend -l team=qa -n qa

    On resume, slots missed meanwhile are decided by each task's catchUp.
    """
    _set_suspend(context, True, task, selector, everything, namespace, kubeconfig, kube_context)


def resume(
    context: typer.Context,
    task: Tasks = None,
    selector: Selector = "",
    everything: Everything = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Let suspended tasks start runs again. Missed slots are decided by each task's catchUp.

    taskrunner resume nightly
    """
    _set_suspend(context, False, task, selector, everything, namespace, kubeconfig, kube_context)


def _set_suspend(
    context: typer.Context,
    value: bool,
    names: list[str] | None,
    selector: str,
    everything: bool,
    namespace: str,
    kubeconfig: str,
    kube_context: str,
) -> None:
    one_way(names, selector, everything)
    done = "suspended" if value else "resumed"

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        found = await chosen_tasks(session.api, where, names, selector, everything)
        if not found:
            typer.echo(f"No task in namespace {where} is chosen.", err=True)
        failures = 0
        for task in found:
            if bool(task["spec"].get("suspend")) is value:
                typer.echo(
                    f"{name_of(task)}: is {'suspended' if value else 'not suspended'} already"
                )
                continue
            try:
                patch = {"spec": {"suspend": value}}
                await session.api.patch(SCHEDULED_TASKS, where, name_of(task), patch)
            except ApiError as error:
                said_no(name_of(task), error)
                failures += 1
            else:
                typer.echo(f"{name_of(task)}: {done}")
        return FAILED if failures else 0

    on_cluster(context, kubeconfig, kube_context, work)


def cancel(
    context: typer.Context,
    execution: Annotated[
        list[str] | None,
        typer.Argument(help="The runs to stop.", metavar="[EXECUTION]..."),
    ] = None,
    task: Annotated[str, typer.Option(help="All runs of this task that have not ended.")] = "",
    selector: Selector = "",
    now: Annotated[
        bool, typer.Option("--now", help="Kill its pods, without their grace period.")
    ] = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Stop runs, whatever they are doing. They end as Cancelled and are not retried.

      taskrunner cancel nightly-1767225600

      taskrunner cancel --task load-test --now

    It cannot be taken back. A second call with --now kills what still ends gracefully.
    """
    if sum((bool(execution), bool(task), bool(selector))) != 1:
        fail("Say which: one or more names, or --task with a task, or -l with a label selector.")
    stop = "Immediate" if now else "Graceful"

    async def work(session: Session) -> int:
        api, where = session.api, namespace or session.namespace
        if execution:
            found = [await execution_called(api, where, name) for name in execution]
        else:
            field = f"spec.taskRef.name={task}" if task else ""
            found = await api.list(
                TASK_EXECUTIONS, namespace=where, label_selector=selector, field_selector=field
            )
            found = [one for one in found if not _over(one)]
        if not found:
            typer.echo(f"No run in namespace {where} is chosen that has not ended.", err=True)
        done = [await _stopped(api, where, one, stop) for one in found]
        return 0 if all(done) else FAILED

    on_cluster(context, kubeconfig, kube_context, work)


async def _stopped(api: Api, namespace: str, execution: Obj, stop: str) -> bool:
    name, present = name_of(execution), execution["spec"].get("stop")
    if _over(execution):
        typer.echo(f"{name}: has ended already ({status_of(execution)['phase']})")
        return True
    if present in (stop, "Immediate"):
        typer.echo(f"{name}: is being stopped already")
        return True
    try:
        await api.patch(TASK_EXECUTIONS, namespace, name, {"spec": {"stop": stop}})
    except ApiError as error:
        said_no(name, error)
        return False
    typer.echo(f"{name}: is {'killed' if stop == 'Immediate' else 'stopped'}")
    return True


def _over(execution: Obj) -> bool:
    from taskrunner.cli.run import ended

    return ended(execution)
