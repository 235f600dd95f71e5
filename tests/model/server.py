"""The API server of the run model: it answers writes, and is judged by what it has accepted."""

from __future__ import annotations

from model.rules import Rules
from model.state import NOT, RUN, TERMINAL, Content, Execution, Job, Slot, State, Write

OK = "ok"


class ApiServer:
    """Takes writes one after the other, as etcd does."""

    def __init__(self, rules: Rules, *, forbid: bool) -> None:
        self._rules = rules
        self._forbid = forbid

    def commit(self, state: State, write: Write) -> tuple[State, str]:
        """The write reaches the server: the state after it, and the answer."""
        present = self._present(state, write)
        if write.old is None:
            if write.kind in ("execution", "Job") and self._fenced(state, write):
                return state, "refused by the fence"
            if present is not None:
                return state, "exists already"
        elif present is None:
            return state, "not found"
        elif not self._matches(write, present):
            return state, "conflict"
        match write.kind:
            case "execution":
                return self._execution(state, write), OK
            case "Job":
                return self._job(state, write), OK
            case "task":
                return _task(state, write), OK
            case "Shard":
                assert isinstance(write.new, int)
                return state._replace(epoch=write.new, released=write.new == state.epoch), OK

    def hopeless(self, state: State, write: Write) -> bool:
        """Whether the server will refuse the write from now on. (Epochs only grow, and a version
        that is gone does not come back.)"""
        if write.old is None:
            return self._fenced(state, write) and write.epoch < state.fence
        present = self._present(state, write)
        return present is None or not self._matches(write, present)

    def _present(self, state: State, write: Write) -> Content:
        """What has the name, or is to be changed."""
        match write.kind:
            case "execution":
                return state.slot(write.slot).execution
            case "Job":
                job = state.slot(write.slot).job
                assert isinstance(write.new, Job)
                later = job is not None and job.attempt < write.new.attempt
                return None if later and self._rules.attempt_in_name else job
            case "task":
                return state.watermark
            case "Shard":
                return state.epoch

    def _fenced(self, state: State, write: Write) -> bool:
        return self._rules.fence and write.epoch != state.fence

    def _matches(self, write: Write, present: Execution | Job | int) -> bool:
        deletes = write.new is None
        if isinstance(present, Execution) and isinstance(write.old, Execution) and deletes:
            return present.uid == write.old.uid
        return present == write.old or (write.kind != "Shard" and not self._rules.versioned)

    # --- what is accepted, and what must never be ------------------------------------------------

    def _execution(self, state: State, write: Write) -> State:
        slot, new = state.slot(write.slot), write.new
        if new is None:
            return state.with_slot(write.slot, slot._replace(execution=None))
        assert isinstance(new, Execution)
        if write.old is None:
            new = new._replace(uid=write.slot * 10 + slot.names)
            slot = slot._replace(execution=new, names=slot.names + 1)
            return _announced(state.with_slot(write.slot, slot), write.slot, new)
        before, broken = slot.execution, ""
        assert before is not None
        if new.decision != before.decision:
            return _announced(
                state.with_slot(write.slot, slot._replace(execution=new)), write.slot, new
            )
        new = before._replace(phase=new.phase, attempt=new.attempt)
        if before.phase in TERMINAL and new.phase != before.phase:
            broken = f"The run of slot {write.slot} was {before.phase}, and is now {new.phase}."
        elif new.phase == "Failed" and slot.job is not None and _good(slot.job, new):
            broken = f"The run of slot {write.slot} is recorded as Failed, but its Job is there."
        elif new.attempt > slot.jobs:
            broken = f"Attempt {new.attempt} of slot {write.slot} is recorded, but had no Job."
        return _breaking(state.with_slot(write.slot, slot._replace(execution=new)), broken, slot)

    def _job(self, state: State, write: Write) -> State:
        slot, broken = state.slot(write.slot), ""
        assert isinstance(write.new, Job)
        if slot.jobs >= write.new.attempt:
            broken = f"Slot {write.slot} gets a second Job for attempt {write.new.attempt}."
        elif slot.fate == NOT:
            broken = f"Slot {write.slot} gets a Job, and was announced as skipped or missed."
        elif self._forbid and any(_runs(other) for other in state.slots):
            broken = f"The Job of slot {write.slot} starts beside another one, under Forbid."
        changed = slot._replace(job=write.new, jobs=slot.jobs + 1, fate=slot.fate or RUN)
        return _breaking(state.with_slot(write.slot, changed), broken, slot)


def _task(state: State, write: Write) -> State:
    assert isinstance(write.new, int)
    after = state._replace(watermark=write.new)
    if write.new < state.watermark:
        return _breaking(after, f"The watermark goes back from {state.watermark} to {write.new}.")
    for number, slot in enumerate(state.slots[: write.new], start=1):
        if slot.fate == "":
            broken = f"Slot {number} is lost: the watermark passes it, and nobody has decided it."
            return _breaking(after, broken, slot)
    return after


def _announced(state: State, number: int, execution: Execution) -> State:
    """A decision is in the world: on one slot, or on all that a record stands for."""
    if execution.decision == "":
        return state
    fate = RUN if execution.decision == RUN else NOT
    for covered in range(execution.first, number + 1):
        slot = state.slot(covered)
        if slot.fate == "":
            state = state.with_slot(covered, slot._replace(fate=fate))
        elif slot.fate != fate:
            words = {RUN: "to run", NOT: "not to run"}
            broken = f"Slot {covered} was decided {words[slot.fate]}, and now {words[fate]}."
            state = _breaking(state, broken, slot)
    return state


def _good(job: Job, execution: Execution) -> bool:
    return job.owner == execution.uid and job.outcome != "failed"


def _runs(slot: Slot) -> bool:
    execution, job = slot.execution, slot.job
    if execution is None or job is None or job.outcome or slot.excepted:
        return False
    return job.owner == execution.uid and execution.active


def _breaking(state: State, broken: str, slot: Slot | None = None) -> State:
    if state.broken or not broken or (slot is not None and slot.excepted):
        return state
    return state._replace(broken=broken)
