"""TaskQueue: limits that tasks of a namespace share, and in what parts."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from taskrunner.api.v1alpha1.common import (
    Conditions,
    Instant,
    Items,
    Label,
    ObjectMeta,
    SpecModel,
    StatusModel,
    keyed,
    repeated,
)
from taskrunner.errors import Problem


class TaskWeight(SpecModel):
    """The part of one task."""

    name: Label = Field(description="Name of the ScheduledTask.", examples=["nightly"])
    weight: int = Field(
        ge=1,
        le=1000,
        description="Its part beside those of the other tasks: 3 gets three times as much as 1."
        " 1 to 1000.",
        examples=[3],
    )


class TaskQueueSpec(SpecModel):
    """Limits that all tasks share which name the queue in spec.queue.name. Tasks of a queue take
    turns, so that one that asks for much does not keep the others waiting."""

    description: str | None = Field(
        None,
        max_length=1000,
        description="What the queue is for; at most 1000 characters.",
        examples=["Load tests: the staging database takes two at a time"],
    )
    max_concurrent: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Most runs of all its tasks that may be active at once; the others wait."
        " 1 to 10000. Default: no limit.",
        examples=[2],
    )
    starts_per_minute: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Most Jobs of all its tasks that are created within any 60 seconds, those of"
        " retries included; the others wait. 1 to 10000. Default: no limit.",
        examples=[6],
    )
    weight: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Its part of the places that the namespace gets, beside those of the other"
        " queues; the tasks that name no queue count together as a queue of weight 1. 1 to 1000."
        " Default: 1.",
        examples=[1],
    )
    task_weights: Items[TaskWeight] = Field(
        (),
        max_length=100,
        description="Parts of its tasks. Default: 1 for each.",
        json_schema_extra=keyed("name"),
        examples=[[{"name": "nightly", "weight": 3}]],
    )

    def problems(self) -> Iterator[Problem]:
        for position, name in repeated([each.name for each in self.task_weights]):
            yield Problem(
                f"taskWeights[{position}].name",
                name,
                "Another entry has the same name.",
                "Write one entry for each task.",
            )


class TaskQueueStatus(StatusModel):
    """Who runs and who waits. Written by the operator alone."""

    observed_generation: int | None = Field(
        None, description="The generation of the spec that this status was computed from."
    )
    running: int | None = Field(None, description="Runs that have a place.")
    length: int | None = Field(None, description="Runs that wait for one.")
    oldest_wait_time: Instant | None = Field(
        None, description="Since when the run waits that waits longest; none when nobody does."
    )
    last_update_time: Instant | None = Field(None, description="When this was written.")
    conditions: Conditions = Field((), description="Ready: the operator follows the queue.")


class TaskQueue(SpecModel):
    """Limits that several tasks of a namespace share: how many of their runs are active at once,
    and how many start in a minute. Tasks name it in spec.queue.name."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: TaskQueueSpec = Field(TaskQueueSpec(), description="Limits and parts.")
    status: TaskQueueStatus = Field(TaskQueueStatus(), description="Who runs and who waits.")
