"""`taskrunner backup`: all objects of ours, with their state, as YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from taskrunner.cli.cluster import (
    AllNamespaces,
    Kubeconfig,
    KubeContext,
    Namespace,
    on_cluster,
)
from taskrunner.cli.shared import Session, fail
from taskrunner.errors import NotFound, Refused, TaskrunnerError
from taskrunner.ports import NAMESPACES, Clock, Obj, Resource


def backup(
    context: typer.Context,
    file: Annotated[
        str, typer.Option("--file", "-f", help='Where to write it; "-" is standard output.')
    ] = "-",
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Write all tasks, calendars and executions, with their state, to a file.

      taskrunner backup -A -f backup.yaml

      taskrunner backup -n qa | gzip > qa.yaml.gz

    Also which namespaces are paused. Jobs, pods and Secrets are not in it. It may be made at any
    time; `taskrunner restore` reads it.
    """
    clock: Clock = context.obj.clock

    async def work(session: Session) -> int:
        where = "" if all_namespaces else namespace or session.namespace
        found = await everything(session, where)
        text = "".join(written(found, clock.now()))
        if file == "-":
            typer.echo(text, nl=False)
        else:
            _save(file, text)
        typer.echo(f"{counted(found)}", err=True)
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


async def everything(session: Session, namespace: str) -> list[Obj]:
    """All objects, tasks before executions: an execution that is created in between is then in it,
    and tells that its slot is decided; the other way round its slot would be, and it would not."""
    from taskrunner.api.v1alpha1.names import LABEL_PAUSED
    from taskrunner.cli.tables import plain
    from taskrunner.engine.pause_sinks import PAUSED_NAMESPACES

    found: list[Obj] = []
    for resource in await _resources(session):
        listed = await session.api.list(resource, namespace=namespace)
        found += [plain(resource, obj) for obj in listed]
    try:
        paused = await session.api.list(NAMESPACES, label_selector=PAUSED_NAMESPACES)
    except Refused:
        typer.echo("warning: Namespaces cannot be read: which are paused is not in it.", err=True)
        return found
    for obj in paused:
        if namespace in ("", obj["metadata"]["name"]):
            label = {LABEL_PAUSED: obj["metadata"]["labels"][LABEL_PAUSED]}
            metadata = {"name": obj["metadata"]["name"], "labels": label}
            found.insert(0, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return found


async def _resources(session: Session) -> list[Resource]:
    """The kinds that the cluster has of ours, in the order in which they are to be read."""
    import orjson

    from taskrunner.api.v1alpha1.names import API_VERSION, GROUP, VERSION
    from taskrunner.domain.restoring import SHARD, order

    try:
        answer = orjson.loads(await session.raw.read(f"/apis/{API_VERSION}"))
    except NotFound as error:
        raise TaskrunnerError("The cluster has no tasks: its definitions are missing.") from error
    kinds = [
        Resource(GROUP, VERSION, found["name"], found["kind"])
        for found in answer["resources"]
        if "/" not in found["name"] and found["kind"] != SHARD
    ]
    return sorted(kinds, key=lambda one: order({"kind": one.kind, "metadata": {"name": ""}}))


def written(found: Iterable[Obj], now: float) -> Iterator[str]:
    """The text of a backup, document by document."""
    from taskrunner import __version__
    from taskrunner.cli.tables import as_yaml
    from taskrunner.domain.instants import format_instant

    yield f"# Made by taskrunner {__version__} backup, {format_instant(now)}\n"
    for obj in found:
        yield "---\n" + as_yaml(obj)


def _save(file: str, text: str) -> None:
    """Write it whole or not at all."""
    from pathlib import Path

    target = Path(file)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        unfinished.write_text(text, "utf-8")
        unfinished.replace(target)
    except OSError as error:
        fail(f"{file}: It cannot be written: {error.strerror}.")


def counted(found: Iterable[Obj]) -> str:
    """How many of each kind, for people."""
    from collections import Counter

    kinds = Counter(str(obj["kind"]) for obj in found)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "There is nothing."
