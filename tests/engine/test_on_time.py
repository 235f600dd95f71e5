"""`catchUp.policy: None`, and more slots on time than one answer of the planner starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.api import Call, Crash
from taskrunner.domain import decide
from taskrunner.domain.instants import parse_instant
from taskrunner.domain.missed import AT_ONCE, ON_TIME_SECONDS, Undecided, undecided
from taskrunner.ports import TASK_EXECUTIONS
from world import START, World


def every_second(schedules: int) -> dict[str, Any]:
    """So many schedules with arguments of their own."""
    names = [str(n) for n in range(schedules)]
    entries = [{"name": n, "cron": "* * * * * *", "arguments": {"A": n}} for n in names]
    return {"schedules": entries, "catchUp": {"policy": "None"}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Undecided]:
    """What the planner answers, in order."""
    found: list[Undecided] = []

    def recorded(*arguments: Any, **more: Any) -> Undecided:
        found.append(undecided(*arguments, **more))
        return found[-1]

    monkeypatch.setattr(decide, "undecided", recorded)
    return found


def told(world: World) -> tuple[Counter[tuple[int, str]], int]:
    """The slots that were decided to run, (seconds since the start, argument); how many others
    there are."""
    runs, others = Counter[tuple[int, str]](), 0
    for execution in world.executions("many"):
        spec = execution["spec"]
        if spec["decision"]["type"] == "Run":
            runs[parse_instant(spec["scheduledTime"]) - START, spec["arguments"]["A"]] += 1
        else:
            others += spec["decision"].get("count", 1)
    return runs, others


@pytest.mark.parametrize(
    ("schedules", "away", "missed"),
    [(7, 16, 0), (4, ON_TIME_SECONDS + 40, 4 * 39)],
    ids=["all on time", "some too late"],
)
async def test_more_on_time_than_one_answer_starts_all_start_at_once(
    world: World, answers: list[Undecided], schedules: int, away: int, missed: int
) -> None:
    world.apply("many", **every_second(schedules))
    world.clock.suspend(away)
    await world.replica()  # It leads; no time passes any more.
    runs, others = told(world)
    on_time = range(max(1, away - ON_TIME_SECONDS), away + 1)
    assert runs == {(second, str(n)): 1 for second in on_time for n in range(schedules)}
    assert others == missed
    assert world.clock.now() == START + away
    assert len(world.jobs_created) == len(set(world.jobs_created)) == len(runs)
    sizes = [len(answer.start) for answer in answers if answer.start]
    assert sum(sizes) == len(runs)
    assert len(sizes) > 1
    assert max(sizes) < AT_ONCE + schedules


async def test_a_leader_killed_between_two_answers_leaves_the_rest_to_the_next(
    world: World,
) -> None:
    world.apply("many", **every_second(7))
    world.clock.suspend(16)
    first = await world.replica(lead=False)
    in_first_answer, written = 15 * 7, 0

    def die(call: Call) -> None:
        nonlocal written
        written += call.verb == "create" and call.resource == TASK_EXECUTIONS
        if written == in_first_answer:
            first.api.crashed = True
            raise Crash("between two answers")

    first.api.after.append(die)
    await first.lead()
    await first.kill()
    runs, _ = told(world)
    assert len(runs) == in_first_answer
    await world.replica()
    runs, others = told(world)
    assert runs == {(second, str(n)): 1 for second in range(1, 17) for n in range(7)}
    assert others == 0
    assert len(world.jobs_created) == len(set(world.jobs_created)) == len(runs)
