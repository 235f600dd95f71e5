"""Commands that speak to a cluster: their options, and how they end.

All of them act with the rights of the user, through the same API as kubectl.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

import typer

from taskrunner.cli.shared import FAILED, Connect, Session, fail
from taskrunner.errors import NotFound, TaskrunnerError
from taskrunner.ports import SCHEDULED_TASKS, TASK_EXECUTIONS, TASK_QUEUES, Api, Obj, Resource

Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace; default: that of the context.")
]
AllNamespaces = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="Look into all namespaces.")
]
Selector = Annotated[
    str, typer.Option("--selector", "-l", help="Those with these labels, e.g. team=qa.")
]
Kubeconfig = Annotated[str, typer.Option(help="Kubeconfig file; default: as kubectl.")]
KubeContext = Annotated[str, typer.Option("--context", help="Context of the kubeconfig.")]

Work = Callable[[Session], Awaitable[int]]
"""What a command does with a cluster; returns the exit code."""

CLOSE = 0.6
"""How alike names must be for one to be what the other was meant to be."""


def on_cluster(context: typer.Context, kubeconfig: str, kube_context: str, work: Work) -> None:
    """Do the work on the cluster that the options name; exit as it says.

    A cluster that cannot be reached or says no ends in one sentence, with exit code 1.
    """
    import asyncio

    connect: Connect = context.obj.connect

    async def connected() -> int:
        async with connect(kubeconfig, kube_context) as session:
            return await work(session)

    try:
        code = asyncio.run(connected())
    except NotFound as error:
        typer.echo(
            f"error: {error}\nIs taskrunner installed there? `taskrunner doctor` looks.", err=True
        )
        raise typer.Exit(FAILED) from error
    except TaskrunnerError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if code:
        raise typer.Exit(code)


def said_no(what: str, error: Exception) -> None:
    """Tell that one of several did not work."""
    typer.echo(f"error: {what}: {error}", err=True)


async def task_called(api: Api, namespace: str, name: str) -> Obj:
    """The ScheduledTask, or exit with what was probably meant."""
    return await _called(api, SCHEDULED_TASKS, "task", "stask", namespace, name)


async def execution_called(api: Api, namespace: str, name: str) -> Obj:
    """The TaskExecution, or exit with what was probably meant."""
    return await _called(api, TASK_EXECUTIONS, "execution", "texec", namespace, name)


async def queue_called(api: Api, namespace: str, name: str) -> Obj:
    """The TaskQueue, or exit with what was probably meant."""
    return await _called(api, TASK_QUEUES, "TaskQueue", "tqueue", namespace, name)


async def _called(
    api: Api, resource: Resource, what: str, short: str, namespace: str, name: str
) -> Obj:
    from difflib import get_close_matches

    try:
        found: Obj = await api.get(resource, namespace, name)
    except NotFound:
        # Also when the kind is not there at all: then this raises, and that is told.
        known = [obj["metadata"]["name"] for obj in await api.list(resource, namespace=namespace)]
        close = get_close_matches(name, known, n=1, cutoff=CLOSE)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        fail(
            f'There is no {what} "{name}" in namespace "{namespace}".{hint}'
            f" `kubectl get {short} -n {namespace}` lists those that are there."
        )
    return found


async def chosen_tasks(
    api: Api, namespace: str, names: Iterable[str] | None, selector: str, everything: bool
) -> list[Obj]:
    """The tasks that a command is told to act on."""
    if names:
        return [await task_called(api, namespace, name) for name in names]
    return await api.list(SCHEDULED_TASKS, namespace=namespace, label_selector=selector)


def one_way(names: Iterable[str] | None, selector: str, everything: bool) -> None:
    """Exit unless it is said in exactly one way what to act on."""
    if sum((bool(names), bool(selector), everything)) != 1:
        fail("Say which: one or more names, or -l with a label selector, or --all.")


def name_of(obj: Obj) -> str:
    """Its name, for people."""
    return str(obj["metadata"]["name"])


def place_of(obj: Obj) -> tuple[str, str]:
    """Its namespace and name."""
    return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])


def status_of(obj: Obj) -> dict[str, Any]:
    """Its status; empty while there is none."""
    return dict(obj.get("status") or {})
