"""Commands that run a process of the operator; `__main__` adds them to the command line."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Coroutine
from typing import Annotated

import typer


def operator(
    kubeconfig: Annotated[
        str, typer.Option(help="Kubeconfig file; default: $KUBECONFIG, the pod's, ~/.kube/config.")
    ] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
) -> None:
    """Run one replica of the operator until SIGTERM.

    Settings come from SCHEDULER_… variables; `taskrunner config` lists them.
    """
    from taskrunner import settings as settings_module
    from taskrunner.app.operator import Operator
    from taskrunner.errors import TaskrunnerError
    from taskrunner.kube import config

    try:
        settings = settings_module.load(os.environ)
        set_up_logging(settings.log_level, settings.log_format)
        connection = config.load(kubeconfig=kubeconfig, context=context)
    except TaskrunnerError as error:
        typer.echo(f"taskrunner: {error}", err=True)
        raise typer.Exit(2) from error
    run(Operator(settings, connection).run())


def webhook(
    kubeconfig: Annotated[
        str, typer.Option(help="Kubeconfig file; default: $KUBECONFIG, the pod's, ~/.kube/config.")
    ] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
) -> None:
    """Run one replica of the admission webhook until SIGTERM.

    It tells what is wrong with a task when it is applied; without it, the task's Ready condition
    tells. Settings come from SCHEDULER_WEBHOOK_… variables; docs/how-to/admission.md lists them.
    """
    from taskrunner.admission import settings as settings_module
    from taskrunner.app.webhook import Webhook
    from taskrunner.errors import TaskrunnerError
    from taskrunner.kube import config

    try:
        settings = settings_module.load(os.environ)
        set_up_logging(settings.log_level, settings.log_format)
        connection = config.load(kubeconfig=kubeconfig, context=context)
    except TaskrunnerError as error:
        typer.echo(f"taskrunner: {error}", err=True)
        raise typer.Exit(2) from error
    run(Webhook(settings, connection).run())


def run(main: Coroutine[None, None, None]) -> None:
    """Run a process to its end, on uvloop where it is installed."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def set_up_logging(level: str, form: str) -> None:
    """Log lines to standard error, as text or as one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _TextFormatter(logging.Formatter):
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self.converter = time.gmtime


class _JsonFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        import orjson

        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()
