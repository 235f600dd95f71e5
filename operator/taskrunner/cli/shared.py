"""What commands have in common: errors, times and zones on the command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn, Protocol

import typer

from taskrunner.errors import Problem, TaskrunnerError
from taskrunner.ports import Api

if TYPE_CHECKING:
    from taskrunner.domain.zones import Zone

FAILED = 1
"""Exit code for what a cluster did not do."""
USAGE_ERROR = 2
"""Exit code for input that only an edit helps."""
FIRST_YEAR, LAST_YEAR = 1971, 2198
"""Years in which all questions have an answer, whatever the zone (`zones.EARLIEST`, `LATEST`)."""


class Raw(Protocol):
    """What an API server answers that is not an object: logs, its version, what it serves.

    Paths begin at the server's root. Both raise `errors.ApiError` subclasses.
    """

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The whole answer to a GET."""
        ...

    def lines(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The answer to a GET line by line, without line ends, as it comes."""
        ...


class NoRaw:
    """For sessions that have objects only."""

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        raise TaskrunnerError(f"{path} cannot be read here.")

    async def lines(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        yield await self.read(path, query)


def _unknown() -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection to a cluster."""

    api: Api
    namespace: str
    """That of the kubeconfig's context: what a command without `--namespace` means."""
    raw: Raw = NoRaw()  # noqa: RUF009 - it has no state
    skew: Callable[[], float | None] = _unknown
    """Local wall clock minus the API server's, seconds, by the answers so far."""
    origin: str = ""
    """Where the connection was described, for people."""


Connect = Callable[[str, str], AbstractAsyncContextManager[Session]]
"""Opens a session: (kubeconfig, context), either may be empty. Raises
TaskrunnerError."""


def no_cluster(kubeconfig: str, context: str) -> AbstractAsyncContextManager[Session]:
    """For commands that are built without a way to a cluster."""
    raise TaskrunnerError("There is no connection to a cluster here.")


def fail(*messages: str) -> NoReturn:
    """Tell what is wrong on standard error and exit with 2."""
    for message in messages:
        typer.echo(f"error: {message}", err=True)
    raise typer.Exit(USAGE_ERROR)


def warn(messages: Iterable[str]) -> None:
    """Tell on standard error, so that what is piped stays clean."""
    for message in messages:
        typer.echo(f"warning: {message}", err=True)


def zone_option(name: str | None) -> Zone | None:
    """The zone of `--zone`."""
    from taskrunner.domain.zones import ZoneError, load_zone

    if name is None:
        return None
    try:
        return load_zone(name)
    except ZoneError as error:
        fail(str(Problem("--zone", error.value, error.message, error.remedy)))


def time_option(option: str, text: str | None, zone: Zone | None) -> int | None:
    """The instant of `--from` or `--to`: RFC 3339, or a date or wall clock time in the zone."""
    from taskrunner.domain.calendar_days import instant_at, to_local
    from taskrunner.domain.zones import load_zone

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(re.sub("z$", "Z", text.strip()))
        if FIRST_YEAR <= moment.year <= LAST_YEAR:
            if moment.tzinfo is not None:
                return int(moment.timestamp() // 1)
            return instant_at(zone or load_zone("UTC"), to_local(moment))
        years = f"Planning goes from {FIRST_YEAR} to {LAST_YEAR}."
        fail(str(Problem(option, text, years, "Write a time in between.")))
    except (ValueError, OverflowError):
        message = "This is not a time."
        remedy = 'Write e.g. "2026-03-29T00:00:00Z", "2026-03-29T02:00" or "2026-03-29".'
        fail(str(Problem(option, text, message, remedy)))


def dimmed(text: str) -> str:
    """Text of less weight; plain in a pipe, and where the user wants no colours
    (https://no-color.org)."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, dim=True)


def is_terminal() -> bool:
    """Whether a person reads along."""
    return sys.stdout.isatty()
