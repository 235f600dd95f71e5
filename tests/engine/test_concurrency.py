"""concurrencyPolicy, limits and the waiting line, with restarts at every write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant
from taskrunner.engine.pause_sinks import NamespaceSink
from taskrunner.engine.work import Key
from taskrunner.errors import Transient
from taskrunner.ports import CALENDARS, JOBS, PODS, SCHEDULED_TASKS, TASK_EXECUTIONS
from world import NS, START, World, phases

Status = dict[str, Any]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def status(world: World, name: str) -> Status:
    return dict(world.server.get(TASK_EXECUTIONS, NS, name).get("status") or {})


def outcome(world: World, name: str) -> tuple[str, str]:
    found = status(world, name)
    return found.get("phase", ""), found.get("reason", "")


def active(world: World) -> list[str]:
    """Jobs that are not at their end."""
    return sorted(
        name
        for name, job in world.jobs().items()
        if not any(c["type"] in ("Complete", "Failed") for c in job["status"].get("conditions", ()))
    )


# --- Queue, and Allow with maxConcurrent ----------------------------------------------------------


async def test_queue_starts_runs_one_after_the_other(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 100
    world.apply("q", schedule="* * * * *", concurrencyPolicy="Queue")
    await world.clock.advance(165)
    assert world.decisions("q") == [
        (40, "Run", "Succeeded"),
        (100, "Run", "Running"),
        (160, "Run", "Queued"),
    ]
    waiting = status(world, f"q-{START + 160}")
    assert waiting["queuedTime"] == format_instant(START + 160)
    assert waiting["reason"] == "ConcurrentRun"
    assert "1 of at most 1 are active" in waiting["message"]
    assert world.status("q")["activeCount"] == 1
    await world.clock.advance(90)
    started = [status(world, f"q-{START + at}").get("startTime") for at in (40, 100, 160)]
    assert started == [format_instant(START + at) for at in (40, 140, 240)]


@pytest.mark.parametrize(
    ("spec", "at_once"),
    [
        pytest.param({"concurrencyPolicy": "Queue"}, 1, id="Queue"),
        pytest.param({"concurrencyPolicy": "Queue", "maxConcurrent": 3}, 3, id="Queue up to three"),
        pytest.param({"concurrencyPolicy": "Allow", "maxConcurrent": 2}, 2, id="Allow up to two"),
        pytest.param({}, 5, id="Allow"),
    ],
)
async def test_so_many_runs_of_a_task_are_active_at_once(
    world: World, spec: dict[str, Any], at_once: int
) -> None:
    await world.replica()
    world.run_for["t"] = 50
    world.apply("t", **spec)
    await world.clock.advance(1)
    for number in range(5):
        world.run_by_hand(f"run-{number}", "t")
    await world.clock.advance(5)
    assert active(world) == [f"run-{n}-1" for n in range(at_once)]
    assert phases(world.executions("t"))[at_once:] == ["Queued"] * (5 - at_once)
    await world.clock.advance(300)
    assert phases(world.executions("t")) == ["Succeeded"] * 3  # the history limit
    assert len(world.jobs_created) == 5


async def test_a_full_line_skips_what_comes(world: World) -> None:
    await world.replica()
    world.run_for["q"] = None
    world.apply("q", schedule="* * * * *", concurrencyPolicy="Queue", queue={"maxLength": 1})
    await world.clock.advance(165)
    assert [d[1:] for d in world.decisions("q")] == [
        ("Run", "Running"),
        ("Run", "Queued"),
        ("Skip", "Skipped"),
    ]
    assert outcome(world, f"q-{START + 160}") == ("Skipped", "QueueFull")
    world.run_by_hand("now", "q")
    await world.clock.advance(1)
    assert outcome(world, "now") == ("Skipped", "QueueFull")
    assert "1 runs of the task wait already" in status(world, "now")["message"]


async def test_a_line_of_no_length_lets_nobody_wait(world: World) -> None:
    await world.replica()
    world.run_for["q"] = None
    world.apply("q", maxConcurrent=1, queue={"maxLength": 0})
    await world.clock.advance(1)
    for name in ("a", "b"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    assert outcome(world, "a")[0] == "Running"
    assert outcome(world, "b") == ("Skipped", "QueueFull")


@pytest.mark.parametrize("restart", [False, True], ids=["one leader", "a new leader"])
async def test_a_run_that_waits_too_long_is_skipped(world: World, restart: bool) -> None:
    first = await world.replica()
    world.run_for["q"] = None
    world.apply("q", concurrencyPolicy="Queue", queue={"timeoutSeconds": 100})
    await world.clock.advance(1)
    world.run_by_hand("a", "q")
    world.run_by_hand("b", "q")
    await world.clock.advance(60)
    if restart:
        await first.kill()
        await world.clock.advance(20)
        await world.replica()
        await world.clock.advance(19)
    else:
        await world.clock.advance(39)
    assert outcome(world, "b") == ("Queued", "ConcurrentRun")
    await world.clock.advance(1)
    assert outcome(world, "b") == ("Skipped", "QueueTimedOut")
    assert "100 s" in status(world, "b")["message"]


async def test_waiting_in_line_does_not_count_against_the_deadline(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 100
    world.apply(
        "q",
        schedules=[{"name": n, "at": format_instant(START + at)} for n, at in (("a", 5), ("b", 6))],
        concurrencyPolicy="Queue",
        startingDeadlineSeconds=10,
    )
    await world.clock.advance(150)
    assert [d[2] for d in world.decisions("q")] == ["Succeeded", "Running"]


async def test_a_run_for_later_is_not_in_line_before_its_time(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 20
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    world.run_by_hand("later", "q", notBefore=format_instant(START + 60))
    world.run_by_hand("now", "q")
    await world.clock.advance(30)
    assert status(world, "now")["phase"] == "Succeeded"
    assert outcome(world, "later") == ("Pending", "")
    await world.clock.advance(35)
    assert outcome(world, "later")[0] == "Running"


async def test_a_waiting_run_ends_with_its_task(world: World) -> None:
    await world.replica()
    world.run_for["q"] = None
    task = world.apply("q", concurrencyPolicy="Queue")
    world.server.patch(SCHEDULED_TASKS, NS, "q", {"metadata": {"finalizers": ["x/y"]}})
    await world.clock.advance(1)
    for name in ("a", "b"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    world.server.delete(SCHEDULED_TASKS, NS, "q", uid=task["metadata"]["uid"])
    await world.clock.advance(5)
    assert outcome(world, "a")[0] == "Running"
    assert outcome(world, "b") == ("Cancelled", "TaskDeleted")


async def test_a_waiting_run_that_is_deleted_leaves_the_line(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 20
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    for name in ("a", "b", "c"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    uid = world.server.get(TASK_EXECUTIONS, NS, "b")["metadata"]["uid"]
    world.server.delete(TASK_EXECUTIONS, NS, "b", uid=uid)
    await world.clock.advance(17)
    assert active(world) == ["c-1"]
    assert "b-1" not in world.jobs_created


async def test_a_raised_limit_lets_waiting_runs_start(world: World) -> None:
    await world.replica()
    world.run_for["q"] = None
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    for name in ("a", "b", "c"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    assert active(world) == ["a-1"]
    world.apply("q", concurrencyPolicy="Queue", maxConcurrent=2)
    await world.clock.advance(1)
    assert active(world) == ["a-1", "b-1"]


async def test_a_task_that_cannot_be_followed_starts_nothing_that_waits(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 20
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    for name in ("a", "b"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    world.apply("q", concurrencyPolicy="Queue", schedule="61 * * * *")
    await world.clock.advance(60)
    assert outcome(world, "a")[0] == "Succeeded"
    assert outcome(world, "b")[0] == "Queued"
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(5)
    assert active(world) == ["b-1"]


async def test_runs_that_wait_go_on_when_the_calendar_of_their_task_is_back(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 20
    body = {"metadata": {"name": "days"}, "spec": {"exclude": {"dates": ["2026-12-25"]}}}
    calendar = world.server.create(CALENDARS, NS, body)
    world.apply("q", concurrencyPolicy="Queue", schedule="@yearly", calendars=[{"name": "days"}])
    await world.clock.advance(1)
    for name in ("a", "b"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    world.server.delete(CALENDARS, NS, "days", uid=calendar["metadata"]["uid"])
    await world.clock.advance(60)
    assert outcome(world, "b")[0] == "Queued"
    world.server.create(CALENDARS, NS, body)
    await world.clock.advance(2)
    assert active(world) == ["b-1"]


# --- priorities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True], ids=["one leader", "a new leader"])
async def test_the_larger_priority_starts_first_then_who_waits_longer(
    world: World, restart: bool
) -> None:
    first = await world.replica()
    world.run_for["q"] = 20
    world.apply("q", concurrencyPolicy="Queue", priority=100)
    await world.clock.advance(1)
    world.run_by_hand("first", "q")
    await world.clock.advance(1)
    for name, priority in (("old", None), ("low", 50), ("high", 900)):
        world.run_by_hand(name, "q", **({} if priority is None else {"priority": priority}))
        await world.clock.advance(1)
    world.run_by_hand("young", "q")
    await world.clock.advance(1)
    if restart:
        await first.kill()
        await world.replica()
    await world.clock.advance(120)
    assert world.jobs_created == ["first-1", "high-1", "old-1", "young-1", "low-1"]


async def test_the_priority_of_a_waiting_run_may_change(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 20
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    for name in ("a", "b", "c"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    world.server.patch(TASK_EXECUTIONS, NS, "c", {"spec": {"priority": 501}})
    await world.clock.advance(70)
    assert world.jobs_created == ["a-1", "c-1", "b-1"]


async def test_the_priority_of_a_task_may_change_for_all_that_wait(world: World) -> None:
    world.most_active = 1
    await world.replica()
    for name in ("busy", "a", "b"):
        world.run_for[name] = 20
        world.apply(name)
    await world.clock.advance(1)
    for name in ("busy", "a", "b"):
        world.run_by_hand(f"{name}-run", name)
        await world.clock.advance(1)
    world.apply("b", priority=600)
    await world.clock.advance(70)
    assert world.jobs_created == ["busy-run-1", "b-run-1", "a-run-1"]


async def test_due_slots_start_by_priority_when_not_all_can_at_once(world: World) -> None:
    world.most_active = 1
    await world.replica()
    for number, priority in enumerate((0, 1000, 500)):
        world.run_for[f"t{number}"] = 5
        world.apply(f"t{number}", schedule="* * * * *", priority=priority)
    await world.clock.advance(60)
    assert [name.split("-")[0] for name in world.jobs_created] == ["t1", "t2", "t0"]


async def test_starts_go_before_what_follows_from_them_but_not_for_ever(world: World) -> None:
    replica = await world.replica()
    world.run_for |= {"low": None, "high": None}
    world.apply("low", priority=0)
    world.apply("high", priority=1000)
    await world.clock.advance(1)
    for task in ("low", "high"):
        world.run_by_hand(f"{task}-runs", task)
        world.run_by_hand(f"{task}-later", task, notBefore=format_instant(START + 1000))
    await world.clock.advance(5)
    cycle = replica.cycle
    assert cycle is not None

    keys = [
        Key("run", f"{NS}/high-later"),
        Key("task", f"{NS}/high"),
        Key("run", f"{NS}/low-later"),
        Key("task", f"{NS}/low"),
        Key("run", f"{NS}/low-runs"),  # it has started: its outcome can wait
        Key("report", f"{NS}/low"),
        Key("history", NS),
    ]
    ranks = [cycle._rank(key) for key in keys]
    assert ranks == sorted(ranks)
    await world.clock.advance(120)
    assert cycle._rank(keys[0]) > ranks[-1]


# --- the maximum of the operator ------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace", "Queue"])
async def test_the_maximum_of_the_operator_holds_for_every_policy(
    world: World, policy: str
) -> None:
    world.most_active = 2
    await world.replica()
    for number in range(5):
        world.run_for[f"t{number}"] = 20
        world.apply(f"t{number}", schedule="* * * * *", concurrencyPolicy=policy)
    most = 0
    for _ in range(115):
        await world.clock.advance(1)
        most = max(most, len(active(world)))
    assert most == 2
    assert len(world.jobs_created) == 7
    waiting = [e["status"] for e in world.executions() if e["status"]["phase"] == "Queued"]
    assert waiting
    assert {s["reason"] for s in waiting} == {"WaitingForPlace"}
    assert "2 of at most 2 executions are active" in waiting[0]["message"]


async def test_under_forbid_a_run_that_waits_for_a_place_blocks_the_next_slots(
    world: World,
) -> None:
    world.most_active = 1
    await world.replica()
    world.run_for |= {"busy": 100, "f": 5}
    world.apply("busy")
    world.apply("f", schedule="* * * * *", concurrencyPolicy="Forbid")
    await world.clock.advance(30)
    world.run_by_hand("busy-run", "busy")
    await world.clock.advance(80)
    assert world.decisions("f") == [(40, "Run", "Queued")]
    world.run_by_hand("f-now", "f")
    await world.clock.advance(1)
    assert outcome(world, "f-now") == ("Skipped", "ConcurrentRun")
    await world.clock.advance(40)
    # Slot 100 was decided when the run of slot 40 had ended, at 135.
    assert world.started("f") == [40, 100]


async def test_a_new_leader_never_exceeds_the_maximum(world: World) -> None:
    world.most_active = 3
    first = await world.replica()
    world.run_for["t"] = 60
    world.apply("t")
    await world.clock.advance(1)
    for number in range(8):
        world.run_by_hand(f"r{number}", "t")
    await world.clock.advance(10)
    assert len(active(world)) == 3
    await first.kill()
    await world.replica()
    most = 0
    for _ in range(200):
        await world.clock.advance(1)
        most = max(most, len(active(world)))
    assert most == 3
    assert len(world.jobs_created) == 8


async def test_a_failed_launch_keeps_its_place_and_is_tried_again(world: World) -> None:
    world.most_active = 1
    replica = await world.replica()
    world.apply("t")
    await world.clock.advance(1)
    replica.api.fail("create", JOBS, error=Transient("later"), times=3)
    for name in ("a", "b"):
        world.run_by_hand(name, "t")
    await world.clock.advance(30)
    assert world.jobs_created == ["a-1", "b-1"]


# --- Replace --------------------------------------------------------------------------------------


async def test_replace_stops_the_old_run_and_starts_the_new_one_when_its_pods_are_gone(
    world: World,
) -> None:
    replica = await world.replica()
    world.run_for["r"] = None
    world.grace["r"] = 15
    world.apply("r", schedule="* * * * *", concurrencyPolicy="Replace")
    await world.clock.advance(105)
    old, new = f"r-{START + 40}", f"r-{START + 100}"
    assert world.jobs()[f"{old}-1"]["spec"]["suspend"] is True
    assert outcome(world, new) == ("Queued", "ConcurrentRun")
    assert f'It replaces "{old}"' in status(world, new)["message"]
    assert f"{new}-1" not in world.jobs()
    await world.clock.advance(12)
    assert outcome(world, old) == ("Cancelled", "Replaced")
    assert f'"{new}"' in status(world, old)["message"]
    assert outcome(world, new)[0] == "Running"
    assert status(world, new)["startTime"] == format_instant(START + 115)
    assert ("Normal", "Replaced") in [event[1:3] for event in replica.events.events]


async def test_a_still_newer_run_replaces_the_one_that_waits(world: World) -> None:
    await world.replica()
    world.run_for["r"] = None
    world.grace["r"] = 30
    world.apply("r", concurrencyPolicy="Replace")
    for name in ("a", "b", "c"):
        await world.clock.advance(5)
        world.run_by_hand(name, "r")
    await world.clock.advance(1)
    assert outcome(world, "b") == ("Cancelled", "Replaced")
    assert outcome(world, "c")[0] == "Queued"
    await world.clock.advance(35)
    assert outcome(world, "a") == ("Cancelled", "Replaced")
    assert outcome(world, "c")[0] == "Running"
    assert world.jobs_created == ["a-1", "c-1"]


async def test_runs_by_hand_at_once_under_replace_leave_one(world: World) -> None:
    await world.replica()
    world.run_for["r"] = None
    world.apply("r", concurrencyPolicy="Replace")
    await world.clock.advance(1)
    for name in ("a", "b", "c"):
        world.run_by_hand(name, "r")
    await world.clock.advance(5)
    assert active(world)[-1:] == ["c-1"]
    assert phases(world.executions("r")) == ["Cancelled", "Cancelled", "Running"]


@pytest.mark.parametrize("restart", [False, True], ids=["one leader", "a new leader"])
async def test_pods_that_do_not_go_fail_the_new_run(world: World, restart: bool) -> None:
    first = await world.replica()
    world.run_for["r"] = None
    world.grace["r"] = 1_000_000
    world.apply("r", concurrencyPolicy="Replace", pendingTimeoutSeconds=60)
    await world.clock.advance(1)
    world.run_by_hand("a", "r")
    await world.clock.advance(5)
    world.run_by_hand("b", "r")
    await world.clock.advance(30)
    if restart:
        await first.kill()
        await world.clock.advance(60)
        await world.replica()
        await world.clock.advance(58)
        assert outcome(world, "b")[0] == "Queued"
        await world.clock.advance(3)
    else:
        await world.clock.advance(31)
    assert outcome(world, "b") == ("Failed", "ReplaceBlocked")
    assert '"a"' in status(world, "b")["message"]
    assert "pendingTimeoutSeconds" in status(world, "b")["message"]
    assert "b-1" not in world.jobs()
    # The old one was told to stop, and still ends so when its pods go at last.
    for pod in world.server.list(PODS, namespace=NS):
        world.server.delete(PODS, NS, pod["metadata"]["name"])
    await world.clock.advance(2)
    assert outcome(world, "a") == ("Cancelled", "Replaced")


async def test_a_run_for_later_replaces_nothing_before_its_time(world: World) -> None:
    await world.replica()
    world.run_for["r"] = None
    world.apply("r", concurrencyPolicy="Replace")
    await world.clock.advance(1)
    world.run_by_hand("a", "r")
    world.run_by_hand("later", "r", notBefore=format_instant(START + 50))
    await world.clock.advance(40)
    assert outcome(world, "a")[0] == "Running"
    await world.clock.advance(15)
    assert outcome(world, "a") == ("Cancelled", "Replaced")
    assert outcome(world, "later")[0] == "Running"


async def test_catching_up_under_replace_starts_the_latest_alone(world: World) -> None:
    world.run_for["r"] = None
    world.apply("r", schedule="* * * * *", concurrencyPolicy="Replace", catchUp={"policy": "All"})
    await world.clock.advance(230)
    await world.replica()
    await world.clock.advance(3)
    assert [d[1] for d in world.decisions("r")] == ["Skip", "Run"]
    (record,) = [e for e in world.executions("r") if e["spec"]["decision"]["type"] == "Skip"]
    assert record["spec"]["decision"]["reason"] == "Replaced"
    assert record["spec"]["decision"]["count"] == 3
    assert world.started("r") == [220]


async def test_a_run_between_two_attempts_is_replaced_at_once(world: World) -> None:
    await world.replica()
    world.fail.add("r")
    retry = {"maxRetries": 3, "initialDelaySeconds": 300, "maxDelaySeconds": 300}
    world.apply("r", concurrencyPolicy="Replace", retryPolicy=retry)
    await world.clock.advance(1)
    world.run_by_hand("a", "r")
    await world.clock.advance(10)
    assert outcome(world, "a")[0] == "Retrying"
    world.fail.clear()
    world.run_by_hand("b", "r")
    await world.clock.advance(10)
    assert outcome(world, "a") == ("Cancelled", "Replaced")
    assert outcome(world, "b")[0] == "Succeeded"
    await world.clock.advance(600)
    assert world.jobs_created == ["a-1", "b-1"]


async def test_a_run_between_two_attempts_keeps_its_place(world: World) -> None:
    await world.replica()
    world.codes["q"] = [1, 0]
    retry = {"maxRetries": 1, "initialDelaySeconds": 60, "jitterPercent": 0}
    world.apply("q", concurrencyPolicy="Queue", retryPolicy=retry)
    await world.clock.advance(1)
    world.run_by_hand("a", "q")
    await world.clock.advance(10)
    world.run_by_hand("b", "q")
    await world.clock.advance(40)
    assert (outcome(world, "a")[0], outcome(world, "b")[0]) == ("Retrying", "Queued")
    await world.clock.advance(30)
    assert outcome(world, "a")[0] == "Succeeded"
    assert world.jobs_created[:3] == ["a-1", "a-2", "b-1"]


async def test_who_stands_in_line_can_be_stopped(world: World) -> None:
    await world.replica()
    world.run_for["q"] = 30
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    for name in ("a", "b", "c"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    world.server.patch(TASK_EXECUTIONS, NS, "b", {"spec": {"stop": "Graceful"}})
    await world.clock.advance(2)
    assert outcome(world, "b") == ("Cancelled", "Stopped")
    await world.clock.advance(30)
    assert world.jobs_created == ["a-1", "c-1"]


async def test_a_pause_gives_no_places_and_its_end_goes_on_in_order(world: World) -> None:
    replica = await world.replica()
    world.run_for["q"] = 20
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    for name in ("a", "b", "c"):
        world.run_by_hand(name, "q")
    await world.clock.advance(5)
    pause = NamespaceSink(replica.store)
    namespace = {"metadata": {"name": NS}}
    pause.seen("ADDED", namespace)
    await world.clock.advance(60)
    assert active(world) == []
    assert outcome(world, "b")[0] in ("Queued", "Pending")
    pause.seen("DELETED", namespace)
    await world.clock.advance(2)
    assert active(world) == ["b-1"]
    await world.clock.advance(25)
    assert active(world) == ["c-1"]


# --- crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("point", range(1, 9))
@pytest.mark.parametrize("policy", ["Queue", "Replace"])
async def test_a_leader_killed_at_any_write_of_a_waiting_run_loses_nothing(
    world: World, policy: str, point: int, after: bool
) -> None:
    """Slot 100 waits (one write more on its path: Queued) and starts when that of 40 has ended."""
    first = await world.replica()
    world.run_for["t"] = 90
    world.grace["t"] = 7
    world.apply(
        "t", schedule="* * * * *", concurrencyPolicy=policy, endTime=format_instant(START + 101)
    )
    await world.clock.advance(60)
    first.api.crash(at_write=point, after=after)
    await world.clock.advance(50)
    await first.kill()
    await world.replica()
    await world.clock.advance(200)
    assert world.started("t") == [40, 100]
    ends = ["Succeeded" if policy == "Queue" else "Cancelled", "Succeeded"]
    assert [d[2] for d in world.decisions("t")] == ends
    status_of_last = status(world, f"t-{START + 100}")
    since = 130 if policy == "Queue" else 107
    assert status_of_last["startTime"] >= format_instant(START + since)


async def test_a_lost_answer_to_the_queued_status_changes_nothing(world: World) -> None:
    replica = await world.replica()
    world.run_for["q"] = 30
    world.apply("q", concurrencyPolicy="Queue")
    await world.clock.advance(1)
    world.run_by_hand("a", "q")
    await world.clock.advance(5)
    replica.api.fail("patch", TASK_EXECUTIONS, name="b", after=True)
    world.run_by_hand("b", "q")
    await world.clock.advance(5)
    assert outcome(world, "b")[0] == "Queued"
    await world.clock.advance(70)
    assert world.jobs_created == ["a-1", "b-1"]
