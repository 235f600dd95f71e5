"""Intervals and one-shots."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskrunner.domain.timeline import (
    FIRST_PASS,
    MOVED,
    SECOND_PASS,
    DstPolicy,
    Fire,
    IntervalTimeline,
    OnceTimeline,
    once,
    once_local,
)
from taskrunner.domain.zones import LATEST, load_zone


def local(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_an_interval_is_counted_from_its_anchor_in_both_directions() -> None:
    timeline = IntervalTimeline(every=900, anchor=1_000_000_100)
    assert timeline.next_after(1_000_000_099) == Fire(1_000_000_100)
    assert timeline.next_after(1_000_000_100) == Fire(1_000_001_000)
    assert timeline.previous_before(1_000_000_100) == Fire(999_999_200)
    assert timeline.count_between(1_000_000_100, 1_000_000_100 + 9000) == 10


def test_an_interval_does_not_depend_on_where_one_asks() -> None:
    timeline = IntervalTimeline(every=7, anchor=3)
    found = {timeline.next_after(at) for at in range(1000, 1007)}
    assert found == {Fire(1004), Fire(1011)}


def test_an_interval_ends_where_planning_ends() -> None:
    timeline = IntervalTimeline(every=60)
    assert timeline.next_after(LATEST - 60) is None
    assert timeline.previous_before(LATEST + 10**9) == Fire(LATEST - 60)
    assert timeline.previous_before(0) is None
    assert timeline.next_after(-(10**12)) == Fire(0)
    assert timeline.count_between(-(10**12), 10**12) == LATEST // 60
    assert timeline.count_between(100, 50) == 0


def test_a_one_shot_is_due_once() -> None:
    timeline = once(1000)
    assert timeline.next_after(999) == Fire(1000)
    assert timeline.next_after(1000) is None
    assert timeline.previous_before(1000) is None
    assert timeline.previous_before(1001) == Fire(1000)
    assert [timeline.count_between(*span) for span in ((999, 1000), (1000, 2000), (0, 999))] == [
        1, 0, 0,
    ]  # fmt: skip


# Berlin in 2026: the gap ends at 01:00 UTC, the passes of 02:30 are at 00:30 and 01:30 UTC.
GAP_END = local("2026-03-29T01:00:00")
FIRST = Fire(local("2026-10-25T00:30:00"), FIRST_PASS)
SECOND = Fire(local("2026-10-25T01:30:00"), SECOND_PASS)


@pytest.mark.parametrize(
    ("at", "dst", "fires"),
    [
        ("2026-12-24T18:00:00", DstPolicy(), (Fire(local("2026-12-24T17:00:00")),)),
        ("2026-03-29T02:30:00", DstPolicy(), (Fire(GAP_END, MOVED),)),
        ("2026-03-29T02:00:00", DstPolicy(), (Fire(GAP_END, MOVED),)),
        ("2026-03-29T03:00:00", DstPolicy(), (Fire(GAP_END),)),
        ("2026-03-29T02:30:00", DstPolicy(gap="Skip"), ()),
        ("2026-10-25T02:30:00", DstPolicy(), (FIRST,)),
        ("2026-10-25T02:30:00", DstPolicy(overlap="Second"), (SECOND,)),
        ("2026-10-25T02:30:00", DstPolicy(overlap="Both"), (FIRST, SECOND)),
    ],
)
def test_a_local_one_shot_follows_the_dst_policy(
    at: str, dst: DstPolicy, fires: tuple[Fire, ...]
) -> None:
    assert once_local(local(at), load_zone("Europe/Berlin"), dst).fires == fires


def test_a_local_one_shot_on_the_day_that_samoa_skipped_runs_after_it() -> None:
    found = once_local(local("2011-12-30T12:00:00"), load_zone("Pacific/Apia"), DstPolicy())
    assert found.fires == (Fire(local("2011-12-30T10:00:00"), MOVED),)


def test_a_local_one_shot_outside_the_planned_years_never_runs() -> None:
    for at in (-10_000_000, LATEST + 10**9):
        assert once_local(at, load_zone("Europe/Berlin"), DstPolicy()) == OnceTimeline(())
