"""Between a replica's link and the API server: ends TLS, so that watches can be broken from within.

The server tells a watch that it cannot go on by a last event of type ERROR, whose object is a
Status. Which one it sends is up to its inner state (a cache that is being built anew, etcd away, an
object that it cannot decode), so it cannot be had on demand. The tap can: it passes HTTP/1.1 on
unchanged, but may withhold the events of the watches that are open, and end them with a Status.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from testbed import Cluster

_PIECE = 64 * 1024
_LAST_SECONDS = 2.0
_WATCH = re.compile(rb"GET \S*[?&]watch=(1|true)[& ]")
_REQUEST = re.compile(rb"[A-Z]+ /")
_END = b"0\r\n\r\n"


class Unchunked:
    """The payload of a body in HTTP/1.1's chunks (RFC 9112, section 7.1), piece by piece."""

    def __init__(self) -> None:
        self._rest = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the payload; `ended` is set with the last chunk."""
        buffer, payload = self._rest + data, bytearray()
        while not self.ended:
            line, found, after = buffer.partition(b"\r\n")
            if not found:
                break
            size = int(line.partition(b";")[0], 16)
            if len(after) < size + 2:
                break
            payload += after[:size]
            buffer = after[size + 2 :]
            self.ended = size == 0
        self._rest = buffer
        return bytes(payload)


class Stream:
    """One connection's answers. Only those to a watch are looked into."""

    def __init__(self) -> None:
        self.watching = False
        self._head: bytes | None = b""
        self._body: Unchunked | None = None
        self._line = b""

    @property
    def open(self) -> bool:
        """Whether a watch has been answered, and its events come."""
        return self.watching and self._body is not None

    def asked(self, data: bytes) -> None:
        """Note what the client sends. It sends one request at a time, head first."""
        if _REQUEST.match(data):
            self.watching = _WATCH.match(data) is not None
            self._head, self._body, self._line = b"", None, b""

    def answered(self, data: bytes, *, withhold: bool) -> bytes:
        """What the client gets of it: whole events, none while they are withheld."""
        if not self.watching or self._head is None:
            return data
        if self._body is None:
            head, found, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head
            if not found:
                return b""
            if b" 200 " not in head[:16] or b"chunked" not in head.lower():
                self._head = None
                return head + found + data
            self._body = Unchunked()
            return head + found + self._events(data, self._body, withhold=withhold)
        return self._events(data, self._body, withhold=withhold)

    def _events(self, data: bytes, body: Unchunked, *, withhold: bool) -> bytes:
        lines, _, self._line = (self._line + body.feed(data)).rpartition(b"\n")
        out = chunk(lines + b"\n") if lines and not withhold else b""
        if body.ended:
            self.watching = False
            out += _END
        return out


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def error_event(code: int, reason: str) -> bytes:
    """The last event of a watch that the server gives up, as a line."""
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"chaos: the watch ends with {code}",
        "reason": reason,
        "code": code,
    }
    if code == 429:
        status["details"] = {"retryAfterSeconds": 1}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


@dataclass(eq=False)
class _Connection:
    stream: Stream
    client: asyncio.StreamWriter
    deaf: bool = False


class Tap:
    """Listens on loopback with a certificate of the cluster's authority."""

    def __init__(self, cluster: Cluster, host: str, port: int) -> None:
        self._target = (host, port)
        certificate, key = cluster.issue_certificate("chaos-tap", (), ["127.0.0.1"])
        self._inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inside.load_cert_chain(certificate, key)
        self._outside = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        """The loop itself holds no task: one whose connection rests could be collected, and its
        socket be closed without the loop's knowing."""
        self._withhold = False
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._inside)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.client.transport.abort()
        await asyncio.gather(*filter(None, self._tasks), return_exceptions=True)

    @property
    def watches(self) -> int:
        """How many are open."""
        return sum(connection.stream.open for connection in self._connections)

    def withhold(self) -> None:
        """Pass no event of any watch on until `fail`. What is withheld never comes."""
        self._withhold = True

    def fail(self, code: int, reason: str) -> int:
        """End all watches with an ERROR event; the answer is how many."""
        self._withhold = False
        count = 0
        for connection in self._connections:
            if connection.stream.open:
                connection.deaf = True
                connection.stream.watching = False
                connection.client.write(chunk(error_event(code, reason)) + _END)
                connection.client.close()
                count += 1
            elif connection.stream.watching:
                # Asked, and not answered yet: its first events may have been withheld.
                connection.client.transport.abort()
        return count

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target, ssl=self._outside)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(Stream(), writer)
        self._connections.add(connection)
        pumps: set[asyncio.Task[Any] | None] = {asyncio.current_task()}
        try:
            async with asyncio.TaskGroup() as group:
                pumps.add(group.create_task(self._up(reader, far_writer, connection)))
                pumps.add(group.create_task(self._down(far_reader, connection)))
                self._tasks |= pumps
        finally:
            far_writer.transport.abort()
            if connection.deaf:  # The last event is on its way.
                with suppress(OSError, TimeoutError):
                    await asyncio.wait_for(writer.wait_closed(), _LAST_SECONDS)
            writer.transport.abort()
            self._tasks -= pumps
            self._connections.discard(connection)

    async def _up(
        self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                connection.stream.asked(data)
                far.write(data)
                await far.drain()
        far.transport.abort()

    async def _down(self, far: asyncio.StreamReader, connection: _Connection) -> None:
        client = connection.client
        with suppress(OSError):
            while data := await far.read(_PIECE):
                if connection.deaf:
                    break
                if out := connection.stream.answered(data, withhold=self._withhold):
                    client.write(out)
                    await client.drain()
        if not connection.deaf:
            client.transport.abort()
