"""The run model: one task, an API server, terms of leadership, and everything that goes wrong.

Who may act is explored apart (election.py). From there this model takes two things: terms do not
overlap while the Lease is not deleted; and what a process had prepared when it was stopped may
reach the server at any later time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from model.explore import Step
from model.leader import Moves, advance, describe, listed
from model.real import Decisions, Scope
from model.rules import Rules
from model.server import OK, ApiServer
from model.state import Leader, Seen, Slot, State, Write, seeing

OF_A_LEADER: Final = frozenset(("kill", "stop", "hand-over", "silence", "blind"))
OF_OTHERS: Final = frozenset(("deleted execution", "deleted Job", "deleted Lease"))
FAULTS: Final = OF_A_LEADER | OF_OTHERS
"""kill: a leader's process ends. stop: it is stopped for longer than its Lease, and what it had
prepared may still be sent. hand-over: it ends in good order. silence: a write is done, and its
answer lost. deleted …: by somebody else; that of a Lease counts twice, as two may act then. blind:
a cache loses a Job that is there (its label was taken off, say)."""


@dataclass(frozen=True)
class RunModel:
    """explore.Model of deciding, launching, following, reporting and cleaning up."""

    scope: Scope
    faults: int
    """How many, of all kinds together."""
    kinds: frozenset[str] = FAULTS
    rules: Rules = field(default_factory=Rules)
    overrun: int = 3
    """Moves of a leader after its Lease was deleted, before it notices."""

    @cached_property
    def _server(self) -> ApiServer:
        return ApiServer(self.rules, forbid=self.scope.policy == "Forbid")

    @cached_property
    def _decisions(self) -> Decisions:
        return Decisions(self.scope, self.rules)

    @cached_property
    def _moves(self) -> Moves:
        return Moves(self._decisions, self.rules)

    # --- explore.Model ---------------------------------------------------------------------------

    def initial(self) -> State:
        """Nobody leads, nothing is due."""
        return State(slots=(Slot(),) * self.scope.slots, faults=self.faults)

    def tidy(self, state: State) -> State:
        """Without late writes that will be refused whenever they arrive."""
        if state.late:
            late = frozenset(w for w in state.late if not self._server.hopeless(state, w))
            state = state._replace(late=late)
        for number, slot in enumerate(state.slots, start=1):
            if slot.spoilt and not slot.excepted and self._forgotten(state, number, slot):
                state = state.with_slot(number, slot._replace(excepted=True))
        return state

    def _forgotten(self, state: State, number: int, slot: Slot) -> bool:
        """Whether somebody who acts, or will, cannot know what a deleted object stood for."""
        acting = [leader for leader in state.leaders if leader.role == "acts"]
        if acting:
            return not all(_knows(leader, number, slot) for leader in acting)
        if slot.execution is not None:
            told = slot.execution.attempt if slot.job is None else slot.job.attempt
            return slot.execution.untold and slot.jobs > told
        objects = tuple(Seen(slot.execution, slot.job) for slot in state.slots)
        return self._decisions.begin(objects, state.watermark) < number

    def broken(self, state: State) -> str:
        """Noted by the server with the write that broke it."""
        return state.broken

    def settled(self, state: State) -> bool:
        """Time is over, one leader acts, all slots are decided, all runs ended, and it is known."""
        return (
            len(state.leaders) == 1
            and state.leaders[0].lease
            and state.leaders[0].role == "acts"
            and state.watermark == self.scope.slots
            and all(slot.fate for slot in state.slots)
            and not any(slot.execution and slot.execution.active for slot in state.slots)
        )

    def show(self, state: State) -> str:
        """The state in one line."""
        slots = (f"slot {n} {_shown(slot)}" for n, slot in enumerate(state.slots, start=1))
        return f"time {state.now}, decided until {state.watermark}; {'; '.join(slots)}"

    def steps(self, state: State) -> Iterator[Step[State]]:
        """All that may happen next."""
        yield from self._environment(state)
        if not any(leader.lease for leader in state.leaders):
            elected = Leader(state.terms + 1)
            led = state._replace(leaders=(*state.leaders, elected), terms=elected.term)
            yield Step(_name(elected), "gets the Lease", led)
        for leader in state.leaders:
            yield from self._term(state, leader)
            if leader.role == "acts" and (leader.lease or leader.left):
                yield from self._acting(state, leader)
        if state.faults:
            for step in self._all_faults(state):
                spent = step.state._replace(faults=step.state.faults - 1)
                yield Step(step.actor, step.text, spent, fault=True)

    def _acting(self, state: State, leader: Leader) -> Iterator[Step[State]]:
        before = leader if leader.lease else leader._replace(left=leader.left - 1)
        state = state.with_leader(leader, before)
        yield from _watch(state, before)
        for move in self._moves.of(before, state):
            after, answer = self._sent(state, move.write)
            told = move.then(answer, after)
            if after != state or told != before:
                yield _step(after, before, f"{move.text}{_said(answer)}", told)

    def _sent(self, state: State, write: Write | None) -> tuple[State, str]:
        return (state, "") if write is None else self._server.commit(state, write)

    # --- what nobody can stop --------------------------------------------------------------------

    def _environment(self, state: State) -> Iterator[Step[State]]:
        if state.now < self.scope.slots:
            later = state._replace(now=state.now + 1)
            yield Step("time", f"passes: slot {later.now} is due", later)
        if state.fence != state.epoch:
            followed = state._replace(fence=state.epoch)
            yield Step("server", f"the fence follows to epoch {state.epoch}", followed)
        for number, slot in enumerate(state.slots, start=1):
            job = slot.job
            if job is not None and not job.outcome:
                done = state.with_slot(number, slot._replace(job=job._replace(outcome="completed")))
                yield Step("cluster", f"the Job of slot {number} completes", done)
                if self.scope.retries:
                    bad = state.with_slot(number, slot._replace(job=job._replace(outcome="failed")))
                    yield Step("cluster", f"the Job of slot {number} fails", bad)
            if job is not None and (slot.execution is None or slot.execution.uid != job.owner):
                gone = state.with_slot(number, slot._replace(job=None))
                yield Step("cluster", f"collects the Job of slot {number}: its owner is gone", gone)
        for write in state.late:
            sent = state._replace(late=state.late - {write})
            after, answer = self._server.commit(sent, write)
            text = f"a late request arrives: {describe(write)}{_said(answer)}"
            yield Step("server", text, after)

    # --- terms -----------------------------------------------------------------------------------

    def _term(self, state: State, leader: Leader) -> Iterator[Step[State]]:
        rules = self.rules
        if leader.role == "holds" and rules.fence:
            write = _raise(state)
            after, _ = self._server.commit(state, write)
            raised = leader._replace(role="raised", epoch=after.epoch, settled=state.released)
            yield _step(after, leader, describe(write), raised)
        elif leader.role != "acts" and (
            state.fence >= leader.epoch or leader.settled or not rules.settle
        ):
            begun = listed(leader, state, self._decisions)
            yield _step(state, leader, "LISTs, and begins to act", begun)
        elif leader.epoch != state.epoch and leader.lease and rules.fence and rules.raise_again:
            text = "is refused by the fence, and takes over anew"
            yield _step(state, leader, text, Leader(leader.term))
        if not leader.lease:
            yield _step(state, leader, "notices that its Lease is gone, and stops", None)

    # --- faults ----------------------------------------------------------------------------------

    def _all_faults(self, state: State) -> Iterator[Step[State]]:
        for leader in state.leaders:
            yield from self._faults_of(state, leader)
        for number, slot in enumerate(state.slots, start=1):
            if "deleted execution" in self.kinds and slot.execution is not None:
                first = slot.execution.first
                gone = state.with_slot(number, slot._replace(execution=None))
                for covered in range(first, number + 1):
                    gone = gone.with_slot(covered, gone.slot(covered)._replace(spoilt=True))
                yield Step("somebody", f"deletes execution {number}", gone)
            if "deleted Job" in self.kinds and slot.job is not None:
                gone = state.with_slot(number, slot._replace(job=None, spoilt=True))
                yield Step("somebody", f"deletes the Job of slot {number}", gone)

    def _faults_of(self, state: State, leader: Leader) -> Iterator[Step[State]]:
        kinds, writes = self.kinds, self._prepared(state, leader)
        yield from self._endings(state, leader, writes)
        if "deleted Lease" in kinds and leader.lease and state.faults > 1:
            gone = state._replace(faults=state.faults - 1)
            gone = gone.with_leader(leader, leader._replace(lease=False, left=self.overrun))
            yield Step("somebody", f"deletes the Lease of {_name(leader)}", gone)
        for write in writes if "silence" in kinds and leader.role == "acts" else ():
            after, answer = self._server.commit(state, write)
            if answer == OK:
                text = f"{describe(write)}, and hears no answer"
                yield _step(after, leader, text, self._silent(leader, write))
        for number, seen in enumerate(leader.seen if "blind" in kinds else (), start=1):
            if seen.job is not None:
                lost = seeing(leader, number, Seen(seen.execution))
                yield _step(state, leader, f"loses the Job of slot {number} in its cache", lost)

    def _endings(
        self, state: State, leader: Leader, writes: frozenset[Write]
    ) -> Iterator[Step[State]]:
        late = state._replace(late=state.late | writes)
        if "kill" in self.kinds:
            yield _step(state, leader, "is killed; its Lease expires", None)
        if "stop" in self.kinds:
            held = "; ".join(sorted(describe(write) for write in writes)) or "nothing"
            yield _step(late, leader, f"is stopped; its Lease expires; prepared: {held}", None)
        fenced = self.rules.fence and leader.epoch == state.epoch
        if "hand-over" in self.kinds and leader.role == "acts" and fenced:
            write = Write("Shard", 0, state.epoch, state.epoch, leader.epoch)
            left, _ = self._server.commit(state if self.rules.released_clean else late, write)
            yield _step(left, leader, f"{describe(write)}, and gives its Lease back", None)

    def _prepared(self, state: State, leader: Leader) -> frozenset[Write]:
        """What may be on its way: a write of each worker."""
        if leader.role == "holds" and self.rules.fence:
            return frozenset((_raise(state),))
        if leader.role != "acts":
            return frozenset()
        return frozenset(m.write for m in self._moves.of(leader, state) if m.write is not None)

    def _silent(self, leader: Leader, write: Write) -> Leader:
        if write.kind != "execution" or write.old is not None:
            return leader
        return leader._replace(plan=(), reach=0, doubt=self.rules.look_after_silence)


def _step(state: State, before: Leader, text: str, after: Leader | None) -> Step[State]:
    return Step(_name(before), text, state.with_leader(before, after))


def _name(leader: Leader) -> str:
    return f"leader {leader.term}"


def _said(answer: str) -> str:
    return f" → {answer}" if answer not in ("", OK) else ""


def _raise(state: State) -> Write:
    return Write("Shard", 0, state.epoch, state.epoch + 1, state.epoch)


def _watch(state: State, leader: Leader) -> Iterator[Step[State]]:
    """What its watches may bring next: of each object the present state, each by itself, as late
    as may be. That covers every gap of a watch."""
    if leader.status != state.watermark:
        seen = leader._replace(status=state.watermark)
        yield _step(state, leader, "sees the task's status", seen)
    for number, slot in enumerate(state.slots, start=1):
        known = leader.seen[number - 1]
        if known.execution != slot.execution:
            seen = advance(seeing(leader, number, Seen(slot.execution, known.job)))
            yield _step(state, leader, f"sees execution {number} as it is", seen)
        if known.job != slot.job:
            seen = seeing(leader, number, Seen(known.execution, slot.job))
            yield _step(state, leader, f"sees the Job of slot {number} as it is", seen)


def _knows(leader: Leader, number: int, slot: Slot) -> bool:
    """Whether a leader can tell that a slot was decided, and that its Job was created."""
    execution = leader.seen[number - 1].execution
    if execution is None:
        return leader.decided >= number
    unseen = execution.untold and slot.jobs > execution.attempt
    return not unseen or (execution.uid, slot.jobs) in leader.launched


def _shown(slot: Slot) -> str:
    execution, job = slot.execution, slot.job
    said = "no execution" if execution is None else f"{execution.decision or 'undecided'}"
    if execution is not None and execution.phase:
        said += f" {execution.phase}"
    has = "no Job" if job is None else f"Job {job.outcome or 'active'}"
    return f"({said}, {has})"
