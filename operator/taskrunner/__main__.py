"""The `taskrunner` command."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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


def main() -> None:
    """Entry point of the console script."""
    app = build(SystemClock(), connect)
    app.command("operator")(commands.operator)
    app.command("webhook")(commands.webhook)
    app()


if __name__ == "__main__":
    main()
