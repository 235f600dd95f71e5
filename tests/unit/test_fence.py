"""The fence: epochs only grow, everything created is signed, and what trials show is told."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.api import FakeApi
from fakes.clock import FakeClock, settle
from fakes.server import FakeServer
from taskrunner.api.fence import Fence as Policy
from taskrunner.api.fence import manifests, refusal
from taskrunner.api.v1alpha1.parse import parse_task_execution
from taskrunner.domain.fence import (
    Standing,
    Tried,
    Writer,
    follows_release,
    judge,
    probes,
    raised,
    signed,
)
from taskrunner.engine.fence import Fence, Turn
from taskrunner.engine.signing import signing
from taskrunner.errors import Conflict, Fenced, TermOver, Transient
from taskrunner.kube.answers import error_from
from taskrunner.ports import JOBS, LEASES, SHARDS, TASK_EXECUTIONS, Obj

NS = "taskrunner-system"
NAME = "taskrunner-shard-0"
WRITER = Writer("0", "a/3")


def spec(number: int, *, holder: str = "a", released: bool = False) -> Obj:
    return {"epoch": f"{holder}/{number}", "number": number, "shards": 1, "released": released}


# --- epochs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "at_least", "epoch"),
    [
        pytest.param(None, 1, "b/1", id="the first"),
        pytest.param(spec(7), 3, "b/8", id="one more than there was, whatever the Lease counts"),
        pytest.param(spec(7), 20, "b/20", id="the Lease has counted further"),
        pytest.param(None, 5, "b/5", id="the Shard was deleted, the Lease still counts"),
        pytest.param(spec(7, holder="b"), 8, "b/8", id="our own, of a term before"),
        pytest.param(spec(7, released=True), 3, "b/8", id="after a release"),
    ],
)
def test_an_epoch_follows_what_is_there(present: Obj | None, at_least: int, epoch: str) -> None:
    found = raised(present, "b", at_least, shards=1)
    assert found["epoch"] == epoch
    assert found["number"] == int(epoch.partition("/")[2])
    assert found["number"] > (present or {"number": 0})["number"]
    assert found["released"] is False


@pytest.mark.parametrize(
    ("present", "nothing_to_wait_for"),
    [(None, False), (spec(1), False), (spec(1, released=True), True)],
)
def test_only_a_released_epoch_needs_no_waiting(
    present: Obj | None, nothing_to_wait_for: bool
) -> None:
    assert follows_release(present) is nothing_to_wait_for


# --- signing --------------------------------------------------------------------------------------


def test_an_execution_is_signed_in_its_spec_and_by_a_label() -> None:
    body = {"kind": "TaskExecution", "metadata": {"labels": {"a": "b"}}, "spec": {"type": "X"}}
    found = signed(body, WRITER)
    assert found["spec"] == {"type": "X", "writer": {"shard": "0", "epoch": "a/3"}}
    assert found["metadata"]["labels"] == {"a": "b", "taskrunner.dev/shard": "0"}
    assert "writer" not in body["spec"]


def test_a_job_is_signed_by_an_annotation_whatever_its_template_says() -> None:
    given = {"taskrunner.dev/writer-epoch": "forged/9", "kept": "yes"}
    body: Obj = {"kind": "Job", "metadata": {"annotations": given}, "spec": {}}
    found = signed(body, WRITER)
    assert found["metadata"]["annotations"] == {
        "kept": "yes",
        "taskrunner.dev/writer-epoch": "a/3",
    }
    assert found["metadata"]["labels"] == {"taskrunner.dev/shard": "0"}


async def test_a_term_signs_runs_and_jobs_and_nothing_else() -> None:
    api = FakeApi(FakeClock(now=0.0))
    mine = signing(api, WRITER, lambda error: None)
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}, "kind": "Lease"}
    assert "labels" not in (await mine.create(LEASES, NS, lease))["metadata"]
    job = {"metadata": {"name": "j"}, "spec": {"template": {}}, "kind": "Job"}
    assert (await mine.create(JOBS, NS, job))["metadata"]["annotations"] == {
        "taskrunner.dev/writer-epoch": "a/3"
    }
    assert (await mine.get(JOBS, NS, "j"))["metadata"]["name"] == "j"


async def test_a_refusal_is_told_and_may_be_tried_again() -> None:
    class Refusing:
        async def create(self, *_: object, **__: object) -> Obj:
            raise Fenced("shut out", code=403)

    told: list[Fenced] = []
    api = signing(Refusing(), WRITER, told.append)  # type: ignore[arg-type]
    with pytest.raises(Transient, match="shut out") as error:
        await api.create(JOBS, NS, {"kind": "Job", "metadata": {"name": "j"}})
    assert error.value.code == 0  # nobody takes it for the server's word on the Job
    assert [str(error) for error in told] == ["shut out"]


# --- knowing a refusal ----------------------------------------------------------------------------

REFUSED = (
    "jobs.batch \"j\" is forbidden: ValidatingAdmissionPolicy 'x-fence' with binding 'x-fence-0'"
    " denied request: "
)


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (REFUSED + "The writer is shut out", "The writer is shut out"),
        (
            REFUSED + "failed to configure binding: no params found for policy binding with `Deny`"
            " parameterNotFoundAction",
            "failed to configure binding: no params found for policy binding with `Deny`"
            " parameterNotFoundAction",
        ),
        (
            "ValidatingAdmissionPolicy 'x-fence' denied request: failed to configure policy",
            "failed to configure policy",
        ),
        ("ValidatingAdmissionPolicy 'x-identity' with binding 'x' denied request: no", None),
        ("exceeded quota: x", None),
    ],
)
@pytest.mark.parametrize("code", [403, 422])
def test_a_refusal_by_the_fence_is_known_by_the_policys_name(
    sentence: str, words: str | None, code: int
) -> None:
    assert refusal(sentence) == words
    body = b'{"kind":"Status","reason":"x","message":"%s"}' % sentence.replace('"', "'").encode()
    assert isinstance(error_from("create", code, body, {}), Fenced) == (words is not None)


def test_the_name_of_our_policy_is_one_that_is_known() -> None:
    policy, *bindings = manifests(Policy("any", "me", NS))
    name = policy["metadata"]["name"]
    assert refusal(f"ValidatingAdmissionPolicy '{name}' denied request: no") == "no"
    assert {binding["spec"]["policyName"] for binding in bindings} == {name}


# --- is it there? ---------------------------------------------------------------------------------

IN = Tried(accepted=True)
OUT = Tried(accepted=False, by_fence=True, sentence="shut out")
OTHER = Tried(accepted=False, sentence="a label is missing")


@pytest.mark.parametrize(
    ("ours", "execution", "job", "standing", "says"),
    [
        (IN, OUT, OUT, "Active", "refuses writes"),
        (IN, IN, IN, "Missing", "TaskExecution and a Job"),
        (IN, OUT, IN, "Missing", "a Job from a writer"),
        (IN, IN, OUT, "Missing", "SCHEDULER_FENCE_REQUIRED"),
        (OUT, OUT, OUT, "Closed", "shut out"),
        (OUT, IN, IN, "Closed", "shut out"),
        (IN, OUT, OTHER, "Active", "refuses writes"),
        (OTHER, OUT, OUT, "Active", "refuses writes"),
        (IN, OTHER, OTHER, "Unknown", "a label is missing"),
        (OTHER, OTHER, IN, "Missing", "a Job from"),
    ],
)
def test_what_trials_show(
    ours: Tried, execution: Tried, job: Tried, standing: Standing, says: str
) -> None:
    finding = judge(ours, {"TaskExecution": execution, "Job": job})
    assert finding.standing == standing
    assert says in finding.message


def test_the_trial_is_valid_but_for_its_writer() -> None:
    execution, job = (signed(body, WRITER) for body in probes("team"))
    assert parse_task_execution(execution).spec.type == "Scheduled"
    assert job["spec"]["suspend"] is True
    for body in (execution, job):
        assert body["metadata"]["labels"]["taskrunner.dev/execution"]


# --- raising, on a server -------------------------------------------------------------------------


class Lease:
    """A term that lasts as long as a test says."""

    def __init__(self, identity: str = "b", epoch: int = 0) -> None:
        self.identity = identity
        self.epoch = epoch
        self.seconds = 10.0

    def remaining(self) -> float:
        return self.seconds


class World:
    def __init__(self) -> None:
        self.clock = FakeClock(now=1_790_000_000.0)
        self.server = FakeServer(self.clock)
        self.api = FakeApi(self.clock, self.server)
        self.fence = self.of(self.api)

    def of(self, api: FakeApi) -> Fence:
        return Fence(
            api,
            self.clock,
            namespace=NS,
            shard="0",
            shards=1,
            probe_namespace="team",
            settle_seconds=2.0,
        )

    def put(self, **more: Any) -> None:
        body = {"metadata": {"name": NAME}, "spec": spec(**more)}
        self.server.create(SHARDS, NS, body)

    @property
    def shard(self) -> Obj:
        return self.server.get(SHARDS, NS, NAME)

    @property
    def epoch(self) -> str:
        return str(self.shard["spec"]["epoch"])


@pytest.fixture
def world() -> World:
    return World()


async def test_a_shard_that_is_missing_is_made(world: World) -> None:
    turn = await world.fence.raise_epoch(Lease())
    assert turn.text == world.epoch == "b/1"
    assert not turn.settled
    assert world.fence.shard_object == world.shard


async def test_each_holder_shuts_the_one_before_out(world: World) -> None:
    first = await world.fence.raise_epoch(Lease("a"))
    second = await world.of(FakeApi(world.clock, world.server)).raise_epoch(Lease("b"))
    assert (first.epoch, second.epoch) == (1, 2)
    assert not await world.fence.is_ours(first)
    assert await world.fence.is_ours(second)


async def test_whoever_was_stopped_in_the_middle_does_not_undo_a_later_raise(world: World) -> None:
    """It has read, another one raises, and then its write goes out."""
    world.put(number=4)
    lease = Lease("slow")
    reads = 0
    read = world.api.get

    async def stopped(*arguments: Any) -> Obj:
        nonlocal reads
        reads += 1
        found = await read(*arguments)
        if reads == 1:
            await world.of(FakeApi(world.clock, world.server)).raise_epoch(Lease("quick"))
            lease.seconds = 0.0  # meanwhile the Lease has gone to the quick one
        return found

    world.api.get = stopped  # type: ignore[method-assign, assignment]
    with pytest.raises(TermOver):
        await world.fence.raise_epoch(lease)
    assert world.epoch == "quick/5"


async def test_a_conflict_is_read_again_while_the_lease_is_ours(world: World) -> None:
    world.put(number=4)
    world.api.fail("replace", SHARDS, error=Conflict("changed", code=409))
    turn = await world.fence.raise_epoch(Lease())
    assert turn.text == world.epoch == "b/6"  # a number that was tried is not tried again


@pytest.mark.parametrize("after", [False, True], ids=["not written", "written, answer lost"])
async def test_a_raise_without_an_answer_is_repeated(world: World, after: bool) -> None:
    world.put(number=4)
    world.api.fail("replace", SHARDS, after=after)
    turn = await _in_time(world, world.fence.raise_epoch(Lease()))
    assert turn.text == world.epoch == "b/6"
    assert not turn.settled


async def test_a_release_spares_the_next_one_the_wait(world: World) -> None:
    turn = await world.fence.raise_epoch(Lease("a"))
    await world.fence.release(turn)
    assert world.shard["spec"] == spec(1, released=True)
    after = await world.fence.raise_epoch(Lease("b"))
    assert after.settled
    before = world.clock.now()
    await world.fence.settle(after)
    assert world.clock.now() == before


async def test_nobody_releases_for_another(world: World) -> None:
    first = await world.fence.raise_epoch(Lease("a"))
    await world.fence.raise_epoch(Lease("b"))
    await world.fence.release(first)
    assert world.shard["spec"]["released"] is False


async def test_a_term_that_is_over_releases_nothing(world: World) -> None:
    lease = Lease("a")
    turn = await world.fence.raise_epoch(lease)
    lease.seconds = 0.0
    await world.fence.release(turn)
    assert world.shard["spec"]["released"] is False


async def test_no_epoch_comes_back_when_the_shard_is_deleted(world: World) -> None:
    """Also not for the same process in its next term, which has a prepared write of the last."""
    world.put(number=4)
    first = await world.fence.raise_epoch(Lease("a", epoch=0))
    world.server.delete(SHARDS, NS, NAME)
    second = await world.fence.raise_epoch(Lease("a", epoch=1))
    assert (first.text, second.text) == ("a/5", "a/6")
    world.server.delete(SHARDS, NS, NAME)
    other = await world.of(FakeApi(world.clock, world.server)).raise_epoch(Lease("b", epoch=2))
    assert other.text == "b/3"


async def test_a_deleted_shard_is_nobodys(world: World) -> None:
    turn = await world.fence.raise_epoch(Lease("a"))
    world.server.delete(SHARDS, NS, NAME)
    assert not await world.fence.is_ours(turn)


async def test_trials_write_nothing(world: World) -> None:
    turn = await world.fence.raise_epoch(Lease("a"))
    finding = await world.fence.inspect(turn)
    assert finding.standing == "Missing"  # this server has no policies
    assert not world.server.objects(TASK_EXECUTIONS)
    assert not world.server.objects(JOBS)


async def _in_time(world: World, work: Any) -> Turn:
    import asyncio

    task = asyncio.ensure_future(work)
    for _ in range(20):
        await settle()
        if task.done():
            break
        await world.clock.advance(0.5)
    found: Turn = await task
    return found
