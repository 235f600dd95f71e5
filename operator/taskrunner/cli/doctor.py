"""`taskrunner doctor`: look at an installation, and say what to do. With `--bundle`, for others."""

from __future__ import annotations

from typing import Annotated

import typer

from taskrunner.cli.checks import Check, Checks
from taskrunner.cli.cluster import Kubeconfig, KubeContext, Namespace, on_cluster
from taskrunner.cli.shared import FAILED, Session
from taskrunner.cli.tables import Format, Output, table, write_data
from taskrunner.errors import ApiError
from taskrunner.ports import Clock


def doctor(
    context: typer.Context,
    bundle: Annotated[
        str, typer.Option(help="Write what support needs to this .tar.gz, without secrets.")
    ] = "",
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Check an installation: definitions, policies, rights, Leases, webhook, clocks, lag.

      taskrunner doctor

      taskrunner doctor -o json

      taskrunner doctor --bundle support.tar.gz

    The exit code is 1 when something fails; warnings do not count. What you may not read is told
    as a warning. A bundle has the findings, our objects, Leases, Events, pods and logs of the
    operator; Job templates are reduced to container names and images, and values of arguments,
    results and messages of runs are left out.
    """
    clock: Clock = context.obj.clock

    async def work(session: Session) -> int:
        found = await examine(session, clock, namespace or session.namespace)
        if output in (Format.json, Format.yaml):
            write_data([as_data(check) for check in found], output)
        else:
            rows = ([c.level, c.about, f"{c.text} {c.remedy}".rstrip()] for c in found)
            table(["", "CHECK", "WHAT"], rows)
        if bundle:
            from taskrunner.cli.bundle import write

            size = await write(session, bundle, [as_data(check) for check in found])
            typer.echo(f"{bundle}: {size} files", err=True)
        return FAILED if any(check.level == "FAIL" for check in found) else 0

    on_cluster(context, kubeconfig, kube_context, work)


def as_data(check: Check) -> dict[str, str]:
    """For programs."""
    data = {"check": check.about, "level": check.level, "text": check.text}
    return data | ({"remedy": check.remedy} if check.remedy else {})


async def examine(session: Session, clock: Clock, namespace: str) -> list[Check]:
    """All checks, in the order in which one depends on the other."""
    from taskrunner.cli import checks, checks_running

    now = clock.now()
    # Ages are by the clock that wrote the times, as far as it is known.
    await session.raw.read("/version")
    now -= session.skew() or 0.0
    found: list[Check] = []
    for about, looking in (
        ("cluster", checks.cluster(session)),
        ("definitions", checks.definitions(session)),
        ("policies", checks.policies(session)),
        ("your rights", checks.rights(session, namespace)),
        ("pods", checks_running.operator(session)),
        ("shards", checks_running.shards(session, now)),
        ("webhook", checks.webhook(session, namespace, now)),
        ("clock", checks_running.clock(session)),
        ("tasks", checks_running.tasks(session, now)),
    ):
        found += await _seen(about, looking)
    return found


async def _seen(about: str, looking: Checks) -> list[Check]:
    """What a check finds; that it may not look, or cannot, is a finding, too."""
    found: list[Check] = []
    try:
        async for check in looking:
            found.append(check)  # noqa: PERF401 - what was found before an error counts
    except ApiError as error:
        remedy = "Ask somebody who may read it." if error.code == 403 else ""
        level = "warn" if error.code == 403 else "FAIL"
        found.append(Check(about, level, f"It cannot be looked at: {error}", remedy))  # type: ignore[arg-type]
    return found
