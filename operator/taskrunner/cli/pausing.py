"""`taskrunner pause` and `taskrunner unpause`: a namespace, or everything."""

from __future__ import annotations

from typing import Annotated

import typer

from taskrunner.cli.cluster import Kubeconfig, KubeContext, Namespace, on_cluster
from taskrunner.cli.shared import Session, fail
from taskrunner.errors import NotFound, TaskrunnerError
from taskrunner.ports import CONFIG_MAPS, NAMESPACES, Api

Everything = Annotated[
    bool, typer.Option("--all", help="All tasks of the cluster: the operator's `paused`.")
]
OperatorNamespace = Annotated[
    str, typer.Option(help="Namespace of the operator. Default: where its ConfigMap is found.")
]
CONFIG_SELECTOR = "app.kubernetes.io/name=taskrunner,app.kubernetes.io/component=operator"


def pause(
    context: typer.Context,
    namespace: Namespace = "",
    everything: Everything = False,
    operator_namespace: OperatorNamespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Start nothing in a namespace, or anywhere; what runs goes on.

      taskrunner pause -n qa

      taskrunner pause --all

    What was due meanwhile is decided by each task's catchUp when the pause is over. --all holds
    until the next `helm upgrade`, which sets operator.paused as its values say.
    """
    _set_paused(context, True, namespace, everything, operator_namespace, kubeconfig, kube_context)


def unpause(
    context: typer.Context,
    namespace: Namespace = "",
    everything: Everything = False,
    operator_namespace: OperatorNamespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """End the pause of a namespace, or of everything (--all).

    taskrunner unpause -n qa

    taskrunner unpause --all
    """
    _set_paused(context, False, namespace, everything, operator_namespace, kubeconfig, kube_context)


def _set_paused(
    context: typer.Context,
    value: bool,
    namespace: str,
    everything: bool,
    operator_namespace: str,
    kubeconfig: str,
    kube_context: str,
) -> None:
    if bool(namespace) == everything:
        # A pause of the wrong namespace is found out late: it is to be written.
        fail("Say what: -n with a namespace, or --all.")

    async def work(session: Session) -> int:
        if everything:
            await _everything(session.api, operator_namespace, value)
        else:
            await _one(session.api, namespace, value)
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


async def _one(api: Api, namespace: str, value: bool) -> None:
    from taskrunner.api.v1alpha1.names import LABEL_PAUSED

    try:
        found = await api.get(NAMESPACES, "", namespace)
    except NotFound:
        fail(f'There is no namespace "{namespace}". `kubectl get namespaces` lists them.')
    label = (found["metadata"].get("labels") or {}).get(LABEL_PAUSED, "false")
    if (label != "false") is value:
        typer.echo(f"namespace {namespace}: is {'paused' if value else 'not paused'} already")
        return
    patch = {"metadata": {"labels": {LABEL_PAUSED: "true" if value else None}}}
    await api.patch(NAMESPACES, "", namespace, patch)
    typer.echo(f"namespace {namespace}: {'paused' if value else 'goes on'}")


async def _everything(api: Api, operator_namespace: str, value: bool) -> None:
    where, name = await config_map(api, operator_namespace)
    await api.patch(CONFIG_MAPS, where, name, {"data": {"paused": "true" if value else "false"}})
    done = "everything is paused" if value else "everything goes on"
    typer.echo(f"{done} (ConfigMap {name} in namespace {where})")


async def config_map(api: Api, namespace: str) -> tuple[str, str]:
    """Namespace and name of the ConfigMap that the operator watches. Raises TaskrunnerError when it
    is not clear which."""
    found = await api.list(CONFIG_MAPS, namespace=namespace, label_selector=CONFIG_SELECTOR)
    found = [one for one in found if "paused" in (one.get("data") or {})]
    places = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in found]
    if len(places) == 1:
        return places[0]
    if not places:
        raise TaskrunnerError(
            f"No ConfigMap of an operator is there{f' in {namespace}' if namespace else ''} (labels"
            f" {CONFIG_SELECTOR}, key paused). The chart makes it; docs/how-to/pause.md says how to"
            " do without."
        )
    known = ", ".join(f"{at}/{name}" for at, name in places)
    raise TaskrunnerError(
        f"There are several operators: {known}. Choose one with --operator-namespace."
    )
