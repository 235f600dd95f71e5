"""Who may hold a Lease: the decisions as tables, and the loop on a clock that tests move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.api import Call, FakeApi
from fakes.clock import FakeClock, settle
from fakes.server import FakeServer
from taskrunner.domain.election import (
    Acquire,
    Durations,
    Lost,
    Record,
    Renew,
    Sighting,
    Wait,
    campaign,
    defend,
    micro_time,
    sight,
)
from taskrunner.errors import Conflict, Transient
from taskrunner.kube.election import Elector, Term, unique_identity
from taskrunner.ports import LEASES, Obj

D = Durations()


def record(holder: str = "other", *, duration: float = 15, renewed: str = "t0") -> Record:
    return Record(holder, duration, transitions=4, acquired="t0", renewed=renewed)


# --- decisions --------------------------------------------------------------------------------

CAMPAIGN: list[tuple[str, Record | None, float, Acquire | Wait]] = [
    ("there is no Lease", None, 0.0, Acquire(0)),
    ("it was released", record(""), 0.0, Acquire(5)),
    ("another holds it and was seen just now", record(), 0.0, Wait(1.0)),
    ("another holds it and has not changed it for long", record(), 14.5, Wait(0.5)),
    ("another has not changed it for its duration", record(), 15.0, Acquire(5)),
    ("another promised longer than we would", record(duration=40), 39.5, Wait(0.5)),
    ("another promised no duration", record(duration=0), 15.0, Acquire(5)),
    ("we hold it from a term that was given up", record("me"), 0.0, Acquire(5)),
]


@pytest.mark.parametrize(("when", "seen", "age", "decision"), CAMPAIGN)
def test_a_candidate_acquires_or_waits_when(
    when: str, seen: Record | None, age: float, decision: Acquire | Wait
) -> None:
    assert campaign(Sighting(seen, 100.0), "me", 100.0 + age, D) == decision


DEFEND: list[tuple[str, Record | None, float, Renew | Lost]] = [
    ("all is well", record("me"), 3.0, Renew()),
    ("the deadline is reached", record("me"), 0.0, Lost("it could not be renewed for 10 s")),
    ("somebody else has it", record("she"), 3.0, Lost("she holds it")),
    ("somebody has released it", record(""), 3.0, Lost("somebody has released it")),
    ("it was deleted", None, 3.0, Lost("it was deleted")),
]


@pytest.mark.parametrize(("when", "seen", "left", "decision"), DEFEND)
def test_a_holder_renews_or_stops_when(
    when: str, seen: Record | None, left: float, decision: Renew | Lost
) -> None:
    assert defend(Sighting(seen, 0.0), "me", 50.0 + left, 50.0, D) == decision


def test_age_counts_from_when_the_record_was_first_seen_so() -> None:
    first = sight(None, record(), 10.0)
    assert sight(first, record(), 20.0) == Sighting(record(), 10.0)
    assert sight(first, record(renewed="t1"), 20.0) == Sighting(record(renewed="t1"), 20.0)
    gone = sight(first, None, 20.0)
    assert gone == Sighting(None, 20.0, deleted=record())
    assert sight(gone, None, 30.0) == gone
    assert sight(gone, record(renewed="t1"), 30.0) == Sighting(record(renewed="t1"), 30.0)


@pytest.mark.parametrize(
    ("holder", "age", "decision"),
    [
        ("other", 14.5, Wait(0.5)),
        ("other", 15.0, Acquire(5)),
        # It may have been somebody else's since: made and deleted between two looks.
        ("", 14.5, Wait(0.5)),
        ("me", 14.5, Wait(0.5)),
        ("me", 15.0, Acquire(5)),
    ],
)
def test_the_holder_of_a_deleted_lease_gets_the_time_to_notice(
    holder: str, age: float, decision: Acquire | Wait
) -> None:
    seen = Sighting(None, 100.0, deleted=record(holder))
    assert campaign(seen, "me", 100.0 + age, D) == decision


@pytest.mark.parametrize(
    ("durations", "message"),
    [
        ({"lease": 10.0}, "must be longer than the renew deadline"),
        ({"retry": 10.0}, "longer than the retry period"),
        ({"retry": 0.0}, "longer than the retry period"),
        ({"lease": 15.5}, "must be whole seconds, not 15.5"),
        ({"poll": 0.0}, "poll period"),
        ({"poll": 16.0}, "poll period"),
    ],
)
def test_durations_that_do_not_fit_together_are_refused(
    durations: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Durations(**durations)


def test_times_in_the_lease_are_utc_with_six_decimals() -> None:
    assert micro_time(1_790_000_000.25) == "2026-09-21T14:13:20.250000Z"


def test_an_identity_is_never_given_twice() -> None:
    assert len({unique_identity("pod") for _ in range(100)}) == 100
    assert unique_identity("pod").startswith("pod-")


# --- the loop ---------------------------------------------------------------------------------


class Candidate:
    """An elector with a client of its own, and the terms in which it has worked."""

    def __init__(self, name: str, clock: FakeClock, server: FakeServer) -> None:
        self.clock = clock
        self.api = FakeApi(clock, server)
        self.overruns = 0
        self.elector = Elector(
            self.api, clock, "ops", "shard-0", name, on_overrun=self._note_overrun
        )
        self.terms: list[Term] = []
        self.started: list[float] = []
        self.stopped: list[float] = []
        self.working = False
        self.stopping_takes = 0.0

    def _note_overrun(self) -> None:
        self.overruns += 1

    async def work(self, term: Term) -> None:
        self.terms.append(term)
        self.started.append(self.clock.boot())
        self.working = True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self.stopping_takes:
                await self.clock.sleep(self.stopping_takes)
            self.working = False
            self.stopped.append(self.clock.boot())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.elector.run(self.work))
        await settle()
        try:
            yield task
        finally:
            task.cancel()
            await self.clock.drive(_ended(task))


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(boot=0.0)


@pytest.fixture
def server(clock: FakeClock) -> FakeServer:
    return FakeServer(clock)


@pytest.fixture
def a(clock: FakeClock, server: FakeServer) -> Candidate:
    return Candidate("a", clock, server)


@pytest.fixture
def b(clock: FakeClock, server: FakeServer) -> Candidate:
    return Candidate("b", clock, server)


def lease(server: FakeServer) -> Obj:
    return server.get(LEASES, "ops", "shard-0")


async def test_the_first_candidate_creates_the_lease_and_works(
    clock: FakeClock, server: FakeServer, a: Candidate
) -> None:
    async with a.running():
        assert a.working
        assert lease(server)["spec"] == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 0,
            "acquireTime": "2026-09-21T14:13:20.000000Z",
            "renewTime": "2026-09-21T14:13:20.000000Z",
        }
        await clock.advance(100.0)
        assert a.working
        spec = lease(server)["spec"]
    assert spec["renewTime"] == "2026-09-21T14:15:00.000000Z"
    assert spec["acquireTime"] == "2026-09-21T14:13:20.000000Z"
    assert len(a.terms) == 1


async def test_while_it_is_renewed_nobody_else_gets_it(
    clock: FakeClock, a: Candidate, b: Candidate
) -> None:
    async with a.running(), b.running():
        await clock.advance(1_000.0)
        assert (a.working, b.started, b.elector.holder) == (True, [], "a")


async def test_a_holder_that_dies_is_succeeded_within_lease_and_poll(
    clock: FakeClock, server: FakeServer, a: Candidate, b: Candidate
) -> None:
    async with a.running(), b.running():
        await clock.advance(9.9)
        a.api.pause()  # As if killed: nothing of it arrives any more.
        await clock.advance(20.0)
        assert b.working
        assert 8.0 + 15.0 <= b.started[0] <= 8.0 + 15.0 + 1.0
        assert lease(server)["spec"]["leaseTransitions"] == 1
        assert b.terms[0].epoch == 1


async def test_a_holder_that_is_cancelled_gives_the_lease_back(
    clock: FakeClock, server: FakeServer, a: Candidate, b: Candidate
) -> None:
    async with b.running():
        async with a.running():
            await clock.advance(21.0)
            assert b.working  # It was first.
        assert a.started == []
    assert lease(server)["spec"]["holderIdentity"] == ""
    async with a.running():
        assert a.working
    assert (b.terms[0].epoch, a.terms[0].epoch) == (0, 1)


async def test_the_other_takes_a_released_lease_at_its_next_look(
    clock: FakeClock, a: Candidate, b: Candidate
) -> None:
    async with a.running():
        async with b.running():
            await clock.advance(5.0)
        await clock.advance(5.0)
    async with b.running() as task, a.running():
        await clock.advance(5.0)
        task.cancel()
        await clock.advance(1.0)
        assert a.working


async def test_a_lease_is_released_also_when_a_renewal_was_under_way(
    clock: FakeClock, server: FakeServer, a: Candidate
) -> None:
    async with a.running() as task:
        await clock.advance(3.0)
        a.api.latency = 0.4
        renewals = len(a.api.writes)
        while len(a.api.writes) == renewals:
            await clock.advance(0.1)
        await clock.advance(0.3)  # The server has done it, the answer is on its way.
        task.cancel()
        await clock.advance(3.0)
        assert lease(server)["spec"]["holderIdentity"] == ""


async def test_work_is_stopped_before_the_lease_can_go_to_another_when_the_server_hangs(
    clock: FakeClock, a: Candidate
) -> None:
    async with a.running():
        await clock.advance(4.0)  # Renewed at 4 s.
        a.api.pause()
        await clock.advance(9.9)
        assert a.working
        assert a.terms[0].remaining() == pytest.approx(0.1)
        await clock.advance(0.1)
        assert a.stopped == [14.0]
        assert a.terms[0].remaining() == 0.0
        assert a.elector.term is None
        a.api.resume()


async def test_a_holder_without_a_server_gets_it_back_in_a_new_term(
    clock: FakeClock, a: Candidate
) -> None:
    async with a.running():
        a.api.pause()
        await clock.advance(12.0)
        assert not a.working
        a.api.resume()
        await clock.advance(10.0)
        assert a.working
    assert [term.epoch for term in a.terms] == [0, 1]


async def test_validity_counts_from_before_the_call_was_sent(
    clock: FakeClock, a: Candidate
) -> None:
    a.api.latency = 3.0
    async with a.running():
        await clock.advance(6.0)  # GET 0–3, POST sent at 3, answered at 6.
        assert a.terms[0].remaining() == pytest.approx(10.0 - 3.0)


async def test_refused_connections_are_survived_until_the_deadline(
    clock: FakeClock, a: Candidate, caplog: pytest.LogCaptureFixture
) -> None:
    async with a.running():
        await clock.advance(2.0)
        a.api.fail("replace", error=Transient("connection refused"), times=3)
        await clock.advance(9.0)
        assert a.stopped == []
        a.api.fail("replace", error=Transient("connection refused"), times=5)
        await clock.advance(10.0)
        assert len(a.stopped) == 1
    messages = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert messages[0] == "Lease ops/shard-0: not renewed: connection refused"
    assert "lost, because it could not be renewed for 10 s" in messages[-1]


async def test_a_renewal_whose_answer_was_lost_does_not_end_the_term(
    clock: FakeClock, a: Candidate
) -> None:
    async with a.running():
        a.api.fail("replace", after=True, times=3)
        await clock.advance(60.0)
        assert a.working
        assert len(a.terms) == 1


async def test_an_acquisition_whose_answer_was_lost_is_made_again(
    clock: FakeClock, a: Candidate
) -> None:
    a.api.fail("create", after=True)
    async with a.running():
        await clock.advance(3.0)
        assert a.working
        assert a.terms[0].epoch == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"holderIdentity": "intruder"}, "intruder holds it"),
        ({"holderIdentity": ""}, "somebody has released it"),
    ],
)
async def test_a_lease_that_somebody_else_has_written_is_lost_at_the_next_renewal(
    clock: FakeClock,
    server: FakeServer,
    a: Candidate,
    caplog: pytest.LogCaptureFixture,
    change: Obj,
    reason: str,
) -> None:
    async with a.running():
        await clock.advance(1.0)
        server.patch(LEASES, "ops", "shard-0", {"spec": change})
        await clock.advance(1.0)
        assert a.stopped == [2.0]
    assert reason in caplog.text


async def test_a_lease_that_was_deleted_is_lost_and_not_brought_back_by_the_renewal(
    clock: FakeClock, server: FakeServer, a: Candidate
) -> None:
    async with a.running():
        server.delete(LEASES, "ops", "shard-0")
        await clock.advance(2.0)
        assert a.stopped == [2.0]
        assert not a.working  # Another one may have had it since.
        await clock.advance(15.0)
        assert a.working  # In a new term.


async def test_labels_on_the_lease_are_kept_and_are_no_renewal(
    clock: FakeClock, server: FakeServer, a: Candidate, b: Candidate
) -> None:
    async with a.running(), b.running():
        server.patch(LEASES, "ops", "shard-0", {"metadata": {"labels": {"kept": "yes"}}})
        await clock.advance(2.0)
        a.api.pause()
        for number in range(16):
            labels = {"metadata": {"labels": {"count": str(number)}}}
            server.patch(LEASES, "ops", "shard-0", labels)
            await clock.advance(1.0)
        assert b.working
        assert lease(server)["metadata"]["labels"] == {"kept": "yes", "count": "15"}


async def test_a_process_that_was_suspended_stops_before_it_does_anything_else(
    clock: FakeClock, a: Candidate
) -> None:
    a.stopping_takes = 0.5
    async with a.running():
        await clock.advance(4.0)
        term = a.terms[0]
        clock.suspend(3_600.0)
        assert term.remaining() == 0.0
        writes = len(a.api.writes)
        await clock.advance(0.5)
        assert a.stopped == [clock.boot()]
        assert a.overruns == 0
        assert a.api.writes[writes].body["spec"]["leaseTransitions"] == 1


async def test_the_wall_clock_does_not_matter(clock: FakeClock, a: Candidate, b: Candidate) -> None:
    async with a.running(), b.running():
        for jump in (86_400.0, -172_800.0, 3.0):
            clock.jump(jump)
            await clock.advance(30.0)
        assert (a.working, b.started) == (True, [])


async def test_on_a_stop_the_lease_is_renewed_until_the_work_has_ended(
    clock: FakeClock, server: FakeServer, a: Candidate, b: Candidate
) -> None:
    a.stopping_takes = 40.0
    async with b.running() as task:
        await settle()
        task.cancel()
        await settle()
        async with a.running() as stopping, Candidate("c", clock, server).running():
            await clock.advance(1.0)
            stopping.cancel()
            await clock.advance(39.0)
            assert a.working
            assert lease(server)["spec"]["holderIdentity"] == "a"
            await clock.advance(1.0)
            assert not a.working
            assert (a.overruns, stopping.done()) == (0, True)


async def test_work_that_does_not_stop_in_time_ends_the_process(
    clock: FakeClock, a: Candidate, caplog: pytest.LogCaptureFixture
) -> None:
    a.stopping_takes = 20.0
    async with a.running():
        a.api.pause()
        await clock.advance(14.4)
        assert a.overruns == 0
        await clock.advance(0.2)
        assert a.overruns == 1
        assert "the work does not stop" in caplog.text
        a.api.resume()


async def test_work_that_ends_gives_the_lease_back_and_run_returns(
    clock: FakeClock, server: FakeServer, a: Candidate
) -> None:
    async def work(term: Term) -> None:
        await clock.sleep(5.0)

    await clock.drive(a.elector.run(work))
    assert lease(server)["spec"]["holderIdentity"] == ""
    assert clock.boot() == 5.0


async def test_work_that_fails_gives_the_lease_back_and_run_raises(
    clock: FakeClock, server: FakeServer, a: Candidate
) -> None:
    async def work(term: Term) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await clock.drive(a.elector.run(work))
    assert lease(server)["spec"]["holderIdentity"] == ""


async def test_of_two_that_take_an_expired_lease_at_once_one_wins(
    clock: FakeClock, server: FakeServer, a: Candidate, b: Candidate
) -> None:
    server.create(
        LEASES,
        "ops",
        {
            "metadata": {"name": "shard-0"},
            "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 7},
        },
    )
    conflicts = 0

    def count(call: Call) -> None:
        nonlocal conflicts
        conflicts += call.verb == "replace"

    b.api.before.append(count)
    async with a.running(), b.running():
        await clock.advance(16.0)
        assert a.working != b.working
        assert conflicts >= 1
    assert [*a.terms, *b.terms][0].epoch == 8


class Fleet:
    """Candidates over one server, and a check that never two of them work."""

    def __init__(self, size: int) -> None:
        self.clock = FakeClock(boot=0.0)
        self.server = FakeServer(self.clock)
        self.all = [Candidate(f"r{n}", self.clock, self.server) for n in range(size)]

    def check(self) -> None:
        working = [c.elector._identity for c in self.all if c.working]
        valid = [c for c in self.all if c.elector.term and c.elector.term.remaining() > 0]
        assert len(working) <= 1, f"{working} work at the same time"
        assert len(valid) <= 1


_TROUBLE = st.tuples(
    st.integers(0, 2),
    st.sampled_from(
        [
            *("pause", "pause after", "resume", "lose answer", "refuse", "conflict"),
            *("slow", "quick", "delete", "none", "none"),
        ]
    ),
    st.sampled_from([0.1, 1.0, 2.5, 7.0, 12.0, 20.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_TROUBLE, max_size=25))
def test_whatever_the_server_does_never_two_work_and_in_the_end_one_does(
    troubles: list[tuple[int, str, float]],
) -> None:
    async def body() -> None:
        fleet = Fleet(3)
        tasks = [asyncio.create_task(c.elector.run(c.work)) for c in fleet.all]
        await fleet.clock.advance(1.0)  # All have seen the Lease.
        for who, trouble, seconds in troubles:
            _trouble(fleet.all[who], fleet.server, trouble)
            for _ in range(round(seconds * 10)):
                await fleet.clock.advance(0.1)
                fleet.check()
        for candidate in fleet.all:
            _trouble(candidate, fleet.server, "resume")
            _trouble(candidate, fleet.server, "quick")
            candidate.api.before.clear()
            candidate.api.after.clear()
        await fleet.clock.advance(40.0)
        fleet.check()
        assert sum(c.working for c in fleet.all) == 1
        assert all(c.overruns == 0 for c in fleet.all)
        if "delete" not in {trouble for _, trouble, _ in troubles}:
            epochs = [t.epoch for c in fleet.all for t in c.terms]
            assert len(set(epochs)) == len(epochs), "two terms have one number"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(body())


def _trouble(candidate: Candidate, server: FakeServer, trouble: str) -> None:
    api = candidate.api
    match trouble:
        case "pause" | "pause after":
            api.resume()
            api.pause(after=trouble == "pause after")
        case "resume":
            api.resume()
        case "lose answer" | "refuse":
            api.fail("replace", times=2, after=trouble == "lose answer")
        case "conflict":
            api.fail("replace", error=Conflict("the object has been modified", code=409))
        case "slow" | "quick":
            api.latency = 3.0 if trouble == "slow" else 0.0
        case "delete" if "shard-0" in server.objects(LEASES):
            server.delete(LEASES, "ops", "shard-0")
