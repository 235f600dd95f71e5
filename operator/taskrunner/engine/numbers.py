"""The number of shards in force: a fact in the cluster, not a setting (docs/adr/0006).

It is `spec.shards` of Shard 0. Whoever begins a term reads its own Shard, then the number, then
writes the Shard in the version that it has read; so who was stopped in between meets a Conflict.
"""

from __future__ import annotations

from itertools import count

from taskrunner.api.v1alpha1.names import shard_object
from taskrunner.domain.fence import Number
from taskrunner.errors import NotFound, OtherNumber
from taskrunner.ports import SHARDS, Api, Obj

FIRST = "0"
"""The shard whose Shard tells the number."""


class Numbers:
    """The number of shards, seen by a replica that is set to `shards`."""

    def __init__(self, api: Api, namespace: str, shards: int) -> None:
        self._api = api
        self._namespace = namespace
        self.shards = shards

    async def in_force(self) -> Number | None:
        """The number in force; None where there has never been a shard. Raises ApiErrors."""
        first = await self._get(FIRST)
        return Number.of(first["spec"]) if first is not None else await self._without_first()

    async def agree(self, shard: str, present: Obj | None) -> bool:
        """Whether a term on `shard`, whose Shard was just read as `present`, may begin; False when
        that is not known yet. Raises OtherNumber when it may not, and ApiErrors."""
        if shard != FIRST:
            first = await self._get(FIRST)
            if first is None:
                return False  # Its holder is about to make it.
            found = Number.of(first["spec"])
        elif present is not None:
            found = Number.of(present["spec"])
        else:
            known = await self._without_first()
            if known is None:
                return True
            found = known
        if found.closing:
            raise OtherNumber(f"The number of shards is being changed to {found.shards}.")
        if found.shards != self.shards:
            raise OtherNumber(self.differs(found))
        return True

    def differs(self, found: Number) -> str:
        """A sentence about a number in force that is not ours."""
        return (
            f"The namespaces are divided into {found.shards} shards, and SCHEDULER_SHARDS is"
            f" {self.shards} here."
        )

    async def _without_first(self) -> Number | None:
        """What the other Shards tell when somebody has deleted Shard 0."""
        told: list[int] = []
        for number in count(1):
            shard = await self._get(str(number))
            if shard is None:
                break
            told.append(Number.of(shard["spec"]).shards)
        other = [each for each in told if each != self.shards]
        if other:
            return Number(other[0], len(told) + 1)
        return Number(self.shards) if told else None

    async def _get(self, shard: str) -> Obj | None:
        try:
            return await self._api.get(SHARDS, self._namespace, shard_object(shard))
        except NotFound:
            return None
