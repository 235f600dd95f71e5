"""Who is there and who holds what, as the Leases in the operator's namespace tell.

Each replica says that it is there with a Lease of its own, and reads all of them with one LIST.
What it sees is advice: that two do not hold one shard is the business of that shard's Lease alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from taskrunner.api.v1alpha1.names import shard_object
from taskrunner.domain.election import (
    Acquire,
    Durations,
    Record,
    Sighting,
    claim,
    holder_of,
    renewal,
    sight,
)
from taskrunner.domain.sharding import LABEL, LABEL_SHARDS, NOBODY, REPLICA, replica_lease
from taskrunner.errors import AlreadyExists, ApiError, Conflict, NotFound
from taskrunner.kube.bounded import bounded
from taskrunner.ports import LEASES, Api, Clock, Obj

log = logging.getLogger(__name__)

_KEPT: Final = 10
"""Durations after which the Lease of a replica that has died is deleted."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has shown."""

    holders: tuple[str, ...]
    """Of each shard; NOBODY where its Lease was released or has run out."""
    replicas: frozenset[str]
    """Those that are there and take a share, by their identities."""


class Roster:
    """One replica's view of all, and its own entry."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        namespace: str,
        identity: str,
        shards: int,
        durations: Durations,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._identity = identity
        self._shards = shards
        self._names = {shard_object(str(number)) for number in range(shards)}
        self._durations = durations
        self._seen: dict[str, Sighting] = {}
        self._mine: Obj = {}
        self._labels = {LABEL: REPLICA, LABEL_SHARDS: str(shards)}
        self._name = replica_lease(identity)
        self._said = float("-inf")
        """When the own entry was written last, boot time."""

    async def look(self) -> Look:
        """Read all entries, and renew the own one when it is time. Raises ApiErrors."""
        await self._say()
        leases = await bounded(
            self._clock,
            self._durations.call,
            self._api.list(LEASES, namespace=self._namespace, label_selector=LABEL),
        )
        now = self._clock.boot()
        present = {lease["metadata"]["name"]: lease for lease in leases}
        found = {
            name: sight(self._seen.get(name), Record.of(lease), now)
            for name, lease in present.items()
        }
        # The holder of a shard's Lease that somebody has deleted may not know yet.
        for name in self._names & self._seen.keys() - present.keys():
            found[name] = sight(self._seen[name], None, now)
        self._seen = found
        entries = {
            name: lease["metadata"]["labels"]
            for name, lease in present.items()
            if lease["metadata"]["labels"][LABEL] == REPLICA
        }
        await self._bury([present[name] for name in entries if self._is_long_gone(name, now)])
        replicas = {
            holder_of(self._seen[name], now, self._durations)
            for name, labels in entries.items()
            if labels.get(LABEL_SHARDS) == self._labels[LABEL_SHARDS]
        }
        holders = (self._holder(str(number), now) for number in range(self._shards))
        return Look(tuple(holders), frozenset(replicas) - {NOBODY})

    def sighting(self, shard: int) -> Sighting | None:
        """What has been seen of a shard's Lease, and since when."""
        return self._seen.get(shard_object(str(shard)))

    async def leave(self) -> None:
        """Take the own entry away, so that the others share out anew at once. Best effort: without
        an answer, it runs out."""
        self._said, mine, self._mine = float("-inf"), self._mine, {}
        if not mine:
            return
        meta = mine["metadata"]
        call = self._api.delete(LEASES, self._namespace, self._name, uid=meta["uid"])
        try:
            await bounded(self._clock, self._durations.retry, call)
        except NotFound:
            return
        except ApiError as error:
            log.info("Lease %s/%s: not deleted: %s", self._namespace, self._name, error)

    # --- how ------------------------------------------------------------------------------------

    async def _say(self) -> None:
        """Write the own entry when it is time. One of the same name is ours, of a life before."""
        now = self._clock.boot()
        if now - self._said < self._durations.retry:
            return
        try:
            if self._mine:
                body = {
                    **self._mine,
                    "metadata": self._mine["metadata"] | {"labels": self._labels},
                    "spec": renewal(self._mine["spec"], self._clock.now()),
                }
                call = self._api.replace(LEASES, self._namespace, self._name, body)
            else:
                spec = claim(Acquire(0), self._identity, self._clock.now(), self._durations)
                meta = {"name": self._name, "namespace": self._namespace}
                body = {
                    "apiVersion": LEASES.api_version,
                    "kind": LEASES.kind,
                    "metadata": {**meta, "labels": self._labels},
                    "spec": spec,
                }
                call = self._api.create(LEASES, self._namespace, body)
            self._mine = await bounded(self._clock, self._durations.call, call)
        except (AlreadyExists, Conflict):
            # An answer of ours was lost, or somebody has set a label: go on from what is there.
            self._mine = await bounded(
                self._clock,
                self._durations.call,
                self._api.get(LEASES, self._namespace, self._name),
            )
        except NotFound:
            self._mine = {}  # Somebody has deleted it: made again at the next look.
        else:
            self._said = now

    def _holder(self, shard: str, now: float) -> str:
        seen = self._seen.get(shard_object(shard))
        return NOBODY if seen is None else holder_of(seen, now, self._durations)

    def _is_long_gone(self, name: str, now: float) -> bool:
        since = self._seen[name].since
        return name != self._name and now - since > _KEPT * self._durations.lease

    async def _bury(self, leases: list[Obj]) -> None:
        """Delete the entries of replicas that have died. One that comes back makes a new one."""
        for lease in leases:
            meta = lease["metadata"]
            try:
                await self._api.delete(
                    LEASES,
                    self._namespace,
                    meta["name"],
                    uid=meta["uid"],
                    resource_version=meta["resourceVersion"],
                )
            except ApiError as error:
                log.debug("Lease %s/%s: not deleted: %s", self._namespace, meta["name"], error)
