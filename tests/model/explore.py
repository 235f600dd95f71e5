"""Visits every state that a model can reach, breadth first, so that what is found is shortest."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S")


class Step(NamedTuple, Generic[S]):
    """Something that may happen next. `fault`: something that has to stop for things to settle."""

    actor: str
    text: str
    state: S
    fault: bool = False


class Model(Protocol[S]):
    """States must be hashable, and finitely many."""

    def initial(self) -> S:
        """Where it begins."""
        ...

    def steps(self, state: S) -> Iterable[Step[S]]:
        """All that may happen next, each on its own."""
        ...

    def tidy(self, state: S) -> S:
        """The one state that stands for all those that differ in nothing that matters."""
        ...

    def broken(self, state: S) -> str:
        """Which invariant the last step broke, as a sentence; "" for none."""
        ...

    def settled(self, state: S) -> bool:
        """All is done that was to be done."""
        ...

    def show(self, state: S) -> str:
        """The state in one line, for people."""
        ...


@dataclass(frozen=True)
class Report:
    """What an exploration has seen."""

    states: int
    steps: int
    depth: int
    seconds: float
    """Of CPU."""
    broken: str = ""
    """The invariant that can be broken, as a sentence; "" when none can."""
    timeline: str = ""
    """The shortest way there, one step a line; faults have a mark."""

    def __str__(self) -> str:
        size = f"{self.states:,} states, {self.steps:,} steps, depth {self.depth}"
        text = f"{size}, {self.seconds:.1f} s"
        return f"{text}\n\n{self.timeline}\nBROKEN: {self.broken}" if self.broken else text


class TooManyStatesError(Exception):
    """The bounds of a model are too wide to visit it whole."""


def explore(model: Model[S], *, limit: int = 5_000_000) -> Report:
    """Visit all states; stop at the first that breaks an invariant, or from which, with no more
    faults, the settled end cannot be reached any more.

    In a finite model the second is the same as: if each thing that stays possible happens at some
    time, the end is reached, in whatever order. Raises TooManyStatesError.
    """
    visit = _Visit(model, limit)
    gc.disable()  # States have no cycles; looking for some takes a quarter of the time.
    try:
        visit.run()
    finally:
        gc.enable()
    return visit.report()


class _Visit(Generic[S]):
    def __init__(self, model: Model[S], limit: int) -> None:
        self._model = model
        self._limit = limit
        self._states: list[S] = []
        self._ids: dict[S, int] = {}
        self._parents = array("l")
        self._depths = array("l")
        self._steps = 0
        self._from, self._to = array("l"), array("l")  # Steps that are no faults.
        self._began = time.process_time()
        self._broken, self._at = "", -1

    def run(self) -> None:
        self._add(self._model.tidy(self._model.initial()), -1)
        number = 0
        while number < len(self._states) and not self._broken:
            self._expand(number)
            number += 1
        if not self._broken:
            self._find_stuck()

    def report(self) -> Report:
        return Report(
            len(self._states),
            self._steps,
            max(self._depths),
            time.process_time() - self._began,
            self._broken,
            self._timeline() if self._broken else "",
        )

    def _expand(self, number: int) -> None:
        tidy, ids = self._model.tidy, self._ids
        for step in self._model.steps(self._states[number]):
            self._steps += 1
            state = tidy(step.state)
            found = ids.get(state)
            if found is None:
                found = self._add(state, number)
            if not step.fault:
                self._from.append(number)
                self._to.append(found)
            if self._broken:
                return

    def _add(self, state: S, parent: int) -> int:
        number = self._ids[state] = len(self._states)
        if number >= self._limit:
            raise TooManyStatesError(f"more than {self._limit:,} states")
        self._states.append(state)
        self._parents.append(parent)
        self._depths.append(self._depths[parent] + 1 if parent >= 0 else 0)
        broken = self._model.broken(state)
        if broken:
            self._broken, self._at = broken, number
        return number

    def _find_stuck(self) -> None:
        """Mark backwards from the settled ends; steps mostly lead from lower numbers to higher."""
        ends = bytearray(self._model.settled(state) for state in self._states)
        changed = True
        while changed:
            changed = False
            for source, target in zip(reversed(self._from), reversed(self._to), strict=True):
                if ends[target] and not ends[source]:
                    ends[source] = changed = True
        stuck = ends.find(0)
        if stuck >= 0:
            self._at = stuck
            rest = self._model.show(self._states[self._come_to_rest(stuck)])
            self._broken = f"Without more faults it comes to rest here: something is stuck. {rest}"

    def _come_to_rest(self, number: int) -> int:
        """Where it ends without faults, by some way."""
        passed = {number}
        while True:
            ahead = (
                self._ids[self._model.tidy(step.state)]
                for step in self._model.steps(self._states[number])
                if not step.fault
            )
            further = next((one for one in ahead if one not in passed), None)
            if further is None:
                return number
            number = further
            passed.add(number)

    def _timeline(self) -> str:
        lines = []
        for position, step in enumerate(self._path(), start=1):
            mark = "!" if step.fault else " "
            lines.append(f"{position:>4}  {mark} {step.actor:<9} {step.text}")
        return "\n".join((*lines, f"{'':>6} then: {self._model.show(self._states[self._at])}"))

    def _path(self) -> Iterator[Step[S]]:
        numbers = [self._at]
        while self._parents[numbers[-1]] >= 0:
            numbers.append(self._parents[numbers[-1]])
        numbers.reverse()
        for before, after in pairwise(numbers):
            yield next(
                step
                for step in self._model.steps(self._states[before])
                if self._model.tidy(step.state) == self._states[after]
            )
