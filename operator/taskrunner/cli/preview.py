"""`taskrunner preview`: when a task will run, without a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taskrunner.cli.documents import Loaded
    from taskrunner.domain.plan import Slot
    from taskrunner.domain.zones import Zone

DEFAULT_COUNT = 5
MOST = 10_000
"""Rows of a task, and those for a `--to` without `--count`."""


class Format(StrEnum):
    """How the slots are written."""

    table = "table"
    json = "json"
    ics = "ics"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a preview."""

    time: int
    local: str
    schedule: str
    notes: tuple[str, ...]
    task: str
    """namespace/name"""
    uid: str
    """Name of the slot's execution."""
    skipped: bool


def preview(
    context: typer.Context,
    file: Annotated[
        list[str],
        typer.Option(
            "--file",
            "-f",
            help="YAML or JSON with ScheduledTasks or CronJobs, and Calendars if they are used;"
            ' "-" for standard input. May be repeated.',
        ),
    ],
    calendar: Annotated[
        list[str] | None, typer.Option(help="More files with Calendars. May be repeated.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help='First moment, e.g. "2026-03-29" or "2026-03-29T00:00:00Z". Default: now.',
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Moment to stop before.")] = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help=f"Most slots of each task. Default: {DEFAULT_COUNT}, or all before --to.",
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of the local times, and of --from and --to without an offset."
            " Default: the schedule's own; for --from and --to UTC."
        ),
    ] = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="ics is for calendar programs.")
    ] = Format.table,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            help="Namespace of objects that name none; H and jitter depend on it.",
        ),
    ] = "default",
    skipped: Annotated[
        bool, typer.Option("--skipped", help="Show slots that calendars skip, too.")
    ] = False,
) -> None:
    """Show when tasks will run, and what jitter, calendars and DST do to each slot.

    Works on files, without a cluster:

      taskrunner preview -f task.yaml

      taskrunner preview -f task.yaml --from 2026-03-28 --to 2026-04-01 --zone Europe/Berlin

      kubectl get stask nightly -o yaml | taskrunner preview -f - --count 20 -o json

    With -o json it is a list of {"time": RFC 3339 in UTC, "local", "schedule", "notes"}.
    """
    from taskrunner.cli import documents
    from taskrunner.cli import output as written
    from taskrunner.cli.shared import fail, time_option, warn, zone_option
    from taskrunner.domain.warnings import warnings_for

    shown_zone = zone_option(zone)
    now = int(context.obj.clock.now())
    begin = time_option("--from", start, shown_zone)
    begin = now if begin is None else begin
    end = time_option("--to", to, shown_zone)
    if end is not None and end <= begin:
        fail(f'--to "{to}" is not after {"--from" if start else "now"}. Write a later time.')
    loaded = documents.compile_all(documents.read(file, calendar or []), namespace)
    rows: list[Row] = []
    for each in loaded:
        most = count or (DEFAULT_COUNT if end is None else MOST)
        rows += _rows(each, begin, end, most, shown_zone, skipped)
        told = [str(problem) for problem in warnings_for(each.task, begin)]
        if each.task.suspended:
            told.append("spec.suspend is true: no slot runs until it is false.")
        warn(f"{each.task.name}: {text}" for text in told)
    if output is Format.json:
        written.as_json(rows, several=len(loaded) > 1)
    elif output is Format.ics:
        written.as_ics(rows, now)
    else:
        written.as_table(rows, [each.task for each in loaded])


def _rows(
    loaded: Loaded, begin: int, end: int | None, count: int, zone: Zone | None, skipped: bool
) -> list[Row]:
    from itertools import islice, takewhile

    from taskrunner.domain.preview import upcoming

    task = loaded.task
    left = None
    if task.max_executions is not None:
        left = max(0, task.max_executions - loaded.model.status.scheduled_count)
    slots = upcoming(task, begin - 1, left=left, skipped=skipped)
    if end is not None:
        slots = takewhile(lambda slot: _time(slot) < end, slots)
    return [_row(loaded, slot, zone) for slot in islice(slots, count)]


def _time(slot: Slot) -> int:
    return slot.due if slot.skip else slot.start


def _row(loaded: Loaded, slot: Slot, zone: Zone | None) -> Row:
    from taskrunner.domain.naming import execution_name
    from taskrunner.domain.preview import local_time, zone_of

    task, time = loaded.task, _time(slot)
    notes = slot.notes
    if slot.also:
        notes = (*notes, f"also due by {', '.join(slot.also)}: one run")
    if slot.skip:
        notes = (*notes, f"skipped: {slot.message}")
    return Row(
        time,
        local_time(time, zone or zone_of(task, slot)),
        slot.schedule,
        notes,
        task.key,
        execution_name(task.name, slot.nominal, slot.schedule, bool(slot.arguments)),
        slot.skip is not None,
    )
