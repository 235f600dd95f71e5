"""The same tests on the fake API server and on a real one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.world import NAMESPACES, World, install
from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Iterator[tuple[Path, list[str]]]:
    """The real cluster with the kinds that the tests use, and the namespaces that they leave."""
    kubeconfig: Path = request.getfixturevalue("cluster").kubeconfig
    namespaces: list[str] = []

    async def prepare() -> None:
        async with ApiClient(from_kubeconfig(str(kubeconfig)), SystemClock()) as api:
            await install(api)

    async def clean_up() -> None:
        async with ApiClient(from_kubeconfig(str(kubeconfig)), SystemClock()) as api:
            for name in namespaces:
                made = await api.get(NAMESPACES, "", name)
                await api.delete(NAMESPACES, "", name, uid=made["metadata"]["uid"])

    asyncio.run(prepare())
    yield kubeconfig, namespaces
    asyncio.run(clean_up())


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
def server(request: pytest.FixtureRequest) -> tuple[Path, list[str]] | None:
    """The real one, or None for the fake."""
    if request.param == "fake":
        return None
    chosen: tuple[Path, list[str]] = request.getfixturevalue("real")
    return chosen


@pytest.fixture
async def world(server: tuple[Path, list[str]] | None) -> AsyncIterator[World]:
    if server is None:
        clock = FakeClock()
        yield World(FakeApi(clock), clock, "contract")
        return
    kubeconfig, namespaces = server
    async with ApiClient(from_kubeconfig(str(kubeconfig)), SystemClock(), pool=16) as api:
        namespace = f"contract-{uuid.uuid4().hex[:8]}"
        await api.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        namespaces.append(namespace)
        yield World(api, SystemClock(), namespace)
