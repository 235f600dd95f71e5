"""`taskrunner import cronjobs`: CronJobs as ScheduledTasks, with a report of what would differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from taskrunner.cli.cluster import (
    AllNamespaces,
    Kubeconfig,
    KubeContext,
    Namespace,
    Selector,
    on_cluster,
)
from taskrunner.cli.shared import FAILED, Session, fail
from taskrunner.ports import Clock, Obj, Resource

if TYPE_CHECKING:
    from taskrunner.domain.cronjob_compare import Comparison
    from taskrunner.domain.cronjob_import import Imported

CRON_JOBS: Final = Resource("batch", "v1", "cronjobs", "CronJob")
_SHOWN: Final = 4
"""Slots of a comparison that are written out."""

app = typer.Typer(no_args_is_help=True, help="Take over what other schedulers run.")


@app.command("cronjobs")
def cronjobs(
    context: typer.Context,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            help='YAML or JSON with CronJobs, "-" for standard input; may be repeated.'
            " Default: those of the cluster.",
        ),
    ] = None,
    zone: Annotated[
        str,
        typer.Option(help="The controller's local zone, for CronJobs without timeZone."),
    ] = "",
    keep_dst: Annotated[
        bool,
        typer.Option(
            "--keep-dst", help="Write a dst that does what CronJob does, where it matters."
        ),
    ] = False,
    suspend: Annotated[
        bool, typer.Option("--suspend", help="Print all of them suspended.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Run both planners over the coming year, too.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Print the report instead of the tasks.")
    ] = False,
    selector: Selector = "",
    all_namespaces: AllNamespaces = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    kube_context: KubeContext = "",
) -> None:
    """Print CronJobs as ScheduledTasks, and report what would differ on standard error.

      taskrunner import cronjobs -n qa --report-only

      taskrunner import cronjobs -f cronjobs.yaml --diff > tasks.yaml

      taskrunner import cronjobs -A --zone Europe/Berlin --keep-dst

    Nothing is changed in the cluster. The CronJobs go on until they are suspended or deleted:
    docs/how-to/migrate-from-cronjob.md says in which order, so that no slot runs twice. The exit
    code is 1 when one of them cannot be taken as it is; it is left out of what is printed.
    """
    from taskrunner.cli.shared import zone_option
    from taskrunner.domain.cronjob_import import Choices

    zone_option(zone or None)
    choices = Choices(zone, keep_dst, suspend)
    clock: Clock = context.obj.clock
    if file:
        found = list(from_files(file, namespace))
        if not found:
            fail(f"{', '.join(file)}: There is no CronJob in it (apiVersion batch/v1).")
        code = _told(found, choices, clock, diff=diff, report_only=report_only)
        raise typer.Exit(code)

    async def work(session: Session) -> int:
        where = "" if all_namespaces else namespace or session.namespace
        found = await session.api.list(CRON_JOBS, namespace=where, label_selector=selector)
        if not found:
            typer.echo(f"There are no CronJobs in {where or 'the cluster'}.", err=True)
            return 0
        return _told(found, choices, clock, diff=diff, report_only=report_only)

    on_cluster(context, kubeconfig, kube_context, work)


def from_files(files: Iterable[str], namespace: str) -> Iterator[Obj]:
    """The CronJobs of files, also those in lists; of other kinds nothing is said."""
    from taskrunner.cli.documents import objects

    for name in files:
        for obj in objects(name):
            if obj.get("kind") != CRON_JOBS.kind:
                continue
            if not str(obj.get("apiVersion", "")).startswith("batch/"):
                fail(
                    f"{name}: CronJob: apiVersion is missing or wrong. Write apiVersion: batch/v1."
                )
            metadata = obj.get("metadata")
            if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
                fail(f"{name}: CronJob: metadata.name is missing. Write one.")
            if not isinstance(obj.get("spec"), dict):
                fail(f"{name}: CronJob {metadata['name']}: spec is missing. Write one.")
            if namespace and not metadata.get("namespace"):
                obj = {**obj, "metadata": {**metadata, "namespace": namespace}}
            yield obj


def _told(
    found: Sequence[Obj], choices: Any, clock: Clock, *, diff: bool, report_only: bool
) -> int:
    """Print tasks and report; the exit code."""
    from taskrunner.cli.tables import as_yaml
    from taskrunner.domain.cronjob_import import imported

    items = [imported(obj, choices) for obj in found]
    usable = [item for item in items if item.level != "refused"]
    if not report_only:
        typer.echo("---\n".join(as_yaml(item.task) for item in usable), nl=False)
    since = int(clock.now())
    for line in report(items, since if diff else None):
        typer.echo(line, err=not report_only)
    return FAILED if len(usable) < len(items) else 0


def report(items: Sequence[Imported], since: int | None) -> Iterator[str]:
    """Lines: what differs for each, with the comparison of a year from `since` where wanted; what
    it comes to, and what holds for all."""
    from taskrunner.domain.cronjob_import import GENERAL

    for item in items:
        yield f'{item.namespace}/{item.name}  "{item.schedule}" {item.zone}: {_VERDICT[item.level]}'
        for finding in item.findings:
            yield f"  {finding.level:8} {finding.about}: {finding.text}"
        if since is not None and item.level != "refused":
            yield from (f"  {line}" for line in _compared(item, since))
        yield ""
    levels = [item.level for item in items]
    counts = {level: levels.count(level) for level in _VERDICT}
    yield (
        f"{len(items)} CronJobs: {counts['same']} mean the same, {counts['differs']} differ,"
        f" {counts['refused']} cannot be taken as they are."
    )
    yield ""
    yield "For all of them:"
    yield from (f"- {sentence}" for sentence in GENERAL)


_VERDICT: Final[dict[Literal["refused", "differs", "same"], str]] = {
    "same": "means the same",
    "differs": "differs",
    "refused": "cannot be taken as it is",
}


def _compared(item: Imported, since: int) -> Iterator[str]:
    from taskrunner.domain.cronjob_compare import YEAR, compare

    found = compare(item, since, since + YEAR)
    if found is None:
        every = item.schedule.startswith("@")
        why = (
            "Its slots depend on when it was created" if every else "CronJob refuses this schedule"
        )
        yield f"year     {why}: not compared."
        return
    if found.sampled:
        yield "year     Compared for three days, and two around each change of the clock:"
    if found.same:
        yield f"year     {found.ours} slots, all the same."
        return
    yield (
        f"year     {found.cronjob} slots with CronJob, {found.ours} here;"
        f" {len(found.only_cronjob)} only with CronJob, {len(found.only_ours)} only here."
    )
    yield from _slots(item, found)


def _slots(item: Imported, found: Comparison) -> Iterator[str]:
    from taskrunner.domain.preview import local_time
    from taskrunner.domain.zones import load_zone

    zone = load_zone(item.zone)
    for who, slots in (("CronJob", found.only_cronjob), ("here", found.only_ours)):
        for slot in slots[:_SHOWN]:
            yield f"         only {who}: {local_time(slot, zone)}"
        if len(slots) > _SHOWN:
            yield f"         only {who}: and {len(slots) - _SHOWN} more"
