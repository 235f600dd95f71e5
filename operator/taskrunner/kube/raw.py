"""What an API server answers that is not an object: logs, its version, what it serves.

For the command line; the operator itself has no use for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from taskrunner.kube.answers import error_from
from taskrunner.kube.config import Connection
from taskrunner.kube.transport import BROKEN, CONNECT_SECONDS, Transport, no_answer
from taskrunner.kube.wire import url_query
from taskrunner.ports import Clock

_SECONDS = 30.0


class RawClient:
    """`taskrunner.cli.shared.Raw` on one API server; an asynchronous context manager."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._transport = Transport(connection, clock, pool=4)

    async def __aenter__(self) -> RawClient:
        self._transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The whole answer to a GET. Raises ApiErrors."""
        limits = aiohttp.ClientTimeout(total=_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._get(path, query, limits) as response:
                return await response.read()
        except BROKEN as error:
            raise no_answer(f"get {path}", error) from error

    async def lines(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The answer to a GET line by line, as it comes, for ever if need be. Raises ApiErrors."""
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
        try:
            async with self._get(path, query, limits, stays=True) as response:
                rest = b""
                while chunk := await response.content.readany():
                    *found, rest = (rest + chunk).split(b"\n")
                    for line in found:
                        yield line
                if rest:
                    yield rest
        except BROKEN as error:
            raise no_answer(f"get {path}", error) from error

    @asynccontextmanager
    async def _get(
        self,
        path: str,
        query: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        *,
        stays: bool = False,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        url = path + url_query(query or {})
        for attempt in (1, 2):
            async with self._transport.request("GET", url, limits=limits, watch=stays) as response:
                if response.status == 401 and attempt == 1 and self._transport.rejected():
                    continue
                if response.status != 200:
                    body = await response.read()
                    raise error_from(f"get {path}", response.status, body, response.headers)
                yield response
                return
