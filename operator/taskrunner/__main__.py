"""The `taskrunner` command."""

from __future__ import annotations

from taskrunner.app import commands
from taskrunner.cli.main import build
from taskrunner.kube.clock import SystemClock


def main() -> None:
    """Entry point of the console script."""
    app = build(SystemClock())
    app.command("operator")(commands.operator)
    app.command("webhook")(commands.webhook)
    app()


if __name__ == "__main__":
    main()
