"""Namespaces fall into shards for ever alike; shards are balanced with the fewest moves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrunner.domain.sharding import NOBODY, balance, shard_of

NAMES = ("a", "b", "c", "d", "e")

# --- namespaces -----------------------------------------------------------------------------------


def test_with_one_shard_every_namespace_is_in_it() -> None:
    assert {shard_of(f"team-{number}", 1) for number in range(100)} == {0}


@pytest.mark.parametrize(
    ("namespace", "shard"), [("default", 3), ("team-a", 1), ("team-b", 1), ("qa", 3)]
)
def test_the_shard_of_a_namespace_is_the_same_for_ever(namespace: str, shard: int) -> None:
    """Replicas of two versions run side by side in a roll-out."""
    assert shard_of(namespace, 4) == shard


def test_namespaces_spread_over_the_shards() -> None:
    counts = Counter(shard_of(f"team-{number}", 8) for number in range(8000))
    assert set(counts) == set(range(8))
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


# --- balance --------------------------------------------------------------------------------------

BALANCE: list[tuple[str, str, str, str]] = [
    ("nobody is there", "...", "", "..."),
    ("one takes all", "....", "a", "aaaa"),
    ("two share what is free", "....", "ab", "abab"),
    ("what is balanced stays", "abab", "ab", "abab"),
    ("what is balanced stays, whoever has one more", "bbbaa", "ab", "bbbaa"),
    ("one that comes gets its part", "aaaa", "ab", "aabb"),
    ("only the surplus moves", "aabb", "abc", "aabc"),
    ("nothing moves to one more replica than there are shards", "abc", "abcd", "abc"),
    ("what the dead held goes to who has least", "abcabc", "ac", "aacacc"),
    ("a free shard goes to who has least", "aab.", "ab", "aabb"),
    ("a shard of somebody unknown is free", "aax", "ab", "aab"),
]


@pytest.mark.parametrize(("when", "held", "replicas", "wanted"), BALANCE)
def test_shards_are_balanced_when(when: str, held: str, replicas: str, wanted: str) -> None:
    found = balance([NOBODY if name == "." else name for name in held], list(replicas))
    assert "".join(name or "." for name in found) == wanted


HOLDERS = st.lists(st.sampled_from([*NAMES, NOBODY, "gone"]), min_size=1, max_size=12)
REPLICAS = st.sets(st.sampled_from(NAMES), min_size=1)


@given(HOLDERS, REPLICAS)
def test_everything_is_held_and_no_two_differ_by_more_than_one(
    holders: list[str], replicas: set[str]
) -> None:
    found = Counter(dict.fromkeys(replicas, 0))
    found.update(balance(holders, replicas))
    assert set(found) == replicas
    assert max(found.values()) - min(found.values()) <= 1
    assert max(found.values()) <= -(-len(holders) // len(replicas))


@given(HOLDERS, REPLICAS)
def test_what_is_balanced_stays_as_it_is(holders: list[str], replicas: set[str]) -> None:
    wanted = balance(holders, replicas)
    assert balance(wanted, replicas) == wanted


@given(HOLDERS, REPLICAS, st.randoms())
def test_all_who_see_the_same_decide_the_same(
    holders: list[str], replicas: set[str], random: object
) -> None:
    assert balance(holders, sorted(replicas)) == balance(holders, sorted(replicas, reverse=True))


@given(HOLDERS, REPLICAS)
def test_no_shard_moves_that_need_not(holders: list[str], replicas: set[str]) -> None:
    wanted = balance(holders, replicas)
    kept = sum(before == after for before, after in zip(holders, wanted, strict=True))
    counts = sorted((holders.count(name) for name in replicas), reverse=True)
    least, more = divmod(len(holders), len(replicas))
    most_kept = sum(min(n, least + (place < more)) for place, n in enumerate(counts))
    assert kept == most_kept


@settings(max_examples=200)
@given(
    HOLDERS,
    REPLICAS,
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=60),
)
def test_replicas_that_look_at_different_times_come_to_rest(
    holders: list[str], replicas: set[str], turns: list[tuple[str, bool]]
) -> None:
    """Each gives up or takes one thing at a time, some from what they saw a while ago."""
    state = [name if name in replicas else NOBODY for name in holders]
    seen = {name: list(state) for name in replicas}
    for name, looks in turns:
        if name in replicas:
            if looks:
                seen[name] = list(state)
            _act(name, state, seen[name], replicas)
    for _ in range(len(state) + 1):
        for name in sorted(replicas):
            _act(name, state, list(state), replicas)
    before = list(state)
    assert list(balance(state, replicas)) == before
    for name in sorted(replicas):
        _act(name, state, list(state), replicas)
    assert state == before, "somebody still moves"


def _act(name: str, state: list[str], seen: list[str], replicas: set[str]) -> None:
    view = [
        name if now == name else NOBODY if was == name else was
        for was, now in zip(seen, state, strict=True)
    ]
    for shard, wanted in enumerate(balance(view, replicas)):
        if state[shard] == name and wanted != name:
            state[shard] = NOBODY
        elif state[shard] == NOBODY and wanted == name:
            state[shard] = name  # The Lease: only one that is free can be taken.
