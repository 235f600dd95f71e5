"""The fake clock moves only when told, and wakes sleepers in order; the real one agrees with it."""

from __future__ import annotations

import asyncio

import pytest

from fakes.clock import FakeClock
from taskrunner.kube.clock import SystemClock


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    clock, woken = FakeClock(boot=0.0), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.boot()))

    tasks = [asyncio.create_task(sleeper(n, s)) for n, s in [("b", 5), ("a", 2), ("c", 5)]]
    await clock.advance(4.0)
    assert woken == [("a", 2.0)]
    await clock.advance(1.0)
    assert woken == [("a", 2.0), ("b", 5.0), ("c", 5.0)]
    await asyncio.gather(*tasks)


async def test_whoever_sleeps_again_on_waking_is_woken_again_within_one_advance() -> None:
    clock, ticks = FakeClock(boot=0.0), list[float]()

    async def ticker() -> None:
        while True:
            await clock.sleep(2.0)
            ticks.append(clock.boot())

    task = asyncio.create_task(ticker())
    await clock.advance(7.0)
    assert ticks == [2.0, 4.0, 6.0]
    assert clock.boot() == 7.0
    task.cancel()


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(5.0))
    await clock.advance()
    assert clock.next_wake == 5.0
    task.cancel()
    await clock.advance()
    assert clock.next_wake is None


async def test_a_jump_moves_the_wall_clock_alone_and_a_suspend_wakes_nobody_in_between() -> None:
    clock, woken = FakeClock(now=100.0, boot=0.0), list[float]()

    async def sleeper() -> None:
        await clock.sleep(5.0)
        woken.append(clock.boot())

    task = asyncio.create_task(sleeper())
    await clock.advance()
    clock.jump(-30.0)
    assert (clock.now(), clock.boot()) == (70.0, 0.0)
    clock.suspend(60.0)
    assert woken == []
    await clock.advance()
    assert (woken, clock.now()) == ([60.0], 130.0)
    await task


async def test_drive_runs_work_to_its_end_and_names_work_that_nothing_will_wake() -> None:
    clock = FakeClock(boot=0.0)

    async def work() -> float:
        await clock.sleep(90.0)
        return clock.boot()

    assert await clock.drive(work()) == 90.0
    forever = asyncio.get_running_loop().create_future()

    async def stuck() -> None:
        await forever

    with pytest.raises(AssertionError, match="no clock will wake"):
        await clock.drive(stuck())


async def test_the_system_clock_sleeps_at_least_as_long_as_asked() -> None:
    clock = SystemClock()
    before = clock.boot()
    await clock.sleep(0.01)
    assert clock.boot() - before >= 0.01
    await clock.sleep(-1.0)
    assert abs(clock.now() - SystemClock().now()) < 1.0
