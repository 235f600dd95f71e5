"""`taskrunner run`: ask for a run of a task, now or later, and wait for it where wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from taskrunner.cli.cluster import Kubeconfig, KubeContext, Namespace, on_cluster
from taskrunner.cli.shared import FAILED, Session, fail
from taskrunner.cli.tables import Format, Output
from taskrunner.errors import Problem
from taskrunner.ports import TASK_EXECUTIONS, Clock, Obj

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK_SECONDS: Final = 0.5
"""Time between two looks at a run that is waited for."""
TIMED_OUT: Final = 3
"""Exit code when the wait ended before the run did."""


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task to run.")],
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", help="NAME=VALUE for the run's containers. May be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the execution; default: made up.")] = "",
    priority: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Larger starts first. Default: the task's.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Longest time for one attempt, e.g. 2h. Default: the task's.")
    ] = None,
    not_before: Annotated[
        str | None,
        typer.Option(help='Start no earlier, e.g. "2026-12-24T18:00:00Z", or "+30m" from now.'),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for its end; exit with 0 if it succeeded.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show its logs, too; implies --wait.")
    ] = False,
    wait_timeout: Annotated[
        str | None, typer.Option(help="Wait no longer than this, e.g. 10m. Default: for ever.")
    ] = None,
    namespace: Namespace = "",
    output: Output = Format.table,
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Run a task by hand: a new execution, with your rights, beside those of its schedule.

      taskrunner run nightly --wait

      taskrunner run load-test --arg USERS=5000 --arg REGION=eu --timeout 4h --follow

      taskrunner run report --not-before +30m --priority 900

    With --wait the exit code is 0 when the run succeeded, 1 when it did not, and 3 when
    --wait-timeout passed first.
    """
    from taskrunner.cli.cluster import task_called
    from taskrunner.cli.tables import named, plain, write_data
    from taskrunner.cli.times import seconds_option

    clock: Clock = context.obj.clock
    arguments = arguments_option(arg or ())
    limit = seconds_option("--wait-timeout", wait_timeout)
    spec = _spec(task, arguments, priority, seconds_option("--timeout", timeout))
    if start := _start("--not-before", not_before, clock):
        spec["notBefore"] = start

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        _check(await task_called(session.api, where, task), arguments)
        made = await session.api.create(TASK_EXECUTIONS, where, _body(task, name, spec))
        data = output in (Format.json, Format.yaml)
        if output is Format.name:
            typer.echo(named(TASK_EXECUTIONS, made))
        elif not data:
            typer.echo(f"{made['metadata']['name']}: created")
        code = 0
        if wait or follow:
            tell = _quiet if data or output is Format.name else typer.echo
            made, code = await _ended(session, clock, made, limit, tell, follow=follow)
        if data:
            write_data(plain(TASK_EXECUTIONS, made), output)
        return code

    on_cluster(context, kubeconfig, kube_context, work)


def arguments_option(given: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            fail(str(Problem("--arg", text, "It has no name.", "Write NAME=VALUE.")))
        if name in found:
            fail(str(Problem("--arg", text, f"{name} is given twice.", "Give it once.")))
        found[name] = value
    return found


def _spec(
    task: str, arguments: dict[str, str], priority: int | None, timeout: int | None
) -> dict[str, Any]:
    spec: dict[str, Any] = {"taskRef": {"name": task}, "type": "Manual"}
    if arguments:
        spec["arguments"] = arguments
    if priority is not None:
        spec["priority"] = priority
    if timeout is not None:
        spec["timeoutSeconds"] = timeout
    return spec


def _start(option: str, text: str | None, clock: Clock) -> str:
    """RFC 3339 of a time, or of a length of time from now; empty for at once."""
    from taskrunner.cli.shared import time_option
    from taskrunner.cli.times import seconds_option
    from taskrunner.domain.instants import format_instant

    if text is not None and text.startswith("+"):
        later = seconds_option(option, text[1:])
        return format_instant(math.ceil(clock.now()) + (later or 0))
    found = time_option(option, text, None)
    return "" if found is None else format_instant(found)


def _body(task: str, name: str, spec: dict[str, Any]) -> Obj:
    from taskrunner.api.v1alpha1 import names
    from taskrunner.domain.naming import task_part

    return {
        "apiVersion": names.API_VERSION,
        "kind": names.TASK_EXECUTION.kind,
        "metadata": {"name": name} if name else {"generateName": f"{task_part(task)}-"},
        "spec": spec,
    }


def _check(task: Obj, arguments: dict[str, str]) -> None:
    """Exit when the arguments do not fit: the run would only fail for it. A task that cannot be
    followed for other reasons is left for its status to tell."""
    from taskrunner.api.v1alpha1.parse import parse_scheduled_task
    from taskrunner.domain.parameters import compile_parameters
    from taskrunner.errors import SpecError

    try:
        spec = parse_scheduled_task(task).spec
    except SpecError:
        return
    parameters, _ = compile_parameters(spec.parameters, spec.job_template)
    problems = [str(problem) for problem in parameters.problems(arguments, "--arg")]
    if problems:
        fail(*problems)


async def _ended(
    session: Session,
    clock: Clock,
    execution: Obj,
    limit: int | None,
    tell: Callable[[str], None],
    *,
    follow: bool,
) -> tuple[Obj, int]:
    """Wait for its end; the execution as it is then, and the exit code."""
    import asyncio
    from contextlib import suppress

    from taskrunner.cli.logs import Show, follow_logs

    logs: asyncio.Task[int] | None = None
    if follow:
        logs = asyncio.create_task(follow_logs(session, clock, execution, Show(follow=True)))
    end = None if limit is None else clock.boot() + limit
    try:
        found = await watched(session, clock, execution, end, tell)
        if logs is not None and ended(found):
            await logs
    finally:
        if logs is not None:
            logs.cancel()
            with suppress(asyncio.CancelledError):
                await logs
    if not ended(found):
        typer.echo(
            f"error: It has not ended after {limit} s; it goes on."
            f" `taskrunner cancel {found['metadata']['name']}` stops it.",
            err=True,
        )
        return found, TIMED_OUT
    return found, 0 if found["status"]["phase"] == "Succeeded" else FAILED


async def watched(
    session: Session, clock: Clock, execution: Obj, end: float | None, tell: Callable[[str], None]
) -> Obj:
    """Tell each change of phase or reason until the run ends, or `end` (of the boot clock)."""
    namespace, name = execution["metadata"]["namespace"], execution["metadata"]["name"]
    told = None
    while True:
        found = await session.api.get(TASK_EXECUTIONS, namespace, name)
        status = found.get("status") or {}
        now = (status.get("phase"), status.get("reason"), status.get("attempt"))
        if now != told and (status.get("message") or status.get("phase", "Pending") != "Pending"):
            told = now
            words = [f"{name}: {status.get('phase', 'Pending')}", status.get("message")]
            tell(": ".join(word for word in words if word))
        if ended(found) or (end is not None and clock.boot() >= end):
            return found
        await clock.sleep(LOOK_SECONDS)


def ended(execution: Obj) -> bool:
    """Whether its phase never changes again."""
    from taskrunner.domain.observed import TERMINAL

    return (execution.get("status") or {}).get("phase") in TERMINAL


def _quiet(text: str) -> None:
    typer.echo(text, err=True)
