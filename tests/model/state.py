"""The state of the run model: an API server, who leads, and what has happened to each slot.

All are immutable values (named tuples: they hash several times faster than frozen dataclasses).
Instants are small integers: slot n is due at n. A version is not a number but the content itself: a
write that names what it was computed from is accepted while that has not changed. None of these
contents comes back, so this accepts exactly what a resourceVersion does.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

RUN: Final = "Run"
NOT: Final = "Not"
"""Skipped or missed."""
TERMINAL: Final = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped", "Missed"})


class Execution(NamedTuple):
    uid: int
    decision: str
    """Run, Skip or Miss; empty where the POST did not carry it."""
    first: int
    """First slot of the range that a record stands for."""
    phase: str = ""
    attempt: int = 0
    """The latest that is recorded."""

    @property
    def active(self) -> bool:
        return self.decision in (RUN, "") and self.phase not in TERMINAL

    @property
    def untold(self) -> bool:
        """Nothing in it tells whether the Job of the next attempt was created."""
        return self.active and (not self.attempt or self.phase == "Retrying")


class Job(NamedTuple):
    owner: int
    """uid of the execution."""
    attempt: int = 1
    outcome: Literal["", "completed", "failed"] = ""


class Slot(NamedTuple):
    """What the server has of a slot; and, for judging only, what has happened to it so far."""

    execution: Execution | None = None
    job: Job | None = None
    """Of the latest attempt."""
    fate: str = ""
    """What was announced first: Run or Not."""
    names: int = 0
    """How often its name was taken."""
    jobs: int = 0
    """How many Jobs were created for it."""
    spoilt: bool = False
    """Somebody has deleted its execution or Job."""
    excepted: bool = False
    """Besides, nobody is left who knows what the object stood for. That is the documented
    exception: the slot is not judged any more."""


class Seen(NamedTuple):
    """A slot in a leader's cache."""

    execution: Execution | None = None
    job: Job | None = None


class Item(NamedTuple):
    """A decision that is to be written; `first` is the first slot that it stands for."""

    decision: str
    slot: int
    first: int


Kind = Literal["execution", "Job", "task", "Shard"]
Content = Execution | Job | int | None
"""Of task and Shard: the watermark and the epoch."""


class Write(NamedTuple):
    """A request: POST (no `old`), DELETE (no `new`), else PATCH or PUT. `slot` is 0 for task and
    Shard."""

    kind: Kind
    slot: int
    old: Content
    new: Content
    epoch: int
    """Of the writer."""


Role = Literal["holds", "raised", "acts"]


class Leader(NamedTuple):
    """One term of leadership. Who stands by knows nothing that matters, so there is no more to a
    replica than its terms."""

    term: int
    lease: bool = True
    """False: somebody has deleted the Lease, and this leader has not noticed yet."""
    left: int = 0
    """Moves before it does."""
    role: Role = "holds"
    epoch: int = 0
    seen: tuple[Seen, ...] = ()
    status: int = 0
    """The watermark in the task's status, as seen."""
    decided: int = 0
    """engine.progress.Progress.watermark"""
    acknowledged: int = 0
    """engine.progress.Progress.acknowledged"""
    plan: tuple[Item, ...] = ()
    """Decisions that are being written, in this order."""
    reach: int = 0
    """The watermark once they are."""
    doubt: bool = False
    """A POST of an execution had no answer."""
    launched: frozenset[tuple[int, int]] = frozenset()
    """uids of executions and attempts whose Job was seen."""
    settled: bool = False
    """The epoch before was released: there is nothing to wait for."""


class State(NamedTuple):
    slots: tuple[Slot, ...]
    faults: int
    """How many more may happen."""
    now: int = 0
    watermark: int = 0
    """In the task's status."""
    epoch: int = 0
    """In the Shard."""
    fence: int = 0
    """The epoch that admission goes by; it follows."""
    released: bool = False
    """In the Shard: nothing of the epoch is under way any more."""
    leaders: tuple[Leader, ...] = ()
    """The last holds the Lease, or nobody does."""
    terms: int = 0
    late: frozenset[Write] = frozenset()
    """Requests of processes that were stopped: each may still arrive, at any time, or never."""
    broken: str = ""

    def slot(self, number: int) -> Slot:
        return self.slots[number - 1]

    def with_slot(self, number: int, slot: Slot) -> State:
        slots = (*self.slots[: number - 1], slot, *self.slots[number:])
        return self._replace(slots=slots)

    def with_leader(self, old: Leader, new: Leader | None) -> State:
        """With another state of a leader; None: its term is over."""
        changed = (new if leader is old else leader for leader in self.leaders)
        return self._replace(leaders=tuple(leader for leader in changed if leader is not None))


def seeing(leader: Leader, number: int, seen: Seen) -> Leader:
    """The leader with a slot in its cache as given."""
    before = leader.seen[number - 1]
    launched = leader.launched
    if seen.job is not None:
        launched |= {(seen.job.owner, seen.job.attempt)}
    gone = before.execution
    if gone is not None and (seen.execution is None or seen.execution.uid != gone.uid):
        launched = frozenset(pair for pair in launched if pair[0] != gone.uid)
    cache = (*leader.seen[: number - 1], seen, *leader.seen[number:])
    return leader._replace(seen=cache, launched=launched)
