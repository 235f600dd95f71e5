"""Throws expressions at the planning core: `python -m fuzz [--minutes 10] [--seed 1]`.
With `--plans` it searches for whole tasks that are slow to evaluate (`fuzz.plans`).

For every text: it is refused with a CronError that has a message and a remedy, in at most 5 ms; or
it is accepted, fires, and all questions are answered in at most 10 ms each. Anything else is a
finding and makes the exit code 1. Three sources take turns: hypothesis with text of the dialect's
alphabet, random expressions with errors, and changed copies of the slowest texts found so far.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from differential.expressions import Expressions
from differential.strategies import ODD_ZONES, expressions
from fuzz import plans
from fuzz.hang import no_hang
from taskrunner.domain.cron import MAX_LENGTH, CronError, cron_timeline
from taskrunner.domain.cron_differences import differences_from_cronjob
from taskrunner.domain.cron_words import describe
from taskrunner.domain.timeline import DstPolicy, Timeline
from taskrunner.domain.zones import load_zone

NOW = 1_793_000_000
YEAR = 365 * 86_400
FIVE_YEARS = 5 * YEAR
REFUSE_LIMIT, ANSWER_LIMIT, PARSE_LIMIT = 5.0, 10.0, 5.0
"""CPU milliseconds; the percentiles of parsing are measured in bench/, this is the worst case."""
HANG_SECONDS = 5.0
ALPHABET = "0123456789*?/-,#LWH()@ \tSUNMOTEDRIAJFBPYGCVhmsu.+=~%\u00a0\u0665\n\0"
POLICIES = [
    DstPolicy(gap, overlap)
    for gap in ("RunAfter", "Skip")
    for overlap in ("First", "Second", "Both")
]


@dataclass
class Fuzz:
    """What was seen so far."""

    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    """A heap of the slowest texts, parents of new ones."""
    worst: dict[str, tuple[float, str]] = field(default_factory=dict)

    def check(self, text: str) -> None:
        """Checks one text."""
        self.counts["texts"] += 1
        zone, dst = self.random.choice(ODD_ZONES), self.random.choice(POLICIES)
        timeline: list[Timeline] = []

        def parse() -> None:
            try:
                timeline.append(cron_timeline(text, zone=zone, dst=dst, hash_key="qa/nightly"))
            except CronError as error:
                if not (error.message and error.remedy and len(str(error)) < 1000):
                    self.findings.append(f"{text!r} has a poor message: {error}")

        try:
            with no_hang(HANG_SECONDS):
                took = self._timed("parse", text, parse, PARSE_LIMIT)
                if not timeline:
                    self.counts["refused"] += 1
                    self._note("refuse", took, text, REFUSE_LIMIT)
                else:
                    self.counts["accepted"] += 1
                    took += self._ask(text, zone, dst, timeline[0])
                differences_from_cronjob(text, zone)
        except Exception as error:  # noqa: BLE001 - any other exception is what we look for
            self.findings.append(f"{text!r} in {zone}: {type(error).__name__}: {error}")
            return
        heapq.heappush(self.slowest, (took, text))
        if len(self.slowest) > 200:
            heapq.heappop(self.slowest)

    def _ask(self, text: str, zone: str, dst: DstPolicy, timeline: Timeline) -> float:
        """Asks an accepted timeline; returns the milliseconds of the slowest answer."""
        at = NOW + self.random.randrange(-20 * YEAR, 20 * YEAR)
        following = timeline.next_after(at)
        asked: list[tuple[str, Callable[[], object]]] = [
            ("next", lambda: timeline.next_after(at)),
            ("previous", lambda: timeline.previous_before(at)),
            ("count", lambda: timeline.count_between(at, at + YEAR)),
            ("describe", lambda: describe(text)),
        ]
        slowest = max(self._timed(name, text, call, ANSWER_LIMIT) for name, call in asked)
        if following is None:
            self._never(text, zone, dst)
        elif following.time > at + FIVE_YEARS:
            self.counts["rarer than five years"] += 1
        if following and timeline.previous_before(following.time + 1) != following:
            self.findings.append(f"{text!r} in {zone}: there and back differ after {at}")
        return slowest

    def _never(self, text: str, zone: str, dst: DstPolicy) -> None:
        """No slot at all: only for a time that is skipped each time, which admission warns of."""
        shown = cron_timeline(text, zone=zone, dst=DstPolicy(), hash_key="qa/nightly")
        never_at_all = shown.next_after(NOW - 20 * YEAR) is None
        if text.lstrip().lower().startswith("@every"):
            self.counts["interval beyond 2200"] += 1
        elif dst.gap != "Skip" or never_at_all:
            self.findings.append(f"{text!r} in {zone} is accepted and never fires")
        else:
            self.counts["always in a skipped gap"] += 1

    def _timed(self, name: str, text: str, call: Callable[[], object], limit: float) -> float:
        """CPU milliseconds of a call; the best of several when it seems too slow."""
        took = _milliseconds(call)
        if took > limit / 2:
            took = min(took, *(_milliseconds(call) for _ in range(5)))
        self._note(name, took, text, limit)
        return took

    def _note(self, name: str, took: float, text: str, limit: float) -> None:
        if took > self.worst.get(name, (0.0, ""))[0]:
            self.worst[name] = (took, text)
        if took > limit:
            self.findings.append(f"{name} takes {took:.1f} ms: {text!r}")


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - started) / 1e6


def with_hypothesis(fuzz: Fuzz, number: int) -> None:
    """A round of text from hypothesis: half of it random, half near the grammar."""
    text = st.text(st.sampled_from(ALPHABET), max_size=MAX_LENGTH + 10) | st.text(max_size=60)

    @settings(
        max_examples=1_000, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis_seed(number)
    @given(text | expressions())
    def one(drawn: str) -> None:
        fuzz.check(drawn)

    one()


def random_texts(source: Expressions) -> Iterator[str]:
    """A round of random expressions, right and wrong."""
    makers = [source.dialect, source.broken, source.standard, source.descriptor]
    for _ in range(2_000):
        yield source.random.choice(makers)()


def mutants(fuzz: Fuzz) -> Iterator[str]:
    """A round of changed copies of slow texts."""
    pick = fuzz.random
    for _ in range(2_000):
        _, text = pick.choice(fuzz.slowest)
        for _ in range(pick.randint(1, 4)):
            place = pick.randrange(len(text) + 1)
            what = pick.random()
            if what < 0.4:
                text = text[:place] + pick.choice(ALPHABET) + text[place:]
            elif what < 0.6:
                text = text[:place] + text[place + pick.randint(1, 5) :]
            elif what < 0.8:  # repeat a part: long lists are slow ones
                part = text[place : place + pick.randint(1, 12)]
                text = text[:place] + part * pick.randint(1, 30) + text[place:]
            else:
                _, other = pick.choice(fuzz.slowest)
                text = text[:place] + other[pick.randrange(len(other) + 1) :]
        yield text[: MAX_LENGTH + 5]


def run(seconds: float, seed: int) -> Fuzz:
    """Fuzzes for so many seconds."""
    fuzz = Fuzz(random.Random(seed))
    source = Expressions(seed)
    for zone in ODD_ZONES:
        load_zone(zone)  # once in a process; not the expression's time
    until = time.monotonic() + seconds
    number = seed
    while time.monotonic() < until and len(fuzz.findings) < 20:
        number += 1
        with_hypothesis(fuzz, number)
        for text in random_texts(source):
            fuzz.check(text)
        for text in mutants(fuzz):
            fuzz.check(text)
    return fuzz


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--plans", action="store_true", help="search for tasks that are slow to evaluate instead"
    )
    arguments = parser.parse_args()
    if arguments.plans:
        found = plans.search(arguments.minutes * 60, arguments.seed)
        print(", ".join(f"{found.counts[name]:,} {name}" for name in ("accepted", "refused")))
        print(*found.shown(), *found.findings, f"{len(found.findings)} findings", sep="\n")
        return 1 if found.findings else 0
    fuzz = run(arguments.minutes * 60, arguments.seed)
    print(", ".join(f"{count:,} {name}" for name, count in fuzz.counts.items()))
    for name, (took, text) in sorted(fuzz.worst.items()):
        print(f"slowest {name}: {took:.2f} ms {text!r}")
    print(*fuzz.findings, f"{len(fuzz.findings)} findings", sep="\n")
    return 1 if fuzz.findings else 0


if __name__ == "__main__":
    sys.exit(main())
