"""Events are posted, counted when they repeat, and dropped when there are too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.api import FakeApi
from fakes.clock import FakeClock
from taskrunner.errors import Refused, Transient
from taskrunner.kube.events import EventRecorder
from taskrunner.ports import EVENTS, Obj

TASK: Obj = {
    "apiVersion": "taskrunner.dev/v1alpha1",
    "kind": "ScheduledTask",
    "metadata": {"name": "nightly", "namespace": "qa", "uid": "u1", "resourceVersion": "7"},
}


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.api = FakeApi(self.clock)
        self.drops = 0
        self.events = EventRecorder(
            self.api, self.clock, instance="taskrunner-1", queue=100, on_drop=self._dropped
        )

    def _dropped(self, number: int) -> None:
        self.drops += number

    def record(self, message: str = "It failed.", uid: str = "u1") -> None:
        task = {**TASK, "metadata": {**TASK["metadata"], "uid": uid}}
        self.events.record(task, kind="Warning", reason="RunFailed", message=message)

    @property
    def posted(self) -> list[Obj]:
        return sorted(self.api.server.list(EVENTS), key=lambda event: str(event["note"]))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    task = asyncio.create_task(made.events.run())
    yield made
    assert made.drops == made.events.dropped
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_event_says_what_happened_to_what(bench: Bench) -> None:
    bench.record()
    await bench.clock.advance()
    (event,) = bench.posted
    metadata = event.pop("metadata")
    assert (metadata["namespace"], metadata["name"][:8]) == ("qa", "nightly.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "type": "Warning",
        "reason": "RunFailed",
        "action": "RunFailed",
        "note": "It failed.",
        "eventTime": "2026-09-21T14:13:20.000000Z",
        "reportingController": "taskrunner.dev/operator",
        "reportingInstance": "taskrunner-1",
        "regarding": {
            "apiVersion": "taskrunner.dev/v1alpha1",
            "kind": "ScheduledTask",
            "name": "nightly",
            "namespace": "qa",
            "uid": "u1",
        },
    }


async def test_repetitions_are_counted_in_one_event(bench: Bench) -> None:
    for _ in range(5):
        bench.record()
        await bench.clock.advance(1.0)
    await bench.clock.advance(10.0)
    (event,) = bench.posted
    assert event["series"] == {"count": 5, "lastObservedTime": "2026-09-21T14:13:24.000000Z"}
    assert len(bench.api.writes) == 2


async def test_repetitions_before_it_is_posted_go_into_the_first_post(bench: Bench) -> None:
    for _ in range(3):
        bench.record()
    await bench.clock.advance()
    (event,) = bench.posted
    assert event["series"]["count"] == 3


async def test_a_repetition_much_later_is_a_new_event(bench: Bench) -> None:
    bench.record()
    await bench.clock.advance(361.0)
    bench.record()
    await bench.clock.advance()
    assert len(bench.posted) == 2


async def test_a_series_whose_event_has_expired_begins_anew(bench: Bench) -> None:
    bench.record()
    await bench.clock.advance()
    bench.api.server.delete(EVENTS, "qa", bench.posted[0]["metadata"]["name"])
    bench.record()
    await bench.clock.advance(10.0)
    (event,) = bench.posted
    assert event["series"]["count"] == 2


async def test_a_long_message_is_shortened(bench: Bench) -> None:
    bench.record("x" * 5_000)
    await bench.clock.advance()
    assert len(bench.posted[0]["note"]) == 1_024


async def test_events_about_one_object_are_limited(bench: Bench) -> None:
    for number in range(30):
        bench.record(f"message {number}")
    bench.record("about another", uid="u2")
    await bench.clock.advance(1.0)
    assert len(bench.posted) == 26
    assert bench.events.dropped == 5
    await bench.clock.advance(60.0)
    bench.record("a minute later")
    await bench.clock.advance()
    assert len(bench.posted) == 27


async def test_all_together_are_limited_in_number_and_rate(bench: Bench) -> None:
    for number in range(300):
        bench.record(uid=f"u{number}")
    assert bench.events.dropped == 200
    await bench.clock.advance()
    assert len(bench.posted) == 50
    await bench.clock.advance(2.0)
    assert len(bench.posted) == 70
    await bench.clock.advance(3.0)
    assert len(bench.posted) == 100


async def test_a_server_that_is_busy_is_asked_once_more(bench: Bench) -> None:
    bench.api.fail("create", error=Transient("busy", code=429, retry_after=3.0))
    bench.record()
    await bench.clock.advance(3.0)
    assert len(bench.posted) == 1


async def test_a_post_whose_answer_was_lost_is_not_made_twice(bench: Bench) -> None:
    bench.api.fail("create", after=True)
    bench.record()
    await bench.clock.advance(1.0)
    assert (len(bench.posted), bench.events.dropped) == (1, 0)


async def test_what_cannot_be_posted_is_dropped_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.api.fail("create", error=Refused("forbidden", code=403), times=3)
    for number in range(3):
        bench.record(f"message {number}")
    await bench.clock.advance()
    assert bench.events.dropped == 3
    assert [record.message for record in caplog.records] == [
        "An event could not be posted: forbidden"
    ]
    bench.record("message 0")
    await bench.clock.advance()
    assert len(bench.posted) == 1


async def test_a_server_that_hangs_holds_up_nobody(bench: Bench) -> None:
    bench.api.pause()
    for number in range(500):
        bench.record(uid=f"u{number}")
        await bench.clock.advance(1.0)
    assert bench.events.dropped > 300
    bench.api.resume()
