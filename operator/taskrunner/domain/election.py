"""Who may hold a Lease, decided from what was seen of it and from one's own boot clock.

The protocol is client-go's leader election (tools/leaderelection), with its guarantee: a holder
that is running stops before anybody else may start, however far wall clocks are apart. Nobody
compares the times in the record with a clock: others expire when the record has not *changed* for
its duration, and a holder's own validity counts from before its write was sent. Unlike there,
`leaseTransitions` grows with each term, also when the same holder comes back, so that a term has a
number of its own.

A process that is stopped by its machine and wakes up later cannot be covered by any of this; the
fence in the API server refuses its writes (docs/adr/0003).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds of an election. Raises ValueError when they do not fit together.

    Failover takes at most `lease` + `poll` after the holder's last renewal, which is at most
    `retry` old when it dies.
    """

    lease: float = 15.0
    """Others take over when the record has not changed for so long. Whole seconds."""
    renew_deadline: float = 10.0
    """A holder that has not renewed for so long stops; the rest of `lease` is for its stopping."""
    retry: float = 2.0
    """Between renewals, and after failures."""
    poll: float = 1.0
    """Between two looks at somebody else's Lease."""

    def __post_init__(self) -> None:
        if self.lease != int(self.lease):
            raise ValueError(f"The lease duration must be whole seconds, not {self.lease:g}.")
        if not self.lease > self.renew_deadline > self.retry > 0:
            raise ValueError(
                f"The lease duration ({self.lease:g} s) must be longer than the renew deadline "
                f"({self.renew_deadline:g} s), and that longer than the retry period "
                f"({self.retry:g} s)."
            )
        if not 0 < self.poll <= self.lease:
            raise ValueError(
                f"The poll period ({self.poll:g} s) must be between 0 and the lease duration "
                f"({self.lease:g} s)."
            )

    @property
    def call(self) -> float:
        """Longest single call: two fit into the renew deadline, so that one may hang."""
        return self.renew_deadline / 2


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says (coordination.k8s.io/v1, LeaseSpec). Times are kept as text."""

    holder: str
    duration: float
    transitions: int
    acquired: str
    renewed: str

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> Record:
        """The record in a Lease object; missing fields are empty or 0."""
        spec = lease.get("spec") or {}
        return cls(
            holder=str(spec.get("holderIdentity") or ""),
            duration=float(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
            acquired=str(spec.get("acquireTime") or ""),
            renewed=str(spec.get("renewTime") or ""),
        )


@dataclass(frozen=True, slots=True)
class Sighting:
    """A record (None: there is no Lease), and the boot time since when it has been seen so."""

    record: Record | None
    since: float
    deleted: Record | None = None
    """When there is no Lease any more: what it said when it was last seen."""

    @property
    def last(self) -> Record | None:
        """The record, or that of a Lease that is gone: its holder may not know yet."""
        return self.record or self.deleted


def sight(before: Sighting | None, record: Record | None, now: float) -> Sighting:
    """The record was read at boot time `now` (when the answer had come)."""
    if before is None:
        return Sighting(record, now)
    if before.record == record:
        return before
    return Sighting(record, now, before.last if record is None else None)


def holder_of(seen: Sighting, now: float, durations: Durations) -> str:
    """Who holds a Lease that is there; empty when it was released or has run out."""
    record = seen.record
    if record is None or now >= seen.since + (record.duration or durations.lease):
        return ""
    return record.holder


@dataclass(frozen=True, slots=True)
class Acquire:
    """Write a record with us as holder."""

    transitions: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Write our record with a new time."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Stop: what we held is ours no more, or might not be soon."""

    reason: str


def campaign(seen: Sighting, identity: str, now: float, durations: Durations) -> Acquire | Wait:
    """What somebody who does not hold the Lease does."""
    record = seen.last
    if record is None:
        return Acquire(transitions=0)
    if seen.record is None:
        # Deleted by somebody, and perhaps made and deleted again between two looks: whoever held it
        # last may act until it would have run out.
        left = seen.since + max(record.duration, durations.lease) - now
    elif record.holder in ("", identity):
        # Released; or ours from a term that we have given up: nobody else can have had it since.
        return Acquire(transitions=record.transitions + 1)
    else:
        left = seen.since + (record.duration or durations.lease) - now
    if left <= 0:
        return Acquire(transitions=record.transitions + 1)
    return Wait(min(durations.poll, left))


def defend(
    seen: Sighting, identity: str, valid_until: float, now: float, durations: Durations
) -> Renew | Lost:
    """What the holder does; `valid_until` is the boot time until which the last renewal holds."""
    record = seen.record
    if now >= valid_until:
        return Lost(f"it could not be renewed for {durations.renew_deadline:g} s")
    if record is None:
        return Lost("it was deleted")
    if record.holder != identity:
        return Lost(f"{record.holder} holds it" if record.holder else "somebody has released it")
    return Renew()


def claim(decision: Acquire, identity: str, now: float, durations: Durations) -> dict[str, Any]:
    """The spec of a Lease that is taken; `now` is wall-clock time, for people to read."""
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": math.ceil(durations.lease),
        "leaseTransitions": decision.transitions,
        "acquireTime": micro_time(now),
        "renewTime": micro_time(now),
    }


def renewal(spec: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The same, renewed."""
    return {**spec, "renewTime": micro_time(now)}


def release(spec: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The same, given back: whoever sees it takes it at once."""
    return {
        **spec,
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "renewTime": micro_time(now),
    }


def micro_time(now: float) -> str:
    """A MicroTime of the Kubernetes API: UTC, with exactly six decimals."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
