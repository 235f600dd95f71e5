"""Stable hashing: what `H` and jitter draw from instead of chance.

The same words give the same number in every process, on every platform, with every version of
Python; so a task keeps its minute when it is created again, and all replicas agree.
"""

from __future__ import annotations

from hashlib import blake2b


def stable_hash(*words: str) -> int:
    """A 64-bit number from the words (BLAKE2b, RFC 7693; words are joined with NUL, UTF-8)."""
    text = "\0".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def spread(bound: int, *words: str) -> int:
    """A number from 0 to `bound` - 1, uniform over words: the hash scaled, not its remainder.

    Scaling keeps neighbours: with the same words, a range of twice the size gives about twice the
    number. `bound` is at least 1.
    """
    return stable_hash(*words) * bound >> 64
