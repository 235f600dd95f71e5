"""What a benchmark yields, and helpers to measure with."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a benchmark that needs a cluster may take."""

    rounds: int = 3
    """How often each thing that is compared is measured, in turns; what counts is the median."""
    small: bool = False
    """A minute at most, for CI: fewer objects, and nothing that takes long."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. Smaller is better."""

    name: str
    """Unique in its module, e.g. `parse p99`."""
    value: float
    unit: str
    note: str = ""
    """What the figure is of, for the reader of the table."""
    samples: tuple[float, ...] = ()
    """The values behind it, for a plot; in the JSON only."""


def cpu_times(calls: Iterable[Callable[[], object]]) -> list[float]:
    """CPU milliseconds of each call, in order.

    CPU time, not wall time: what is measured so waits for nothing, and other processes of the
    machine must not count. The garbage collector runs between the calls, not in them.
    """
    gc.collect()
    gc.disable()
    clock = time.thread_time_ns
    # The clock itself takes as much as a small call does: take its usual cost off.
    empty = sorted(-clock() + clock() for _ in range(1000))[500]
    try:
        times = []
        for number, call in enumerate(calls):
            if number % 5000 == 4999:
                gc.collect()
            started = clock()
            call()
            times.append(max(0, clock() - started - empty) / 1e6)
        return times
    finally:
        gc.enable()


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that so many percent are at or below (nearest rank); NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def median(values: Iterable[float]) -> float:
    """The middle one (the lower of two)."""
    return percentile(values, 50)
