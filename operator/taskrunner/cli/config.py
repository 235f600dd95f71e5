"""`taskrunner config`: every setting, what it is now, and what it is for."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer


def config(
    output: Annotated[
        Literal["table", "json"], typer.Option("--output", "-o", help="Form of the output.")
    ] = "table",
) -> None:
    """Show the settings of the operator as this environment has them.

    Each is an environment variable; what is wrong is said by name, with exit code 2.
    """
    from taskrunner import settings
    from taskrunner.errors import SpecError

    try:
        present = settings.load(os.environ)
    except SpecError as error:
        for problem in error.problems:
            typer.echo(f"taskrunner: {problem}", err=True)
        raise typer.Exit(2) from error
    rows = [
        (settings.PREFIX + name.upper(), getattr(present, name), field.description or "")
        for name, field in settings.Settings.model_fields.items()
    ]
    if output == "json":
        import orjson

        found = {name: value for name, value, _ in rows}
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    from taskrunner.cli.output import PIPED_WIDTH
    from taskrunner.cli.shared import is_terminal

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("VARIABLE", no_wrap=True)
    table.add_column("VALUE", overflow="fold")
    table.add_column("MEANING", overflow="fold")
    for name, value, meaning in rows:
        table.add_row(name, str(value) if value != "" else "-", meaning)
    Console(width=None if is_terminal() else PIPED_WIDTH, highlight=False).print(table)
