"""`taskrunner explain`: a cron expression in words, and what comes next."""

from __future__ import annotations

from typing import Annotated

import typer

COUNT = 5


def explain(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="EXPRESSION", help='Cron expression in quotes, e.g. "30 2 * * 1-5".'
        ),
    ],
    zone: Annotated[str, typer.Option(help="IANA time zone in which it is read.")] = "UTC",
    start: Annotated[
        str | None, typer.Option("--from", help="Moment after which to begin. Default: now.")
    ] = None,
    task: Annotated[
        str, typer.Option(help="namespace/name of the task: H depends on it.")
    ] = "default/task",
) -> None:
    """Say in words when a cron expression fires, and list the next five times.

    taskrunner explain "0 9 * * MON#1" --zone Europe/Berlin
    """
    from taskrunner.cli.shared import fail, time_option, warn, zone_option
    from taskrunner.domain.cron import CronError, cron_timeline
    from taskrunner.domain.cron_words import describe
    from taskrunner.domain.instants import format_instant
    from taskrunner.domain.preview import local_time
    from taskrunner.domain.timeline import CronTimeline, DstPolicy
    from taskrunner.domain.zones import is_deprecated_alias
    from taskrunner.errors import Problem

    if len(words) > 1:
        fail(
            "The expression has to be one argument; the shell splits it, and replaces * by names of"
            ' files. Put it in quotes, as in taskrunner explain "0 2 * * *".'
        )
    expression = words[0]
    if not all(task.partition("/")[::2]):
        fail(str(Problem("--task", task, "H needs both.", "Write namespace/name.")))
    loaded = zone_option(zone)
    assert loaded is not None
    if better := is_deprecated_alias(zone):
        message = "The name is a deprecated alias in the IANA database."
        warn([str(Problem("--zone", zone, message, f"Write {better}."))])
    begin = time_option("--from", start, loaded)
    after = int(context.obj.clock.now()) if begin is None else begin - 1
    try:
        timeline = cron_timeline(expression, zone=zone, dst=DstPolicy(), hash_key=task)
    except CronError as error:
        fail(str(Problem("expression", error.value, error.message, error.remedy)))
    typer.echo(describe(expression))
    if isinstance(timeline, CronTimeline) and len(loaded.offsets) > 1:
        if timeline.expression.fixed:
            typer.echo(
                "When clocks change: a time that does not exist runs right after the gap, one that"
                " comes twice runs the first time (spec.dst)."
            )
        else:
            typer.echo("When clocks change: it goes on with the clock, as hour or minute is free.")
    typer.echo(f"\nNext times in {zone}:")
    fire = timeline.next_after(after)
    for _ in range(COUNT):
        if fire is None:
            break
        note = f"  ({fire.note})" if fire.note else ""
        typer.echo(f"  {local_time(fire.time, loaded)}  {format_instant(fire.time)}{note}")
        fire = timeline.next_after(fire.time)
