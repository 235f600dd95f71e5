"""kopf's watch on a real API server, whose stream ends with an error."""

from __future__ import annotations

import asyncio
import gc
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlsplit

import kopf
import pytest

from chaos.tap import Tap
from contract.world import until
from install import apply_definitions
from taskrunner.api.v1alpha1 import names
from taskrunner.hooks import watching
from taskrunner.hooks.watching import Watcher
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import Connection, from_kubeconfig
from taskrunner.kube.sessions import open_session
from taskrunner.ports import TASK_QUEUES, EventType, Obj, Resource
from testbed import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


class Seen:
    """Keeps the names it was told of."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def seen(self, event: EventType, obj: Obj) -> None:
        self.names.add(obj["metadata"]["name"])


class Bench:
    """One watch through a tap, in a namespace of its own."""

    def __init__(self, cluster: Cluster, tap: Tap, namespace: str, kind: Resource) -> None:
        self.cluster, self.tap, self.namespace, self.kind = cluster, tap, namespace, kind
        self.sink, self.restarts = Seen(), 0
        account = cluster.kubeconfig_for_service_account(namespace, "default")
        self._connection: Connection = replace(
            from_kubeconfig(str(account)), server=f"https://127.0.0.1:{tap.port}"
        )

    async def watch(self) -> None:
        clock = SystemClock()

        async def connect(asked: Callable[[str], None]) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(
                server=self._connection.server,
                aiohttp_session=open_session(self._connection, clock, asked=asked),
                default_namespace=self.namespace,
            )

        def restarted() -> None:
            self.restarts += 1

        watcher = Watcher({self.kind: self.sink.seen}, connect, clock, namespace=self.namespace)
        await watcher.run(restarted)

    async def begin(self) -> None:
        """Until it watches."""

        async def watches() -> bool:
            return self.tap.watches > 0

        await self.create("before")
        await self.wait_for("before")
        await until(watches, "nothing is watched")

    async def wait_for(self, name: str) -> None:
        async def known() -> bool:
            return name in self.sink.names

        await until(known, f'the queue "{name}" is not seen')

    async def create(self, name: str) -> None:
        manifest = {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"maxConcurrent": 1},
        }
        await asyncio.to_thread(self.cluster.kubectl, "create", "-f", "-", input=manifest)


@pytest.fixture
async def bench(breakable: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    apply_definitions(breakable.kubectl)
    namespace = f"watching-{uuid.uuid4().hex[:8]}"
    breakable.kubectl("create", "namespace", namespace)
    await until(_has_account(breakable, namespace), "the namespace has no service account")
    breakable.kubectl(
        "create", "clusterrolebinding", namespace, "--clusterrole=cluster-admin",
        f"--serviceaccount={namespace}:default",
    )  # fmt: skip
    url = urlsplit(breakable.url)
    assert url.hostname is not None
    assert url.port is not None
    tap = Tap(breakable, url.hostname, url.port)
    await tap.start()
    made = Bench(breakable, tap, namespace, getattr(request, "param", TASK_QUEUES))
    watch = asyncio.create_task(made.watch())
    try:
        yield made
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        for thread in threading.enumerate():
            if thread.name == "kopf":
                await asyncio.to_thread(thread.join, 20)
        await tap.close()
        gc.collect()  # What was left open is told here, not in another test.
        breakable.kubectl("delete", "clusterrolebinding", namespace)
        breakable.kubectl("delete", "namespace", namespace, "--wait=false")


def _has_account(cluster: Cluster, namespace: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        names = cluster.kubectl("get", "serviceaccounts", f"-n={namespace}", "-o=name")
        return "serviceaccount/default" in names.split()

    return check


@pytest.mark.parametrize(
    ("code", "reason", "restarts"),
    [(410, "Expired", 0), (500, "InternalError", 1), (429, "TooManyRequests", 1)],
)
async def test_after_an_error_it_watches_again_and_says_that_it_missed_something(
    bench: Bench, code: int, reason: str, restarts: int
) -> None:
    await bench.begin()
    # kopf lists again after a 410, and begins as a whole after any other error.
    assert bench.tap.fail(code, reason) >= 1
    await bench.create("after")
    await bench.wait_for("after")
    assert bench.restarts == restarts


GIZMOS = Resource(names.GROUP, names.VERSION, "gizmos", "Gizmo")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"gizmos.{names.GROUP}"},
    "spec": {
        "group": names.GROUP,
        "names": {"kind": "Gizmo", "plural": "gizmos", "singular": "gizmo"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": names.VERSION,
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not take half a minute until a kind is missed."""
    monkeypatch.setattr(watching, "ASKS_WITHIN_SECONDS", 3.0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("bench", [GIZMOS], indirect=True)
async def test_a_kind_that_the_server_did_not_have_at_the_start_is_watched_later(
    bench: Bench,
) -> None:
    await asyncio.sleep(2.0)  # kopf has looked by now.
    bench.cluster.kubectl("create", "-f", "-", input=DEFINITION)
    try:
        bench.cluster.kubectl(
            "wait", "--for=condition=Established", "--timeout=30s", f"crd/gizmos.{names.GROUP}"
        )
        await bench.begin()
        await bench.create("after")
        await bench.wait_for("after")
    finally:
        bench.cluster.kubectl("delete", "crd", f"gizmos.{names.GROUP}")
