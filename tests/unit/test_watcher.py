"""kopf's watch: handed over, started again, and without anything that a pod does not have."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from typing import Any

import kopf
import pytest
from kopf._cogs.aiokits.aioadapters import wait_flag

from fakes.clock import FakeClock
from taskrunner.hooks.watching import Watcher


async def connect() -> kopf.AiohttpSession:
    raise AssertionError("nothing is reached in this test")


async def test_it_is_started_again_ever_later_while_it_fails_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[float] = []
    waiters: list[asyncio.Task[Any]] = []
    clock = FakeClock()

    async def operator(*, stop_flag: threading.Event, **_: Any) -> None:
        starts.append(clock.boot())
        # As kopf waits for the flag that it is given, in a thread.
        waiters.append(asyncio.create_task(wait_flag(stop_flag)))
        await asyncio.sleep(0)
        raise RuntimeError("ended")

    monkeypatch.setattr("kopf.operator", operator)
    missed: list[float] = []
    watcher = Watcher({}, connect, clock)
    task = asyncio.ensure_future(watcher.run(lambda: missed.append(clock.boot())))
    for _ in range(4):
        while clock.next_wake is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # A thread ends meanwhile, which no clock of ours drives.
        await clock.advance(clock.next_wake)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[:3] == [1, 2, 4]
    assert len(missed) == 4


async def test_it_needs_no_name_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_user() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", no_user)
    given: dict[str, Any] = {}

    async def operator(**settings: Any) -> None:
        given.update(settings)

    monkeypatch.setattr("kopf.operator", operator)
    await Watcher({}, connect, FakeClock())._operate(asyncio.get_running_loop(), threading.Event())
    assert given["identity"] == "taskrunner"
    assert given["settings"].posting.enabled is False
