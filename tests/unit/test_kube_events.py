"""Events: folded when they repeat, dropped rather than piled up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.errors import Transient
from taskrunner.kube.events import BURST, EVENTS, PER_SECOND, WAITING_MOST, EventRecorder
from taskrunner.ports import Obj

ABOUT: Obj = {
    "apiVersion": "taskrunner.dev/v1alpha1",
    "kind": "TaskExecution",
    "metadata": {"namespace": "team", "name": "hello-1", "uid": "u-1"},
}


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[EventRecorder, FakeApi, FakeClock]]:
    clock = FakeClock()
    api = FakeApi(clock)
    recorder = EventRecorder(api, clock, identity="replica-1")
    task = asyncio.ensure_future(recorder.run())
    try:
        yield recorder, api, clock
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def record(recorder: EventRecorder, message: str = "The Job failed.") -> None:
    recorder.record(ABOUT, kind="Warning", reason="JobFailed", message=message)


async def test_an_event_names_object_reason_and_sentence() -> None:
    async with recording() as (recorder, api, clock):
        record(recorder)
        await clock.advance(1)
        (event,) = api.server.objects(EVENTS).values()
        assert event["involvedObject"]["uid"] == "u-1"
        assert (event["type"], event["reason"]) == ("Warning", "JobFailed")
        assert event["message"] == "The Job failed."
        assert event["metadata"]["namespace"] == "team"


async def test_a_repeated_event_is_counted() -> None:
    async with recording() as (recorder, api, clock):
        for _ in range(3):
            record(recorder)
            await clock.advance(5)
        (event,) = api.server.objects(EVENTS).values()
        assert event["count"] == 3
        assert event["lastTimestamp"] > event["firstTimestamp"]


async def test_an_expired_event_is_made_anew() -> None:
    async with recording() as (recorder, api, clock):
        record(recorder)
        await clock.advance(1)
        (name,) = api.server.objects(EVENTS)
        api.server.lose(EVENTS, "team", name)
        record(recorder)
        await clock.advance(1)
        (event,) = api.server.objects(EVENTS).values()
        assert event["count"] == 1


async def test_different_messages_are_different_events() -> None:
    async with recording() as (recorder, api, clock):
        record(recorder, "first")
        record(recorder, "second")
        await clock.advance(1)
        assert len(api.server.objects(EVENTS)) == 2


async def test_a_flood_is_spread_over_time() -> None:
    async with recording() as (recorder, api, clock):
        for n in range(int(BURST) + 30):
            record(recorder, str(n))
        await clock.advance(0)
        assert len(api.writes) == BURST
        await clock.advance(30 / PER_SECOND)
        assert len(api.writes) == BURST + 30


async def test_more_than_can_wait_are_dropped_and_counted() -> None:
    clock = FakeClock()
    recorder = EventRecorder(FakeApi(clock), clock, identity="replica-1")
    for n in range(WAITING_MOST + 5):
        record(recorder, str(n))
    assert recorder.dropped == 5


async def test_a_server_that_refuses_stops_nothing() -> None:
    async with recording() as (recorder, api, clock):
        api.fail("create", EVENTS, error=Transient("busy"))
        record(recorder, "first")
        record(recorder, "second")
        await clock.advance(1)
        assert [e["message"] for e in api.server.objects(EVENTS).values()] == ["second"]
        assert recorder.dropped == 1
