"""A bare HTTP server that answers as it is told: for what goes wrong on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers requests with the scripted answers, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [answer({})]
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.peers: set[Any] = set()
        self.url = ""
        self._arrivals = asyncio.Semaphore(0)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self._arrivals.release()
        self.peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        self.bodies.append(await request.read())
        script = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await script(request)

    async def arrived(self, count: int = 1) -> None:
        """Wait until this many requests have come."""
        async with asyncio.timeout(5):
            for _ in range(count - len(self.requests)):
                await self._arrivals.acquire()

    @property
    def last(self) -> web.Request:
        return self.requests[-1]


def answer(body: Any = None, code: int = 200, **headers: str) -> Answer:
    """JSON, or text as it is."""

    async def script(request: web.Request) -> web.StreamResponse:
        data = body.encode() if isinstance(body, str) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, body=data, headers=named)

    return script


def status(code: int, reason: str = "", message: str = "", **details: Any) -> Answer:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return answer({**body, "details": details}, code)


async def silence(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def half_an_answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"metadata":')
    assert request.transport is not None
    request.transport.abort()
    return response


def stream(*chunks: bytes, then: Answer | None = None) -> Answer:
    """A watch: these chunks, one at a time, and the end (or what `then` does)."""

    async def script(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        if then is not None:
            await then(request)
        return response

    return script


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """A server on a free port of the loopback interface."""
    scripted = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    running = TestServer(app)
    await running.start_server(shutdown_timeout=0)
    scripted.url = str(running.make_url("")).rstrip("/")
    yield scripted
    await running.close()
