"""TaskExecution: one run of a task, decided or asked for. The only way in; the durable queue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from taskrunner.api.v1alpha1.common import (
    STORED,
    Arguments,
    Conditions,
    Instant,
    Items,
    NotBuilt,
    ObjectMeta,
    Rule,
    SpecModel,
    StatusModel,
    WholeSecond,
    keyed,
)
from taskrunner.api.v1alpha1.names import EXECUTION_NAME_MAX, SLOT_PATTERN, TASK_NAME_MAX
from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.errors import Problem

ExecutionType = Literal["Scheduled", "Manual", "Event", "Chained", "Backfill", "Redrive"]
DecisionType = Literal["Run", "Skip", "Miss"]
Phase = Literal[
    "Pending",
    "Queued",
    "Running",
    "Retrying",
    "Succeeded",
    "Failed",
    "Cancelled",
    "Skipped",
    "Missed",
]
TERMINAL: frozenset[Phase] = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})
"""Phases that never change again."""

_MUTABLE = ("priority", "stop")

Reason = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [reason.value for reason in ExecutionReason]})
]
"""An `ExecutionReason`; text in Python, so that a reason of a newer version can be read."""


class TaskRef(SpecModel):
    """The task, in the same namespace."""

    name: str = Field(
        min_length=1,
        max_length=TASK_NAME_MAX,
        description="Name of a ScheduledTask in this namespace.",
        examples=["nightly-regression"],
    )


class Decision(SpecModel):
    """What was decided for the slot; made once, by creating the execution."""

    type: DecisionType = Field(
        description="Run starts the slot, Skip leaves it out on purpose, Miss records that it could"
        " not run in time.",
        examples=["Run"],
    )
    reason: Reason = Field(description="Why, as one word.", examples=["OnSchedule"])
    message: str | None = Field(
        None, max_length=1024, description="Why, as a sentence.", examples=["Started on schedule."]
    )
    due: WholeSecond | None = Field(
        None,
        description="When the slot was due to be decided, after jitter. From the latest of them a"
        " new leader knows how far the old one came.",
        examples=["2026-12-24T18:00:00Z"],
    )
    from_: WholeSecond | None = Field(
        None,
        alias="from",
        description="The first slot, when a Skip or Miss stands for a range of slots;"
        " spec.scheduledTime is the last.",
        examples=["2026-12-24T06:00:00Z"],
    )
    count: int | None = Field(
        None,
        ge=1,
        json_schema_extra={"format": "int64"},
        description="How many slots a Skip or Miss stands for. Default: 1.",
        examples=[12],
    )


class RequestedBy(SpecModel):
    """Who asked for the run, as the API server authenticated them."""

    username: str = Field(
        max_length=1024, description="Name of the user or service account.", examples=["jane"]
    )
    groups: Items[str] = Field(
        (),
        max_length=256,
        description="Groups of the user; left out when there are more than 256.",
        examples=[["system:authenticated"]],
    )


class Writer(SpecModel):
    """The replica that created the execution; a stale one is refused by it."""

    shard: str = Field(max_length=63, description="Number of the shard.", examples=["0"])
    epoch: str = Field(
        max_length=253,
        description="Holder of the shard and a number that only grows.",
        examples=["taskrunner-7f9c/12"],
    )


class BackfillRef(SpecModel):
    """The Backfill that asked for the run. It need not be there any more."""

    name: str = Field(max_length=253, description="Its name.", examples=["november"])
    uid: str = Field(max_length=64, description="Its uid.", examples=["4f0e…"])


def _unchanged(field: str) -> Rule:
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field}) && "
        f"(!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"spec.{field} cannot be changed; create a new TaskExecution instead",
        field,
    )


class TaskExecutionSpec(SpecModel):
    """Which task to run, and with what. It cannot be changed afterwards, but for priority and
    stop."""

    rules: ClassVar = (
        *(
            _unchanged(field)
            for field in (
                "taskRef",
                "type",
                "decision",
                "scheduledTime",
                "notBefore",
                "arguments",
                "timeoutSeconds",
                "redriveOf",
                "backfillRef",
                "requestedBy",
                "writer",
            )
        ),
        Rule(
            "!has(oldSelf.stop) || (has(self.stop) &&"
            " (oldSelf.stop == 'Graceful' || self.stop == 'Immediate'))",
            "stop can only go from unset to Graceful to Immediate; it cannot be taken back",
            "stop",
        ),
        Rule(
            "self.type != 'Scheduled' || (has(self.decision) && has(self.scheduledTime))",
            "type Scheduled is for the operator and needs decision and scheduledTime; write type:"
            " Manual to run a task by hand",
            "type",
        ),
        Rule(
            "self.type == 'Scheduled' || !has(self.decision)",
            "only the operator sets decision; remove it",
            "decision",
            "FieldValueForbidden",
        ),
        Rule(
            "(self.type == 'Backfill') == has(self.backfillRef)",
            "backfillRef belongs to type Backfill, which is for the operator; create a Backfill to"
            " run slots of the past",
            "backfillRef",
        ),
    )

    task_ref: TaskRef = Field(
        description="The task to run, in the same namespace.",
        examples=[{"name": "nightly-regression"}],
    )
    type: Annotated[ExecutionType, NotBuilt("Event", "Chained", "Redrive")] = Field(
        "Manual",
        description="What asked for the run. Write Manual, or nothing, to run a task by hand; the"
        " other types belong to the operator. Default: Manual.",
        json_schema_extra=STORED,
        examples=["Manual"],
    )
    decision: Decision | None = Field(
        None,
        description="What was decided for the slot. Set by the operator, for slots only.",
        examples=[{"type": "Run", "reason": "OnSchedule"}],
    )
    scheduled_time: WholeSecond | None = Field(
        None,
        description="The slot, before jitter and deferral. Default, for runs by hand: the creation"
        " of the execution.",
        examples=["2026-12-24T18:00:00Z"],
    )
    not_before: Instant | None = Field(
        None,
        description="Start no earlier than this. Default: at once.",
        examples=["2026-12-24T18:05:00Z"],
    )
    arguments: Arguments = Field(
        {},
        description="Values that each container of this run gets as environment variables;"
        " Kubernetes expands $(NAME) in command and args. Default: none.",
        examples=[{"SUITE": "full"}],
    )
    requested_by: RequestedBy | None = Field(
        None,
        description="Who asked for the run: its creator, or for a slot, who last changed the task."
        " Set at admission or by the operator, not by the user.",
        examples=[{"username": "jane"}],
    )
    writer: Writer | None = Field(
        None,
        description="The replica that created the execution. Set by the operator.",
        examples=[{"shard": "0", "epoch": "taskrunner-7f9c/12"}],
    )
    priority: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Larger starts first when starts are limited. May change while the run waits."
        " 0 to 1000. Default: that of the task.",
        examples=[900],
    )
    timeout_seconds: int | None = Field(
        None,
        ge=1,
        le=86_400,
        description="Longest time for one attempt of this run. 1 to 86400. Default: that of the"
        " task.",
        examples=[7200],
    )
    redrive_of: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        description="Name of the execution that this one repeats, for the record; `taskrunner"
        " redrive` and `taskrunner retry` write it.",
        examples=["nightly-regression-1767225600"],
    )
    backfill_ref: BackfillRef | None = Field(
        None,
        description="The Backfill that asked for the run. Set by the operator.",
        examples=[{"name": "november", "uid": "4f0e…"}],
    )
    stop: Literal["Graceful", "Immediate"] | None = Field(
        None,
        description="Stop the run whatever it is doing, and do not retry it: Graceful lets pods end"
        " in their grace period, Immediate kills them. It cannot be taken back. Default: unset.",
        examples=["Graceful"],
    )

    def problems(self) -> Iterator[Problem]:
        if self.type == "Scheduled":
            for name, value in (
                ("decision", self.decision),
                ("scheduledTime", self.scheduled_time),
            ):
                if value is None:
                    yield Problem(
                        name,
                        "",
                        "It is required for type Scheduled, which is for the operator.",
                        "Write type: Manual to run a task by hand.",
                    )
        elif self.decision is not None:
            yield Problem("decision", "", "Only the operator sets it.", "Remove the field.")
        if (self.type == "Backfill") != (self.backfill_ref is not None):
            yield Problem(
                "backfillRef",
                "",
                "It belongs to type Backfill, which is for the operator.",
                "Create a Backfill to run slots of the past.",
            )


class Attempt(StatusModel):
    """One Job of the run."""

    number: int = Field(description="1 for the first attempt.")
    job_name: str | None = Field(None, description="Name of its Job.")
    start_time: Instant | None = Field(None, description="When the Job was created.")
    completion_time: Instant | None = Field(None, description="When the Job ended.")
    exit_code: int | None = Field(
        None, description="Exit code of the container that decided the outcome."
    )
    reason: str | None = Field(None, description="Why it ended so, as one word.")


class Progress(StatusModel):
    """How far the run says it is."""

    percent: int | None = Field(None, ge=0, le=100, description="0 to 100.")
    message: str | None = Field(None, description="What it is doing.")


class TaskExecutionStatus(StatusModel):
    """What happened to the run. Written by the operator alone."""

    observed_generation: int | None = Field(
        None, description="The generation of this spec that the status was computed from."
    )
    task_generation: int | None = Field(
        None, description="The generation of the task that the run was started from."
    )
    conditions: Conditions = Field(
        (),
        description="Complete and Failed, as a Job has them: `kubectl wait --for=condition="
        "Complete` works.",
    )
    phase: Phase | None = Field(
        None, description="Where the run is. The last five phases never change again."
    )
    reason: Reason | None = Field(
        None, description="Why it is there, as one word; RetriesExhausted marks a dead letter."
    )
    message: str | None = Field(None, description="Why it is there, as a sentence.")
    attempt: int | None = Field(None, description="Number of the latest attempt, from 1.")
    attempts: Items[Attempt] = Field(
        (), description="The attempts, the oldest first.", json_schema_extra=keyed("number")
    )
    next_retry_time: Instant | None = Field(None, description="When the next attempt starts.")
    queued_time: Instant | None = Field(None, description="When it began to wait.")
    start_time: Instant | None = Field(None, description="When its first Job was created.")
    completion_time: Instant | None = Field(None, description="When it ended.")
    duration_seconds: int | None = Field(
        None, description="From the creation of the first Job to the end."
    )
    start_lag_milliseconds: int | None = Field(
        None,
        description="From when it was due to the creation of its Job.",
        json_schema_extra={"format": "int64"},
    )
    pod_start_lag_milliseconds: int | None = Field(
        None,
        description="From the creation of its first Job to the start of a container, in the whole"
        " seconds that Kubernetes records.",
        json_schema_extra={"format": "int64"},
    )
    worker: str | None = Field(None, description="The replica that started it.")
    progress: Progress | None = Field(
        None,
        description="How far the run says it is: the annotation taskrunner.dev/progress of its pod"
        ' or Job, such as "40 Copying files".',
    )
    result: str | None = Field(
        None, description="The last 4 KiB of the termination message of its container."
    )


class TaskExecution(SpecModel):
    """One run of a ScheduledTask. The operator creates it for a slot; create one with taskRef to
    run the task by hand."""

    rules: ClassVar = (
        Rule(
            f"self.metadata.name.size() <= {EXECUTION_NAME_MAX}",
            f"metadata.name must have at most {EXECUTION_NAME_MAX} characters; the rest of 63 is"
            " for the number of the attempt",
            "metadata.name",
        ),
        Rule(
            f"self.spec.type == 'Scheduled' || !self.metadata.name.matches('{SLOT_PATTERN}')",
            "names that end in ten digits are reserved for slots; choose another name, or write"
            " generateName: <task>- instead of name",
            "metadata.name",
        ),
    )

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: TaskExecutionSpec = Field(description="Which task to run, and with what.")
    status: TaskExecutionStatus = Field(
        TaskExecutionStatus(), description="What happened to the run."
    )

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the object around its spec."""
        name = self.metadata.name
        if len(name) > EXECUTION_NAME_MAX:
            yield Problem(
                "metadata.name",
                name,
                f"The name has {len(name)} characters; at most {EXECUTION_NAME_MAX} leave room for"
                " the number of the attempt.",
                "Choose a shorter name.",
            )
        if self.spec.type != "Scheduled" and re.search(SLOT_PATTERN, name):
            yield Problem(
                "metadata.name",
                name,
                "Names that end in ten digits are reserved for slots.",
                "Choose another name, or write generateName: <task>- instead of name.",
            )
