"""A reflector keeps its sink up to date through everything that breaks watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.api import FakeApi
from fakes.clock import FakeClock, settle
from fakes.server import FakeServer
from fakes.sink import FakeSink
from taskrunner.errors import Gone, Refused, Transient
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.source import Listing
from taskrunner.ports import JOBS, Obj


class Bench:
    """A server, a reflector that watches its Jobs, and the sink behind it."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.server = FakeServer(self.clock)
        self.api = FakeApi(self.clock, self.server)
        self.sink = FakeSink()
        self.reflector = Reflector(
            self.api, self.clock, JOBS, self.sink, rng=lambda: 0.5, **settings
        )

    def create(self, *names: str, **labels: str) -> None:
        for name in names:
            self.server.create(JOBS, "qa", {"metadata": {"name": name, "labels": labels}})

    def delete(self, name: str) -> None:
        self.server.delete(JOBS, "qa", name)

    def asked(self, verb: str) -> int:
        return sum(call.verb == verb for call in self.api.calls)

    @property
    def agrees(self) -> bool:
        return self.sink.objects == self.server.objects(JOBS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reflector.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_it_delivers_a_list_and_then_every_change(bench: Bench) -> None:
    bench.create("a")
    async with bench.running():
        bench.create("b")
        bench.server.patch(JOBS, "qa", "a", {"spec": {"suspend": True}})
        bench.delete("b")
        await settle()
    assert bench.sink.log == [
        ("SYNCED", "a"),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
    ]


async def test_it_selects_on_the_server_and_sees_an_object_that_leaves_the_selection() -> None:
    bench = Bench(label_selector="task=mine")
    bench.create("a", task="mine")
    bench.create("b", task="other")
    async with bench.running():
        bench.server.patch(JOBS, "qa", "a", {"metadata": {"labels": {"task": "other"}}})
        await settle()
    assert bench.sink.log == [("SYNCED", "a"), ("DELETED", "a")]


async def test_it_trims_what_it_delivers() -> None:
    def trim(obj: Obj) -> Obj:
        return {"metadata": obj["metadata"]}

    bench = Bench(trim=trim)
    bench.create("a")
    async with bench.running():
        bench.create("b")
        await settle()
    assert [sorted(obj) for obj in bench.sink.objects.values()] == [["metadata"], ["metadata"]]


async def test_a_watch_that_the_server_ends_is_resumed_without_a_list(bench: Bench) -> None:
    async with bench.running():
        await bench.clock.advance(301.0)
        bench.create("a")
        await settle()
    assert (bench.asked("list"), bench.asked("watch")) == (1, 2)
    assert bench.agrees


async def test_a_broken_connection_is_resumed_where_it_broke(bench: Bench) -> None:
    async with bench.running():
        bench.create("a")
        await settle()
        bench.api.break_watches()
        bench.create("b")
        await bench.clock.advance(0.25)
    assert bench.sink.log == [("SYNCED", ""), ("ADDED", "a"), ("ADDED", "b")]
    assert bench.asked("list") == 1


async def test_deletes_in_a_gap_that_ends_in_410_are_seen_by_the_list(bench: Bench) -> None:
    bench.create("a", "b")
    async with bench.running():
        bench.api.break_watches()
        bench.delete("a")
        bench.server.compact()
        await bench.clock.advance(0.5)
    assert bench.sink.log == [("SYNCED", "a b"), ("SYNCED", "b")]


async def test_a_410_inside_the_stream_is_answered_by_a_list_at_once(bench: Bench) -> None:
    async with bench.running():
        await bench.clock.advance(10.0)
        bench.api.break_watches({"kind": "Status", "code": 410, "reason": "Expired"})
        bench.create("a")
        await settle()
    assert bench.asked("list") == 2
    assert bench.agrees


async def test_another_error_event_backs_off_and_lists(bench: Bench) -> None:
    async with bench.running():
        bench.api.break_watches({"kind": "Status", "code": 500, "message": "etcd has no leader"})
        await settle()
        assert bench.asked("list") == 1
        await bench.clock.advance(0.25)
    assert bench.asked("list") == 2


async def test_a_server_that_answers_every_watch_with_an_error_is_asked_less_and_less(
    bench: Bench,
) -> None:
    async with bench.running():
        for _ in range(600):
            bench.api.break_watches({"kind": "Status", "code": 500, "message": "no"})
            await bench.clock.advance(0.1)
    assert bench.asked("list") < 25


async def test_a_connection_that_has_silently_died_is_given_up(bench: Bench) -> None:
    async with bench.running():
        bench.api.break_watches(silently=True)
        bench.create("a")
        await bench.clock.advance(90.0)
        assert not bench.agrees
        await bench.clock.advance(15.0)
        assert bench.agrees
    assert bench.asked("list") == 1


async def test_bookmarks_keep_a_quiet_watch_alive_and_fresh(bench: Bench) -> None:
    async with bench.running():
        bench.server.version += 50  # Writes to other kinds.
        await bench.clock.advance(70.0)
        bench.server.compact()
        bench.api.break_watches()
        await bench.clock.advance(1.0)
    assert bench.asked("list") == 1


async def test_a_resource_version_that_the_server_keeps_refusing_is_replaced_by_a_list(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.api.fail("watch", error=Transient("Too large resource version"), times=3)
        bench.api.break_watches()
        await bench.clock.advance(5.0)
    assert bench.asked("list") == 2


async def test_while_the_kind_is_not_served_it_says_so_once_and_tries_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.server.not_served.add("jobs")
    async with bench.running():
        await bench.clock.advance(60.0)
        assert bench.asked("list") > 5
        bench.server.not_served.clear()
        bench.create("a")
        await bench.clock.advance(5.0)
        assert bench.agrees
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "Are the CRDs installed?" in messages[0]
    assert messages[1] == "jobs.batch: up to date again."


async def test_it_waits_as_long_as_the_server_asks(bench: Bench) -> None:
    bench.api.fail("list", error=Transient("too many requests", code=429, retry_after=20.0))
    async with bench.running():
        await bench.clock.advance(19.0)
        assert bench.sink.lists == 0
        await bench.clock.advance(1.0)
        assert bench.sink.lists == 1


async def test_a_missing_permission_is_asked_for_again_and_again(bench: Bench) -> None:
    bench.api.fail("list", error=Refused("forbidden", code=403), times=4)
    async with bench.running():
        await bench.clock.advance(10.0)
    assert bench.sink.lists == 1


async def test_a_delete_that_the_watch_has_lost_is_found_by_the_periodic_list(bench: Bench) -> None:
    bench.create("a", "b")
    async with bench.running():
        bench.server.lose(JOBS, "qa", "a")
        await bench.clock.advance(599.0)
        assert not bench.agrees
        await bench.clock.advance(1.0)
        assert bench.agrees
    assert bench.sink.lists == 2


async def test_a_failing_periodic_list_does_not_disturb_the_watch(bench: Bench) -> None:
    async with bench.running():
        bench.api.fail("list")
        await bench.clock.advance(600.0)
        bench.create("a")
        await settle()
        assert bench.agrees


async def test_refresh_delivers_a_list_without_a_running_watch(bench: Bench) -> None:
    bench.create("a")
    await bench.reflector.refresh()
    assert bench.sink.log == [("SYNCED", "a")]
    bench.api.fail("list")
    with pytest.raises(Transient):
        await bench.reflector.refresh()


class HeldApi(FakeApi):
    """A LIST is read at once, but its answer arrives when the test lets it."""

    def hold(self) -> asyncio.Event:
        self.gates.append(asyncio.Event())
        return self.gates[-1]

    def __init__(self, clock: FakeClock, server: FakeServer) -> None:
        super().__init__(clock, server)
        self.gates: list[asyncio.Event] = []

    async def list_versioned(self, *args: Any, **kwargs: Any) -> Listing:
        gate = self.gates.pop(0) if self.gates else None
        listing = await super().list_versioned(*args, **kwargs)
        if gate is not None:
            await gate.wait()
        return listing


class HeldBench(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.held = self.api = HeldApi(self.clock, self.server)
        self.reflector = Reflector(self.api, self.clock, JOBS, self.sink, rng=lambda: 0.5)


async def test_a_list_that_is_slower_than_the_watch_does_not_throw_the_sink_back() -> None:
    bench = HeldBench()
    bench.create("a", "b")
    async with bench.running():
        gate = bench.held.hold()
        refresh = asyncio.create_task(bench.reflector.refresh())
        await settle()
        bench.create("c")
        bench.delete("a")
        bench.server.patch(JOBS, "qa", "b", {"spec": {"suspend": True}})
        await settle()
        gate.set()
        await refresh
        assert bench.sink.log[-1] == ("SYNCED", "b c")
        assert bench.agrees
        bench.create("d")
        await settle()
        assert bench.agrees


async def test_of_two_lists_under_way_the_older_that_comes_last_is_dropped() -> None:
    bench = HeldBench()
    bench.create("a")
    async with bench.running():
        slow_gate, fast_gate = bench.held.hold(), bench.held.hold()
        slow = asyncio.create_task(bench.reflector.refresh())
        await settle()
        bench.api.break_watches(silently=True)
        bench.delete("a")
        fast = asyncio.create_task(bench.reflector.refresh())
        await settle()
        fast_gate.set()
        await fast
        slow_gate.set()
        await slow
        assert bench.sink.log == [("SYNCED", "a"), ("SYNCED", "")]


async def test_events_that_a_refresh_has_overtaken_are_not_delivered_again(bench: Bench) -> None:
    async with bench.running():
        bench.api.break_watches()
        bench.create("a")
        await bench.reflector.refresh()
        await bench.clock.advance(1.0)
        bench.create("b")
        await settle()
    assert bench.sink.log == [("SYNCED", ""), ("SYNCED", "a"), ("ADDED", "b")]


async def test_a_server_restored_from_a_backup_is_believed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.create("a")
    async with bench.running():
        bench.create("b")
        await settle()
        bench.api.break_watches()
        bench.server.lose(JOBS, "qa", "b")
        bench.server.version = bench.server.compacted = 1_001
        bench.server.history.clear()
        bench.sink.version = 0  # The sink's own check does not know of restores.
        bench.api.fail("watch", error=Gone("too old", code=410))
        await bench.clock.advance(1.0)
        assert list(bench.sink.objects) == ["a"]
        bench.create("c")
        await settle()
        assert bench.agrees
    assert "history went back" in caplog.text


async def test_an_error_in_the_sink_is_not_swallowed(bench: Bench) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    bench.sink.seen = broken  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(bench.reflector.run())
    await settle()
    bench.create("a")
    with pytest.raises(ExceptionGroup) as raised:
        await task
    assert raised.group_contains(ZeroDivisionError)


_TROUBLE: dict[str, dict[str, Any]] = {
    "break": {},
    "silent": {"silently": True},
    "error": {"event": {"kind": "Status", "code": 500, "message": "no"}},
    "gone": {"event": {"kind": "Status", "code": 410, "reason": "Expired"}},
}
_CHANGES = ["create", "delete", "modify", "lose"]
_ELSE = ["compact", "refresh", "fail list", "fail watch", "wait 1", "wait 90"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*_CHANGES, *_TROUBLE, *_ELSE]), max_size=40))
def test_whatever_happens_the_sink_agrees_with_the_server_in_the_end(steps: list[str]) -> None:
    async def body() -> None:
        bench = Bench()
        async with bench.running():
            for number, step in enumerate(steps):
                if step in _TROUBLE:
                    bench.api.break_watches(**_TROUBLE[step])
                elif step in _CHANGES:
                    _change(bench, step, number)
                else:
                    await _disturb(bench, step)
            bench.api.before.clear()
            await bench.clock.advance(1_000.0)
            assert bench.agrees

    asyncio.run(body())


def _change(bench: Bench, step: str, number: int) -> None:
    names = sorted(bench.server.objects(JOBS))
    if step == "create":
        bench.create(f"job-{number:02d}")
    elif step == "delete" and names:
        bench.delete(names[0])
    elif step == "lose" and names:
        bench.server.lose(JOBS, "qa", names[-1])
    elif names:
        bench.server.patch(JOBS, "qa", names[0], {"spec": {"parallelism": number}})


async def _disturb(bench: Bench, step: str) -> None:
    if step == "compact":
        bench.server.compact()
    elif step == "refresh":
        await asyncio.gather(bench.reflector.refresh(), return_exceptions=True)
    elif step.startswith("fail "):
        bench.api.fail(step.removeprefix("fail "))
    else:
        await bench.clock.advance(float(step.removeprefix("wait ")))
