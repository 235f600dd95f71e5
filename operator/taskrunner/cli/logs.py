"""`taskrunner logs`: what the containers of a run write, of all its attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from taskrunner.cli.cluster import (
    Kubeconfig,
    KubeContext,
    Namespace,
    name_of,
    on_cluster,
    status_of,
)
from taskrunner.cli.shared import FAILED, Session, dimmed, fail
from taskrunner.errors import ApiError, NotFound, Refused
from taskrunner.ports import PODS, SCHEDULED_TASKS, TASK_EXECUTIONS, Api, Clock, Obj

if TYPE_CHECKING:
    import asyncio

LOOK_SECONDS: Final = 0.5
"""Time between two looks for pods that have come up, while logs are followed."""


@dataclass(frozen=True, slots=True)
class Show:
    """Which logs, and how."""

    follow: bool = False
    container: str = ""
    attempt: int | None = None
    tail: int | None = None
    since: int | None = None
    timestamps: bool = False
    prefix: bool | None = None
    """Whether lines say where they are from; None: when there is more than one source."""


@dataclass(frozen=True, slots=True)
class Source:
    """One container of one pod."""

    pod: str
    container: str
    attempt: int
    started: bool
    """It has a log to read."""

    @property
    def label(self) -> str:
        """What its lines are marked with."""
        return f"[{self.attempt}/{self.pod}/{self.container}] "


def logs(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="An execution; or a task, for the latest run of it.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends, retries included.")
    ] = False,
    container: Annotated[
        str, typer.Option("--container", "-c", help="Only this one. Default: all.")
    ] = "",
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Only of this attempt. Default: of all.")
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=0, help="Only so many last lines of each container.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only what is not older, e.g. 10m.")] = None,
    timestamps: Annotated[bool, typer.Option(help="Begin lines with their time.")] = False,
    prefix: Annotated[
        bool | None,
        typer.Option(
            help="Begin lines with [attempt/pod/container]. Default: if there are several."
        ),
    ] = None,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Show the logs of a run: of all pods, containers and attempts, the oldest attempt first.

      taskrunner logs nightly-1767225600

      taskrunner logs nightly --follow

      taskrunner logs nightly -c main --attempt 2 --tail 100

    Logs are there as long as the pods are; successfulJobsHistoryLimit and failedJobsHistoryLimit
    of the task say how many runs keep theirs.
    """
    from taskrunner.cli.times import seconds_option

    clock: Clock = context.obj.clock
    wanted = Show(
        follow, container, attempt, tail, seconds_option("--since", since), timestamps, prefix
    )

    async def work(session: Session) -> int:
        where = namespace or session.namespace
        execution = await _found(session.api, where, name)
        if follow:
            return await follow_logs(session, clock, execution, wanted)
        sources = await _sources(session.api, execution, wanted)
        several = len(sources) > 1 if prefix is None else prefix
        for source in sources:
            if source.started:
                await _print(session, where, source, wanted, several)
        if not any(source.started for source in sources):
            return _nothing(execution, wanted, sources)
        return 0

    on_cluster(context, kubeconfig, kube_context, work)


async def follow_logs(session: Session, clock: Clock, execution: Obj, wanted: Show) -> int:
    """Print what containers write, as it comes, until the run has ended and all is printed."""
    import asyncio

    from taskrunner.cli.run import ended

    namespace, reading = execution["metadata"]["namespace"], dict[tuple[str, str], Any]()
    try:
        while True:
            # The execution first: what ends between the two calls is looked at once more.
            execution = await session.api.get(TASK_EXECUTIONS, namespace, name_of(execution))
            sources = await _sources(session.api, execution, wanted)
            several = len(sources) > 1 or _may_retry(execution)
            for source in sources:
                key = (source.pod, source.container)
                if source.started and key not in reading:
                    marked = several if wanted.prefix is None else wanted.prefix
                    task = _print(session, namespace, source, wanted, marked)
                    reading[key] = asyncio.create_task(task)
            if ended(execution):
                await asyncio.gather(*reading.values())
                return 0 if reading else _nothing(execution, wanted, sources)
            await _raise_first(reading.values())
            await clock.sleep(LOOK_SECONDS)
    finally:
        for task in reading.values():
            task.cancel()
        await asyncio.gather(*reading.values(), return_exceptions=True)


def _may_retry(execution: Obj) -> bool:
    return (status_of(execution).get("attempt") or 1) > 1


async def _raise_first(tasks: Any) -> None:
    """Raise what one of them has failed with."""
    done: list[asyncio.Task[None]] = [task for task in tasks if task.done()]
    for task in done:
        await task


async def _found(api: Api, namespace: str, name: str) -> Obj:
    """The execution of that name, or the latest run of the task of that name."""
    try:
        found: Obj = await api.get(TASK_EXECUTIONS, namespace, name)
    except NotFound:
        field = f"spec.taskRef.name={name}"
        runs = await api.list(TASK_EXECUTIONS, namespace=namespace, field_selector=field)
        runs = [run for run in runs if _is_run(run)]
        if not runs:
            await _no_run(api, namespace, name)
        found = max(runs, key=lambda run: str(run["metadata"]["creationTimestamp"]))
    return found


async def _no_run(api: Api, namespace: str, name: str) -> NoReturn:
    try:
        await api.get(SCHEDULED_TASKS, namespace, name)
    except NotFound:
        fail(
            f'There is no execution and no task "{name}" in namespace "{namespace}".'
            f" `kubectl get texec -n {namespace}` lists the executions."
        )
    fail(f'The task "{name}" has no runs that are kept. `taskrunner run {name}` starts one.')


def _is_run(execution: Obj) -> bool:
    return bool((execution["spec"].get("decision") or {}).get("type", "Run") == "Run")


async def _sources(api: Api, execution: Obj, wanted: Show) -> list[Source]:
    """The containers of the run, the oldest attempt first."""
    from taskrunner.api.v1alpha1.names import LABEL_EXECUTION

    selector = f"{LABEL_EXECUTION}={name_of(execution)}"
    namespace = execution["metadata"]["namespace"]
    pods = await api.list(PODS, namespace=namespace, label_selector=selector)
    pods.sort(key=lambda pod: (attempt_of(pod), pod["metadata"].get("creationTimestamp", "")))
    found = [source for pod in pods for source in sources_of(pod)]
    known = sorted({source.container for source in found})
    if wanted.container and known and wanted.container not in known:
        fail(f'No container is called "{wanted.container}". There are: {", ".join(known)}.')
    return [
        source
        for source in found
        if wanted.container in ("", source.container) and wanted.attempt in (None, source.attempt)
    ]


def sources_of(pod: Obj) -> Iterator[Source]:
    """The containers of a pod in the order in which they start."""
    spec, status = pod["spec"], pod.get("status") or {}
    statuses: list[Mapping[str, Any]] = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    begun = {
        entry["name"]: any(
            (entry.get(when) or {}).get(state)
            for when in ("state", "lastState")
            for state in ("running", "terminated")
        )
        for entry in statuses
    }
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        name = container["name"]
        yield Source(pod["metadata"]["name"], name, attempt_of(pod), begun.get(name, False))


def attempt_of(pod: Obj) -> int:
    """The number that the name of its Job ends in; 0 when it has none."""
    job = (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", "")
    number = job.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


async def _print(
    session: Session, namespace: str, source: Source, wanted: Show, marked: bool
) -> None:
    query = {"container": source.container}
    if wanted.follow:
        query["follow"] = "true"
    if wanted.tail is not None:
        query["tailLines"] = str(wanted.tail)
    if wanted.since is not None:
        query["sinceSeconds"] = str(wanted.since)
    if wanted.timestamps:
        query["timestamps"] = "true"
    path = f"/api/v1/namespaces/{namespace}/pods/{source.pod}/log"
    label = dimmed(source.label) if marked else ""
    try:
        async for line in session.raw.lines(path, query):
            typer.echo(label + line.decode(errors="replace"))
    except (NotFound, Refused) as error:
        if isinstance(error, Refused) and error.code == 403:
            raise
        _gone(source, error)


def _gone(source: Source, error: ApiError) -> None:
    typer.echo(f"warning: {source.pod}/{source.container}: its log is gone: {error}", err=True)


def _nothing(execution: Obj, wanted: Show, sources: list[Source]) -> int:
    """Say why there is no log, and what there is instead."""
    status, name = status_of(execution), name_of(execution)
    phase = status.get("phase") or "Pending"
    message = status.get("message") or ""
    if sources:
        text = f"{name} has not written anything yet: no container of it has started."
    elif wanted.attempt is not None:
        text = f"{name} has no pods of attempt {wanted.attempt}."
    elif status.get("attempt"):
        text = f"The pods of {name} are gone, and their logs with them."
    else:
        text = f"{name} has not started a pod."
    typer.echo(f"{text} It is {phase}. {message}".rstrip(), err=True)
    if result := status.get("result"):
        typer.echo(f"It ended with this termination message:\n{result}", err=True)
    return FAILED
