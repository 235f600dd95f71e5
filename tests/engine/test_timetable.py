"""When what is looked at, and what is said before."""

from __future__ import annotations

import asyncio

from fakes.clock import FakeClock, settle
from taskrunner.engine.timetable import READY_SECONDS, Timetable
from taskrunner.engine.work import Key


async def test_it_says_a_little_before_how_many_keys_come_in_the_same_second() -> None:
    clock, woken, told = FakeClock(now=1_000.0), list[Key](), list[tuple[float, int]]()
    timetable = Timetable(clock, woken.append, lambda count: told.append((clock.now(), count)))
    for number in range(5):
        timetable.at(Key("task", f"team/early-{number}"), 1_060)
    timetable.at(Key("task", "team/late"), 1_200)
    task = asyncio.ensure_future(timetable.run())
    await clock.advance(59)
    assert (told, woken) == ([(1_060 - READY_SECONDS, 5)], [])
    await clock.advance(1)
    assert len(woken) == 5
    await clock.advance(200)
    assert told[1:] == [(1_200 - READY_SECONDS, 1)]
    task.cancel()
    await settle()


async def test_what_is_due_at_once_is_told_at_once() -> None:
    clock, told = FakeClock(now=1_000.0), list[int]()
    timetable = Timetable(clock, lambda key: None, told.append)
    task = asyncio.ensure_future(timetable.run())
    await settle()
    timetable.at(Key("run", "team/soon"), 1_001)
    await settle()
    assert told == [1]
    task.cancel()
    await settle()
