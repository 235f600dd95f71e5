"""Which shard a namespace belongs to, and who is to hold which shard (docs/adr/0006).

Every replica decides alone, from what it sees of the Leases. Two that see the same come to the same
answer, so that each free shard has one candidate; the Lease decides between two that do not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

from taskrunner.api.v1alpha1.names import GROUP
from taskrunner.domain.hashing import stable_hash

MOST_SHARDS: Final = 32
NOBODY: Final = ""

LABEL: Final = f"{GROUP}/election"
"""On Leases in the operator's namespace, where there are several shards."""
SHARD: Final = "shard"
"""Value of the label on the Lease of a shard."""
REPLICA: Final = "replica"
"""Value of the label on the Lease with which a replica says that it is there."""
LABEL_SHARDS: Final = f"{GROUP}/shards"
"""On the Lease of a replica: into how many shards it divides the namespaces. In a roll-out, one of
another number must not be taken for somebody who takes a share."""


def replica_lease(identity: str) -> str:
    """Name of a replica's own Lease; an identity may have characters that names may not."""
    return f"taskrunner-replica-{stable_hash(identity):016x}"


@lru_cache(maxsize=4096)
def shard_of(namespace: str, shards: int) -> int:
    """The number of the shard, from 0, that a namespace belongs to when there are `shards`."""
    return stable_hash("shard", namespace) % shards


def balance(holders: Sequence[str], replicas: Collection[str]) -> tuple[str, ...]:
    """Who is to hold each shard, given who holds it now (`NOBODY` when nobody does).

    The numbers of shards of any two replicas differ by one at most. What is balanced stays as it
    is, and otherwise no more shards move than must. Without replicas, nobody holds anything.
    """
    if not replicas:
        return (NOBODY,) * len(holders)
    held = {name: [n for n, holder in enumerate(holders) if holder == name] for name in replicas}
    least, more = divmod(len(holders), len(held))
    # Who has the most may keep one more than the others: that moves the fewest.
    fullest_first = sorted(held, key=lambda name: (-len(held[name]), name))
    room = {name: least + (place < more) for place, name in enumerate(fullest_first)}
    wanted = [NOBODY] * len(holders)
    for name, shards in held.items():
        for shard in shards[: room[name]]:
            wanted[shard] = name
        room[name] -= min(room[name], len(shards))
    for shard, name in enumerate(wanted):
        if name == NOBODY:
            taker = min(room, key=lambda each: (-room[each], each))
            wanted[shard] = taker
            room[taker] -= 1
    return tuple(wanted)
