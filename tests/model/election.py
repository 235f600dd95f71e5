"""The election model: two candidates for one Lease, on clocks that go on while calls are under way.

The decisions are the product's (domain/election.py); what is restated is the loop around them
(kube/election.py): look, campaign or defend, write, give a call up. Anything may take any time: a
write is sent, arrives and is answered in steps of their own, and a candidate that takes no step has
been stopped or killed. A tick is the retry period; times are relative to now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, NamedTuple, get_args

from model.explore import Step
from taskrunner.domain.election import (
    Acquire,
    Durations,
    Record,
    Renew,
    Sighting,
    campaign,
    defend,
    sight,
)

DURATIONS: Final = Durations(lease=3, renew_deadline=2, retry=1, poll=1)
_OLD: Final = int(DURATIONS.lease)
_NAMES: Final = ("A", "B")
_NOBODY: Final = ""
_GONE, _PRESENT, _NEW = 0, 1, 2
"""Versions of the Lease. Each write makes a new one, as it has another renewTime."""

Fault = Literal["release", "deleted Lease"]


class Entry(NamedTuple):
    """What the Lease says."""

    holder: str
    version: int


class Seen(NamedTuple):
    """domain.election.Sighting, with its age."""

    entry: Entry | None
    age: int = 0
    deleted: Entry | None = None


class Put(NamedTuple):
    """A write: PUT of the version `base`, or POST when there is none."""

    holder: str
    base: int | None
    age: int = 0
    answer: Literal["", "ok", "conflict"] = ""
    version: int = 0


class Candidate(NamedTuple):
    seen: Seen | None = None
    put: Put | None = None
    late: Put | None = None
    """A write that was given up, and may still arrive."""
    until: int = 0
    """For how long it may act."""


class State(NamedTuple):
    lease: Entry | None
    candidates: tuple[Candidate, Candidate]
    faults: int


@dataclass(frozen=True)
class ElectionRules:
    """All in: the design."""

    valid_from_sending: bool = True
    """A term counts from when its write was sent, not from when the answer came."""
    versioned_lease: bool = True
    """A Lease is replaced only in the version that was read."""
    deleted_is_not_free: bool = True
    """A Lease that was seen and is gone expires like one that is there."""


ELECTION_RULES: Final = tuple(field.name for field in fields(ElectionRules))


@dataclass(frozen=True)
class ElectionModel:
    """explore.Model of who may act: never two at the same time, and always somebody at last."""

    faults: int = 1
    kinds: frozenset[Fault] = frozenset(get_args(Fault))
    rules: ElectionRules = ElectionRules()

    def without(self, rule: str) -> ElectionModel:
        """The model with a rule taken out."""
        return replace(self, rules=replace(self.rules, **{rule: False}))

    def initial(self) -> State:
        """No Lease, and nobody has looked."""
        return State(None, (Candidate(), Candidate()), self.faults)

    def tidy(self, state: State) -> State:
        """Only the present version matters: one that is gone never comes back."""
        lease = state.lease
        now = None if lease is None else lease.version

        def mark(version: int) -> int:
            return _PRESENT if version == now else _GONE

        def entry(old: Entry | None) -> Entry | None:
            return old and Entry(old.holder, mark(old.version))

        def put(old: Put | None) -> Put | None:
            if old is None or old.answer == "conflict":
                return old
            base = None if old.base is None else mark(old.base)
            if old.answer == "" and self._hopeless(state, base):
                return Put(old.holder, None, 0, "conflict")
            return old._replace(base=base, version=mark(old.version))

        def candidate(old: Candidate) -> Candidate:
            seen, late = old.seen, put(old.late)
            if seen is not None:
                seen = seen._replace(entry=entry(seen.entry), deleted=entry(seen.deleted))
            late = None if late is None or late.answer else late._replace(age=0)
            return old._replace(seen=seen, put=put(old.put), late=late)

        first, second = (candidate(one) for one in state.candidates)
        return State(entry(lease), (first, second), state.faults)

    def _hopeless(self, state: State, base: int | None) -> bool:
        if base is None:
            return state.lease is not None and "deleted Lease" not in self.kinds
        return self.rules.versioned_lease and base == _GONE

    def broken(self, state: State) -> str:
        """Said of the state, as clocks go on by themselves."""
        both = all(candidate.until > 0 for candidate in state.candidates)
        return "Both may act at the same time." if both else ""

    def settled(self, state: State) -> bool:
        """Somebody may act."""
        return any(candidate.until > 0 for candidate in state.candidates)

    def show(self, state: State) -> str:
        """Who may act for how long."""
        said = (
            f"{name} {f'may act for {one.until}' if one.until else 'may not act'}"
            for name, one in zip(_NAMES, state.candidates, strict=True)
        )
        return "; ".join(said)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """All that may happen next."""
        older = [_older(candidate) for candidate in state.candidates]
        yield Step("time", "passes", state._replace(candidates=(older[0], older[1])))
        for number, candidate in enumerate(state.candidates):
            yield from self._calls(state, number, candidate)
            yield from self._arrivals(state, number, candidate)
        if state.faults:
            for step in self._faults(state._replace(faults=state.faults - 1)):
                yield step._replace(fault=True)

    def _calls(self, state: State, number: int, me: Candidate) -> Iterator[Step[State]]:
        name, put = _NAMES[number], me.put
        if put is None:
            seen = self._sighted(me.seen, state.lease)
            yield _step(state, number, "looks at the Lease", me._replace(seen=seen))
            if me.seen is None:
                return
            sighting = _sighting(me.seen)
            if not me.until:
                if isinstance(campaign(sighting, name, 0, DURATIONS), Acquire):
                    yield _step(state, number, "sends its claim", _sending(me, name))
            elif isinstance(defend(sighting, name, me.until, 0, DURATIONS), Renew):
                yield _step(state, number, "sends a renewal", _sending(me, name))
            else:
                yield _step(state, number, "sees that it is lost", me._replace(until=0))
        elif put.answer == "ok":
            mine = me._replace(put=None, seen=Seen(Entry(put.holder, put.version)))
            if put.holder == name:
                age = put.age if self.rules.valid_from_sending else 0
                mine = mine._replace(until=max(0, int(DURATIONS.renew_deadline) - age))
            yield _step(state, number, "hears that it is written", mine)
        elif put.answer == "conflict":
            yield _step(state, number, "hears of a conflict", me._replace(put=None))
        else:
            yield _step(state, number, "gives the call up", me._replace(put=None, late=put))

    def _arrivals(self, state: State, number: int, me: Candidate) -> Iterator[Step[State]]:
        if me.put is not None and not me.put.answer:
            after, put = self._commit(state, me.put)
            yield _step(after, number, f"write arrives: {put.answer}", me._replace(put=put))
        if me.late is not None:
            after, put = self._commit(state, me.late)
            yield _step(after, number, f"late write arrives: {put.answer}", me._replace(late=None))

    def _commit(self, state: State, put: Put) -> tuple[State, Put]:
        present = None if state.lease is None else state.lease.version
        blind = not self.rules.versioned_lease and present is not None
        if put.base != present and not blind:
            return state, put._replace(answer="conflict")
        written = state._replace(lease=Entry(put.holder, _NEW))
        return written, put._replace(answer="ok", version=_NEW)

    def _faults(self, state: State) -> Iterator[Step[State]]:
        for number, me in enumerate(state.candidates):
            if "release" in self.kinds and me.until and me.put is None:
                given = _sending(me._replace(until=0), _NOBODY)
                yield _step(state, number, "stops work, and sends its release", given)
        # Whoever does not know the holder, or has a write under way, may begin at once after the
        # deletion: two may act then, and the fence decides between them.
        known = all(_knows(one, state.lease) for one in state.candidates)
        if "deleted Lease" in self.kinds and state.lease is not None and known:
            yield Step("somebody", "deletes the Lease", state._replace(lease=None))

    def _sighted(self, before: Seen | None, lease: Entry | None) -> Seen:
        found = sight(None if before is None else _sighting(before), _record(lease), 0)
        if before is not None and before.entry == lease:
            return before
        deleted = before.entry if before is not None and found.deleted is not None else None
        return Seen(lease, 0, deleted if self.rules.deleted_is_not_free else None)


def _step(state: State, number: int, text: str, candidate: Candidate) -> Step[State]:
    first, second = state.candidates
    both = (candidate, second) if number == 0 else (first, candidate)
    return Step(_NAMES[number], text, state._replace(candidates=both))


def _sending(me: Candidate, holder: str) -> Candidate:
    entry = me.seen.entry if me.seen is not None else None
    return me._replace(put=Put(holder, None if entry is None else entry.version))


def _older(me: Candidate) -> Candidate:
    seen, put = me.seen, me.put
    if seen is not None:
        seen = seen._replace(age=min(seen.age + 1, _OLD))
    if put is not None:
        put = put._replace(age=min(put.age + 1, _OLD))
    return me._replace(seen=seen, put=put, until=max(0, me.until - 1))


def _knows(one: Candidate, lease: Entry | None) -> bool:
    entry = one.seen.entry if one.seen is not None else None
    knows = entry is not None and lease is not None and entry.holder == lease.holder
    return knows and one.put is None and one.late is None


def _record(entry: Entry | None) -> Record | None:
    if entry is None:
        return None
    duration = 1 if entry.holder == _NOBODY else DURATIONS.lease
    return Record(entry.holder, duration, 0, "", str(entry.version))


def _sighting(seen: Seen) -> Sighting:
    return Sighting(_record(seen.entry), -seen.age, _record(seen.deleted))
