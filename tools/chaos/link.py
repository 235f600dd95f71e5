"""A TCP link from a replica towards the API server that can be cut, slowed and stopped."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

_CHUNK = 64 * 1024


class Link:
    """Listens on loopback and passes bytes on, TLS and all."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        """The loop itself holds no task: one whose connection rests could be collected, and its
        socket be closed without the loop's knowing."""
        self._open = asyncio.Event()
        self._open.set()
        self.delay = 0.0
        """Seconds that each piece of data takes, each way."""
        self.port = 0

    async def start(self, target: int) -> None:
        """Listen, and pass on to this port."""
        self._target = (self._host, target)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.heal()
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        for writer in list(self._writers):
            writer.transport.abort()

    def block(self) -> None:
        """Let nothing through, and tell nobody: connections stay open."""
        self._open.clear()

    def heal(self) -> None:
        """As if nothing had been."""
        self.delay = 0.0
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._open.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(*self._target)
            except OSError:
                return
            self._writers.add(far_writer)
            pumps: set[asyncio.Task[Any] | None] = {asyncio.current_task()}
            try:
                async with asyncio.TaskGroup() as group:
                    pumps.add(group.create_task(self._pump(reader, far_writer)))
                    pumps.add(group.create_task(self._pump(far_reader, writer)))
                    self._tasks |= pumps
            finally:
                self._tasks -= pumps
                self._writers.discard(far_writer)
                far_writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        # One side has ended: end the other, too.
        writer.transport.abort()
