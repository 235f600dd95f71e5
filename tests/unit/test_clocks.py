"""Whether the wall clock is believed: jumps, the API server's time, and nothing known."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest

from fakes.clock import FakeClock, settle
from taskrunner.domain.clocks import Clocks, Reading, first_look, look
from taskrunner.kube.clock_guard import ClockGuard
from taskrunner.kube.skew import ServerSkew

WALL, BOOT = 1_790_000_000.0, 1_000.0


def reading(
    at: float, *, set_by: float = 0.0, skew: float | None = 0.0, answered: float | None = None
) -> Reading:
    """`at` seconds later, with the wall clock set by so much in all."""
    answer = BOOT + at if answered is None else BOOT + answered
    return Reading(WALL + at + set_by, BOOT + at, skew, answer)


def after(*readings: Reading) -> Clocks:
    clocks = first_look(reading(0))
    for one in readings:
        clocks = look(clocks, one)
    return clocks


@pytest.mark.parametrize(
    ("readings", "problem"),
    [
        pytest.param([reading(1)], "", id="all is well"),
        pytest.param([reading(1, skew=1.9)], "", id="a little apart"),
        pytest.param([reading(1, skew=None)], "", id="no answer yet"),
        pytest.param([reading(1, skew=3.0)], "3.0 s ahead of the API server's", id="ahead"),
        pytest.param([reading(1, skew=-90.0)], "90.0 s behind the API server's", id="behind"),
        pytest.param(
            [reading(1), reading(2, set_by=3600, answered=1)],
            "set 3600.0 s forward",
            id="forward, and no answer since",
        ),
        pytest.param([reading(1), reading(2, set_by=-5, answered=1)], "set 5.0 s back", id="back"),
        pytest.param(
            [reading(2, set_by=90, answered=1), reading(3, set_by=90, answered=1)],
            "set 90.0 s forward",
            id="still no answer since",
        ),
        pytest.param(
            [reading(2, set_by=90, answered=1), reading(3, set_by=90, skew=90.0)],
            "90.0 s ahead of",
            id="the server knows that it is wrong",
        ),
        pytest.param(
            [reading(2, set_by=90, answered=1), reading(3, set_by=90, skew=0.0)],
            "",
            id="set right: the server agrees now",
        ),
        pytest.param(
            [reading(1, skew=3.0), reading(2, skew=1.8)], "3.0 s ahead", id="not near enough yet"
        ),
        pytest.param([reading(1, skew=3.0), reading(2, skew=1.2)], "", id="near enough"),
        pytest.param(
            [reading(1, skew=3.0), reading(80, skew=None)],
            "3.0 s ahead",
            id="silence does not make it right",
        ),
        pytest.param(
            [reading(at, set_by=0.5 * at) for at in range(1, 9)],
            "",
            id="slewed, as long as the server agrees",
        ),
        pytest.param([reading(3600)], "", id="a pause of the process is no jump"),
    ],
)
def test_when_the_wall_clock_is_believed(readings: list[Reading], problem: str) -> None:
    found = after(*readings).problem
    assert problem in found
    assert bool(found) == bool(problem)


class World:
    """A clock, a server that answers each `ask`, and a guard."""

    def __init__(self) -> None:
        self.clock = FakeClock(now=WALL)
        self.server = WALL
        self._since = self.clock.boot()
        self.skew = ServerSkew()
        self.answer()
        self.guard = ClockGuard(self.clock, self.skew, self._ask)

    async def _ask(self) -> None:
        self.answer()

    def answer(self) -> None:
        boot = self.clock.boot()
        date = formatdate(self.server + boot - self._since, usegmt=True)
        self.skew.note(date, sent=boot, received=boot, now=self.clock.now())


async def test_a_jump_is_known_at_the_next_question_not_a_second_later() -> None:
    world = World()
    assert not world.guard.problem
    world.clock.jump(90)
    assert "set 90.0 s forward" in world.guard.problem


async def test_a_guard_wakes_those_who_wait_and_asks_the_server_itself() -> None:
    world = World()
    running = asyncio.ensure_future(world.guard.run())
    lost = asyncio.ensure_future(world.guard.until(trusted=False))
    await world.clock.advance(3)
    assert not lost.done()
    world.clock.jump(-90)
    await world.clock.advance(2)
    assert lost.done()
    back = asyncio.ensure_future(world.guard.until(trusted=True))
    await world.clock.advance(30)
    assert not back.done()
    assert "90.0 s behind" in world.guard.problem
    world.clock.jump(90)
    await world.clock.advance(10)
    assert back.done()
    running.cancel()
    await settle()
