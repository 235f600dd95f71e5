"""What an edit, a suspension, a resumption and a deletion do to slots and runs, as stories.

A story is a list of (seconds since the start, what happens); slots of `* * * * *` are at 40, 100, …
Runs last as long as the story says (3 s unless told). Records are (reason, first, last, count).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.ports import SCHEDULED_TASKS, TASK_EXECUTIONS, Obj
from world import NS, START, TEMPLATE, Replica, World

Spec = dict[str, Any]
Record = tuple[str, int, int, int]

MINUTELY: Spec = {"schedule": "* * * * *"}
EVERY_TWO: Spec = {"schedule": "*/2 * * * *"}  # 40, 160, 280, …
NONE: Spec = {"catchUp": {"policy": "None"}}
FORBID: Spec = {"concurrencyPolicy": "Forbid"}


@dataclass
class Story:
    """A world with one task "s" and what has been done to it."""

    world: World
    spec: Spec
    leader: Replica | None = None
    uid: str = ""

    def edit(self, **changes: Any) -> None:
        self.spec = {key: value for key, value in {**self.spec, **changes}.items() if value != ""}
        self.uid = self.world.apply("s", **self.spec)["metadata"]["uid"]

    async def kill(self) -> None:
        assert self.leader is not None
        await self.leader.kill()

    async def lead(self) -> None:
        self.leader = await self.world.replica()


Action = Callable[[Story], Any]


def edit(**changes: Any) -> Action:
    return lambda story: story.edit(**changes)


def by_hand(name: str, **spec: Any) -> Action:
    return lambda story: story.world.run_by_hand(name, "s", **spec)


def template(image: str) -> Obj:
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
    return {"spec": {"template": {"spec": spec}}}


suspend, resume = edit(suspend=True), edit(suspend=False)


async def kill(story: Story) -> None:
    await story.kill()


async def lead(story: Story) -> None:
    await story.lead()


@dataclass
class Case:
    name: str
    spec: Spec
    events: list[tuple[int, Action]]
    until: int
    started: list[int]
    records: list[Record] = field(default_factory=list)
    runs_for: int = 3


CASES = [
    # --- suspend and resume -------------------------------------------------------------------
    Case(
        "resume with Last: the latest runs, the others are one record",
        MINUTELY, [(60, suspend), (300, resume)], 330,
        [40, 280], [("Suspended", 100, 220, 3)],
    ),
    Case(
        "resume with None: nothing of it runs",
        MINUTELY | NONE, [(60, suspend), (315, resume)], 350,
        [40, 340], [("Suspended", 100, 280, 4)],
    ),
    Case(
        "resume with None within 30 s of a slot: it counts as on time",
        MINUTELY | NONE, [(60, suspend), (300, resume)], 330,
        [40, 280], [("Suspended", 100, 220, 3)],
    ),
    Case(
        "resume with All and a limit: the latest run",
        MINUTELY | {"catchUp": {"policy": "All", "limit": 2}}, [(60, suspend), (300, resume)], 330,
        [40, 220, 280], [("Suspended", 100, 160, 2)],
    ),
    Case(
        "resume after a deadline: what is too late does not run",
        MINUTELY | {"startingDeadlineSeconds": 10}, [(60, suspend), (315, resume)], 330,
        [40], [("Suspended", 100, 280, 4)],
    ),
    Case(
        "suspended and resumed between two slots: nothing happened",
        MINUTELY, [(60, suspend), (90, resume)], 110, [40, 100],
    ),
    Case(
        "suspended while a run is active: it goes on",
        MINUTELY, [(45, suspend)], 200, [40], runs_for=60,
    ),
    Case(
        "resumed under Forbid while a run is active: decided when it ends",
        MINUTELY | FORBID, [(50, suspend), (120, resume)], 150,
        [40, 100], runs_for=90,
    ),
    Case(
        "suspended from the start",
        MINUTELY | {"suspend": True}, [(250, resume)], 290,
        [220, 280], [("Suspended", 40, 160, 3)],
    ),
    Case(
        "resumed while nobody looked: told as suspended all the same",
        MINUTELY | NONE, [(60, suspend), (90, kill), (180, resume), (200, lead)], 230,
        [40, 220], [("Suspended", 100, 160, 2)],
    ),
    # --- edits of what is not timing ----------------------------------------------------------
    Case(
        "an edit of the template keeps the plan",
        MINUTELY, [(60, edit(jobTemplate=template("new")))], 110, [40, 100],
    ),
    Case(
        "an edit of the template while down: the downtime is caught up",
        MINUTELY, [(60, kill), (150, edit(jobTemplate=template("new"))), (300, lead)], 330,
        [40, 280], [("Superseded", 100, 220, 3)],
    ),
    Case(
        "an edit of catchUp holds for what was missed before it",
        MINUTELY, [(60, suspend), (200, edit(catchUp={"policy": "All"})), (290, resume)], 330,
        [40, 100, 160, 220, 280],
    ),
    Case(
        "from Forbid to Allow while a run is active: what waited starts",
        MINUTELY | FORBID, [(170, edit(concurrencyPolicy="Allow"))], 215,
        [40, 160], [("Superseded", 100, 100, 1)], runs_for=150,
    ),
    # --- edits of timing ----------------------------------------------------------------------
    Case(
        "an edit of the schedule counts from when it was seen",
        MINUTELY, [(50, edit(**EVERY_TWO))], 300, [40, 160, 280],
    ),
    Case(
        "an edit to a schedule that would have had slots before it: they are not made up",
        {"schedule": "0 0 1 1 *"}, [(150, edit(**MINUTELY))], 230, [160, 220],
    ),
    Case(
        "an edit while a run blocks slots: they are one record, of the old plan",
        MINUTELY | FORBID, [(170, edit(**EVERY_TWO))], 300,
        [40, 280], [("PlanChanged", 100, 160, 2)], runs_for=150,
    ),
    Case(
        "an edit while suspended: what was held back is one record, of the old plan",
        MINUTELY, [(60, suspend), (230, edit(**EVERY_TWO)), (300, resume)], 330,
        [40, 280], [("Suspended", 100, 220, 3)],
    ),
    Case(
        "an edit while down: one record, of the new plan, as nobody knows the old one",
        MINUTELY, [(60, kill), (150, edit(**EVERY_TWO)), (300, lead)], 410,
        [40, 400], [("PlanChanged", 160, 280, 2)],
    ),
    Case(
        "an edit while down to a plan without slots in that time: nothing to tell",
        MINUTELY, [(60, kill), (150, edit(schedule="0 0 1 1 *")), (300, lead)], 410, [40],
    ),
    Case(
        "an edit and its undoing while down: the downtime is caught up",
        MINUTELY,
        [(60, kill), (100, edit(**EVERY_TWO)), (200, edit(**MINUTELY)), (300, lead)], 330,
        [40, 280], [("Superseded", 100, 220, 3)],
    ),
    Case(
        "a bad edit stops the plan; its correction goes on with the same one",
        MINUTELY, [(60, edit(schedule="61 * * * *")), (170, edit(**MINUTELY))], 230,
        [40, 160, 220], [("Superseded", 100, 100, 1)],
    ),
    Case(
        "a bad edit and a correction to another plan: one record of the old one",
        MINUTELY, [(60, edit(schedule="61 * * * *")), (170, edit(**EVERY_TWO))], 300,
        [40, 280], [("PlanChanged", 100, 160, 2)],
    ),
    Case(
        "an edit does not run a slot again that both plans have",
        MINUTELY, [(42, edit(**EVERY_TWO)), (43, edit(**MINUTELY))], 110, [40, 100],
    ),
]  # fmt: skip


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def tell(world: World, spec: Spec, events: list[tuple[int, Action]], until: int) -> Story:
    story = Story(world, {})
    await story.lead()
    story.edit(**spec)
    now = 0
    for at, action in events:
        await world.clock.advance(at - now)
        now = at
        result = action(story)
        if hasattr(result, "__await__"):
            await result
    await world.clock.advance(until - now)
    return story


def records(world: World) -> list[Record]:
    found = []
    for execution in world.executions("s"):
        decision, last = execution["spec"].get("decision", {}), execution["spec"]["scheduledTime"]
        if decision.get("type") in ("Skip", "Miss"):
            span = (seconds(decision.get("from", last)), seconds(last))
            found.append((decision["reason"], *span, decision.get("count", 1)))
    return found


def seconds(text: str) -> int:
    return parse_instant(text) - START


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_story(world: World, case: Case) -> None:
    world.run_for["s"] = case.runs_for
    await tell(world, case.spec, case.events, case.until)
    assert world.started("s") == case.started
    assert records(world) == case.records
    assert {r["reason"] for r in world.status("s").get("missedRanges", [])} <= {
        reason for reason, *_ in case.records
    }


@pytest.mark.parametrize("at", [90, 165, 166, 200, 299])
async def test_a_leader_killed_around_an_edit_loses_no_slot_without_a_word(
    world: World, at: int
) -> None:
    """Each slot of the old plan up to the edit, and of the new one since, has run or is told."""
    world.run_for["s"] = 150

    async def change_leaders(story: Story) -> None:
        await story.kill()
        await story.lead()

    events = sorted([(165, edit(**EVERY_TWO)), (at, change_leaders)], key=lambda event: event[0])
    await tell(world, MINUTELY | FORBID, events, 500)
    told = world.status("s")["missedRanges"]
    assert sum(entry["count"] for entry in told) >= 1
    assert world.started("s")[0] == 40
    assert set(world.started("s")[1:]) <= {160, 280, 400}
    assert len(world.started("s")) == len(set(world.started("s")))


# --- unstarted and running executions -------------------------------------------------------------


def image_of(job: Obj) -> str:
    return str(job["spec"]["template"]["spec"]["containers"][0].get("image", ""))


async def test_what_runs_finishes_as_it_started_and_what_has_not_takes_the_new_template(
    world: World,
) -> None:
    world.run_for["s"] = 60
    spec = {**MINUTELY, "jobTemplate": template("old")}
    later = by_hand("later", notBefore=format_instant(START + 80))
    await tell(world, spec, [(45, later), (50, edit(jobTemplate=template("new")))], 110)
    images = {name.split("-")[1]: image_of(job) for name, job in world.jobs().items()}
    assert images[str(START + 40)] == "old"
    jobs = world.jobs()
    assert image_of(jobs["later-1"]) == "new"
    assert image_of(jobs[f"s-{START + 100}-1"]) == "new"


# --- deletion ---------------------------------------------------------------------------------


def delete(propagation: Any) -> Action:
    return lambda story: story.world.server.delete(
        SCHEDULED_TASKS, NS, "s", uid=story.uid, propagation=propagation
    )


def hold(story: Story) -> None:
    """A finalizer of somebody else keeps the task there."""
    story.world.server.patch(SCHEDULED_TASKS, NS, "s", {"metadata": {"finalizers": ["x/y"]}})


def slow_garbage(story: Story) -> None:
    story.world.server.garbage = False


LATER = by_hand("later", notBefore=format_instant(START + 90))


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_a_deleted_task_takes_everything_with_it(world: World, propagation: str) -> None:
    world.run_for["s"] = None
    await tell(world, MINUTELY, [(50, LATER), (60, delete(propagation))], 200)
    assert world.started("s") == [40]
    assert not world.jobs()
    assert {e["metadata"]["name"] for e in world.executions("s")} <= {"later"}


@pytest.mark.parametrize("how", ["held by a finalizer", "the garbage collector is slow"])
async def test_while_a_deleted_task_or_its_children_are_still_there(world: World, how: str) -> None:
    """No new slots; what runs is followed to its end; what has not started is cancelled."""
    world.run_for["s"] = 60
    last = hold if "finalizer" in how else slow_garbage
    events = [(45, LATER), (50, last), (60, delete("Background"))]
    await tell(world, MINUTELY, events, 300)
    assert world.started("s") == [40]
    outcomes = {
        e["metadata"]["name"]: (e["status"]["phase"], e["status"]["reason"])
        for e in world.executions("s")
    }
    assert outcomes == {
        f"s-{START + 40}": ("Succeeded", "JobComplete"),
        "later": ("Cancelled", "TaskDeleted"),
    }


async def test_orphans_are_followed_to_their_end_and_left_alone(world: World) -> None:
    world.run_for["s"] = 60
    await tell(world, MINUTELY, [(45, LATER), (60, delete("Orphan"))], 300)
    phases = {e["metadata"]["name"]: e["status"]["phase"] for e in world.executions("s")}
    assert phases == {f"s-{START + 40}": "Succeeded", "later": "Cancelled"}
    assert list(world.jobs()) == [f"s-{START + 40}-1"]
    (orphan,) = [e for e in world.executions("s") if e["metadata"]["name"] != "later"]
    assert "ownerReferences" not in orphan["metadata"]


@pytest.mark.parametrize("propagation", ["Background", "Orphan"])
async def test_what_a_deleted_task_left_unstarted_is_not_started_by_one_of_the_same_name(
    world: World, propagation: str
) -> None:
    def deferred(story: Story) -> None:
        """As the operator leaves it when a calendar defers a slot."""
        owner = {
            "apiVersion": "taskrunner.dev/v1alpha1",
            "kind": "ScheduledTask",
            "name": "s",
            "uid": story.uid,
            "controller": True,
        }
        story.world.server.create(
            TASK_EXECUTIONS,
            NS,
            {
                "metadata": {"name": f"s-{START + 45}", "ownerReferences": [owner]},
                "spec": {
                    "taskRef": {"name": "s"},
                    "type": "Scheduled",
                    "decision": {"type": "Run", "reason": "OnSchedule"},
                    "scheduledTime": format_instant(START + 45),
                    "notBefore": format_instant(START + 80),
                },
            },
        )

    events: list[tuple[int, Action]] = [
        (50, deferred),
        (52, kill),
        (55, slow_garbage),
        (60, delete(propagation)),
        (61, edit()),
        (65, lead),
    ]
    await tell(world, MINUTELY, events, 95)
    assert world.started("s") == [40]
    (old,) = [e for e in world.executions("s") if e["metadata"]["name"] == f"s-{START + 45}"]
    assert (old["status"]["phase"], old["status"]["reason"]) == ("Cancelled", "TaskDeleted")


async def test_a_run_by_hand_created_before_its_task_runs(world: World) -> None:
    """Both in one `kubectl apply`."""
    story = Story(world, {})
    await story.lead()
    world.run_by_hand("now", "s")
    await world.clock.advance(10)
    story.edit(jobTemplate=TEMPLATE)
    await world.clock.advance(30)
    assert list(world.jobs()) == ["now-1"]


def skip(story: Story) -> None:
    """What a person would create to skip the slot 160."""
    spec = {
        "taskRef": {"name": "s"},
        "type": "Scheduled",
        "decision": {"type": "Skip", "reason": "Requested", "message": "Release day."},
        "scheduledTime": format_instant(START + 160),
    }
    body = {"metadata": {"name": f"s-{START + 160}"}, "spec": spec}
    story.world.server.create(TASK_EXECUTIONS, NS, body)


async def test_a_slot_that_somebody_has_taken_with_a_skip_does_not_run(world: World) -> None:
    """The name of a slot is its lock, whoever takes it first (docs/adr/0010)."""

    await tell(world, MINUTELY, [(60, skip)], 230)
    assert world.started("s") == [40, 100, 220]
    assert (160, "Skip", "Skipped") in world.decisions("s")


async def test_a_skip_can_be_taken_back_before_its_slot(world: World) -> None:
    def take_back(story: Story) -> None:
        story.world.server.delete(TASK_EXECUTIONS, NS, f"s-{START + 160}")

    await tell(world, MINUTELY, [(60, skip), (90, take_back)], 230)
    assert world.started("s") == [40, 100, 160, 220]
