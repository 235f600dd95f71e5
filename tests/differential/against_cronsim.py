"""Compares next slots with cronsim, which follows Debian's cron.

Run it in full with `PYTHONPATH=tests .venv/bin/python -m differential.against_cronsim`. A triple is
(expression, zone, instant); the answer is the first slot after the instant. A disagreement must
fall under one of the reasons below, and the independent oracle must side with us.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import cache, lru_cache
from multiprocessing import get_context

from cronsim import CronSim, CronSimError

from differential.expressions import NAMES, Expressions
from differential.oracle import Oracle, zoneinfo
from differential.transitions import YEAR_2020, YEAR_2036, Transition, transitions
from taskrunner.domain.cron import CronError, cron_timeline
from taskrunner.domain.timeline import DstPolicy
from taskrunner.domain.zones import load_zone, zone_names

Triple = tuple[str, str, int]

STARTS = (-86_400, -7_200, -1_800, -1, 0, 60, 1_800, 3_600)
"""Where a question begins, in seconds from the change."""

PAST = "cronsim: asked in the second pass of an overlap, it answers with a time in the past"
UNEVEN = "cronsim: steps by whole hours over a change that is not of or at a whole hour"
DAY_RULE = "by design: a day field such as */2 counts as restricted (CronJob), not as a star"
WEEKDAY_STEP = "by design: weekday steps run over 0-6 (CronJob), not over 0-7"
ONE_VALUE = "cronsim: reads a range of one value with a step, 5-5/10, as 5/10"
STAR_LATER = "by design: a star counts wherever it stands in a list, not only at its front"


def around(change: Transition) -> Iterator[str]:
    """Expressions whose times lie in and at the edges of a gap or overlap."""
    low, high = sorted([change.before, change.after])
    middle = low + (high - low) // 120 * 60
    (h1, m1), (h2, m2), (h3, m3) = (
        (local // 3600 % 24, local // 60 % 60) for local in (low, middle, high)
    )
    yield from (
        f"{m1} {h1} * * *", f"{m2} {h2} * * *", f"{m3} {h3} * * *", f"{m1},{m2} {h1},{h3} * * *",
        "*/15 * * * *", "0 */2 * * *", f"{m2} * * * *", f"* {h1} * * *", "0 0-23/2 * * *",
        f"0 {h1}-23 * * *", "30 1-3 * * *", f"*/20 {h3} * * *", f"{m2} {h2} * * SUN",
        f"{m2} {h2} L * *", f"{m2} {h2} * * 5L", "0 0 * * *", "59 23 * * *", "0 12 1 * *",
        "0 0/3 * * *", f"{m2}/10 {h1} * * 0#1", "30 0 */2 * *",
    )  # fmt: skip


def change_triples(changes: Iterable[Transition]) -> Iterator[Triple]:
    for change in changes:
        for expression in around(change):
            for offset in STARTS:
                yield expression, change.zone, change.instant + offset


def random_triples(count: int, seed: int) -> Iterator[Triple]:
    """Random expressions that cronsim understands, in random zones, at random times."""
    source = Expressions(seed)
    zones = sorted(zone_names())
    while count > 0:
        expression = source.standard().upper().replace("?", "*")
        try:
            CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
            cron_timeline(expression, zone="UTC", dst=DstPolicy(), hash_key="")
        except (CronSimError, CronError):
            continue  # what each one refuses is compared with CronJob, not with cronsim
        zone = source.random.choice(zones)
        for _ in range(min(5, count)):
            yield expression, zone, source.random.randrange(YEAR_2020, YEAR_2036)
        count -= 5


def compare(triples: Iterable[Triple]) -> tuple[Counter[str], list[str]]:
    """Counts by outcome, and the disagreements without an accepted reason."""
    counts: Counter[str] = Counter()
    unexplained: list[str] = []
    last, timeline = ("", ""), None
    for expression, zone, start in triples:
        if (expression, zone) != last or timeline is None:
            timeline = cron_timeline(expression, zone=zone, dst=DstPolicy(), hash_key="")
            last = (expression, zone)
        fire = timeline.next_after(start)
        simulated = next(CronSim(expression, datetime.fromtimestamp(start, zoneinfo(zone))), None)
        ours = fire.time if fire else None
        theirs = int(simulated.timestamp()) if simulated else None
        if ours == theirs:
            counts["agree"] += 1
            continue
        reason = reason_for(expression, zone, start, ours, theirs)
        if (
            ours is None
            or reason is None
            or not Oracle(expression, zone).confirms_next(start, ours)
        ):
            unexplained.append(f"{expression!r} {zone} after {start}: {ours}, cronsim {theirs}")
            reason = "unexplained"
        counts[reason] += 1
    return counts, unexplained


def confirmed(expression: str, zone: str, start: int, answer: int) -> bool:
    """Whether the oracle accepts our answer; zones with the same data share its verdict."""
    data = load_zone(zone)
    same = _first_of_equals.setdefault((data.starts.tobytes(), data.offsets.tobytes()), zone)
    return _confirmed(expression, same, start, answer)


_first_of_equals: dict[tuple[bytes, bytes], str] = {}


@lru_cache(maxsize=100_000)
def _confirmed(expression: str, zone: str, start: int, answer: int) -> bool:
    return Oracle(expression, zone).confirms_next(start, answer)


@cache
def _irregular(zone: str) -> list[int]:
    return [c.instant for c in transitions() if c.zone == zone and c.irregular]


def reason_for(
    expression: str, zone: str, start: int, ours: int | None, theirs: int | None
) -> str | None:
    """Why cronsim may answer differently; None when there is no accepted reason."""
    minute, hour, day, _, weekday = expression.split()
    if ours is None or theirs is None:
        return None
    stars = [field.startswith("*") for field in (day, weekday)]
    plain = [any(t in {"*", "*/1"} for t in field.split(",")) for field in (day, weekday)]
    if any(stars) != any(plain):
        return DAY_RULE
    if any(_is_one_value(field) for field in expression.split()):
        return ONE_VALUE
    if "/" in weekday:
        return WEEKDAY_STEP
    if any("*" in field[1:] and not field.startswith("*") for field in (minute, hour)):
        return STAR_LATER
    if theirs <= start:
        return PAST
    uneven = any(start - 7_200 <= at <= max(ours, theirs) for at in _irregular(zone))
    return UNEVEN if "*" in minute + hour and uneven else None


def _is_one_value(field: str) -> bool:
    """Whether a term of the field is like `5-5/10` or `APR-4/2`."""
    values = {name: str(number) for names in NAMES.values() for number, name in enumerate(names)}
    values |= {name: str(number + 1) for number, name in enumerate(NAMES["month"])}
    for term in field.split(","):
        span, slash, _ = term.partition("/")
        first, dash, last = (values.get(part, part) for part in span.partition("-"))
        if slash and dash and first.lstrip("0") == last.lstrip("0"):
            return True
    return False


def _changes_part(part: list[Transition]) -> tuple[Counter[str], list[str]]:
    return compare(change_triples(part))


def _random_part(count_seed: tuple[int, int]) -> tuple[Counter[str], list[str]]:
    return compare(random_triples(*count_seed))


def run(
    changes: list[Transition], random_count: int, processes: int, seed: int = 1
) -> tuple[Counter[str], list[str]]:
    """Compares around the changes and at random places, in several processes."""
    # Neighbours in the list are of one zone: dealing them out evens the parts.
    parts = [changes[start :: processes * 8] for start in range(processes * 8)]
    seeds = [(random_count // processes, seed + number) for number in range(processes)]
    counts: Counter[str] = Counter()
    unexplained: list[str] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        results = [*pool.map(_changes_part, parts), *pool.map(_random_part, seeds)]
    for found, strange in results:
        counts += found
        unexplained += strange
    return counts, unexplained


def sample(count: int, seed: int) -> list[Transition]:
    """Some changes, always with the odd ones among them."""
    odd = {"Australia/Lord_Howe", "Asia/Beirut", "America/Asuncion", "Antarctica/Casey"}
    some = random.Random(seed).sample(transitions(), count)
    return some + [change for change in transitions() if change.zone in odd][::7]


def report(counts: Counter[str]) -> str:
    rows = [f"{count:>10,}  {outcome}" for outcome, count in counts.most_common()]
    return "\n".join([*rows, f"{counts.total():>10,}  triples"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=100_000, help="random triples")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    counts, unexplained = run(list(transitions()), arguments.random, arguments.processes)
    print(f"{len(transitions()):,} changes of the clock from 2020 to 2035 in all zones")
    print(report(counts))
    print(*unexplained[:20], sep="\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
