"""The connections for calls, against a server that answers byte by byte as each test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from fakes.clock import settle
from taskrunner.kube import pool as pool_module
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import Connection
from taskrunner.kube.pool import Answer, Pool, Unreachable
from taskrunner.kube.transport import Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: now\r\n\r\nok"


class Scripted:
    """Gives each request the next answer; None hangs up, b"" is silent. It notes what it got."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = [OK]
        self.requests: list[bytes] = []
        self.connections: list[_Served] = []
        self.asked = asyncio.Event()
        self.port = 0
        self.close_after = False

    def next(self) -> bytes | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Served(asyncio.Protocol):
    def __init__(self, script: Scripted) -> None:
        self._script = script
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._script.connections.append(self)

    def data_received(self, data: bytes) -> None:
        script = self._script
        script.requests.append(data)
        script.asked.set()
        answer = script.next()
        if answer:
            self.transport.write(answer)
        if answer is None or script.close_after:
            self.transport.close()


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    script = Scripted()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Served(script), "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    yield script
    server.close()
    for served in script.connections:
        served.transport.abort()
    await settle()


@asynccontextmanager
async def pool_of(script: Scripted, limit: int = 2, path: str = "") -> AsyncIterator[Pool]:
    pool = Pool(f"http://127.0.0.1:{script.port}{path}", limit=limit)
    try:
        yield pool
    finally:
        pool.close()
        await settle()


async def get(pool: Pool, path: bytes = b"/x", seconds: float = 5.0) -> Answer:
    return await pool.call(b"GET", path, b"Host: h\r\n", b"", seconds=seconds)


ANSWERS: dict[str, tuple[bytes, bytes]] = {
    "with a length": (OK, b"ok"),
    "in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"abc",
    ),
    "without a body": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
    "after a hint": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
}


@pytest.mark.parametrize(("answer", "body"), ANSWERS.values(), ids=ANSWERS)
async def test_a_whole_answer_is_read_and_the_connection_used_again(
    answer: bytes, body: bytes
) -> None:
    async with scripted() as script, pool_of(script) as pool:
        script.answers = [answer]
        for _ in range(3):
            assert (await get(pool)).body == body
        assert len(script.connections) == 1


async def test_a_body_may_end_with_the_connection() -> None:
    async with scripted() as script, pool_of(script) as pool:
        script.answers, script.close_after = [b"HTTP/1.1 200 OK\r\n\r\nall of it"], True
        assert (await get(pool)).body == b"all of it"
        assert (await get(pool)).body == b"all of it"
        assert len(script.connections) == 2


async def test_headers_are_found_in_any_case() -> None:
    async with scripted() as script, pool_of(script) as pool:
        answer = await get(pool)
        assert (answer.header(b"date"), answer.header(b"warning")) == ("now", "")
        assert answer.headers["DATE"] == "now"


async def test_the_path_of_the_server_comes_first() -> None:
    async with scripted() as script, pool_of(script, path="/k8s/clusters/a/") as pool:
        await get(pool, b"/api")
        assert script.requests[0].startswith(b"GET /k8s/clusters/a/api HTTP/1.1\r\nHost: h\r\n")


FAULTS: dict[str, tuple[bytes | None, str]] = {
    "hangs up": (None, "closed it"),
    "half an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "closed it"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2p1 something\r\n", "not HTTP"),
}


@pytest.mark.parametrize(("answer", "message"), FAULTS.values(), ids=FAULTS)
async def test_what_breaks_is_a_connection_error_and_the_next_call_gets_another_connection(
    answer: bytes | None, message: str
) -> None:
    async with scripted() as script, pool_of(script, limit=1) as pool:
        script.answers, script.close_after = [answer, OK], True
        with pytest.raises(ConnectionError, match=message):
            await get(pool)
        assert (await get(pool)).body == b"ok"


async def test_an_answer_that_nobody_waits_for_any_more_is_never_taken_for_the_next_one() -> None:
    async with scripted() as script, pool_of(script, limit=1) as pool:
        script.answers = [b"", OK]
        with pytest.raises(TimeoutError):
            await get(pool, seconds=0.05)
        assert (await get(pool)).body == b"ok"
        assert len(script.connections) == 2


async def test_a_call_that_waits_for_a_connection_gets_one_when_another_is_cancelled() -> None:
    async with scripted() as script, pool_of(script, limit=1) as pool:
        script.answers = [b"", OK]
        first = asyncio.create_task(get(pool))
        await script.asked.wait()
        gives_up, stays = (asyncio.create_task(get(pool)) for _ in range(2))
        await asyncio.sleep(0)
        gives_up.cancel()
        first.cancel()
        assert (await stays).body == b"ok"


async def test_waiting_for_a_connection_counts_as_time() -> None:
    async with scripted() as script, pool_of(script, limit=1) as pool:
        script.answers = [b""]
        first = asyncio.create_task(get(pool))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await get(pool, seconds=0.05)
        first.cancel()


async def test_an_old_connection_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "KEEP_ALIVE_SECONDS", -1.0)
    async with scripted() as script, pool_of(script) as pool:
        await get(pool)
        await get(pool)
        assert len(script.connections) == 2


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="Connect call failed"):
        await get(Pool("http://127.0.0.1:1", limit=1))


async def test_a_server_without_tls_is_unreachable_with_it() -> None:
    async with scripted() as script:
        tls = Connection("https://x", verify=False).ssl_context()
        pool = Pool(f"https://127.0.0.1:{script.port}", limit=1, tls=tls)
        script.answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n"]
        with pytest.raises((Unreachable, TimeoutError)):
            await get(pool, seconds=0.5)


async def test_calls_go_through_a_proxy_where_there_is_one() -> None:
    async with scripted() as script:
        connection = Connection("http://api.invalid:8001", proxy=f"http://127.0.0.1:{script.port}")
        transport = Transport(connection, SystemClock(), pool=1)
        transport.open()
        answer = await transport.call("GET", "/version", seconds=5)
        await transport.close()
        assert answer.body == b"ok"
        assert script.requests[0].startswith(b"GET http://api.invalid:8001/version HTTP/1.1")
