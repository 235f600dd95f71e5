"""kopf's watch: handed over, started again, and without anything that a pod does not have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import kopf
import pytest
from kopf._cogs.aiokits.aioadapters import wait_flag

from fakes.clock import FakeClock
from taskrunner.hooks.watching import ASKS_WITHIN_SECONDS, Watcher
from taskrunner.ports import CALENDARS, TASK_QUEUES


async def connect(asked: Callable[[str], None]) -> kopf.AiohttpSession:
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
        while (clock.next_wake or ASKS_WITHIN_SECONDS) >= ASKS_WITHIN_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # A thread ends meanwhile, which no clock of ours drives.
        await clock.advance(clock.next_wake or 0.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[:3] == [1, 2, 4]
    assert len(missed) == 4


_API = "/apis/taskrunner.dev/v1alpha1"


@pytest.mark.parametrize(
    ("paths", "starts"),
    [
        (("/taskqueues?limit=500", "/calendars?watch=true"), 1),
        (("/namespaces/qa/taskqueues?limit=500", "/calendars"), 1),
        (("/taskqueues?limit=500",), 2),
        (("/taskqueues?limit=500", "/calendars/status?x=/calendars"), 2),
        ((), 2),
    ],
    ids=["all", "all-of-a-namespace", "one-missing", "only-in-part", "none"],
)
async def test_it_is_started_again_when_a_kind_was_not_asked_for_in_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    paths: tuple[str, ...],
    starts: int,
) -> None:
    """As when the server did not have the kind when kopf looked."""
    clock, lives = FakeClock(), list[threading.Event]()

    async def session(asked: Callable[[str], None]) -> kopf.AiohttpSession:
        for path in ("", *paths):
            asked(_API + path)
        raise asyncio.CancelledError

    async def operator(
        *, registry: kopf.OperatorRegistry, stop_flag: threading.Event, **_: Any
    ) -> None:
        (login,) = registry._activities.get_all_handlers()
        open_session: Any = login.fn
        with suppress(asyncio.CancelledError):
            await open_session()
        lives.append(stop_flag)
        await wait_flag(stop_flag)

    monkeypatch.setattr("kopf.operator", operator)
    tell = {TASK_QUEUES: lambda *_: None, CALENDARS: lambda *_: None}
    task = asyncio.ensure_future(Watcher(tell, session, clock).run(lambda: None))
    for _ in range(200):
        if len(lives) >= starts and clock.next_wake is not None:
            break
        await clock.advance(clock.next_wake or 0.0)
        await asyncio.sleep(0.005)  # A thread ends or begins meanwhile.
    await clock.advance(20.0)
    assert len(lives) == starts
    assert ("nothing watches" in caplog.text) == (starts > 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_needs_no_name_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_user() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", no_user)
    given: dict[str, Any] = {}

    async def operator(**settings: Any) -> None:
        given.update(settings)

    monkeypatch.setattr("kopf.operator", operator)
    watcher = Watcher({}, connect, FakeClock())
    await watcher._operate(asyncio.get_running_loop(), threading.Event(), lambda path: None)
    assert given["identity"] == "taskrunner"
    assert given["settings"].posting.enabled is False
