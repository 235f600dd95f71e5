"""A timetable ends when it is told to, whatever it is doing at that moment."""

from __future__ import annotations

import asyncio

import pytest

from fakes.clock import FakeClock, settle
from taskrunner.engine.timetable import Timetable
from taskrunner.engine.work import Key


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_is_never_lost(turns: int) -> None:
    """Also not when it comes while the timetable is between two sleeps."""
    clock = FakeClock(now=0.0)
    timetable = Timetable(clock, lambda key: None)
    running = asyncio.ensure_future(timetable.run())
    await settle()
    timetable.at(Key("task", "a/b"), 1.0)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await settle()
    assert running.cancelled()
