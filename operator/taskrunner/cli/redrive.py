"""`taskrunner redrive` and `taskrunner retry`: run again what has failed, with the same arguments.

Both create executions by hand, as `kubectl create` would, with the rights of the user: the task is
run as it is now, and obeys all that its runs obey.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Annotated, Any, Final

import typer

from taskrunner.api.v1alpha1 import names
from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.cli.shared import FAILED, Connect, fail
from taskrunner.domain.hashing import stable_hash
from taskrunner.domain.naming import task_part
from taskrunner.errors import AlreadyExists, ApiError, NotFound, TaskrunnerError
from taskrunner.ports import TASK_EXECUTIONS, Api, Obj

DEAD: Final = f"status.reason={ExecutionReason.RETRIES_EXHAUSTED}"

_HASH: Final = 8
"""Fewer than the ten digits that end the name of a slot."""

Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace; default: that of the context.")
]
Kubeconfig = Annotated[str, typer.Option(help="Kubeconfig file; default: as kubectl.")]
KubeContext = Annotated[str, typer.Option("--context", help="Context of the kubeconfig.")]


def redrive(
    context: typer.Context,
    name: Annotated[
        list[str] | None, typer.Argument(help="Executions that have exhausted their retries.")
    ] = None,
    selector: Annotated[
        str,
        typer.Option(
            "--selector", "-l", help="All of them with these labels, e.g. taskrunner.dev/task=load."
        ),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    namespace: Namespace = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be run again.")
    ] = False,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Run dead letters again: executions that have exhausted their retries.

    Each is run again once, as a new execution with the same arguments. Doing it twice does no harm:
    what has been run again already is left out. When the new run fails too, it is a dead letter of
    its own. `kubectl get texec --field-selector status.reason=RetriesExhausted` lists them.
    """
    if sum((bool(name), bool(selector), everything)) != 1:
        fail("Say which: one or more names, or -l with a label selector, or --all.")

    async def work() -> int:
        async with connect(kubeconfig, kube_context) as session:
            where = namespace or session.namespace
            if name:
                found = [await _execution(session.api, where, one) for one in name]
            else:
                found = await session.api.list(
                    TASK_EXECUTIONS,
                    namespace=where,
                    label_selector=selector,
                    field_selector=DEAD,
                )
            if not found:
                typer.echo(f"No execution in namespace {where} has exhausted its retries.")
            failures = 0
            for execution in found:
                failures += not await _redriven(session.api, execution, dry_run=dry_run)
            return FAILED if failures else 0

    connect: Connect = context.obj.connect
    _exit(work())


def retry(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The execution to run again.")],
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Run an execution again by hand, whatever became of it: a new one with the same arguments.

    Each call is one more run. The task is run as it is now.
    """

    async def work() -> int:
        async with connect(kubeconfig, kube_context) as session:
            where = namespace or session.namespace
            execution = await _execution(session.api, where, name)
            task = execution["spec"]["taskRef"]["name"]
            body = repeat(execution, {"generateName": f"{task_part(task)}-retry-"})
            made = await session.api.create(TASK_EXECUTIONS, where, body)
            typer.echo(f"{made['metadata']['name']}: created, repeats {name}")
            return 0

    connect: Connect = context.obj.connect
    _exit(work())


def repeat(execution: Obj, metadata: Mapping[str, str]) -> Obj:
    """An execution by hand with the arguments and the overrides of another one. When and by whom it
    was asked for, and whether it was stopped, are not taken."""
    spec: Mapping[str, Any] = execution["spec"]
    kept = ("taskRef", "arguments", "timeoutSeconds", "priority")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.TASK_EXECUTION.kind,
        "metadata": dict(metadata),
        "spec": {
            "type": "Manual",
            **{field: spec[field] for field in kept if field in spec},
            "redriveOf": execution["metadata"]["name"],
        },
    }


def redrive_name(execution: Obj) -> str:
    """The name of the one run that repeats a dead letter: whoever asks twice asks for the same."""
    task = execution["spec"]["taskRef"]["name"]
    digest = f"{stable_hash('redrive', execution['metadata']['uid']):016x}"
    return f"{task_part(task)}-redrive-{digest[:_HASH]}"


async def _execution(api: Api, namespace: str, name: str) -> Obj:
    try:
        found: Obj = await api.get(TASK_EXECUTIONS, namespace, name)
    except NotFound:
        fail(
            f'There is no execution "{name}" in namespace "{namespace}".'
            f" `kubectl get texec -n {namespace}` lists those that are there."
        )
    return found


async def _redriven(api: Api, execution: Obj, *, dry_run: bool) -> bool:
    """Run one dead letter again, and say so; False when it could not be."""
    name, namespace = execution["metadata"]["name"], execution["metadata"]["namespace"]
    status = execution.get("status") or {}
    if status.get("reason") != ExecutionReason.RETRIES_EXHAUSTED:
        what = status.get("reason") or status.get("phase") or "Pending"
        typer.echo(
            f"error: {name}: It has not exhausted its retries ({what})."
            f" To run it again all the same: taskrunner retry {name} -n {namespace}",
            err=True,
        )
        return False
    again = redrive_name(execution)
    known = (execution["metadata"].get("labels") or {}).get(names.LABEL_REDRIVEN_BY)
    if known:
        typer.echo(f"{name}: has been repeated already by {known}")
        return True
    if dry_run:
        typer.echo(f"{name}: would be repeated by {again}")
        return True
    try:
        await api.create(TASK_EXECUTIONS, namespace, repeat(execution, {"name": again}))
    except AlreadyExists:
        typer.echo(f"{name}: has been repeated already by {again}")
    except ApiError as error:
        typer.echo(f"error: {name}: {error}", err=True)
        return False
    else:
        typer.echo(f"{name}: is repeated by {again}")
    await _mark(api, execution, again)
    return True


async def _mark(api: Api, execution: Obj, again: str) -> None:
    """Note on the dead letter what has repeated it: that run may be deleted first, and its name be
    free again. Dying right before is made up for by whoever asks next."""
    name, namespace = execution["metadata"]["name"], execution["metadata"]["namespace"]
    patch = {"metadata": {"labels": {names.LABEL_REDRIVEN_BY: again}}}
    try:
        await api.patch(TASK_EXECUTIONS, namespace, name, patch)
    except ApiError as error:
        typer.echo(
            f"warning: {name}: It cannot be labelled as repeated, so once {again} has been deleted,"
            f" it would be repeated again: {error}",
            err=True,
        )


def _exit(work: Coroutine[Any, Any, int]) -> None:
    """Run it; a cluster that cannot be reached or says no ends in one sentence."""
    import asyncio

    try:
        code = asyncio.run(work)
    except TaskrunnerError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    if code:
        raise typer.Exit(code)
