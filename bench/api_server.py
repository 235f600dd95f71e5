"""As much of an API server as a burst needs, on loopback, in a process of its own.

It takes objects, patches and lists them, and tells watches. It checks nothing: what is measured is
who asks it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import orjson
import uvloop

Obj = dict[str, Any]
_HEAD = (
    b"HTTP/1.1 %d X\r\nAudit-Id: 7a2c0b6e-3b7f-4f4a-9d43-5e62a5c4d2a3\r\n"
    b"Cache-Control: no-cache, private\r\nContent-Type: application/json\r\n"
    b"X-Kubernetes-Pf-Flowschema-Uid: 5a0a2a7e-6f0e-4c43-8b66-3f6ad0c1f4d1\r\n"
    b"Date: Sat, 21 Nov 2026 14:30:00 GMT\r\nContent-Length: %d\r\n\r\n"
)
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_MANAGED = [{"manager": "taskrunner", "fieldsV1": {f"f:field-{n}": {} for n in range(40)}}]
_API_VERSIONS = {
    "scheduledtasks": ("taskrunner.dev/v1alpha1", "ScheduledTask"),
    "taskexecutions": ("taskrunner.dev/v1alpha1", "TaskExecution"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "jobs": ("batch/v1", "Job"),
}
_CREATED = "2026-09-21T14:13:20Z"


@contextmanager
def server() -> Iterator[str]:
    """Run one; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
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
        objects = _Objects()
        running = await asyncio.get_running_loop().create_server(
            lambda: _Served(objects), sock=listener
        )
        await running.serve_forever()

    uvloop.run(forever())


class _Objects:
    def __init__(self) -> None:
        self.version = 1_000
        self.kept: dict[tuple[str, str, str], Obj] = {}
        self.watches: dict[str, list[asyncio.Transport]] = {}

    def create(self, plural: str, namespace: str, obj: Obj) -> Obj:
        self.version += 1
        obj["apiVersion"], obj["kind"] = _API_VERSIONS[plural]
        obj["metadata"] |= {
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "resourceVersion": str(self.version),
            "creationTimestamp": _CREATED,
            "generation": 1,
            "managedFields": _MANAGED,
        }
        self.kept[plural, namespace, obj["metadata"]["name"]] = obj
        return obj

    def patch(self, plural: str, namespace: str, name: str, patch: Obj) -> Obj:
        obj = self.kept[plural, namespace, name]
        self.version += 1
        patch.pop("metadata", None)
        _merge(obj, patch)
        obj["metadata"]["resourceVersion"] = str(self.version)
        return obj

    def tell(self, plural: str, event: str, obj: Obj) -> None:
        line = orjson.dumps({"type": event, "object": obj}) + b"\n"
        for transport in self.watches.get(plural, []):
            if not transport.is_closing():
                transport.write(b"%x\r\n%s\r\n" % (len(line), line))


def _merge(obj: Obj, patch: Obj) -> None:
    for key, value in patch.items():
        if value is None:
            obj.pop(key, None)
        elif isinstance(value, dict) and isinstance(obj.get(key), dict):
            _merge(obj[key], value)
        else:
            obj[key] = value


class _Served(asyncio.Protocol):
    def __init__(self, objects: _Objects) -> None:
        self._objects = objects
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            lines = head.split(b"\r\n")
            lengths = [line for line in lines[1:] if line[:15].lower() == b"content-length:"]
            length = int(lengths[0][15:]) if lengths else 0
            if len(rest) < length:
                return
            self._data = rest[length:]
            method, target, _ = lines[0].decode().split(" ")
            self._handle(method, target, rest[:length])

    def _handle(self, method: str, target: str, body: bytes) -> None:
        url = urlsplit(target)
        query, parts = parse_qs(url.query), url.path.strip("/").split("/")
        if parts[0] not in ("api", "apis"):
            self._answer(200, {})
            return
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace = parts[1] if parts[0] == "namespaces" else ""
        plural, *name = parts[2:] if namespace else parts
        objects = self._objects
        if method == "GET" and "watch" in query:
            self._transport.write(_STREAM)
            objects.watches.setdefault(plural, []).append(self._transport)
        elif method == "GET":
            items = [obj for key, obj in objects.kept.items() if key[0] == plural]
            version = {"resourceVersion": str(objects.version)}
            self._answer(200, {"metadata": version, "items": items})
        elif method == "POST" and "dryRun" in query:
            self._answer(201, orjson.loads(body))
        elif method == "POST":
            made = objects.create(plural, namespace, orjson.loads(body))
            self._answer(201, made)
            objects.tell(plural, "ADDED", made)
        else:
            changed = objects.patch(plural, namespace, name[0], orjson.loads(body))
            self._answer(200, changed)
            objects.tell(plural, "MODIFIED", changed)

    def _answer(self, code: int, obj: Obj) -> None:
        body = orjson.dumps(obj)
        self._transport.write(_HEAD % (code, len(body)) + body)
