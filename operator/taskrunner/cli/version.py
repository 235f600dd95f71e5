"""`taskrunner version`: of this program, its time zones, the operator and the cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskrunner.cli.cluster import Kubeconfig, KubeContext, on_cluster
from taskrunner.cli.shared import Session
from taskrunner.cli.tables import Format, Output, write_data
from taskrunner.errors import ApiError


def version(
    context: typer.Context,
    client: Annotated[bool, typer.Option("--client", help="Ask no cluster.")] = False,
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Show the versions of this program, and of what the cluster has.

    taskrunner version --client
    """
    from taskrunner import __version__
    from taskrunner.domain.zones import tzdata_version

    found: dict[str, Any] = {"client": __version__, "tzdata": tzdata_version()}

    def tell() -> None:
        if output in (Format.json, Format.yaml):
            write_data(found, output)
        else:
            for name, value in found.items():
                typer.echo(f"{name}: {value}")

    if client:
        tell()
        return

    async def work(session: Session) -> int:
        import orjson

        from taskrunner.cli.checks import DEPLOYMENTS, LABEL

        found["kubernetes"] = orjson.loads(await session.raw.read("/version"))["gitVersion"]
        try:
            deployments = await session.api.list(DEPLOYMENTS, label_selector=LABEL)
        except ApiError:
            deployments = []
        for one in deployments:
            (container, *_) = one["spec"]["template"]["spec"]["containers"]
            found[one["metadata"]["name"]] = container["image"]
        tell()
        return 0

    on_cluster(context, kubeconfig, kube_context, work)
