"""The `taskrunner` command line: options that all share, and the commands for users.

`__main__` builds the application and adds the commands that run a process. What is heavy is
imported inside the commands, so that `--help` and completion stay quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from taskrunner import __version__
from taskrunner.cli.config import config
from taskrunner.cli.explain import explain
from taskrunner.cli.preview import preview
from taskrunner.cli.redrive import redrive, retry
from taskrunner.cli.shared import Connect, no_cluster
from taskrunner.ports import Clock


@dataclass(frozen=True, slots=True)
class Shared:
    """What commands take from outside; tests pass their own."""

    clock: Clock
    connect: Connect


def build(clock: Clock, connect: Connect = no_cluster) -> typer.Typer:
    """The application with its commands."""
    app = typer.Typer(
        name="taskrunner",
        help="Runs tasks on Kubernetes on time, and shows what it will do.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        context: typer.Context,
        version: Annotated[
            bool,
            typer.Option("--version", help="Show the versions and exit.", callback=_version,
                         is_eager=True),
        ] = False,
    ) -> None:  # fmt: skip
        context.obj = Shared(clock, connect)

    app.command("preview")(preview)
    app.command("explain")(explain)
    app.command("config")(config)
    app.command("redrive")(redrive)
    app.command("retry")(retry)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from taskrunner.domain.zones import tzdata_version

        typer.echo(f"taskrunner {__version__} (time zones: tzdata {tzdata_version()})")
        raise typer.Exit
