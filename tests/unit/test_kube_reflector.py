"""A reflector keeps its sink up to date through everything that breaks watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.api import FakeApi
from fakes.clock import FakeClock, settle
from fakes.server import FakeServer
from fakes.sink import FakeSink
from taskrunner.errors import ApiError, Gone, Refused, Transient
from taskrunner.kube import reflector as reflector_module
from taskrunner.kube.reflector import Reflector
from taskrunner.kube.source import Page
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
    """A LIST is read at once, but its pages arrive when the test lets them."""

    def __init__(self, clock: FakeClock, server: FakeServer) -> None:
        super().__init__(clock, server)
        self.gates: list[asyncio.Event] = []

    def hold(self) -> asyncio.Event:
        """The next page that is not held yet waits for this."""
        self.gates.append(asyncio.Event())
        return self.gates[-1]

    async def list_pages(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Page, None]:
        async for page in super().list_pages(*args, **kwargs):
            if self.gates:
                await self.gates.pop(0).wait()
            yield page


class HeldBench(Bench):
    def __init__(self, page: int = 0) -> None:
        super().__init__()
        self.held = self.api = HeldApi(self.clock, self.server)
        self.held.page = page
        self.reflector = Reflector(self.api, self.clock, JOBS, self.sink, rng=lambda: 0.5)

    @asynccontextmanager
    async def refreshing(self) -> AsyncIterator[asyncio.Task[None]]:
        """A refresh is under way, as far as the gates let it; ended by the end of the block."""
        task = asyncio.create_task(self.reflector.refresh())
        await settle()
        yield task
        await task


async def test_a_list_that_is_slower_than_the_watch_does_not_throw_the_sink_back() -> None:
    bench = HeldBench()
    bench.create("a", "b")
    async with bench.running():
        gate = bench.held.hold()
        async with bench.refreshing():
            bench.create("c")
            bench.delete("a")
            bench.server.patch(JOBS, "qa", "b", {"spec": {"suspend": True}})
            await settle()
            gate.set()
        assert bench.sink.log[-1] == ("SYNCED", "b c")
        assert bench.agrees
        bench.create("d")
        await settle()
        assert bench.agrees


@pytest.mark.parametrize("after", range(4), ids="before page {}".format)
async def test_changes_between_the_pages_of_a_list_are_kept(after: int) -> None:
    bench = HeldBench(page=2)
    bench.create("a", "b", "c", "d", "e")
    async with bench.running():
        gates = [bench.held.hold() for _ in range(3)]
        async with bench.refreshing():
            for gate in gates[:after]:
                gate.set()
                await settle()
            bench.delete("a")
            bench.delete("e")
            bench.create("aa", "f")
            for name in "bd":
                bench.server.patch(JOBS, "qa", name, {"spec": {"suspend": True}})
            bench.delete("c")
            bench.create("c")
            await settle()
            assert bench.agrees
            for gate in gates[after:]:
                gate.set()
        assert bench.agrees
        assert bench.sink.log[-1] == ("SYNCED", "aa b c d f") or after == 3


async def test_what_a_slow_watch_tells_of_what_a_page_has_told_is_not_delivered() -> None:
    bench = HeldBench(page=1)
    bench.create("a", "b")
    async with bench.running():
        bench.api.break_watches()
        bench.server.patch(JOBS, "qa", "a", {"spec": {"suspend": True}})
        bench.server.patch(JOBS, "qa", "b", {"spec": {"suspend": True}})
        first, second = bench.held.hold(), bench.held.hold()
        async with bench.refreshing():
            first.set()
            await settle()
            await bench.clock.advance(0.25)  # The watch is resumed, and tells of both.
            assert bench.sink.log[1:] == [("MODIFIED", "b")]
            second.set()
        assert bench.agrees


async def test_a_list_that_breaks_off_drops_nothing_and_hides_no_change() -> None:
    bench = HeldBench(page=1)
    bench.create("a", "b", "c")
    async with bench.running():
        bench.api.fail("page")
        with pytest.raises(Transient):
            await bench.reflector.refresh()
        assert bench.agrees
        bench.delete("c")
        bench.server.patch(JOBS, "qa", "a", {"spec": {"suspend": True}})
        await settle()
        assert bench.agrees


async def test_a_list_that_begins_anew_forgets_what_it_had() -> None:
    bench = HeldBench(page=1)
    bench.create("a", "b", "c")
    bench.api.fail("page", error=Gone("the token has expired", code=410))
    gate = bench.held.hold()
    async with bench.refreshing():
        bench.delete("a")
        gate.set()
        await settle()
    assert bench.sink.log == [("SYNCED", "b c")]
    assert bench.agrees


async def test_lists_come_one_after_the_other_and_serve_all_who_asked_before_they_began() -> None:
    bench = HeldBench()
    bench.create("a")
    gate = bench.held.hold()
    async with bench.refreshing():
        bench.delete("a")
        others = [asyncio.create_task(bench.reflector.refresh()) for _ in range(5)]
        await settle()
        gate.set()
        await asyncio.gather(*others)
    assert bench.sink.log == [("SYNCED", "a"), ("SYNCED", "")]
    assert bench.asked("list") == 2


async def test_who_waits_for_a_list_that_fails_asks_for_one_of_their_own() -> None:
    bench = HeldBench()
    bench.api.fail("list", times=2)
    results = await asyncio.gather(
        *(bench.reflector.refresh() for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [Transient, Transient, type(None)]


def told(bench: Bench, number: int) -> Obj:
    """The object of a change, as a watch tells of it."""
    change = bench.server.history[number]
    obj = change.new or change.old or {}
    return obj | {"metadata": obj["metadata"] | {"resourceVersion": str(change.version)}}


async def test_what_another_watch_tells_of_while_a_list_is_under_way_is_not_thrown_back() -> None:
    """A reflector that only lists, beside a watch of somebody else."""
    bench = HeldBench(page=1)
    bench.create("a", "b", "c")
    await bench.reflector.refresh()
    gates = [bench.held.hold() for _ in range(3)]
    async with bench.refreshing():
        gates[0].set()
        await settle()
        for name in ("a", "c"):
            bench.delete(name)
            bench.reflector.seen("DELETED", told(bench, -1))
        bench.create("d")
        bench.reflector.seen("ADDED", told(bench, -1))
        for gate in gates[1:]:
            gate.set()
    assert bench.agrees
    bench.reflector.seen("MODIFIED", told(bench, 0))
    assert bench.agrees, "older than the list"


# --- catching up ------------------------------------------------------------------------------


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list with an object in it counts as long."""
    monkeypatch.setattr(reflector_module, "_LONG", 0)


async def test_few_objects_are_listed_to_catch_up(bench: Bench) -> None:
    bench.create("a")
    async with bench.running():
        await bench.reflector.catch_up()
    assert (bench.asked("list"), bench.asked("watch")) == (2, 1)


@pytest.mark.usefixtures("long")
async def test_many_objects_are_not_listed_when_a_watch_is_as_far_as_a_list_would_be(
    bench: Bench,
) -> None:
    bench.create("a")
    async with bench.running():
        await bench.clock.drive(bench.reflector.catch_up())
        assert (bench.asked("list"), bench.asked("watch")) == (1, 1), "nothing has happened"
        bench.server.version += 50  # Writes to other kinds.
        await bench.clock.drive(bench.reflector.catch_up())
        assert (bench.asked("list"), bench.asked("watch")) == (1, 2), "a bookmark has told"
        bench.create("b")
        await bench.clock.drive(bench.reflector.catch_up())
        assert bench.agrees
    assert bench.asked("list") == 1


@pytest.mark.usefixtures("long")
async def test_what_a_dead_watch_does_not_tell_is_caught_up_with_and_told_once(
    bench: Bench,
) -> None:
    bench.create("a")
    async with bench.running():
        bench.api.break_watches(silently=True)
        bench.create("b", "c")
        bench.delete("a")
        await bench.clock.drive(bench.reflector.catch_up())
        assert bench.agrees
        await bench.clock.advance(200.0)  # The dead watch is given up, and resumed.
        bench.create("d")
        await settle()
        assert bench.agrees
    assert bench.asked("list") == 1
    assert [name for event, name in bench.sink.log if event == "ADDED"] == ["b", "c", "d"]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    "error", [Gone("too old", code=410), Transient("no answer")], ids=["gone", "transient"]
)
@pytest.mark.parametrize("verb", ["version", "watch"])
async def test_what_cannot_be_caught_up_with_by_a_watch_is_listed(
    bench: Bench, verb: str, error: ApiError
) -> None:
    bench.create("a")
    async with bench.running():
        bench.api.break_watches(silently=True)
        bench.create("b")
        bench.api.fail(verb, error=error)
        await bench.clock.drive(bench.reflector.catch_up())
        assert bench.agrees
    assert bench.asked("list") == 2


@pytest.mark.usefixtures("long")
async def test_a_reflector_that_has_no_watch_yet_lists_to_catch_up(bench: Bench) -> None:
    bench.create("a")
    await bench.reflector.catch_up()
    assert bench.sink.log == [("SYNCED", "a")]


class Ticking(FakeClock):
    """Each look at it takes a millisecond, as an object of a list does."""

    def boot(self) -> float:
        self._boot += 0.001
        return self._boot


async def test_a_long_list_lets_others_have_a_turn_every_few_milliseconds(bench: Bench) -> None:
    bench.create(*(f"job-{number:03d}" for number in range(500)))
    clock, turns = Ticking(), list[float]()
    reflector = Reflector(bench.api, clock, JOBS, bench.sink, rng=lambda: 0.5)

    async def renew() -> None:
        while True:
            turns.append(clock.boot())
            await asyncio.sleep(0)

    beside = asyncio.create_task(renew())
    await reflector.refresh()
    beside.cancel()
    assert len(bench.sink.objects) == 500
    pauses = [after - before for before, after in pairwise(turns)]
    assert len(pauses) > 50
    assert max(pauses) < 0.010


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
_ELSE = [
    "compact",
    "refresh",
    "fail list",
    "fail page",
    "forget",
    "fail watch",
    "wait 1",
    "wait 90",
]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.usefixtures("long")
@given(
    st.lists(st.sampled_from([*_CHANGES, *_TROUBLE, *_ELSE]), max_size=40),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0.0, 0.4]),
)
def test_whatever_happens_the_sink_agrees_with_the_server_in_the_end(
    steps: list[str], page: int, latency: float
) -> None:
    """With `latency`, a list is under way for as long as a few steps take."""

    async def body() -> None:
        bench = Bench()
        bench.api.page, bench.api.latency = page, latency
        refreshes: list[asyncio.Task[None]] = []
        async with bench.running():
            for number, step in enumerate(steps):
                if step in _TROUBLE:
                    bench.api.break_watches(**_TROUBLE[step])
                elif step in _CHANGES:
                    _change(bench, step, number)
                elif step == "refresh":
                    refreshes.append(asyncio.create_task(bench.reflector.refresh()))
                elif step == "catch up":
                    refreshes.append(asyncio.create_task(bench.reflector.catch_up()))
                else:
                    await _disturb(bench, step)
                await bench.clock.advance(latency / 4)
            bench.api.before.clear()
            await bench.clock.advance(1_000.0)
            await asyncio.gather(*refreshes, return_exceptions=True)
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
    elif step == "forget":
        bench.api.fail("page", error=Gone("the token has expired", code=410))
    elif step.startswith("fail "):
        bench.api.fail(step.removeprefix("fail "))
    else:
        await bench.clock.advance(float(step.removeprefix("wait ")))
