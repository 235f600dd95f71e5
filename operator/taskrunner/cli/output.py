"""A preview as a table, as JSON, or as a calendar file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import typer

from taskrunner.cli.shared import is_terminal
from taskrunner.domain.instants import format_instant

if TYPE_CHECKING:
    from taskrunner.cli.preview import Row
    from taskrunner.domain.compile import CompiledTask

PIPED_WIDTH = 200
"""Columns when nobody's terminal says how wide it is."""


def as_json(rows: Iterable[Row], *, several: bool) -> None:
    """A list of {"time", "local", "schedule", "notes"}; of several tasks also "task"."""
    found = []
    for row in sorted(rows, key=lambda row: row.time) if several else rows:
        entry: dict[str, object] = {
            "time": format_instant(row.time),
            "local": row.local,
            "schedule": row.schedule,
            "notes": list(row.notes),
        }
        found.append({**entry, "task": row.task} if several else entry)
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def as_table(rows: Sequence[Row], tasks: Sequence[CompiledTask]) -> None:
    """A table for each task."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if is_terminal() else PIPED_WIDTH, highlight=False)
    for task in tasks:
        console.print(f"[bold]{task.key}[/]  {task.summary}", soft_wrap=True)
        own = [row for row in rows if row.task == task.key]
        if not own:
            console.print("  No run to come.\n")
            continue
        named = any(row.schedule for row in own)
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("TIME (UTC)", no_wrap=True)
        table.add_column("LOCAL", no_wrap=True)
        if named:
            table.add_column("SCHEDULE", no_wrap=True)
        table.add_column("NOTES", overflow="fold")
        for row in own:
            cells = [format_instant(row.time), _spoken(row.local)]
            cells += [row.schedule] if named else []
            table.add_row(*cells, "; ".join(row.notes), style="dim" if row.skipped else None)
        console.print(table)
        console.print()


def _spoken(local: str) -> str:
    """`2026-03-29T03:00:00+02:00` → `Sun 2026-03-29 03:00:00 +02:00`."""
    moment = datetime.fromisoformat(local)
    return f"{moment:%a %Y-%m-%d %H:%M:%S} {local[19:]}"


def as_ics(rows: Iterable[Row], now: int) -> None:
    """An iCalendar file (RFC 5545): one event for each slot, without duration."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//taskrunner//preview//EN"]
    for row in rows:
        name = row.task.partition("/")[2]
        summary = f"{name} ({row.schedule})" if row.schedule else name
        lines += [
            "BEGIN:VEVENT",
            f"UID:{row.uid}@{row.task.partition('/')[0]}.taskrunner.dev",
            f"DTSTAMP:{_basic(now)}",
            f"DTSTART:{_basic(row.time)}",
            f"SUMMARY:{_escaped(('skipped: ' if row.skipped else '') + summary)}",
        ]
        if row.notes:
            lines.append(f"DESCRIPTION:{_escaped('; '.join(row.notes))}")
        lines += ["TRANSP:TRANSPARENT", "END:VEVENT"]
    lines.append("END:VCALENDAR")
    text = "".join(f"{folded}\r\n" for line in lines for folded in _folded(line))
    typer.echo(text.encode(), nl=False)


def _basic(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y%m%dT%H%M%SZ")


def _escaped(text: str) -> str:
    """RFC 5545, 3.3.11."""
    for character in "\\;,":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "\\n")


def _folded(line: str) -> Iterable[str]:
    """Lines of at most 75 octets; a continuation begins with a space (RFC 5545, 3.1)."""
    rest, lead = line, ""
    while len((lead + rest).encode()) > 75:
        size = 75 - len(lead)
        while len(rest[:size].encode()) + len(lead) > 75:
            size -= 1
        yield lead + rest[:size]
        rest, lead = rest[size:], " "
    yield lead + rest
