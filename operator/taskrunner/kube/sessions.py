"""A plain HTTP session for libraries that bring their own client of the API server (kopf)."""

from __future__ import annotations

import aiohttp

from taskrunner.kube.config import Connection
from taskrunner.ports import Clock


def open_session(connection: Connection, clock: Clock) -> aiohttp.ClientSession:
    """A session with our TLS settings and credentials, in the running event loop; the caller
    closes it. Raises ConfigError for unusable certificates."""

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if authorization := await connection.credentials.authorization(clock):
            request.headers["Authorization"] = authorization
        return await handler(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=connection.ssl_context()),
        middlewares=(authorize,),
        proxy=connection.proxy or None,
    )
