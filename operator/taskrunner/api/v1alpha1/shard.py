"""Shard: who may write for a part of the namespaces. The parameter of the fence (docs/adr/0006)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from taskrunner.api.v1alpha1.common import (
    Conditions,
    Instant,
    ObjectMeta,
    Rule,
    SpecModel,
    StatusModel,
)


class ShardSpec(SpecModel):
    """Whose turn it is. Written by the operator alone; the API server refuses the runs and Jobs of
    every other writer."""

    rules: ClassVar = (
        Rule(
            "self.number > oldSelf.number"
            " || (self.number == oldSelf.number && self.epoch == oldSelf.epoch)",
            "number can only grow, and each epoch has a number of its own; a writer that was shut"
            " out must not come back",
            "number",
        ),
        Rule(
            "self.number > oldSelf.number || !oldSelf.released || self.released",
            "an epoch that was released cannot be taken back; raise number",
            "released",
        ),
    )

    epoch: str = Field(
        min_length=3,
        max_length=253,
        pattern="^[^/]+/[0-9]+$",
        description="The holder's identity, unique per process, and number:"
        " <identity>/<number>. What is written with another epoch is refused.",
        examples=["taskrunner-7f9c_1a2b3c4d/12"],
    )
    number: int = Field(
        ge=1,
        le=2**53,
        description="Grows with each take-over.",
        json_schema_extra={"format": "int64"},
        examples=[12],
    )
    shards: int = Field(
        ge=1,
        le=64,
        description="Into how many shards the namespaces were divided when the epoch began.",
        examples=[1],
    )
    closing: int | None = Field(
        None,
        ge=2,
        le=64,
        description="On Shard 0 while the number of shards changes: shards below this number may"
        " still have epochs from before. Nobody begins a term meanwhile.",
        examples=[4],
    )
    released: bool = Field(
        description="The holder has ended its term and had an answer to everything that it wrote:"
        " nothing of this epoch is under way any more.",
        examples=[False],
    )


class ShardStatus(StatusModel):
    """How the shard is doing. Written by its holder."""

    holder: str | None = Field(None, description="The replica that acts for the shard.")
    acquired_time: Instant | None = Field(None, description="When its term began.")
    acting_since: Instant | None = Field(
        None, description="When it had raised the epoch, let it settle and listed everything."
    )
    tasks: int | None = Field(None, description="ScheduledTasks in the shard's namespaces.")
    agenda: int | None = Field(None, description="Instants that the holder waits for.")
    lag_milliseconds: int | None = Field(
        None,
        description="The longest time from due to started in the minute before the last update.",
        json_schema_extra={"format": "int64"},
    )
    last_update_time: Instant | None = Field(None, description="When this was written.")
    conditions: Conditions = Field(
        (), description="Fenced: the API server refuses the writes of ended terms."
    )


class Shard(SpecModel):
    """One part of the namespaces and the replica that acts for it. One object per shard, in the
    operator's namespace, beside the Lease of the same name. For reading only: the operator writes
    it, and when it is deleted, nothing starts until it has been made again."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ShardSpec = Field(description="Whose turn it is.")
    status: ShardStatus = Field(ShardStatus(), description="How the shard is doing.")
