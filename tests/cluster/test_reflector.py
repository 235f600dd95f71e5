"""A reflector on a real API server that is paused, killed and restarted under it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from contract.world import NAMESPACES, manifest, until
from fakes.sink import FakeSink
from taskrunner.errors import ApiError, Transient
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.source import Batch, Page, gathered
from taskrunner.ports import LEASES
from testbed import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


class Gated(ApiClient):
    """A client whose watches can be cut off, and which counts what it is asked."""

    closed = False
    lists = 0
    watches = 0

    async def list_pages(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Page, None]:
        self.lists += 1
        async for page in super().list_pages(*args, **kwargs):
            yield page

    async def watch(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Batch, None]:
        self.watches += 1
        if self.closed:
            raise Transient("the test has closed the gate")
        async with aclosing(super().watch(*args, **kwargs)) as stream:
            async for batch in stream:
                if self.closed:
                    raise Transient("the test has closed the gate")
                yield batch


class Bench:
    def __init__(self, cluster: Cluster, api: Gated, namespace: str, idle: float) -> None:
        self.cluster = cluster
        self.server = cluster.component("kube-apiserver")
        self.api = api
        self.namespace = namespace
        self.sink = FakeSink()
        self.reflector = Reflector(
            api, SystemClock(), LEASES, self.sink, namespace=namespace, idle_seconds=idle
        )

    async def create(self, *names: str) -> None:
        for name in names:
            await self.api.create(LEASES, self.namespace, manifest(LEASES, name))

    async def delete(self, name: str) -> None:
        lease = await self.api.get(LEASES, self.namespace, name)
        await self.api.delete(LEASES, self.namespace, name, uid=lease["metadata"]["uid"])

    async def agrees(self) -> bool:
        try:
            pages = ApiClient.list_pages(self.api, LEASES, namespace=self.namespace)
            listed = await gathered(pages)
        except ApiError:
            return False
        return self.sink.objects == {obj["metadata"]["name"]: obj for obj in listed}

    async def sees(self, *names: str) -> None:
        async def check() -> bool:
            return sorted(self.sink.objects) == sorted(names) and await self.agrees()

        await until(check, f"the sink does not see {names}", seconds=40)

    async def ready(self) -> None:
        await asyncio.to_thread(self.cluster.wait_ready)


@asynccontextmanager
async def reflecting(cluster: Cluster, idle: float = 100.0) -> AsyncIterator[Bench]:
    connection = from_kubeconfig(str(cluster.kubeconfig))
    api = Gated(connection, SystemClock())
    async with api:
        name = f"reflector-{uuid.uuid4().hex[:8]}"
        await api.create(NAMESPACES, "", {"metadata": {"name": name}})
        bench = Bench(cluster, api, name, idle)
        task = asyncio.create_task(bench.reflector.run())
        try:
            await bench.create("first")
            await bench.sees("first")
            yield bench
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_was_paused_for_a_while_has_told_all(breakable: Cluster) -> None:
    async with reflecting(breakable) as bench:
        bench.server.pause()
        await asyncio.sleep(3.0)
        bench.server.resume()
        await bench.create("second")
        await bench.delete("first")
        await bench.sees("second")
        assert (bench.api.lists, bench.api.watches) == (1, 1)


async def test_a_watch_that_has_been_silent_for_too_long_is_opened_anew(
    breakable: Cluster,
) -> None:
    async with reflecting(breakable, idle=1.0) as bench:
        bench.server.pause()
        await asyncio.sleep(3.0)
        bench.server.resume()
        await bench.create("second")
        await bench.sees("first", "second")
        assert bench.api.watches >= 2


async def test_a_server_that_was_killed_and_restarted_is_followed_again(
    breakable: Cluster,
) -> None:
    async with reflecting(breakable) as bench:
        bench.server.kill()
        await asyncio.sleep(1.0)
        bench.server.start()
        await bench.ready()
        await bench.create("second")
        await bench.delete("first")
        await bench.sees("second")


async def test_deletes_that_no_server_remembers_are_found(breakable: Cluster) -> None:
    """The watch is cut off, objects go, and the server loses its memory of that by a restart."""
    async with reflecting(breakable) as bench:
        await bench.create("second", "third")
        await bench.sees("first", "second", "third")
        bench.api.closed = True
        await bench.create("fourth")
        await bench.delete("first")
        await bench.delete("fourth")
        bench.server.kill()
        bench.server.start()
        await bench.ready()
        bench.api.closed = False
        await bench.sees("second", "third")
        assert ("DELETED", "first") not in bench.sink.log
        assert bench.api.lists >= 2


async def test_a_refresh_sees_what_was_written_before_it_was_asked_for(breakable: Cluster) -> None:
    async with reflecting(breakable) as bench:
        for number in range(30):
            await bench.create(f"lease-{number}")
            await bench.reflector.refresh()
            assert f"lease-{number}" in bench.sink.objects
        assert await bench.agrees()
