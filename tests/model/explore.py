"""Visits every state that a model can reach, breadth first, so that what is found is shortest."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterable
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


def explore(model: Model[S]) -> Report:
    """Visit all states; stop at the first that breaks an invariant, or from which, with no more
    faults, the settled end cannot be reached any more.

    In a finite model the second is the same as: if each thing that stays possible happens at some
    time, the end is reached, in whatever order.
    """
    began, visit = time.process_time(), _Visit(model)
    gc.disable()  # States have no cycles; looking for some takes a quarter of the time.
    try:
        broken, number = visit.run()
    finally:
        gc.enable()
    timeline = visit.timeline(number) if broken else ""
    size = (len(visit.states), len(visit.targets), visit.depth())
    return Report(*size, time.process_time() - began, broken, timeline)


class _Visit(Generic[S]):
    def __init__(self, model: Model[S]) -> None:
        self._model = model
        self.states: list[S] = []
        self._numbers: dict[S, int] = {}
        self._parents = array("l")
        self.sources, self.targets = array("l"), array("l")
        """Of steps; a fault has the source -1."""

    def run(self) -> tuple[str, int]:
        """What is broken, and in which state."""
        model, number = self._model, 0
        self._add(model.tidy(model.initial()), -1)
        while number < len(self.states):
            for step in model.steps(self.states[number]):
                state = model.tidy(step.state)
                found = self._numbers.get(state)
                if found is None:
                    found = self._add(state, number)
                    if broken := model.broken(state):
                        return broken, found
                self.sources.append(-1 if step.fault else number)
                self.targets.append(found)
            number += 1
        return self._stuck()

    def _add(self, state: S, parent: int) -> int:
        number = self._numbers[state] = len(self.states)
        self.states.append(state)
        self._parents.append(parent)
        return number

    def _stuck(self) -> tuple[str, int]:
        """Mark backwards from the settled ends; steps mostly lead from lower numbers to higher."""
        ends = bytearray(self._model.settled(state) for state in self.states)
        changed = True
        while changed:
            changed = False
            for source, target in zip(reversed(self.sources), reversed(self.targets), strict=True):
                if ends[target] and source >= 0 and not ends[source]:
                    ends[source] = changed = True
        number = ends.find(0)
        return ("", 0) if number < 0 else ("Something is stuck: the end is out of reach.", number)

    def depth(self) -> int:
        """Steps to the state that is farthest from the start: one of the last that was met."""
        return len(self._path(len(self.states) - 1)) - 1

    def timeline(self, number: int) -> str:
        """The shortest way to a state, one step a line."""
        lines: list[str] = []
        for before, after in pairwise(self._path(number)):
            steps = self._model.steps(self.states[before])
            step = next(s for s in steps if self._model.tidy(s.state) == self.states[after])
            mark = "!" if step.fault else " "
            lines.append(f"{len(lines) + 1:>4}  {mark} {step.actor:<9} {step.text}")
        return "\n".join((*lines, f"{'':>6} then: {self._model.show(self.states[number])}"))

    def _path(self, number: int) -> list[int]:
        path = [number]
        while self._parents[path[-1]] >= 0:
            path.append(self._parents[path[-1]])
        return path[::-1]
