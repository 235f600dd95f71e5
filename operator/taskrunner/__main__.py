"""The `taskrunner` command."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import PurePath

import typer

from taskrunner.app import commands
from taskrunner.cli.main import build
from taskrunner.cli.shared import Session
from taskrunner.kube.clock import SystemClock


@asynccontextmanager
async def connect(kubeconfig: str, context: str) -> AsyncGenerator[Session, None]:
    """The cluster that a command speaks to, with the rights of the user."""
    from taskrunner.kube import config
    from taskrunner.kube.client import ApiClient
    from taskrunner.kube.raw import RawClient

    connection, clock = config.load(kubeconfig=kubeconfig, context=context), SystemClock()
    async with ApiClient(connection, clock, pool=4) as api, RawClient(connection, clock) as raw:
        yield Session(api, connection.namespace, raw, api.server_skew, connection.origin)


def application() -> typer.Typer:
    """All commands: those of users, and those that run a process."""
    app = build(SystemClock(), connect)
    app.command("operator", rich_help_panel="Processes")(commands.operator)
    app.command("webhook", rich_help_panel="Processes")(commands.webhook)
    return app


def main() -> None:
    """Entry point of the console scripts: `taskrunner`, and the plug-in `kubectl-taskrunner`."""
    plug_in = PurePath(sys.argv[0]).name.startswith("kubectl-")
    words = [word for given in sys.argv[1:] for word in as_kubectl_takes_it(given)]
    application()(words, prog_name="kubectl taskrunner" if plug_in else "taskrunner")


def as_kubectl_takes_it(word: str) -> list[str]:
    """kubectl takes `-n=qa` for `-n qa`; what reads options here would look for namespace "=qa"."""
    short = len(word) > 2 and word[0] == "-" and word[1].isalpha() and word[2] == "="
    return [word[:2], word[3:]] if short else [word]


def complete() -> None:
    """Entry point of `kubectl_complete-taskrunner`, which kubectl asks for completions of the
    plug-in: one a line, then what to do when there is none (4: no names of files).
    https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/
    """
    words = sys.argv[1:]
    os.environ |= {
        "_TASKRUNNER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["taskrunner", *words]),
        "COMP_CWORD": str(max(1, len(words))),
    }
    with suppress(SystemExit):
        application()(prog_name="taskrunner")
    typer.echo(":4")


if __name__ == "__main__":
    main()
