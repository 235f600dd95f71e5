"""SIGKILL at every `await` of the engine: the list is the source, not what somebody thought of.

Each life of `lives.py` is lived through once to see which paths it takes to the API server and to
sleep, and then once for each path that none before it took, with the leader killed there: before
the call is carried out and, for a write, after that and before its answer. A second replica takes
over, and the life must end as if nothing had happened.
"""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from crash_points import Path, Point, points
from lives import LIVES
from stage import Crossings, Kill, Stage

ENDS_AT_ONCE = "It waits only for tasks that have been cancelled; nobody else sees how far it is."
NOT_KILLED_AT = {
    # Awaits at which no life finds the leader, and why nothing is lost there.
    "app/shard.py ShardHolder.run: await self._clocks.until()": "No Lease is held, nothing begun.",
    "app/shard.py ShardHolder._act: await async with asyncio.TaskGroup()": ENDS_AT_ONCE,
    "engine/tick.py Cycle.run: await async with asyncio.TaskGroup()": ENDS_AT_ONCE,
}
SITES = [point for point in points() if point.leaves]


@cache
def live(name: str, kill: Kill | None = None) -> Crossings:
    """Live through one life; raises AssertionError when it does not end well."""

    async def script() -> Crossings:
        async with Stage(kill) as stage:
            await LIVES[name](stage)
            assert stage.killed == (kill is not None)
            return stage.crossings

    try:
        return asyncio.run(script())
    except AssertionError as error:
        if kill is not None:
            when = "after" if kill.after else "before"
            error.add_note(f"In the life of {name}, killed {when} the call, at:")
            error.add_note("\n".join(f"  {point}" for point in kill.path))
        raise


@cache
def paths() -> dict[Path, str]:
    """Every path that is taken, and the first life that takes it."""
    found: dict[Path, str] = {}
    for name in LIVES:
        for path in live(name).paths:
            found.setdefault(path, name)
    return found


def site(path: Path) -> Point:
    """Where a path leaves the engine."""
    return next(point for point in path if point.leaves)


@pytest.mark.parametrize("name", LIVES)
def test_a_life_in_which_nobody_dies_ends_well(name: str) -> None:
    assert live(name).paths


@pytest.mark.parametrize(
    ("point", "after"),
    [(point, after) for point in SITES for after in ((False, True) if point.writes else (False,))],
    ids=lambda value: str(value) if isinstance(value, Point) else ["before", "after"][value],
)
def test_a_leader_killed_there_changes_nothing(point: Point, after: bool) -> None:
    mine = [(path, name) for path, name in paths().items() if site(path) == point]
    assert mine, (
        f"Nothing in tests/lives.py goes through {point}. Add a life that does, with what must have"
        " come of it at its end; the leader is then killed there."
    )
    for path, name in mine:
        live(name, Kill(path, after))


def test_no_await_of_the_engine_is_left_out() -> None:
    """What does not call the server itself lies on a path that does, or is where tasks rest."""
    usual = "slots under Forbid"
    kills = [Kill(path) for path, name in paths().items() if name == usual]
    resting = {point for kill in kills for point in live(usual, kill).resting}
    reached = {point for path in paths() for point in path} | resting
    left = {point for point in points() if point not in reached}
    unknown = [str(point) for point in left if point.place not in NOT_KILLED_AT]
    assert not unknown, (
        "No process is killed at these; add a life to tests/lives.py that goes there, or say in"
        f" NOT_KILLED_AT why nothing can be lost: {unknown}"
    )
    assert {point.place for point in left} == set(NOT_KILLED_AT), "An exception that is none."
