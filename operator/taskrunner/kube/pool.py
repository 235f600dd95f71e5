"""HTTP/1.1 connections to one server for calls that are answered at once; watches are not for it.

asyncio, and the parser of httptools: a call takes a third of the CPU that it takes with aiohttp,
and CPU is what a burst of writes takes on our side (ADR 15). Nothing here knows about Kubernetes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools
from multidict import CIMultiDict

CONNECT_SECONDS: Final = 10.0
# The API server closes a connection that was idle for 90 s: ours must be the shorter time, or a
# POST may meet a connection that is just being closed.
KEEP_ALIVE_SECONDS: Final = 75.0
_RESOLVED_SECONDS: Final = 60.0
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Address = tuple[Any, ...]
"""As `getaddrinfo` gives them: family, kind, protocol, canonical name, address."""


class Unreachable(OSError):
    """No connection could be made."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    raw_headers: list[tuple[bytes, bytes]]

    @property
    def headers(self) -> CIMultiDict[str]:
        """All of them; made at each call."""
        return CIMultiDict((n.decode("latin-1"), v.decode("latin-1")) for n, v in self.raw_headers)

    def every(self, name: bytes) -> list[str]:
        """The values of the headers of a name (in lower case)."""
        return [v.decode("latin-1") for n, v in self.raw_headers if n.lower() == name]

    def header(self, name: bytes) -> str:
        """The first of them; empty when there is none."""
        found = self.every(name)
        return found[0] if found else ""


class Pool:
    """At most `limit` connections; who finds none free waits in turn."""

    def __init__(
        self, server: str, *, limit: int, tls: ssl.SSLContext | None = None, tls_name: str = ""
    ) -> None:
        url = urlsplit(server)
        self._host = url.hostname or ""
        self._port = url.port or _DEFAULT_PORTS.get(url.scheme, 443)
        self._prefix = url.path.rstrip("/").encode()
        self.host_header = url.netloc.rpartition("@")[2].encode()
        self._tls = tls if url.scheme == "https" else None
        self._tls_name = tls_name or self._host
        self._limit = limit
        self._open: set[_Connection] = set()
        self._free: deque[_Connection] = deque()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._resolved: tuple[float, list[Address]] = (float("-inf"), [])
        self.closed = False

    async def call(
        self, method: bytes, path: bytes, head: bytes, body: bytes, *, seconds: float
    ) -> Answer:
        """Send one request and read its answer. `head` has whole header lines, but for
        Content-Length.

        Raises Unreachable (nothing was sent), TimeoutError after `seconds`, waiting for a
        connection included, and ConnectionError; of the latter two nobody knows what was done.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        connection = self._take(loop.time())
        if connection is None:
            async with asyncio.timeout_at(end):
                connection = await self._wait_for_one(end)
        return await connection.exchange(
            b"%s %s%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s"
            % (method, self._prefix, path, head, len(body), body),
            end,
        )

    async def warm(self, connections: int, path: bytes, head: bytes) -> None:
        """Open connections until this many are free, at most as many as the pool may have. Each
        gets a request: servers give up those that never ask anything. Failures do nothing."""
        room = self._limit - len(self._open) - self._opening
        missing = min(connections - len(self._free), room)
        if missing > 0:
            opened = (self._open_and_ask(path, head) for _ in range(missing))
            await asyncio.gather(*opened, return_exceptions=True)

    def close(self) -> None:
        """Cut all connections; calls under way raise ConnectionError."""
        self.closed = True
        for connection in list(self._open):
            connection.abort()
        while self._waiting:
            self._wake_next(ConnectionError("the client was closed"))

    # --- which connection -----------------------------------------------------------------------

    def _take(self, now: float) -> _Connection | None:
        while self._free and now - self._free[0].idle_since > KEEP_ALIVE_SECONDS:
            self._free.popleft().abort()
        return self._free.pop() if self._free else None

    async def _wait_for_one(self, end: float) -> _Connection:
        loop = asyncio.get_running_loop()
        while len(self._open) + self._opening >= self._limit:
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._wake_next()  # It was our turn, and we do not take it.
                raise
            if (connection := self._take(loop.time())) is not None:
                return connection
        return await self._connect(end)

    async def _open_and_ask(self, path: bytes, head: bytes) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + CONNECT_SECONDS
        connection = await self._connect(end)
        await connection.exchange(b"GET %s%s HTTP/1.1\r\n%s\r\n" % (self._prefix, path, head), end)

    def release(self, connection: _Connection) -> None:
        """Have it used again."""
        self._free.append(connection)
        self._wake_next()

    def lost(self, connection: _Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        self._wake_next()

    def _wake_next(self, error: Exception | None = None) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                if error is None:
                    turn.set_result(None)
                else:
                    turn.set_exception(error)
                return

    # --- opening them ---------------------------------------------------------------------------

    async def _connect(self, end: float) -> _Connection:
        self._opening += 1
        try:
            connection = await self._reach(end)
        except BaseException:
            self._wake_next()
            raise
        finally:
            self._opening -= 1
        if self.closed:
            connection.abort()
            raise ConnectionError("the client was closed")
        self._open.add(connection)
        return connection

    async def _reach(self, end: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(end, loop.time() + CONNECT_SECONDS)):
                problem: OSError | None = None
                for address in await self._addresses():
                    try:
                        return await self._reach_at(address)
                    except OSError as error:
                        problem = error
        except TimeoutError as error:
            if end <= loop.time():
                raise
            raise Unreachable(None, f"no connection within {CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise Unreachable(error.errno, error.strerror or str(error)) from error
        assert problem is not None
        raise Unreachable(problem.errno, problem.strerror or str(problem)) from problem

    async def _addresses(self) -> list[Address]:
        loop = asyncio.get_running_loop()
        if loop.time() - self._resolved[0] > _RESOLVED_SECONDS:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._resolved = (loop.time(), list(found))
        return self._resolved[1]

    async def _reach_at(self, address: Address) -> _Connection:
        loop = asyncio.get_running_loop()
        sock = open_socket(address)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address[4])
            _, connection = await loop.create_connection(
                lambda: _Connection(self),
                sock=sock,
                ssl=self._tls,
                server_hostname=self._tls_name if self._tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._until_end = False
        """The body ends with the connection."""
        self.idle_since = 0.0

    async def exchange(self, request: bytes, end: float) -> Answer:
        """Send a request, give its answer, and the connection back to the pool."""
        if self._transport.is_closing():
            raise ConnectionResetError("the server has closed it")
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        timer = self._loop.call_at(end, self._time_out)
        self._transport.write(request)
        try:
            return await answer
        except BaseException:
            # What is still to come on it would be taken for the next answer.
            self.abort()
            raise
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Close it now: a polite end of TLS would wait for the other side, which may hang."""
        self._transport.abort()
        self._pool.lost(self)

    def _time_out(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # --- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer is not HTTP: {error}"))
            self.abort()

    def eof_received(self) -> None:
        if self._until_end:
            self._done()

    def connection_lost(self, error: Exception | None) -> None:
        why = str(error) if error is not None else "the server has closed it"
        self._fail(ConnectionResetError(why))
        self._pool.lost(self)

    # --- httptools ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._headers, self._body = [], []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        named = {name.lower() for name, _ in self._headers}
        self._until_end = not named & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._done()

    def _done(self) -> None:
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            # Nobody has asked, or whoever did has gone: not to be used again.
            self.abort()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        answer.set_result(Answer(self._parser.get_status_code(), body, self._headers))
        if self._parser.should_keep_alive() and not self._until_end:
            self.idle_since = self._loop.time()
            self._pool.release(self)
        else:
            self.abort()


def open_socket(address: Address) -> socket.socket:
    """A socket that notices within half a minute that the other machine is gone: a watch on a dead
    connection is silent, and so is a healthy one."""
    family, kind, protocol = address[0], address[1], address[2]
    sock = socket.socket(family=family, type=kind, proto=protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),
    ):
        if hasattr(socket, option):  # Linux has them all.
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return sock
