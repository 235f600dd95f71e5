"""Objects as a table, JSON, YAML or names, as kubectl prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from taskrunner.cli.shared import is_terminal
from taskrunner.ports import Obj, Resource

PIPED_WIDTH = 10_000
"""Columns when nobody's terminal says how wide it is: lines are never broken for programs."""

_COLORS: Mapping[str, str] = {
    "Succeeded": "green",
    "ok": "green",
    "Failed": "red",
    "Missed": "red",
    "FAIL": "bold red",
    "warn": "yellow",
    "Running": "cyan",
    "Retrying": "yellow",
    "Queued": "yellow",
    "Cancelled": "dim",
    "Skipped": "dim",
}


class Format(StrEnum):
    """How objects are written."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    name = "name"


Output = Annotated[
    Format, typer.Option("--output", "-o", help="wide is a table with more columns.")
]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    value: Callable[[Obj], str]
    wide: bool = False
    """Only in `-o wide`."""


def show(
    objects: Sequence[Obj],
    columns: Sequence[Column],
    output: Format,
    resource: Resource,
    *,
    empty: str,
    single: bool = False,
) -> None:
    """Write objects of one kind to standard output. `empty` is said when there are none; `single`:
    one was asked for, so it is written as it is and not as a list."""
    if output is Format.name:
        for obj in objects:
            typer.echo(named(resource, obj))
    elif output in (Format.json, Format.yaml):
        items = [plain(resource, obj) for obj in objects]
        whole: Obj = {"apiVersion": "v1", "kind": "List", "items": items}
        write_data(items[0] if single else whole, output)
    elif not objects:
        typer.echo(empty, err=True)
    else:
        shown = [c for c in columns if output is Format.wide or not c.wide]
        table([c.title for c in shown], ([c.value(obj) for c in shown] for obj in objects))


def named(resource: Resource, obj: Obj) -> str:
    """`scheduledtask.taskrunner.dev/nightly`, as kubectl takes it."""
    group = f".{resource.group}" if resource.group else ""
    return f"{resource.kind.lower()}{group}/{obj['metadata']['name']}"


def plain(resource: Resource, obj: Obj) -> Obj:
    """The object with its kind, and without what only servers look at."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    rest = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    return {**kind, "metadata": metadata, **rest}


def write_data(data: Any, output: Format) -> None:
    """JSON or YAML on standard output."""
    typer.echo(as_yaml(data) if output is Format.yaml else as_json(data), nl=False)


def as_json(data: Any) -> str:
    """Indented by two."""
    import orjson

    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n"


def as_yaml(data: Any) -> str:
    """In the order of the data, times as text."""
    import yaml

    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return text


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output: coloured and fitted on a terminal, plain and wide in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for title in titles:
        found.add_column(title, overflow="fold", no_wrap=title not in _FOLDED)
    for row in rows:
        found.add_row(*(Text(cell or "-", style=_COLORS.get(cell, "")) for cell in row))
    if is_terminal():
        Console(highlight=False).print(found)
        return
    console = Console(width=PIPED_WIDTH, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(found)
    typer.echo("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()), nl=False)


_FOLDED = ("MESSAGE", "NOTE", "WHAT", "REMEDY")
"""Columns of sentences, which may be broken."""
