"""Backfill: slots of a task's past, run later, a few at a time (docs/adr/0018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Literal

from pydantic import Field

from taskrunner.api.v1alpha1.common import (
    Arguments,
    Conditions,
    Instant,
    Items,
    ObjectMeta,
    Rule,
    SpecModel,
    StatusModel,
    WholeSecond,
)
from taskrunner.api.v1alpha1.task_execution import RequestedBy, TaskRef
from taskrunner.errors import Problem

NAME_MAX: Final = 63
"""The name is a label of the runs."""
MAX_CONCURRENT: Final = 100

BackfillOrder = Literal["OldestFirst", "NewestFirst"]


def _unchanged(field: str) -> Rule:
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field}) && "
        f"(!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"spec.{field} cannot be changed; create a new Backfill instead",
        field,
    )


class BackfillSpec(SpecModel):
    """Which slots to run. Only maxConcurrent can be changed afterwards."""

    rules: ClassVar = (
        Rule(
            "self.from < self.to",
            "to must be after from; set a later to",
            "to",
        ),
        *(
            _unchanged(field)
            for field in (
                "taskRef",
                "from",
                "to",
                "onlyMissed",
                "order",
                "arguments",
                "requestedBy",
            )
        ),
    )

    task_ref: TaskRef = Field(
        description="The task whose slots are run, in the same namespace.",
        examples=[{"name": "nightly-report"}],
    )
    from_: WholeSecond = Field(
        alias="from",
        description="The first moment of the range: a slot at it is run.",
        examples=["2026-11-01T00:00:00Z"],
    )
    to: WholeSecond = Field(
        description="The end of the range: a slot at it is not run, nor one that the schedule has"
        " yet to decide.",
        examples=["2026-12-01T00:00:00Z"],
    )
    only_missed: bool = Field(
        False,
        description="Run only the slots that the task is known to have missed; status.leftOut says"
        " of which part that is not known. Default: false, every slot of the range, also those that"
        " have run.",
        examples=[True],
    )
    max_concurrent: int = Field(
        1,
        ge=1,
        le=MAX_CONCURRENT,
        description="Most runs of the backfill at once, 1 to 100; the task's own limits hold"
        " besides. May be changed. Default: 1.",
        examples=[5],
    )
    order: BackfillOrder = Field(
        "OldestFirst",
        description="Which slots go first: OldestFirst or NewestFirst. Default: OldestFirst.",
        examples=["NewestFirst"],
    )
    arguments: Arguments = Field(
        {},
        description="Arguments of each run, beside those of its schedule, and before them."
        " Default: none.",
        examples=[{"MODE": "repair"}],
    )
    requested_by: RequestedBy | None = Field(
        None,
        description="Who asked for the backfill. Set at admission, not by the user.",
        examples=[{"username": "jane"}],
    )

    def problems(self) -> Iterator[Problem]:
        if self.to <= self.from_:
            yield Problem("to", "", "It is not after from.", "Set a later to.")


class Range(StatusModel):
    """Slots between two moments."""

    from_: Instant = Field(alias="from", description="The first slot.")
    to: Instant = Field(description="The last slot.")


class LeftOut(StatusModel):
    """A part of the range of which nothing is run."""

    from_: Instant = Field(alias="from", description="Where the part begins.")
    to: Instant = Field(description="Where it ends.")
    reason: str = Field(description="Why, as one word.")
    message: str = Field(description="Why, as a sentence.")


class BackfillPlan(StatusModel):
    """What was decided to run, once, before the first run."""

    hash: str | None = Field(
        None, description="Of the task's schedules; the backfill stops when it changes."
    )
    task_uid: str | None = Field(None, description="The task's uid.")
    ranges: Items[Range] = Field((), description="Where the slots are.")


class Counted(StatusModel):
    """What has ended for good, in the order of the slots. The records of these runs may be gone."""

    until: Instant | None = Field(None, description="The slot up to which everything has ended.")
    succeeded: int = Field(0, description="Runs that succeeded.")
    failed: int = Field(0, description="Runs that failed.")
    cancelled: int = Field(0, description="Runs that were cancelled.")


class BackfillStatus(StatusModel):
    """How far it is. Written by the operator alone."""

    observed_generation: int | None = Field(
        None, description="The generation of the spec that this was computed from."
    )
    conditions: Conditions = Field(
        (),
        description="Ready: it can be followed. Complete: every slot has ended. Reconciling and"
        " Stalled are for tools that follow kstatus.",
    )
    total: int | None = Field(None, description="Slots that are run in all.")
    done: int | None = Field(None, description="Runs that have ended.")
    succeeded: int | None = Field(None, description="Runs that succeeded.")
    failed: int | None = Field(None, description="Runs that failed.")
    cancelled: int | None = Field(
        None, description="Runs that were stopped or replaced, or whose record was deleted."
    )
    running: int | None = Field(None, description="Runs that have started and not ended.")
    waiting: int | None = Field(None, description="Runs that wait for a place.")
    remaining: int | None = Field(None, description="Slots for which no run was created yet.")
    percent: int | None = Field(None, description="Of the slots, how many have ended: 0 to 100.")
    start_time: Instant | None = Field(None, description="When the slots were counted.")
    completion_time: Instant | None = Field(None, description="When the last one had ended.")
    estimated_completion_time: Instant | None = Field(
        None, description="When it will be done if it goes on as it did so far."
    )
    left_out: Items[LeftOut] = Field(
        (), description="Parts of the range of which nothing is run, and why."
    )
    plan: BackfillPlan | None = Field(None, description="What was decided to run.")
    counted: Counted | None = Field(
        None, description="How far runs have been counted; who takes over goes on from here."
    )


class Backfill(SpecModel):
    """Runs slots of a task's past, a few at a time, after its live runs. To cancel what has not
    started, delete it; what runs then finishes."""

    rules: ClassVar = (
        Rule(
            f"self.metadata.name.size() <= {NAME_MAX}",
            f"metadata.name must have at most {NAME_MAX} characters, as it is a label of the runs",
            "metadata.name",
        ),
    )

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: BackfillSpec = Field(description="Which slots to run.")
    status: BackfillStatus = Field(BackfillStatus(), description="How far it is.")

    def problems(self) -> Iterator[Problem]:
        name = self.metadata.name
        if len(name) > NAME_MAX:
            yield Problem(
                "metadata.name",
                name,
                f"The name has {len(name)} characters; it is a label of the runs.",
                f"Choose a name of at most {NAME_MAX} characters.",
            )
