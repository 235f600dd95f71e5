"""What can happen to runs, each as a script that ends with what must have come out of it.

A script is lived through once with nobody killed, and once for each place where its leader can die
(`engine/test_crash_points.py`); the end is the same each time. So it may not depend on when things
happened, and leaves the second replica time to take over (`TAKE_OVER`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from fakes.api import Call
from stage import SHARD, SYSTEM, Stage
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.naming import backfill_name
from taskrunner.errors import NotFound, Refused, Transient
from taskrunner.ports import (
    BACKFILLS,
    JOBS,
    LEASES,
    NAMESPACES,
    PODS,
    SHARDS,
    TASK_EXECUTIONS,
    TASK_QUEUES,
    Obj,
    Resource,
)
from world import NS, START, TEMPLATE, World

Life = Callable[[Stage], Awaitable[None]]
LIVES: dict[str, Life] = {}
TAKE_OVER = 15
GATHER = 65

RETRY = {"maxRetries": 1, "initialDelaySeconds": 5, "jitterPercent": 0}
PULL: Obj = {
    "phase": "Pending",
    "containerStatuses": [{"name": "main", "image": "no", "state": {"waiting": {}}}],
}
PULL["containerStatuses"][0]["state"]["waiting"] = {"reason": "ErrImagePull", "message": "no"}


def life(name: str) -> Callable[[Life], Life]:
    def put(script: Life) -> Life:
        LIVES[name] = script
        return script

    return put


# --- words ---------------------------------------------------------------------------------------


def at(*seconds: int) -> list[dict[str, Any]]:
    """Schedules of one slot each."""
    return [{"name": f"s{s}", "at": format_instant(START + s)} for s in seconds]


def status(world: World, name: str = "now") -> Obj:
    return dict(world.server.get(TASK_EXECUTIONS, NS, name)["status"])


def ended(world: World, phase: str, reason: str, jobs: int = 1, name: str = "now") -> None:
    """A run has ended so, and just so many Jobs were ever created for it."""
    found = status(world, name)
    assert (found["phase"], found["reason"]) == (phase, reason), found
    created = [job for job in world.jobs_created if job.rpartition("-")[0] == name]
    assert created == [f"{name}-{number + 1}" for number in range(jobs)]


def once(stage: Stage, verb: str, resource: Resource, act: Callable[[Call], None]) -> None:
    """Do something in the middle of the first leader's first call of this kind."""
    done: list[Call] = []

    def hook(call: Call) -> None:
        if not done and not call.dry_run and (call.verb, call.resource) == (verb, resource):
            done.append(call)
            act(call)

    stage.first.api.before.append(hook)


async def by_hand(stage: Stage, **spec: Any) -> None:
    """A task that runs when it is asked to, and is asked."""
    stage.world.apply("job", **spec)
    await stage.begin()
    stage.world.run_by_hand("now", "job")
    await stage.advance(2)


# --- slots ---------------------------------------------------------------------------------------


@life("slots under Forbid")
async def _slots(stage: Stage) -> None:
    world = stage.world
    world.apply("hello", schedules=at(8, 30, 52), concurrencyPolicy="Forbid")
    await stage.begin()
    await stage.advance(75)
    assert world.started("hello") == [8, 30, 52]
    assert [(d, p) for _, d, p in world.decisions("hello")] == [("Run", "Succeeded")] * 3
    assert world.status("hello")["scheduledCount"] == 3
    assert world.status("hello")["decidedUntil"] >= format_instant(START + 52)


@life("slots of one instant")
async def _together(stage: Stage) -> None:
    entries = [{**at(8)[0], "name": name, "arguments": {"SUITE": name}} for name in "abc"]
    stage.world.apply("both", schedules=entries)
    await stage.begin()
    await stage.advance(10 + TAKE_OVER)
    assert stage.world.started("both") == [8, 8, 8]
    assert stage.world.status("both")["scheduledCount"] == 3


@life("slots missed while nobody led")
async def _missed(stage: Stage) -> None:
    world = stage.world
    world.apply("all", schedules=at(10, 20, 30), catchUp={"policy": "All"})
    world.apply("last", schedules=at(10, 20, 30))
    await world.clock.advance(40)
    await stage.begin()
    await stage.advance(10 + TAKE_OVER)
    assert world.started("all") == [10, 20, 30]
    assert world.started("last") == [30]
    assert world.status("last")["missedRanges"][0]["count"] == 2
    assert [world.status(name)["scheduledCount"] for name in ("all", "last")] == [3, 1]


@life("a plan edited while its slots are blocked")
async def _edited(stage: Stage) -> None:
    world = stage.world
    world.run_for["hello"] = None
    world.apply("hello", schedules=at(8, 30, 32), concurrencyPolicy="Forbid")
    await stage.begin()
    await stage.advance(30)
    world.apply("hello", schedules=at(31, 80), concurrencyPolicy="Forbid")
    await stage.advance(5 + TAKE_OVER)
    assert world.started("hello") == [8]
    others = [e["spec"]["decision"] for e in world.executions("hello")][1:]
    assert {(d["type"], d["reason"]) for d in others} == {("Miss", "PlanChanged")}


@life("a slot whose creation is not answered")
async def _silent(stage: Stage) -> None:
    stage.world.apply("hello", schedules=at(8), concurrencyPolicy="Forbid")
    stage.first.api.after.append(_silence(stage, lambda: None))
    await stage.begin()
    await stage.advance(10 + TAKE_OVER)
    assert stage.world.started("hello") == [8]
    assert stage.world.status("hello")["scheduledCount"] == 1


@life("a slot whose creation is not answered, and an edit")
async def _silent_edit(stage: Stage) -> None:
    def edit() -> None:
        stage.world.apply("hello", schedules=at(8, 50), concurrencyPolicy="Forbid")

    stage.world.apply("hello", schedules=at(8), concurrencyPolicy="Forbid")
    stage.first.api.after.append(_silence(stage, edit))
    await stage.begin()
    await stage.advance(5 + TAKE_OVER)
    if stage.killed:
        edit()
    await stage.advance(25 + TAKE_OVER)
    assert stage.world.started("hello") == [8, 50]


def _silence(stage: Stage, then: Callable[[], None]) -> Callable[[Call], None]:
    """The first slot is written, and neither the answer nor the watch says so."""
    done: list[Call] = []

    def hook(call: Call) -> None:
        slot = f"hello-{START + 8}"
        if not done and (call.verb, call.resource, call.name) == ("create", TASK_EXECUTIONS, slot):
            done.append(call)
            stage.first.api.break_watches(resource=TASK_EXECUTIONS, silently=True)
            then()
            raise Transient("no answer")

    return hook


@life("a slot that a person skips, and a time that is none")
async def _skipped(stage: Stage) -> None:
    world = stage.world
    world.apply("hello", schedules=at(30, 32))
    await stage.begin()
    for second in (30, 31):
        decision = {"type": "Skip", "reason": "Requested"}
        time = format_instant(START + second)
        spec = {"taskRef": {"name": "hello"}, "type": "Scheduled", "scheduledTime": time}
        name = {"name": f"hello-{START + second}"}
        world.server.create(
            TASK_EXECUTIONS, NS, {"metadata": name, "spec": {**spec, "decision": decision}}
        )
    await stage.advance(30 + TAKE_OVER)
    assert world.started("hello") == [32]
    ended(world, "Skipped", "Requested", jobs=0, name=f"hello-{START + 30}")
    assert world.status("hello")["scheduledCount"] == 1
    with suppress(NotFound):
        ended(world, "Cancelled", "NotASlot", jobs=0, name=f"hello-{START + 31}")


@life("names that another leader took a moment before")
async def _taken(stage: Stage) -> None:
    def as_well(call: Call) -> None:
        stage.world.server.create(call.resource, call.namespace, call.body)

    stage.world.apply("hello", schedules=at(8))
    for resource in (TASK_EXECUTIONS, LEASES, JOBS):
        once(stage, "create", resource, _once_it_is_a_run(as_well))
    await stage.begin()
    await stage.advance(10 + TAKE_OVER)
    assert stage.world.started("hello") == [8]
    assert [(d, p) for _, d, p in stage.world.decisions("hello")] == [("Run", "Succeeded")]


def _once_it_is_a_run(act: Callable[[Call], None]) -> Callable[[Call], None]:
    """The shard's own Lease is none of a run."""
    return lambda call: act(call) if call.namespace == NS else None


# --- runs ----------------------------------------------------------------------------------------


@life("a run whose first attempt fails")
async def _failing(stage: Stage) -> None:
    world = stage.world
    world.codes["job"] = [1, 0]
    await by_hand(stage, retryPolicy=RETRY)
    await stage.advance(15 + TAKE_OVER)
    ended(world, "Succeeded", "JobComplete", jobs=2)
    first, second = status(world)["attempts"]
    assert (first["number"], first["reason"], second["number"]) == (1, "JobFailed", 2)
    assert parse_instant(second["startTime"]) - parse_instant(first["completionTime"]) >= 5


@life("a run whose pod does not come up in time")
async def _pending(stage: Stage) -> None:
    world = stage.world
    world.run_for["job"] = 0
    world.pods.stuck["job"] = PULL
    await by_hand(stage, pendingTimeoutSeconds=10, retryPolicy=RETRY)
    await stage.advance(10)
    world.pods.stuck.clear()
    await stage.advance(25 + TAKE_OVER)
    ended(world, "Succeeded", "JobComplete", jobs=2)
    assert status(world)["attempts"][0]["reason"] == "PendingTimedOut"


@life("a run that is stopped")
async def _stopped(stage: Stage) -> None:
    world = stage.world
    world.run_for["job"], world.grace["job"] = None, 600
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    world.server.patch(TASK_EXECUTIONS, NS, "now", {"spec": {"stop": "Immediate"}})
    await stage.advance(5 + TAKE_OVER)
    ended(world, "Cancelled", "Stopped")
    assert not world.server.objects(PODS)


@life("a run whose Lease is another process's")
async def _leased(stage: Stage) -> None:
    lease = {"metadata": {"name": "now"}, "spec": {"holderIdentity": "gone", "leaseTransitions": 4}}
    stage.world.server.create(LEASES, NS, {**lease, "apiVersion": LEASES.api_version})
    await by_hand(stage)
    await stage.advance(5 + TAKE_OVER)
    ended(stage.world, "Succeeded", "JobComplete")
    found = stage.world.server.get(LEASES, NS, "now")["spec"]
    assert found["holderIdentity"].startswith("replica-")
    assert found["leaseTransitions"] > 4


@life("a run whose Job somebody deletes")
async def _deleted(stage: Stage) -> None:
    stage.world.run_for["job"] = None
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    stage.world.server.delete(JOBS, NS, "now-1", propagation="Background")
    await stage.advance(TAKE_OVER)
    ended(stage.world, "Failed", "JobDeleted")


@life("a run whose Job's name is taken")
async def _collision(stage: Stage) -> None:
    foreign = {"metadata": {"name": "now-1"}, "spec": {**TEMPLATE["spec"], "suspend": True}}
    stage.world.server.create(JOBS, NS, foreign)
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    ended(stage.world, "Failed", "NameCollision")
    assert "ownerReferences" not in stage.world.jobs()["now-1"]["metadata"]


@life("a run whose pods are told of late")
async def _late(stage: Stage) -> None:
    stage.world.pods.late = 5
    await by_hand(stage)
    await stage.advance(15 + TAKE_OVER)
    ended(stage.world, "Succeeded", "JobComplete")


@life("a run whose image cannot be pulled for a while")
async def _pulling(stage: Stage) -> None:
    stage.world.pods.stuck["job"] = PULL
    await by_hand(stage)
    await stage.advance(5 + TAKE_OVER)
    assert status(stage.world)["reason"] == "ImagePullFailed"
    assert stage.world.jobs_created == ["now-1"]


@life("a run that says how far it is")
async def _progress(stage: Stage) -> None:
    stage.world.run_for["job"] = None
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    said = {"metadata": {"annotations": {"taskrunner.dev/progress": "40 copying"}}}
    stage.world.server.patch(JOBS, NS, "now-1", said)
    await stage.advance(TAKE_OVER)
    assert status(stage.world)["progress"]["percent"] == 40


@life("a run whose Job is refused for a while")
async def _quota(stage: Stage) -> None:
    world, full = stage.world, True

    def quota(verb: str, resource: Resource, obj: Obj) -> None:
        if full and resource == JOBS and obj["metadata"].get("name") == "now-1":
            raise Refused("exceeded quota: jobs", code=403, reason="Forbidden")

    world.server.admission.append(quota)
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    assert (status(world)["phase"], status(world)["reason"]) == ("Pending", "QuotaExceeded")
    full = False
    await stage.advance(15 + TAKE_OVER)
    ended(world, "Succeeded", "JobComplete")


@life("a run whose Job is refused for good")
async def _rejected(stage: Stage) -> None:
    def reject(verb: str, resource: Resource, obj: Obj) -> None:
        if resource == JOBS and obj["metadata"].get("name") == "now-1":
            raise Refused("spec.template: Invalid value", code=422, reason="Invalid")

    stage.world.server.admission.append(reject)
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    ended(stage.world, "Failed", "JobRejected", jobs=0)


@life("a Job that is created although its creation failed")
async def _ghost(stage: Stage) -> None:
    lie = Refused("it says no, and has done it", code=422, reason="Invalid")
    stage.world.run_for["job"] = None
    stage.first.api.fail("create", JOBS, name="now-1", error=lie, after=True)
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    found = status(stage.world)
    assert stage.world.jobs_created == ["now-1"]
    if found["phase"] == "Failed":
        assert stage.world.jobs()["now-1"]["spec"]["suspend"] is True
    else:  # Killed before it could believe the lie: the Job is there, and ours.
        assert (found["phase"], found["attempt"]) == ("Running", 1)


@life("a run whose arguments do not fit")
async def _unfit(stage: Stage) -> None:
    stage.world.apply("job", parameters=[{"name": "N", "type": "integer"}])
    await stage.begin()
    stage.world.run_by_hand("now", "job", arguments={"N": "many"})
    await stage.advance(TAKE_OVER)
    ended(stage.world, "Failed", "InvalidArguments", jobs=0)


@life("a run by hand beside another one under Forbid")
async def _beside(stage: Stage) -> None:
    world = stage.world
    world.run_for["job"] = None
    await by_hand(stage, concurrencyPolicy="Forbid")
    await stage.advance(TAKE_OVER)
    world.run_by_hand("too", "job")
    await stage.advance(TAKE_OVER)
    ended(world, "Skipped", "ConcurrentRun", jobs=0, name="too")
    assert status(world)["phase"] == "Running"


@life("a run that waits in line")
async def _queued(stage: Stage) -> None:
    world = stage.world
    world.run_for["job"] = 30
    await by_hand(stage, concurrencyPolicy="Queue", maxConcurrent=1)
    world.run_by_hand("too", "job")
    await stage.advance(5)
    if not stage.killed:
        assert status(world, "too")["phase"] == "Queued"
    await stage.advance(55 + TAKE_OVER)
    ended(world, "Succeeded", "JobComplete")
    ended(world, "Succeeded", "JobComplete", name="too")
    first, second = (status(world, name) for name in ("now", "too"))
    assert second["startTime"] >= first["completionTime"]


@life("runs that share a queue")
async def _shared(stage: Stage) -> None:
    world = stage.world
    world.server.create(
        TASK_QUEUES, NS, {"metadata": {"name": "team"}, "spec": {"maxConcurrent": 1}}
    )
    await by_hand(stage, queue={"name": "team"})
    world.run_by_hand("too", "job")
    await stage.advance(30 + TAKE_OVER)
    ended(world, "Succeeded", "JobComplete")
    ended(world, "Succeeded", "JobComplete", name="too")
    told = world.server.get(TASK_QUEUES, NS, "team")["status"]
    assert (told["running"], told["length"]) == (0, 0)


@life("a run in a namespace that is paused")
async def _paused(stage: Stage) -> None:
    world = stage.world
    label = "taskrunner.dev/paused"
    paused: Obj = {"metadata": {"name": NS, "labels": {label: "true"}}}
    world.server.create(NAMESPACES, "", paused)
    await by_hand(stage)
    await stage.advance(TAKE_OVER)
    assert (status(world)["phase"], status(world)["reason"]) == ("Pending", "Paused")
    assert not world.jobs_created
    world.server.patch(NAMESPACES, "", NS, {"metadata": {"labels": {label: None}}})
    await stage.advance(5 + TAKE_OVER)
    ended(world, "Succeeded", "JobComplete")


# --- history -------------------------------------------------------------------------------------


@life("history of many runs")
async def _history(stage: Stage) -> None:
    world = stage.world
    world.run_for["hello"] = 0
    world.apply("hello", schedules=at(8, 12, 16), successfulJobsHistoryLimit=1)
    await stage.begin()
    await stage.advance(15 + GATHER)
    await stage.advance(TAKE_OVER + GATHER if stage.killed else 0)
    assert [slot for slot, _, _ in world.decisions("hello")] == [16]
    assert world.started("hello") == [8, 12, 16]
    assert world.status("hello")["scheduledCount"] == 3


@life("history of one run, a Job's time to live, a run that nobody owns")
async def _expiry(stage: Stage) -> None:
    world = stage.world
    template = {"spec": {**TEMPLATE["spec"], "ttlSecondsAfterFinished": 0}}
    world.codes["job"] = [1, 0]
    world.run_for |= {"one": 0, "held": None}
    world.apply("one", schedules=at(8), successfulJobsHistoryLimit=0)
    world.apply("held", schedules=at(7), concurrencyPolicy="Forbid")
    await by_hand(stage, retryPolicy=RETRY, jobTemplate=template)
    await stage.advance(1)
    world.run_by_hand("too", "held")
    await stage.advance(15 + GATHER)
    await stage.advance(TAKE_OVER + GATHER if stage.killed else 0)
    assert not world.executions("one")
    assert world.started("one") == [8]
    ended(world, "Succeeded", "JobComplete", jobs=2)
    assert not [name for name in world.jobs() if name.startswith("now-")]
    too = world.server.get(TASK_EXECUTIONS, NS, "too")
    if too["status"]["phase"] == "Skipped":
        assert too["metadata"]["ownerReferences"][0]["name"] == "held"


@life("a run that waits in Kueue, fails there, and is stopped in its second attempt")
async def _kueue(stage: Stage) -> None:
    world, label = stage.world, "kueue.x-k8s.io/queue-name"
    world.pods.stuck["job"] = PULL
    template: Obj = {"metadata": {"labels": {label: "team"}}, **TEMPLATE}
    await by_hand(stage, jobTemplate=template, pendingTimeoutSeconds=5, retryPolicy=RETRY)
    await stage.advance(TAKE_OVER)
    assert (status(world)["phase"], status(world)["reason"]) == ("Queued", "WaitingForKueue")
    world.server.patch(JOBS, NS, "now-1", {"spec": {"suspend": False}})
    await stage.advance(20 + 2 * TAKE_OVER)
    second = world.jobs()["now-2"]
    assert (second["spec"]["suspend"], second["metadata"]["labels"][label]) == (True, "team")
    world.server.patch(TASK_EXECUTIONS, NS, "now", {"spec": {"stop": "Graceful"}})
    await stage.advance(5 + TAKE_OVER)
    ended(world, "Cancelled", "Stopped", jobs=2)
    assert "now-2" not in world.jobs()


# --- the past ------------------------------------------------------------------------------------

HOUR = 3600
HOURS_AGO = [40 - HOUR * number for number in (3, 2, 1)]


def backfilled(world: World) -> list[int]:
    """Slots of the Jobs that Backfills have asked for, in seconds since the start."""
    names = [job.split("-") for job in world.jobs_created]
    return sorted(int(parts[1]) - START for parts in names if len(parts) == 4)


def filled(world: World, *, total: int, succeeded: int, cancelled: int = 0) -> None:
    """The Backfill is complete, and has counted each run once."""
    found = world.server.get(BACKFILLS, NS, "past")["status"]
    assert (found["total"], found["done"], found["remaining"]) == (total, total, 0), found
    assert (found["succeeded"], found["cancelled"]) == (succeeded, cancelled), found
    assert {c["type"]: c["status"] for c in found["conditions"]}["Complete"] == "True"


@life("slots of the past")
async def _past(stage: Stage) -> None:
    world = stage.world
    world.apply("job", schedule="14 * * * *", successfulJobsHistoryLimit=0)
    await stage.begin()
    world.backfill("past", "job", HOURS_AGO[0], 40, maxConcurrent=2)
    await stage.advance(25 + TAKE_OVER)
    assert backfilled(world) == HOURS_AGO
    filled(world, total=3, succeeded=3)


@life("slots of the past of a task that comes later")
async def _past_early(stage: Stage) -> None:
    world = stage.world
    await stage.begin()
    world.backfill("past", "job", HOURS_AGO[1], 40)
    await stage.advance(2)
    world.apply("job", schedule="14 * * * *")
    await stage.advance(20 + TAKE_OVER)
    assert backfilled(world) == HOURS_AGO[1:]
    filled(world, total=2, succeeded=2)


@life("missed slots, one of whose names is taken")
async def _past_taken(stage: Stage) -> None:
    world = stage.world
    world.apply("job", schedules=at(10, 20, 30))
    await world.clock.advance(40)
    taken = backfill_name("job", START + 10)
    await stage.begin()
    await stage.advance(1 + TAKE_OVER)

    def take(call: Call) -> None:
        if taken not in world.server.objects(TASK_EXECUTIONS):
            world.run_by_hand(taken, "job")

    once(stage, "create", TASK_EXECUTIONS, take)
    world.backfill("past", "job", 5, 40, onlyMissed=True)
    await stage.advance(25 + TAKE_OVER)
    found = world.server.get(BACKFILLS, NS, "past")["status"]
    # Who was killed before it could ask for a run has not met the other one.
    met = world.server.get(TASK_EXECUTIONS, NS, taken)["spec"]["type"] == "Manual"
    filled(world, total=2, succeeded=2 - met, cancelled=int(met))
    assert backfilled(world) == [10, 20], found


@life("a Backfill that is deleted while a run of it is created")
async def _past_deleted(stage: Stage) -> None:
    world = stage.world

    def delete(*_: Any) -> None:
        if "past" in world.server.objects(BACKFILLS):
            world.server.delete(BACKFILLS, NS, "past")

    world.apply("job", schedule="14 * * * *")
    await stage.begin()
    once(stage, "create", TASK_EXECUTIONS, delete)
    world.backfill("past", "job", HOURS_AGO[0], 40)
    await stage.advance(3)
    delete()
    await stage.advance(8 + TAKE_OVER)
    found = [e for e in world.executions("job") if e["spec"]["type"] == "Backfill"]
    for execution in found:
        reason = execution["status"].get("reason")
        assert reason in ("BackfillDeleted", "JobComplete"), execution
    ran = [e for e in found if e["status"]["reason"] == "JobComplete"]
    assert len(backfilled(world)) == len(ran) <= 1


# --- turns ---------------------------------------------------------------------------------------


async def _one_run(stage: Stage, seconds: float = 20) -> None:
    """Whoever leads: a slot is started once."""
    stage.world.apply("hello", schedules=at(30))
    await stage.begin()
    await stage.advance(seconds + TAKE_OVER)
    assert stage.world.started("hello") == [30]
    assert stage.world.decisions("hello") == [(30, "Run", "Succeeded")]


@life("a turn that begins with errors")
async def _errors(stage: Stage) -> None:
    stage.first.api.fail("create", SHARDS)
    stage.first.api.fail("patch", SHARDS)
    probe = Transient("no answer")
    stage.first.api.fail("create", TASK_EXECUTIONS, error=probe)
    await _one_run(stage, 75)


@life("a turn that begins before there is a fence")
async def _unfenced(stage: Stage) -> None:
    stage.fence_stands = False
    stage.world.apply("hello", schedules=at(30))
    await stage.begin()
    assert not stage.first.writes_of_runs()
    stage.fence_stands = True
    await _one_run(stage)


@life("a turn whose epoch the fence learns late")
async def _lag(stage: Stage) -> None:
    stage.fence_knows = False
    stage.world.apply("hello", schedules=at(30))
    await stage.begin()
    stage.fence_knows = True
    await _one_run(stage)


@life("a turn that somebody else ends")
async def _shut_out(stage: Stage) -> None:
    stage.world.apply("early", schedules=at(15))
    await stage.begin()
    with suppress(NotFound):
        shard = stage.world.server.get(SHARDS, SYSTEM, SHARD)
        shard["spec"] |= {"epoch": f"foreign/{shard['spec']['number'] + 1}"}
        shard["spec"]["number"] += 1
        stage.world.server.replace(SHARDS, SYSTEM, SHARD, shard)
    await _one_run(stage)
    assert stage.world.started("early") == [15]


@life("a turn that ends in good order")
async def _handed_over(stage: Stage) -> None:
    stage.world.apply("hello", schedules=at(30))
    await stage.begin()
    await stage.stop_first()
    await _one_run(stage)


@life("a turn whose Shard somebody deletes")
async def _lost_shard(stage: Stage) -> None:
    stage.world.apply("hello", schedules=at(90))
    await stage.begin()
    stage.world.server.delete(SHARDS, SYSTEM, SHARD)
    await stage.advance(100 + TAKE_OVER)
    assert stage.world.started("hello") == [90]
    assert stage.world.server.get(SHARDS, SYSTEM, SHARD)["spec"]["epoch"].startswith("replica-")


def shard(stage: Stage, number: int, shards: int) -> None:
    """A Shard of which nobody holds the Lease."""
    spec = {"epoch": "gone/3", "number": 3, "shards": shards, "released": True}
    name = {"name": f"taskrunner-shard-{number}"}
    stage.world.server.create(SHARDS, SYSTEM, {"metadata": name, "spec": spec})


@life("a turn on a shard before that which tells their number")
async def _second_shard(stage: Stage) -> None:
    for process in (stage.first, stage.second):
        process.stand_for("1", shards=2)
    stage.world.apply("hello", schedules=at(30))
    await stage.begin()
    assert not stage.first.writes_of_runs()
    shard(stage, 0, 2)
    await _one_run(stage)


@life("fewer shards than before")
async def _fewer(stage: Stage) -> None:
    for number in range(3):
        shard(stage, number, 3)

    def closes(call: Call) -> None:
        server = stage.world.server
        if (call.verb, call.resource, call.name) == ("replace", SHARDS, SHARD):
            before = server.get(SHARDS, SYSTEM, SHARD)["spec"]
            if "closing" in before and "closing" not in call.body["spec"]:
                stage.first.api.before.remove(closes)
                raise Transient("no answer")

    stage.first.api.before.append(closes)
    await _one_run(stage, 45)
    found = [stage.world.server.get(SHARDS, SYSTEM, f"taskrunner-shard-{n}") for n in range(3)]
    assert found[0]["spec"]["shards"] == 1
    assert "closing" not in found[0]["spec"]
    assert all(each["spec"]["epoch"] != "gone/3" for each in found)


@life("fewer shards than before, and the first Shard is gone")
async def _fewer_without_first(stage: Stage) -> None:
    for number in (1, 2):
        shard(stage, number, 3)
    await _one_run(stage, 45)
    assert stage.world.server.get(SHARDS, SYSTEM, SHARD)["spec"]["shards"] == 1
