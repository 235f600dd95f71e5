"""Changing the number of shards: what makes sure that no term of the old number goes on.

Shard 0 gets the new number, and `closing`, which keeps everybody from beginning a term. Then the
epoch of every other shard of the old number is raised: from there on, the API server refuses what
their holders still send. Then `closing` goes. The first term of the new number on each shard finds
no mark of a release, and so waits until the fence has settled.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from taskrunner.api.v1alpha1.names import shard_object
from taskrunner.domain.fence import Number
from taskrunner.engine.fence import Fence, Turn
from taskrunner.engine.numbers import FIRST, Numbers
from taskrunner.errors import ApiError, OtherNumber, TermOver
from taskrunner.ports import SHARDS, Api, Clock, Obj, Term

log = logging.getLogger(__name__)

_NOBODY_ACTS: Final[Obj] = {
    "status": {
        "holder": None,
        "acquiredTime": None,
        "actingSince": None,
        "tasks": None,
        "agenda": None,
        "lagMilliseconds": None,
        "conditions": None,
    }
}


class Resharding:
    """The change, for whoever holds the Lease of shard 0."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        numbers: Numbers,
        fence: Callable[[str], Fence],
        *,
        namespace: str,
    ) -> None:
        self._api = api
        self._clock = clock
        self._numbers = numbers
        self._fence = fence
        self._namespace = namespace

    async def change(self, term: Term, old: Number) -> None:
        """From `old` to the number that we are set to. Raises TermOver.

        A crash after the first write leaves `closing`: whoever takes the Lease next does the rest.
        """
        first, closing = self._fence(FIRST), old.leases if old.leases > 1 else 0
        turn = await first.raise_epoch(term, may=self._is_still(old), closing=closing)
        for number in range(1, closing):
            await self._fence(str(number)).raise_epoch(term, may=self._is_ours(first, turn))
        if closing:
            await first.close(turn)
        log.info(
            "the namespaces are divided into %d shards now, before into %d",
            self._numbers.shards,
            old.shards,
        )
        await self._tidy(range(self._numbers.shards, old.leases))

    def _is_still(self, old: Number) -> Callable[[Obj | None], Awaitable[bool]]:
        async def may(present: Obj | None) -> bool:
            found = Number.of(present["spec"]) if present else await self._numbers.in_force()
            if found != old:
                raise OtherNumber("Somebody else has changed the number of shards.")
            return True

        return may

    def _is_ours(self, first: Fence, turn: Turn) -> Callable[[Obj | None], Awaitable[bool]]:
        async def may(_: Obj | None) -> bool:
            if not await first.is_ours(turn):
                raise TermOver("Somebody else changes the number of shards.")
            return True

        return may

    async def _tidy(self, gone: range) -> None:
        """Take from the Shards that are left over what their last holders said. Best effort."""
        for number in gone:
            name = shard_object(str(number))
            try:
                await self._api.patch(
                    SHARDS, self._namespace, name, _NOBODY_ACTS, subresource="status"
                )
            except ApiError as error:
                log.info("Shard %s: its status is left as it was: %s", name, error)
