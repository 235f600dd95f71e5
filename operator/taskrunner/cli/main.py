"""The `taskrunner` command line: options that all share, and the commands for users.

`__main__` builds the application and adds the commands that run a process. What is heavy is
imported inside the commands, so that `--help` and completion stay quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from taskrunner import __version__
from taskrunner.cli import importing, queue
from taskrunner.cli.backfill import backfill
from taskrunner.cli.backup import backup
from taskrunner.cli.config import config
from taskrunner.cli.control import cancel, resume, suspend
from taskrunner.cli.doctor import doctor
from taskrunner.cli.explain import explain
from taskrunner.cli.history import history
from taskrunner.cli.logs import logs
from taskrunner.cli.pausing import pause, unpause
from taskrunner.cli.preview import preview
from taskrunner.cli.redrive import redrive, retry
from taskrunner.cli.restore import restore
from taskrunner.cli.run import run
from taskrunner.cli.shared import Connect, no_cluster
from taskrunner.cli.skip import skip
from taskrunner.cli.top import top
from taskrunner.cli.upcoming import next_
from taskrunner.cli.version import version
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

    for panel, commands in _COMMANDS.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=panel)(command)
    app.add_typer(importing.app, name="import", rich_help_panel="Operate")
    app.add_typer(queue.app, name="queue", rich_help_panel="Operate")
    return app


_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Plan": {"preview": preview, "explain": explain, "next": next_},
    "Run": {
        "run": run,
        "cancel": cancel,
        "retry": retry,
        "redrive": redrive,
        "backfill": backfill,
        "skip": skip,
    },
    "Look": {"history": history, "logs": logs, "top": top},
    "Hold": {"suspend": suspend, "resume": resume, "pause": pause, "unpause": unpause},
    "Operate": {
        "doctor": doctor,
        "backup": backup,
        "restore": restore,
        "config": config,
        "version": version,
    },
}
"""The commands, in the order and under the headings of `--help`."""


def _version(wanted: bool) -> None:
    if wanted:
        from taskrunner.domain.zones import tzdata_version

        typer.echo(f"taskrunner {__version__} (time zones: tzdata {tzdata_version()})")
        raise typer.Exit
