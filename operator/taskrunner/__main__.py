"""The `taskrunner` command."""

from __future__ import annotations

import typer

from taskrunner.app import commands


def main() -> None:
    """Entry point of the console script."""
    app = typer.Typer(name="taskrunner", no_args_is_help=True, help="Runs tasks on Kubernetes.")
    app.callback()(lambda: None)
    app.command("operator")(commands.operator)
    app.command("webhook")(commands.webhook)
    app()


if __name__ == "__main__":
    main()
