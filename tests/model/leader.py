"""What a leader may do next: the engine's shell, restated around the real decisions.

Mirrors engine/plans.py (plan, decide), runs.py and launch.py (launch, follow) and report.py
(report, clean up). Workers run side by side, so any of the moves may be the next. Run Leases are
left out: no decision depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from model.real import Decisions
from model.rules import Rules
from model.server import OK
from model.state import RUN, Content, Execution, Item, Job, Kind, Leader, Seen, State, Write, seeing
from taskrunner.domain.lifecycle import Confirm, Finish, Launch, MarkRunning, Retry


class Move(NamedTuple):
    """`then` makes the leader after the move from the answer, and the server as it was then."""

    text: str
    write: Write | None
    then: Callable[[str, State], Leader]


def listed(leader: Leader, state: State, decisions: Decisions) -> Leader:
    """The leader after a consistent LIST of everything, with all that it knew forgotten."""
    seen = tuple(Seen(slot.execution, slot.job) for slot in state.slots)
    jobs = frozenset((slot.job.owner, slot.job.attempt) for slot in seen if slot.job is not None)
    begun = leader._replace(seen=seen, status=state.watermark, launched=jobs, plan=(), doubt=False)
    return begun._replace(
        role="acts", decided=decisions.begin(seen, state.watermark), acknowledged=state.watermark
    )


class Moves:
    """All that a leader does depends on its own memory, and on what the server answers."""

    def __init__(self, decisions: Decisions, rules: Rules) -> None:
        self._decisions = decisions
        self._rules = rules

    def of(self, leader: Leader, state: State) -> Iterator[Move]:
        """What may come next. `state` is looked at only for the time, and by live reads."""
        yield from self._plan(leader, state)
        for number, seen in enumerate(leader.seen, start=1):
            if seen.execution is not None:
                yield from self._run(leader, state, number, seen.execution, seen.job)
        behind = leader.status > leader.decided and not self._rules.only_forward
        if leader.status < leader.decided or behind:
            yield _write(leader, "task", 0, leader.status, leader.decided)
        for number in self._decisions.expendable(leader.seen, leader.acknowledged):
            yield _write(leader, "execution", number, leader.seen[number - 1].execution, None)

    # --- plan and decide -------------------------------------------------------------------------

    def _plan(self, leader: Leader, state: State) -> Iterator[Move]:
        if leader.doubt:
            text = "reads the executions live, and begins the task anew"
            yield Move(text, None, lambda _, server: self._anew(leader, server))
        elif leader.plan:
            item = leader.plan[0]
            known = leader.seen[item.slot - 1].execution
            new = Execution(0, item.decision, item.first)
            if known is not None:  # The decision was not in the POST.
                new = known._replace(decision=item.decision, first=item.first)
            elif not self._rules.decision_in_post:
                new = Execution(0, "", item.slot)
            yield _write(leader, "execution", item.slot, known, new)
        else:
            executions = (seen.execution for seen in leader.seen)
            active = sum(execution is not None and execution.active for execution in executions)
            plan, reach = self._decisions.plan(leader.decided, active, state.now)
            if plan:
                planned = advance(leader._replace(plan=plan, reach=reach))
                text = "plans: " + ", ".join(words(item) for item in plan)
                yield Move(text, None, lambda _, __: planned)

    def _anew(self, leader: Leader, server: State) -> Leader:
        for number, slot in enumerate(server.slots, start=1):
            seen = leader.seen[number - 1]._replace(execution=slot.execution)
            leader = seeing(leader, number, seen)
        decided = max(leader.decided, self._decisions.begin(leader.seen, leader.status))
        return leader._replace(decided=decided, doubt=False)

    # --- launch and follow -----------------------------------------------------------------------

    def _run(
        self, leader: Leader, state: State, number: int, execution: Execution, job: Job | None
    ) -> Iterator[Move]:
        if execution.decision == "" and leader.plan and leader.plan[0].slot == number:
            return  # It is about to write the decision.
        launched = (attempt for uid, attempt in leader.launched if uid == execution.uid)
        match self._decisions.step(number, execution, job, max(launched, default=0)):
            case Launch(attempt):
                yield _write(leader, "Job", number, None, Job(execution.uid, attempt))
            case Confirm(attempt):
                live = state.slot(number).job
                if self._rules.live_get and live is not None and live.attempt == attempt:
                    text = f"looks at the server: the Job of slot {number} is there"
                    found = seeing(leader, number, Seen(execution, live))
                    yield Move(text, None, lambda _, __: found)
                else:
                    phase = self._decisions.without_job(number, execution, attempt).phase
                    yield _patch(leader, number, execution, phase, attempt)
            case MarkRunning(attempt):
                yield _patch(leader, number, execution, "Running", attempt)
            case Retry(attempt):
                yield _patch(leader, number, execution, "Retrying", attempt)
            case Finish(phase):
                attempt = execution.attempt if job is None else job.attempt
                yield _patch(leader, number, execution, phase, attempt)


def _patch(leader: Leader, number: int, execution: Execution, phase: str, attempt: int) -> Move:
    new = execution._replace(phase=phase, attempt=attempt)
    return _write(leader, "execution", number, execution, new)


def _write(leader: Leader, kind: Kind, slot: int, old: Content, new: Content) -> Move:
    write = Write(kind, slot, old, new, leader.epoch)
    return Move(describe(write), write, lambda answer, now: _told(leader, write, answer, now))


def _told(leader: Leader, write: Write, answer: str, server: State) -> Leader:
    """What the leader knows once it has the answer."""
    if write.kind == "task":
        if answer != OK:
            return leader
        assert isinstance(write.new, int)
        return leader._replace(status=write.new, acknowledged=write.new)
    seen, slot = leader.seen[write.slot - 1], server.slot(write.slot)
    if write.old is None:  # POST: what exists already is read, and stands.
        if answer.startswith("refused"):
            return leader
        if write.kind == "execution":
            known = seeing(leader, write.slot, Seen(slot.execution, seen.job))
            return advance(known)
        assert isinstance(write.new, Job)
        job = slot.job and slot.job._replace(attempt=write.new.attempt)  # So its name says.
        return seeing(leader, write.slot, Seen(seen.execution, job))
    if write.new is None:
        gone = answer in (OK, "not found")
        return seeing(leader, write.slot, Seen(None, seen.job)) if gone else leader
    if answer != OK:
        return leader
    return advance(seeing(leader, write.slot, Seen(slot.execution, seen.job)))


def advance(leader: Leader) -> Leader:
    """Pass over what is decided at the head of the plan. Any execution of the slot will do."""
    while leader.plan:
        item, *rest = leader.plan
        known = leader.seen[item.slot - 1].execution
        if known is None or known.decision == "":
            return leader
        reached = item.slot if item.decision == RUN else 0
        if not rest:
            reached = max(reached, leader.reach)
        leader = leader._replace(plan=tuple(rest), decided=max(leader.decided, reached))
    return leader._replace(reach=0)


def describe(write: Write) -> str:
    """A write in a few words."""
    old, new = write.old, write.new
    if write.kind == "task":
        return f"PATCH task status: decided until {new}"
    if write.kind == "Shard":
        return f"PUT Shard: epoch {new}" if new != old else "PUT Shard: released"
    if isinstance(new, Job):
        return f"POST Job {write.slot}-{new.attempt}"
    if not isinstance(new, Execution):
        return f"DELETE execution {write.slot}, beyond the history limit"
    said = words(Item(new.decision, write.slot, new.first)) if new.decision else "no decision yet"
    if old is None:
        return f"POST execution {write.slot}: {said}"
    if isinstance(old, Execution) and new.decision != old.decision:
        return f"PATCH execution {write.slot}: {said}"
    return f"PATCH execution {write.slot}: {new.phase}"


def words(item: Item) -> str:
    """A decision in words."""
    if item.first < item.slot:
        return f"{item.decision} slots {item.first} to {item.slot}"
    return f"{item.decision} slot {item.slot}"
