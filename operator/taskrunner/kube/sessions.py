"""A plain HTTP session for libraries that bring their own client of the API server (kopf)."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from taskrunner.kube.config import Connection
from taskrunner.ports import Clock


def open_session(
    connection: Connection, clock: Clock, *, asked: Callable[[str], None] | None = None
) -> aiohttp.ClientSession:
    """A session with our TLS settings and credentials, in the running event loop; the caller
    closes it. `asked` is told the path and query of each request. Raises ConfigError for unusable
    certificates."""

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if authorization := await connection.credentials.authorization(clock):
            request.headers["Authorization"] = authorization
        if asked is not None:
            asked(request.url.raw_path_qs)
        return await handler(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=connection.ssl_context()),
        middlewares=(authorize,),
        proxy=connection.proxy or None,
    )
