"""The best bare client: aiohttp, orjson and uvloop, warm connections, 128 writes at a time.

It knows its objects beforehand, decides nothing and remembers nothing: what it takes is what the
API server takes. What it writes for a run is, field by field, what the operator writes.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import aiohttp
import orjson
from yarl import URL

from bench.bed import TEMPLATE
from taskrunner.domain.fence import Writer, signed
from taskrunner.domain.job import job_manifest, labels_for, owner_reference
from taskrunner.domain.observed import execution_from
from taskrunner.kube.config import Connection
from taskrunner.kube.wire import url_path
from taskrunner.ports import JOBS, LEASES, TASK_EXECUTIONS, Obj, Resource

AT_ONCE = 128
Writes = Literal["jobs", "three"]
EPOCH = "bare/1"
"""As it stands on what it creates."""
_SLOT = "2026-09-21T14:13:20Z"
_TEMPLATE = orjson.dumps({"spec": TEMPLATE})


class Bare:
    """`async with` opens its connections."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._server = connection.server
        self._namespace = namespace
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=connection.ssl_context()),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )

    async def __aenter__(self) -> Bare:
        await asyncio.gather(*(self._touch() for _ in range(AT_ONCE)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def burst(self, writes: Writes, count: int) -> None:
        """As many runs as told, as fast as they go."""
        left = iter(range(count))

        async def worker() -> None:
            for number in left:
                if writes == "jobs":
                    await self.job(f"bare-{number}")
                else:
                    await self.three(f"bare-{number}")

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def job(self, name: str) -> None:
        """A Job alone."""
        labels = labels_for(name, name)
        metadata = {"name": name, "labels": labels}
        body = {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata}
        await self.create(JOBS, {**body, "spec": TEMPLATE})

    async def three(self, name: str) -> None:
        """Execution, run Lease and Job, each the owner of the next."""
        metadata: Obj = {"name": name, "labels": labels_for(name, name)}
        execution = {
            "apiVersion": TASK_EXECUTIONS.api_version,
            "kind": TASK_EXECUTIONS.kind,
            "metadata": metadata,
            "spec": {
                "taskRef": {"name": name},
                "type": "Scheduled",
                "decision": {"type": "Run", "reason": "OnSchedule", "due": _SLOT},
                "scheduledTime": _SLOT,
            },
        }
        found = await self.create(TASK_EXECUTIONS, signed(execution, Writer("0", EPOCH)))
        owner = owner_reference(found["apiVersion"], found["kind"], name, found["metadata"]["uid"])
        await self.create(
            LEASES,
            {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {**metadata, "ownerReferences": [owner]},
                "spec": {
                    "holderIdentity": "bare",
                    "acquireTime": f"{_SLOT[:-1]}.000000Z",
                    "leaseTransitions": 0,
                },
            },
        )
        job = job_manifest(_TEMPLATE, execution_from(found), f"{name}-1")
        await self.create(JOBS, signed(job, Writer("0", EPOCH)))

    async def create(self, resource: Resource, body: Obj) -> Obj:
        """POST, and the decoded answer."""
        url = URL(self._server + url_path(resource, self._namespace), encoded=True)
        async with self._session.post(url, data=orjson.dumps(body)) as response:
            answer: Obj = orjson.loads(await response.read())
            if response.status != 201:
                raise RuntimeError(f"the bare client was refused: {answer}")
            return answer

    async def _touch(self) -> None:
        async with self._session.get(URL(self._server + "/version")) as response:
            await response.read()
