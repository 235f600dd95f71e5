"""CPU time of the client and the reflector, against a bare HTTP server on loopback without TLS.

The server is a process of its own and answers with prepared bytes, so that only our side is
measured: creates with 64 under way (as in a burst), and the events of a watch. Times depend on the
machine and on what else it does; what has a limit is the ratio to the libraries alone.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import aiohttp
import orjson
import uvloop

from bench.measures import Measure
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import Connection
from taskrunner.kube.credentials import StaticToken
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import JOBS, EventType, Obj

CREATES = 4_000
EVENTS = 10_000
UNDER_WAY = 64
ROUNDS = 3
_LABELS = {"app.kubernetes.io/managed-by": "taskrunner", "taskrunner.dev/task": "nightly"}


def measure() -> Iterator[Measure]:
    decode = min(_decode() for _ in range(ROUNDS))
    yield Measure("decode an event", decode * 1e6, "µs", "orjson.loads alone")
    with server() as url:
        for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
            # The best of a few rounds: whatever disturbs a round only adds to it. What is compared
            # is measured in turns.
            rounds = [
                (run(_bare_creates(url)), run(_creates(url)), run(_events(url)))
                for _ in range(ROUNDS)
            ]
            bare, create, event = (min(column) for column in zip(*rounds, strict=True))
            note = f"CPU per call, {UNDER_WAY} under way"
            yield Measure(f"bare create on {loop}", bare * 1e6, "µs", f"{note}, aiohttp alone")
            yield Measure(f"create on {loop}", create * 1e6, "µs", note)
            yield Measure(f"create on {loop}, to bare", create / bare, "×")
            yield Measure(
                f"watch event on {loop}", event * 1e6, "µs", f"CPU per event, {EVENTS:,} at once"
            )
            yield Measure(f"watch event on {loop}, to decoding", event / decode, "×")


def _decode() -> float:
    """CPU seconds to decode one event."""
    lines = [orjson.dumps({"type": "ADDED", "object": job(number)}) for number in range(2_000)]
    started = time.process_time()
    for line in lines:
        orjson.loads(line)
    return (time.process_time() - started) / len(lines)


async def _bare_creates(url: str) -> float:
    """CPU seconds per create with aiohttp and orjson and nothing else."""
    body = job(0)
    target = f"{url}/apis/batch/v1/namespaces/qa/jobs"
    headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=UNDER_WAY)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        left = iter(range(CREATES))

        async def worker() -> None:
            for _ in left:
                async with session.post(target, data=orjson.dumps(body)) as response:
                    orjson.loads(await response.read())

        return await _cpu(lambda: asyncio.gather(*(worker() for _ in range(UNDER_WAY)))) / CREATES


async def _creates(url: str) -> float:
    """CPU seconds per create, client's process only."""
    body = job(0)
    async with ApiClient(_connection(url), SystemClock(), pool=UNDER_WAY) as api:
        await api.warm(UNDER_WAY)
        left = iter(range(CREATES))

        async def worker() -> None:
            for _ in left:
                await api.create(JOBS, "qa", body, timeout=10.0)

        return await _cpu(lambda: asyncio.gather(*(worker() for _ in range(UNDER_WAY)))) / CREATES


async def _events(url: str) -> float:
    """CPU seconds per watch event, from the socket to the sink."""
    sink = _Counter()
    async with ApiClient(_connection(url), SystemClock()) as api:
        reflector = Reflector(api, SystemClock(), JOBS, sink)
        task = asyncio.create_task(reflector.run())
        used = await _cpu(sink.full.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return used / EVENTS


async def _cpu(work: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    started = time.process_time()
    await work()
    return time.process_time() - started


class _Counter:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.full = asyncio.Event()
        self._left = EVENTS

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        pass

    def seen(self, event: EventType, obj: Obj) -> None:
        self._left -= event != "LISTED"
        if self._left == 0:
            self.full.set()


def _connection(url: str) -> Connection:
    return Connection(url, credentials=StaticToken("token"))


def job(number: int) -> Obj:
    """A Job about as large as ours are when the API server returns them (2.6 KB)."""
    container = {
        "name": "main",
        "image": "registry.example/suite:1",
        "command": ["run", "--suite", "$(SUITE)"],
        "env": [{"name": f"SETTING_{n}", "value": f"value {n}"} for n in range(12)],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    spec = {"containers": [container], "restartPolicy": "Never", "schedulerName": "default"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"nightly-{1_790_000_000 + number}-1",
            "namespace": "qa",
            "uid": f"0b12898b-72a4-48a4-9375-{number:012d}",
            "resourceVersion": str(1_000 + number),
            "generation": 1,
            "creationTimestamp": "2026-11-21T07:29:24Z",
            "labels": _LABELS,
            "managedFields": [
                {"manager": "taskrunner", "fieldsV1": {f"f:{n}": {} for n in range(60)}}
            ],
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "x" * 36}},
            "template": {"metadata": {"labels": _LABELS}, "spec": spec},
            "completionMode": "NonIndexed",
        },
        "status": {},
    }


# --- the other side ---------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[str]:
    """A bare HTTP server in a process of its own; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(listener,), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        process.kill()
        process.join()
        listener.close()


def _serve(listener: socket.socket) -> None:
    async def forever() -> None:
        loop = asyncio.get_running_loop()
        running = await loop.create_server(_Answers, sock=listener)
        await running.serve_forever()

    uvloop.run(forever())


def _response(code: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_CREATED = _response("201 Created", orjson.dumps(job(0)))
_EMPTY = _response("200 OK", b'{"metadata": {"resourceVersion": "999"}, "items": []}')
_WATCHED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"".join(
    orjson.dumps({"type": "ADDED", "object": job(number)}) + b"\n" for number in range(EVENTS)
)


class _Answers(asyncio.Protocol):
    """Just enough HTTP for our own client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            length = 0
            for line in head.split(b"\r\n")[1:]:
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            if len(rest) < length:
                return
            self._data = rest[length:]
            watch = b"watch=1" in head.split(b"\r\n", 1)[0]
            created = head.startswith(b"POST")
            self._transport.write(_WATCHED if watch else _CREATED if created else _EMPTY)
