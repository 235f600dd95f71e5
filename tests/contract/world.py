"""An API server, fake or real, with what the tests need in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fakes.api import FakeApi
from fakes.clock import settle
from taskrunner.errors import AlreadyExists, ApiError, NotFound
from taskrunner.kube.client import ApiClient
from taskrunner.ports import PODS, TASK_EXECUTIONS, Clock, Obj, Resource

WIDGETS = Resource("contract.taskrunner.dev", "v1", "widgets", "Widget")
"""A kind without a schema, to see the API server's own behaviour and nobody's rules."""

NAMESPACES = Resource("", "v1", "namespaces", "Namespace")
_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"
)
_CRDS = Path(__file__).parents[2] / "crds"


CONTROLLER_SECONDS = 100.0
"""The garbage collector learns of new kinds every 30 s, and stands still while it waits up to 30 s
for the caches of kinds that were just removed (pkg/controller/garbagecollector, Sync)."""


async def until(
    check: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 20.0, pause: float = 0.05
) -> None:
    """Wait for something on a real server; fail with `what` when it does not come about."""
    for _ in range(round(seconds / pause)):
        if await check():
            return
        await asyncio.sleep(pause)
    raise AssertionError(f"{what} (after {seconds:g} s)")


@dataclass
class World:
    """An API server, fake or real, and a namespace of its own in it."""

    api: FakeApi | ApiClient
    clock: Clock
    namespace: str

    async def create_pod(self, name: str, body: Obj, **metadata: Any) -> Obj:
        """A pod needs the namespace's service account, which its controller makes."""
        found: list[Obj] = []

        async def created() -> bool:
            try:
                found.append(await self.create(PODS, name, body, **metadata))
            except ApiError:
                return False
            return True

        await until(created, "no pod is accepted")
        return found[0]

    async def create(
        self, resource: Resource, name: str, body: Obj | None = None, **metadata: Any
    ) -> Obj:
        """Create an object that is valid for its kind, with this metadata and this content."""
        return await self.api.create(
            resource, self.namespace, manifest(resource, name, body, **metadata)
        )

    @property
    def is_fake(self) -> bool:
        return isinstance(self.api, FakeApi)

    @property
    def fake(self) -> FakeApi:
        assert isinstance(self.api, FakeApi)
        return self.api

    async def eventually(self, check: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for what controllers do in their own time; the fake does it at once."""
        if isinstance(self.api, FakeApi):
            await settle()
            assert await check(), what
            return
        await until(check, what, seconds=CONTROLLER_SECONDS)

    async def gone(self, resource: Resource, name: str) -> bool:
        try:
            await self.api.get(resource, self.namespace, name)
        except NotFound:
            return True
        return False


def manifest(resource: Resource, name: str, body: Obj | None = None, **metadata: Any) -> Obj:
    """A valid object of a kind."""
    specs: dict[str, Obj] = {
        "jobs": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "example.invalid/none"}],
                }
            },
            # Neither the job controller nor anybody else touches such a Job (KEP-4368).
            "managedBy": "contract.taskrunner.dev/nobody",
            "suspend": True,
        },
        "taskexecutions": {"taskRef": {"name": "nightly"}},
    }
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, **metadata},
        "spec": specs.get(resource.plural, {}),
        **(body or {}),
    }


async def install(api: ApiClient) -> None:
    """The kinds that the tests use, unless they are there."""
    plural = WIDGETS.plural
    definitions = [
        {
            "metadata": {"name": f"{plural}.{WIDGETS.group}"},
            "spec": {
                "group": WIDGETS.group,
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": WIDGETS.kind},
                "versions": [
                    {
                        "name": WIDGETS.version,
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                    }
                ],
            },
        },
        yaml.safe_load((_CRDS / "taskrunner.dev_taskexecutions.yaml").read_text()),
    ]
    for definition in definitions:
        try:
            await api.create(_DEFINITIONS, "", definition)
        except AlreadyExists:
            continue

    async def served() -> bool:
        return all([await _served(api, resource) for resource in (WIDGETS, TASK_EXECUTIONS)])

    await until(served, "the CRDs are not served")


async def _served(api: ApiClient, resource: Resource) -> bool:
    try:
        await api.list(resource)
    except ApiError:
        return False
    return True
