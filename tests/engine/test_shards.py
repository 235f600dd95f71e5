"""Several shards: shared out among the replicas, each namespace acted on by one of them."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from fleet import SYSTEM, Fleet, Member, is_creation
from taskrunner.domain.instants import parse_instant
from taskrunner.domain.sharding import shard_of
from taskrunner.ports import JOBS, SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from taskrunner.ports import SHARDS as SHARD_OBJECTS
from world import START

SHARDS = 4
NAMESPACES = ["team-1", "team-2", "team-4", "team-6"]
"""One in each of four shards."""
PERIOD = 10


def apply_tasks(fleet: Fleet) -> None:
    schedules = [{"name": "often", "everySeconds": PERIOD, "anchor": "2026-01-01T00:00:00Z"}]
    for namespace in NAMESPACES:
        fleet.apply(
            namespace,
            f"beat-{namespace}",
            schedules=schedules,
            successfulJobsHistoryLimit=1000,
            catchUp={"policy": "All", "limit": 100},
        )


def check_each_slot_ran_once(fleet: Fleet, until: float) -> None:
    """Every slot from a second after the tasks were created to `until`, in every namespace."""
    since = max(parse_instant(t["metadata"]["creationTimestamp"]) for t in _tasks(fleet)) - START
    slots = [slot for slot in range(0, int(until), PERIOD) if since < slot < until]
    for namespace in NAMESPACES:
        started = fleet.world.started(f"beat-{namespace}")
        assert [slot for slot in started if since < slot < until] == slots, namespace


def _tasks(fleet: Fleet) -> list[Obj]:
    return fleet.world.server.list(SCHEDULED_TASKS)


def check_all_wrote_for_their_own(fleet: Fleet) -> None:
    for replica in fleet.replicas:
        for call in filter(is_creation, replica.api.calls):
            shard = call.body["metadata"]["labels"]["taskrunner.dev/shard"]
            assert int(shard) == shard_of(call.namespace, len(replica.holders))


def elapsed(fleet: Fleet) -> float:
    return fleet.world.clock.now() - START


async def test_replicas_that_start_together_share_the_shards_out() -> None:
    async with Fleet() as fleet:
        await fleet.start(count=3)
        await fleet.advance(10)
        assert fleet.counts == [1, 1, 2]
        assert sorted(chain(*fleet.acting.values())) == [0, 1, 2, 3]
        terms = sum(_terms(replica) for replica in fleet.replicas)
        assert terms == SHARDS, "a shard was taken more than once"


async def test_each_namespace_is_acted_on_by_the_holder_of_its_shard_only() -> None:
    async with Fleet() as fleet:
        await fleet.start(count=2)
        await fleet.advance(10)
        apply_tasks(fleet)
        await fleet.advance(60)
        check_each_slot_ran_once(fleet, elapsed(fleet) - 5)
        check_all_wrote_for_their_own(fleet)
        assert all(any(map(is_creation, r.api.calls)) for r in fleet.replicas)
        for resource in (JOBS, TASK_EXECUTIONS):
            for obj in fleet.world.server.list(resource):
                shard = shard_of(obj["metadata"]["namespace"], SHARDS)
                assert obj["metadata"]["labels"]["taskrunner.dev/shard"] == str(shard)


async def test_of_two_replicas_one_is_killed_and_the_other_takes_its_shards() -> None:
    async with Fleet() as fleet:
        first, second = await fleet.start(count=2)
        await fleet.advance(10)
        apply_tasks(fleet)
        await fleet.advance(20)
        killed = elapsed(fleet)
        await first.kill()
        while fleet.counts != [4]:
            await fleet.advance(0.5)
            assert elapsed(fleet) - killed <= 20, fleet.acting
        assert fleet.acting == {second.name: [0, 1, 2, 3]}
        await fleet.advance(30)
        check_each_slot_ran_once(fleet, elapsed(fleet) - 5)
        check_all_wrote_for_their_own(fleet)


async def test_the_entry_of_a_replica_that_died_goes_in_the_end() -> None:
    async with Fleet() as fleet:
        first, _ = await fleet.start(count=2)
        await fleet.advance(10)
        await first.kill()
        assert len(fleet.leases("taskrunner-replica-")) == 2
        await fleet.advance(170)
        assert len(fleet.leases("taskrunner-replica-")) == 1


async def test_a_replica_that_is_told_to_stop_hands_everything_over_at_once() -> None:
    async with Fleet() as fleet:
        first, _ = await fleet.start(count=2)
        await fleet.advance(10)
        apply_tasks(fleet)
        await fleet.advance(20)
        held = first.acting
        asked = elapsed(fleet)
        await first.terminate()
        assert elapsed(fleet) - asked < 1
        assert len(fleet.leases("taskrunner-replica-")) == 1
        assert all(fleet.shard(number)["spec"]["released"] for number in held)
        await fleet.advance(3)
        assert fleet.counts == [4]
        await fleet.advance(20)
        check_each_slot_ran_once(fleet, elapsed(fleet) - 5)


async def test_one_more_replica_gets_its_share_in_good_order_and_nobody_moves_for_nothing() -> None:
    async with Fleet() as fleet:
        first, second = await fleet.start(count=2)
        await fleet.advance(10)
        apply_tasks(fleet)
        await fleet.advance(15)
        terms = _terms(first) + _terms(second)
        (third,) = await fleet.start()
        await fleet.advance(10)
        assert fleet.counts == [1, 1, 2]
        assert _terms(first) + _terms(second) == terms
        assert _terms(third) == 1
        await fleet.advance(60)
        assert (_terms(first) + _terms(second), _terms(third)) == (terms, 1), "somebody moves"
        check_each_slot_ran_once(fleet, elapsed(fleet) - 5)


async def test_a_replica_that_cannot_see_the_others_keeps_what_it_has() -> None:
    async with Fleet() as fleet:
        first, second = await fleet.start(count=2)
        await fleet.advance(10)
        before = fleet.acting
        first.api.fail("list", times=30)
        await fleet.advance(20)
        assert fleet.acting == before
        assert second.acting


async def test_a_replica_whose_clock_is_wrong_leaves_everything_to_the_others() -> None:
    async with Fleet() as fleet:
        first, second = await fleet.start(count=2)
        await fleet.advance(10)
        # The wall clock of both is one and the same here.
        first._balancer._clocks = _Distrusted()  # type: ignore[assignment]
        await fleet.advance(5)
        assert fleet.acting == {second.name: [0, 1, 2, 3]}


class _Distrusted:
    problem = "The wall clock is wrong."

    async def until(self, *, trusted: bool) -> None:
        await asyncio.get_running_loop().create_future()


# --- changing the number --------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (4, 2), (3, 1)])
async def test_the_number_changes_when_the_last_of_the_old_replicas_has_gone(
    before: int, after: int
) -> None:
    """As in a roll-out: the new ones are up before the old ones go, one after the other."""
    async with Fleet() as fleet:
        old = await fleet.start(shards=before, count=2)
        await fleet.advance(10)
        apply_tasks(fleet)
        await fleet.advance(15)
        new = await fleet.start(shards=after, count=2)
        await fleet.advance(10)
        assert not any(replica.acting for replica in new)
        await old[0].terminate()
        await fleet.advance(5)
        assert not any(replica.acting for replica in new)
        assert fleet.shard(0)["spec"]["shards"] == before
        await old[1].terminate()
        await fleet.advance(12)
        assert sorted(chain(*(r.acting for r in new))) == list(range(after))
        specs = [fleet.shard(number)["spec"] for number in range(max(before, after))]
        assert {spec["shards"] for spec in specs} == {after}
        assert "closing" not in specs[0]
        for number in range(after, before):
            assert not fleet.shard(number).get("status", {}).get("holder")
        await fleet.advance(30)
        check_each_slot_ran_once(fleet, elapsed(fleet) - 5)
        check_all_wrote_for_their_own(fleet)


async def test_what_a_replica_of_the_old_number_still_sends_is_refused() -> None:
    """It was stopped by its machine, and wakes up when the others have gone on without it."""
    async with Fleet() as fleet:
        (old,) = await fleet.start(shards=2)
        await fleet.advance(10)
        apply_tasks(fleet)
        await fleet.advance(5)
        await fleet.start(shards=3, count=2)
        epochs = [fleet.shard(number)["spec"]["epoch"] for number in range(2)]
        old.api.pause()
        await fleet.advance(40)
        assert fleet.counts == [1, 2]
        for number, epoch in enumerate(epochs):
            assert fleet.shard(number)["spec"]["epoch"] != epoch
        old.api.resume()
        await fleet.advance(20)
        assert not old.acting
        check_each_slot_ran_once(fleet, elapsed(fleet) - 5)


@pytest.mark.parametrize("at_write", range(1, 8))
async def test_a_change_that_was_cut_short_is_done_by_another_one(at_write: int) -> None:
    """The one that changes the number dies right after one of its writes: of the Lease, of Shard 0,
    of the three others, and of Shard 0 again."""
    async with Fleet() as fleet:
        (old,) = await fleet.start(shards=4)
        await fleet.advance(8)
        (first,) = await fleet.start(shards=3)
        await fleet.advance(2)
        first.api.crash(at_write=at_write)
        epochs = [fleet.shard(number)["spec"]["number"] for number in range(4)]
        await old.terminate()
        await fleet.advance(3)
        assert first.api.crashed
        await first.kill()
        (second,) = await fleet.start(shards=3)
        await fleet.advance(25)
        assert second.acting == [0, 1, 2]
        spec = fleet.shard(0)["spec"]
        assert (spec["shards"], "closing" in spec) == (3, False)
        for number, epoch in enumerate(epochs):
            assert fleet.shard(number)["spec"]["number"] > epoch
            assert not fleet.shard(number)["spec"]["released"]


async def test_while_the_number_is_being_changed_nobody_begins() -> None:
    async with Fleet() as fleet:
        (old,) = await fleet.start(shards=4)
        await fleet.advance(10)
        await old.terminate()
        spec = fleet.shard(0)["spec"] | {"shards": 2, "closing": 4, "epoch": "x/99", "number": 99}
        fleet.world.server.patch(SHARD_OBJECTS, SYSTEM, "taskrunner-shard-0", {"spec": spec})
        epochs = [fleet.shard(number)["spec"]["number"] for number in range(4)]
        (new,) = await fleet.start(shards=2)
        await fleet.advance(10)
        assert new.acting == [0, 1]
        assert all(fleet.shard(n)["spec"]["number"] > epochs[n] for n in range(4))


async def test_a_deleted_shard_0_does_not_let_another_number_in() -> None:
    async with Fleet() as fleet:
        (old,) = await fleet.start(shards=2)
        await fleet.advance(10)
        (other,) = await fleet.start(shards=3)
        fleet.world.server.delete(SHARD_OBJECTS, SYSTEM, "taskrunner-shard-0")
        await fleet.advance(90)
        assert old.acting == [0, 1]
        assert not other.acting
        assert fleet.shard(0)["spec"]["shards"] == 2


def _terms(replica: Member) -> int:
    value = replica.metrics.registry.get_sample_value
    labels = ({"shard": str(shard)} for shard in range(len(replica.holders)))
    return round(sum(value("taskrunner_terms_total", each) or 0 for each in labels))
