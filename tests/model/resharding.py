"""The model of a change of the number of shards, with the fence as the only guard.

Two shards become three; the namespace that is looked at moves from shard 1 to shard 2. Two replicas
of the old number take shard 1 and write for the namespace; two of the new number change the number
and then take shard 2. There are no Leases: each may begin at any time, be stopped between any two
calls and go on later, as if its Lease had run out meanwhile. What is restated is
engine/resharding.py and the order of reads and writes in engine/fence.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final, NamedTuple

from model.explore import Step

_OLD, _NEW = 2, 3
_NONE, _GONE = -1, -2
"""Versions that were not read, or are not the present one any more; that is always 0."""


class Shard0(NamedTuple):
    """Shard 0: the number in force, and whether old epochs are being closed."""

    number: int = _OLD
    closing: bool = False
    version: int = 0


class Shard1(NamedTuple):
    """Shard 1, of the old number: which old replica has its epoch; 0 for none of them."""

    epoch: int = 0
    version: int = 0


class Old(NamedTuple):
    """A replica of the old number, on its way to a write for the namespace."""

    at: int = 0
    """0: has read nothing; 1: its Shard; 2: Shard 0, too; 3: has raised its epoch and acts."""
    read: int = _NONE
    """The version of Shard 1 that it has read."""


class Changer(NamedTuple):
    """A replica of the new number that changes it."""

    at: int = 0
    """Its next write. 0: the number; 1: the epoch of shard 1; 2: that closing is over."""
    read: int = _NONE
    """The version that it has read of what it writes next."""
    mine: int = _NONE
    """The version of Shard 0 that it has written."""


class State(NamedTuple):
    shard0: Shard0
    shard1: Shard1
    olds: tuple[Old, Old]
    changers: tuple[Changer, Changer]
    acts: bool = False
    """The first term of the new number acts, its fence has settled."""
    passed: bool = False
    """A write of the old number has passed the fence since."""


@dataclass(frozen=True)
class ReshardingRules:
    """All in: the design."""

    closing_first: bool = True
    """Nobody begins while the epochs of the old shards are being raised."""
    number_before_write: bool = True
    """Whoever begins a term reads the number after its Shard and before writing that."""
    raise_the_others: bool = True
    """The epochs of the other old shards are raised, too."""


RESHARDING_RULES: Final = tuple(field.name for field in fields(ReshardingRules))


@dataclass(frozen=True)
class ReshardingModel:
    """explore.Model: when the new number acts, nothing of the old one passes; at last it acts."""

    rules: ReshardingRules = ReshardingRules()

    def without(self, rule: str) -> ReshardingModel:
        """The model with a rule taken out."""
        return replace(self, rules=replace(self.rules, **{rule: False}))

    def initial(self) -> State:
        """The old number is in force."""
        return State(Shard0(), Shard1(), (Old(), Old()), (Changer(), Changer()))

    def tidy(self, state: State) -> State:
        """Only whether a version is the present one matters."""

        def mark(version: int, now: int) -> int:
            return version if version == _NONE else 0 if version == now else _GONE

        zero, one = state.shard0.version, state.shard1.version
        olds = [old._replace(read=mark(old.read, one)) for old in state.olds]
        changers = [
            each._replace(
                read=mark(each.read, one if each.at == 1 else zero), mine=mark(each.mine, zero)
            )
            for each in state.changers
        ]
        return state._replace(
            shard0=state.shard0._replace(version=0),
            shard1=state.shard1._replace(version=0),
            olds=(olds[0], olds[1]),
            changers=(changers[0], changers[1]),
        )

    def broken(self, state: State) -> str:
        """Looked at after each step."""
        return "A write of the old number passes while the new one acts." if state.passed else ""

    def settled(self, state: State) -> bool:
        """The new number acts."""
        return state.acts

    def show(self, state: State) -> str:
        """The Shards in words."""
        zero = state.shard0
        number = f"{zero.number}{', closing' if zero.closing else ''}"
        return f"number {number}; epoch of shard 1: {state.shard1.epoch}; acts: {state.acts}"

    def steps(self, state: State) -> Iterator[Step[State]]:
        """All that may happen next."""
        for number, old in enumerate(state.olds):
            yield from self._old(state, number, old)
        for number, changer in enumerate(state.changers):
            yield from self._change(state, number, changer)
        zero = state.shard0
        if zero.number == _NEW and not zero.closing and not state.acts:
            yield Step("new", "takes shard 2, settles, acts", state._replace(acts=True))

    # --- the old number -------------------------------------------------------------------------

    def _old(self, state: State, number: int, old: Old) -> Iterator[Step[State]]:
        name = f"old {number}"

        def then(text: str, new: Old, after: State = state) -> Step[State]:
            first, second = after.olds
            olds = (new, second) if number == 0 else (first, new)
            return Step(name, text, after._replace(olds=olds))

        one, zero = state.shard1, state.shard0
        if old.at == 0:
            yield then("reads Shard 1", Old(1, one.version))
        elif old.at == 1:
            if not self.rules.number_before_write or (zero.number == _OLD and not zero.closing):
                yield then("reads Shard 0: its number is in force", old._replace(at=2))
            else:
                yield then("reads Shard 0: another number is in force", Old())
        elif old.at == 2:
            if old.read != one.version:
                yield then("PUT Shard 1: conflict", Old())
            else:
                raised = Shard1(number + 1, one.version + 1)
                yield then("PUT Shard 1: raised", Old(3), state._replace(shard1=raised))
        elif one.epoch == number + 1:
            yield then("writes a run", old, state._replace(passed=state.acts))
        else:
            yield then("writes a run: refused", Old())

    # --- the change -----------------------------------------------------------------------------

    def _change(self, state: State, number: int, me: Changer) -> Iterator[Step[State]]:
        """Writes: 1 the number, 2 the epoch of shard 1, 3 that closing is over."""
        name = f"changer {number}"

        def then(text: str, new: Changer, after: State = state) -> Step[State]:
            first, second = after.changers
            changers = (new, second) if number == 0 else (first, new)
            return Step(name, text, after._replace(changers=changers))

        zero, one = state.shard0, state.shard1
        if me.read == _NONE:
            if me.at == 1 and not self.rules.raise_the_others:
                yield then("leaves Shard 1 as it is", me._replace(at=2))
            elif me.at == 1:
                yield then("reads Shard 1", me._replace(read=one.version))
            elif me.at == 0 and zero.number == _NEW and not zero.closing:
                return  # It is done.
            elif me.at == 2 and me.mine != zero.version:
                yield then("reads Shard 0: somebody else has taken it", Changer())
            else:
                yield then("reads Shard 0", me._replace(read=zero.version))
        elif me.read != (one.version if me.at == 1 else zero.version):
            again = me._replace(read=_NONE)
            yield then("its write: conflict", again)
        elif me.at == 0:
            written = Shard0(_NEW, self.rules.closing_first, zero.version + 1)
            mine = Changer(1, mine=written.version)
            yield then("PUT Shard 0: the number", mine, state._replace(shard0=written))
        elif me.at == 1:
            raised = Shard1(0, one.version + 1)
            after = me._replace(at=2, read=_NONE)
            yield then("PUT Shard 1: raised", after, state._replace(shard1=raised))
        else:
            written = Shard0(_NEW, False, zero.version + 1)
            yield then("PUT Shard 0: closing is over", Changer(), state._replace(shard0=written))
