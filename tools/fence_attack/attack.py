"""The phases of an attack: idle, under a burst, and with the fence itself broken in between."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fence_attack.arena import Lane, Tally
from install import CRDS, apply_fence, fence_for, install
from taskrunner.domain.fence import probes
from taskrunner.errors import ApiError, TermOver
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.ports import JOBS
from testbed import Cluster

NAMESPACE = "fence-attack"
BURST = 1_000
BURST_AT_ONCE = 64
BROKEN_SECONDS = 1.0
_SHARD_CRD = CRDS / "taskrunner.dev_shards.yaml"


@dataclass(frozen=True)
class Plan:
    """How much of what. Take-overs are counted over all lanes; rounds of breaking: one take-over of
    each lane while the thing is broken and healed again."""

    idle: int
    burst: int
    rounds: int
    lanes: int = 8
    senders: int = 2
    settle_seconds: float = 2.0


class Attack:
    """An attack on a cluster of its own."""

    def __init__(self, cluster: Cluster, plan: Plan, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._plan = plan
        self._say = say
        self._clock = SystemClock()
        self.tallies: dict[str, Tally] = {}
        self._phase = ""

    async def run(self) -> None:
        """All phases; `tallies` has what was counted in each."""
        kubectl, plan = self._cluster.kubectl, self._plan
        install(kubectl, NAMESPACE, watch_namespace=NAMESPACE, shards=plan.lanes)
        connection = from_kubeconfig(str(self._cluster.kubeconfig))
        async with (
            ApiClient(connection, self._clock, pool=64) as client,
            ApiClient(connection, self._clock, pool=64) as attacker,
            ApiClient(connection, self._clock, pool=BURST_AT_ONCE) as load,
        ):
            lanes = [
                Lane(
                    client,
                    attacker,
                    lambda: self.tallies[self._phase],
                    namespace=NAMESPACE,
                    shard=str(number),
                    settle_seconds=plan.settle_seconds,
                    senders=plan.senders,
                )
                for number in range(plan.lanes)
            ]
            await self._take_overs("idle", lanes, plan.idle)
            async with self._burst(load):
                await self._take_overs("burst", lanes, plan.burst)
            for name, breaking in (
                ("policy deleted and made again", self._policy),
                ("definition of Shard deleted and made again", self._definition),
                ("API server killed and restarted", self._api_server),
            ):
                for _ in range(plan.rounds):
                    await self._while_broken(name, lanes, breaking)

    async def _take_overs(self, phase: str, lanes: list[Lane], number: int) -> None:
        """So many take-overs in all, the lanes side by side."""
        self._begin(phase)
        left = iter(range(number))

        async def one(lane: Lane) -> None:
            for _ in left:
                await lane.take_over()

        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(one(lane))
        self._say(f"{phase}: {self.tallies[phase]}")

    async def _while_broken(
        self, phase: str, lanes: list[Lane], breaking: Callable[[], None]
    ) -> None:
        """Break and heal it in a thread, while every lane is being taken over."""
        self._begin(phase)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(breaking))
            for lane in lanes:
                group.create_task(self._persistent(lane))
        self._say(f"{phase}: {self.tallies[phase]}")

    async def _persistent(self, lane: Lane) -> None:
        while True:
            try:
                await lane.take_over()
            except (ApiError, TermOver):
                # The API server is away, or the Shard was deleted: as the operator, again.
                await self._clock.sleep(0.2)
            else:
                return

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self.tallies.setdefault(phase, Tally())

    @contextlib.asynccontextmanager
    async def _burst(self, load: ApiClient) -> AsyncIterator[None]:
        """1,000 Jobs at a time, again and again."""
        task = asyncio.create_task(self._bursts(load))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _bursts(self, load: ApiClient) -> None:
        places = asyncio.Semaphore(BURST_AT_ONCE)
        _, job = probes(NAMESPACE)
        while True:

            async def one(number: int) -> None:
                metadata = {"name": f"burst-{number}", "labels": {"burst": "yes"}}
                async with places:
                    with contextlib.suppress(ApiError):
                        await load.create(JOBS, NAMESPACE, {**job, "metadata": metadata})

            await asyncio.gather(*(one(number) for number in range(BURST)))
            with contextlib.suppress(ApiError):
                await load.delete_selected(JOBS, NAMESPACE, label_selector="burst=yes")

    # --- what is broken ---------------------------------------------------------------------------

    def _policy(self) -> None:
        kubectl, shards = self._cluster.kubectl, self._plan.lanes
        for obj in fence_for(kubectl, NAMESPACE, watch_namespace=NAMESPACE, shards=shards):
            kubectl("delete", obj["kind"], obj["metadata"]["name"])
        self._pause()
        apply_fence(kubectl, NAMESPACE, watch_namespace=NAMESPACE, shards=shards)

    def _definition(self) -> None:
        kubectl = self._cluster.kubectl
        kubectl("delete", "-f", str(_SHARD_CRD))
        self._pause()
        kubectl("apply", "--server-side", "-f", str(_SHARD_CRD))

    def _api_server(self) -> None:
        server = self._cluster.component("kube-apiserver")
        server.kill()
        self._pause()
        server.start()
        self._cluster.wait_ready()

    def _pause(self) -> None:
        time.sleep(BROKEN_SECONDS)
