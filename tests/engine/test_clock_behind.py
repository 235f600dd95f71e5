"""A task that was decided further than our clock has come: it says so, and waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.ports import SCHEDULED_TASKS, Obj
from world import NS, START, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def decided_until(world: World, seconds: int) -> None:
    """As an earlier leader with a fast clock has left it."""
    patch = {"status": {"decidedUntil": format_instant(START + seconds)}}
    world.server.patch(SCHEDULED_TASKS, NS, "hello", patch, subresource="status")


def ready(world: World) -> Obj:
    (found,) = [c for c in world.status("hello")["conditions"] if c["type"] == "Ready"]
    return dict(found)


async def test_nothing_starts_before_and_the_condition_says_so(world: World) -> None:
    world.apply("hello", schedule="* * * * *")  # slots at 40, 100, 160, 220
    decided_until(world, 130)
    await world.replica()
    await world.clock.advance(20)
    assert ready(world)["status"] == "False"
    assert ready(world)["reason"] == "ClockBehindWatermark"
    assert format_instant(START + 130) in ready(world)["message"]
    await world.clock.advance(100)
    assert world.started("hello") == []
    await world.clock.advance(30)
    assert ready(world)["reason"] == "Planned"
    await world.clock.advance(30)
    assert world.started("hello") == [160]


async def test_two_seconds_are_nothing(world: World) -> None:
    world.apply("hello", schedule="* * * * *")
    decided_until(world, 2)
    await world.replica()
    await world.clock.advance(1)
    assert ready(world)["reason"] == "Planned"
    await world.clock.advance(45)
    assert world.started("hello") == [40]
