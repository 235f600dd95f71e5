"""HTTP to one API server: connections, credentials, and what broken ones are called."""

from __future__ import annotations

import socket
import ssl
import weakref
from contextlib import suppress
from typing import Any

import aiohttp
import orjson
from yarl import URL

from taskrunner import __version__
from taskrunner.errors import Transient
from taskrunner.kube import pool
from taskrunner.kube.answers import shortened
from taskrunner.kube.config import Connection
from taskrunner.kube.pool import (
    KEEP_ALIVE_SECONDS,
    Answer,
    Pool,
    Unreachable,
    open_socket,
)
from taskrunner.ports import Clock

CONNECT_SECONDS = pool.CONNECT_SECONDS
JSON = "application/json"
_TURNS = 50
_HEADERS = {
    "User-Agent": f"taskrunner/{__version__}",
    "Accept": JSON,
    # Compression would cost the API server and us more time than it saves.
    "Accept-Encoding": "identity",
}

BROKEN = (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError)
"""What a call that got no (whole) answer raises."""


class Transport:
    """A pool of at most `pool` connections for calls, and further ones for watches.

    Calls go through our own pool; what stays open, and everything through a proxy, through aiohttp.
    """

    def __init__(self, connection: Connection, clock: Clock, *, pool: int) -> None:
        self._connection = connection
        self._clock = clock
        self._pool = pool
        self._calls: aiohttp.ClientSession | None = None
        self._direct: Pool | None = None
        self._head = ("", b"")
        """The last Authorization, and the header lines that every call begins with."""
        self._watches: aiohttp.ClientSession | None = None
        self._sockets = weakref.WeakSet[socket.socket]()

    def open(self) -> None:
        """Get ready; connects nowhere yet. Raises ConfigError for unusable certificates."""
        tls = self._connection.ssl_context()
        self._calls, self._watches = self._session(tls, self._pool), self._session(tls, 0)
        if not self._connection.proxy:
            self._direct = Pool(
                self._connection.server,
                limit=self._pool,
                tls=tls,
                tls_name=self._connection.tls_server_name,
            )

    async def close(self) -> None:
        """Close all connections; calls under way and later ones raise Transient."""
        for session in (self._calls, self._watches):
            if session is not None:
                await session.close()
        if self._direct is not None:
            self._direct.close()
        # What is left are connections that were given up and wait, for half a minute, until a
        # server that hangs agrees to the end of TLS.
        for _ in range(_TURNS):
            left = [sock for sock in self._sockets if sock.fileno() >= 0]
            for sock in left:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            if not left:
                return
            await self._clock.sleep(0.001)

    async def warm(self, connections: int) -> None:
        """Open connections until this many wait in the pool; failures are left to later calls."""
        if self._direct is not None:
            # Every authenticated user may read it (system:public-info-viewer); it costs nothing.
            await self._direct.warm(connections, b"/version", await self._header_lines())

    def rejected(self) -> bool:
        """The server answered 401: True when fresh credentials may help."""
        return self._connection.credentials.rejected()

    def request(
        self,
        method: str,
        url: str,
        *,
        limits: aiohttp.ClientTimeout,
        data: bytes | None = None,
        content: str = JSON,
        watch: bool = False,
    ) -> Request:
        """`async with` gives the response; `url` starts at the server's root."""
        session = self._watches if watch else self._calls
        if session is None or session.closed:
            raise Transient("The client of the API server is closed.")
        headers = {"Content-Type": content} if data is not None else {}
        return Request(session, self._connection, self._clock, method, url, headers, data, limits)

    async def call(
        self, method: str, url: str, *, seconds: float, data: bytes = b"", content: str = JSON
    ) -> Answer:
        """One request and its whole answer; `url` starts at the server's root. Raises BROKEN."""
        if self._direct is None or self._direct.closed:
            return await self._call_by_proxy(method, url, seconds, data, content)
        head = await self._header_lines()
        if data:
            head += b"Content-Type: %s\r\n" % content.encode()
        return await self._direct.call(method.encode(), url.encode(), head, data, seconds=seconds)

    async def _call_by_proxy(
        self, method: str, url: str, seconds: float, data: bytes, content: str
    ) -> Answer:
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        async with self.request(
            method, url, data=data or None, content=content, limits=limits
        ) as response:
            return Answer(response.status, await response.read(), list(response.raw_headers))

    async def _header_lines(self) -> bytes:
        authorization = await self._connection.credentials.authorization(self._clock) or ""
        if self._head[0] != authorization or not self._head[1]:
            assert self._direct is not None
            lines = [f"{name}: {value}" for name, value in _HEADERS.items()]
            if authorization:
                lines.append(f"Authorization: {authorization}")
            if not all(line.isascii() and line.isprintable() for line in lines):
                raise Transient("The credentials have characters that no header may have.")
            host = b"Host: %s\r\n" % self._direct.host_header
            text = "".join(f"{line}\r\n" for line in lines)
            self._head = (authorization, host + text.encode())
        return self._head[1]

    def _session(self, tls: ssl.SSLContext, limit: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=limit,
            ssl=tls,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ttl_dns_cache=60,
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            read_bufsize=2**18,
        )

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        sock = open_socket(address)
        self._sockets.add(sock)
        return sock


class Request:
    """One HTTP request, with the credentials of the moment."""

    __slots__ = (
        "_clock",
        "_connection",
        "_data",
        "_headers",
        "_limits",
        "_method",
        "_response",
        "_session",
        "_url",
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connection: Connection,
        clock: Clock,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
        limits: aiohttp.ClientTimeout,
    ) -> None:
        self._session = session
        self._connection = connection
        self._clock = clock
        self._method = method
        self._url = url
        self._headers = headers
        self._data = data
        self._limits = limits
        self._response: aiohttp.ClientResponse

    async def __aenter__(self) -> aiohttp.ClientResponse:
        connection = self._connection
        if authorization := await connection.credentials.authorization(self._clock):
            self._headers["Authorization"] = authorization
        self._response = await self._session.request(
            self._method,
            URL(connection.server + self._url, encoded=True),
            data=self._data,
            headers=self._headers,
            timeout=self._limits,
            allow_redirects=False,
            proxy=connection.proxy or None,
            server_hostname=connection.tls_server_name or None,
        )
        return self._response

    async def __aexit__(self, *_: object) -> None:
        # A response that was read to its end has given its connection back to the pool. A watch
        # that was left, or an answer given up half way, ends here and now: a polite end of TLS
        # would wait for the other side, which may not be there any more.
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.release()


def no_answer(what: str, error: Exception) -> Transient:
    """What a broken connection or a time-out is called. A write may have happened all the same."""
    match error:
        case aiohttp.ClientConnectorError():
            reason = f"the API server cannot be reached ({error.os_error.strerror or error})."
        case Unreachable():
            reason = f"the API server cannot be reached ({error.strerror})."
        case TimeoutError():
            reason = "no answer in time."
        case orjson.JSONDecodeError():
            reason = "the answer is not JSON."
        case _:
            text = shortened(str(error), 200) or type(error).__name__
            reason = f"the connection broke ({text})."
    return Transient(f"{what}: {reason}")
