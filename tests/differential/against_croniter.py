"""Compares with croniter: what the decision not to build on it rests on (docs/adr/0002).

Run it with `PYTHONPATH=tests .venv/bin/python -m differential.against_croniter`. Where the two
disagree the oracle says who is right.
"""

from __future__ import annotations

import argparse
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from time import thread_time_ns

from croniter import CroniterError, croniter

from differential.against_cronsim import around
from differential.expressions import Expressions
from differential.oracle import Oracle, zoneinfo
from differential.transitions import YEAR_2020, YEAR_2036, transitions
from taskrunner.domain.cron import CronError, cron_timeline
from taskrunner.domain.timeline import DstPolicy

TYPICAL = [
    "0 2 * * *", "*/5 * * * *", "*/15 9-17 * * MON-FRI", "30 6 1 * *", "0 0 1,15 * *", "@daily",
    "5 4 * * SUN", "0 0 L * *", "0 8 * * MON#1", "@hourly",
]  # fmt: skip


def ours(expression: str, zone: str, start: int) -> int | None:
    timeline = cron_timeline(expression, zone=zone, dst=DstPolicy(), hash_key="")
    fire = timeline.next_after(start)
    return fire.time if fire else None


def theirs(expression: str, zone: str, start: int) -> int | None:
    begin = datetime.fromtimestamp(start, UTC).astimezone(zoneinfo(zone))
    found = croniter(expression, begin, max_years_between_matches=60).get_next(datetime)
    return int(found.timestamp())


def in_utc(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Random expressions in UTC; returns counts and what the oracle does not side with us on."""
    source = Expressions(seed)
    counts: Counter[str] = Counter()
    lost: list[str] = []
    for _ in range(count):
        # croniter allows "?" in the day fields only.
        expression = source.standard().replace("?", "*")
        start = source.random.randrange(YEAR_2020, YEAR_2036)
        try:
            mine = ours(expression, "UTC", start)
        except CronError:
            mine = None
        try:
            other = theirs(expression, "UTC", start)
        except CroniterError:
            other = None
        if mine == other:
            counts["agree"] += 1
            continue
        if mine is None or other is None:
            counts["refused here" if mine is None else "refused by croniter"] += 1
            continue
        oracle = Oracle(expression, "UTC")
        earlier = min(mine, other)
        right = oracle.due(earlier) == (earlier == mine) and oracle.due(mine)
        counts["croniter wrong" if right else "taskrunner wrong"] += 1
        if not right:
            lost.append(f"{expression!r} after {start}: {mine}, croniter {other}")
    return counts, lost


def around_changes(stride: int) -> Counter[str]:
    """All next slots of half a day around changes of the clock, as croniter and we see them."""
    counts: Counter[str] = Counter()
    for change in transitions()[::stride]:
        for expression in around(change):
            if expression.endswith("5L"):
                continue  # refused by croniter, which writes it L5
            begin, end = change.instant - 6 * 3600, change.instant + 6 * 3600
            expected = Oracle(expression, change.zone).slots(begin + 60, end)
            counts["taskrunner right"] += (
                _walk(ours, expression, change.zone, begin, end) == expected
            )
            counts["croniter right"] += (
                _walk(theirs, expression, change.zone, begin, end) == expected
            )
            counts["cases"] += 1
    return counts


def _walk(
    following: Callable[[str, str, int], int | None],
    expression: str,
    zone: str,
    begin: int,
    end: int,
) -> list[int]:
    found = []
    at = begin
    while (slot := following(expression, zone, at)) is not None and at < slot < end:
        found.append(at := slot)
    return found


def speed() -> list[str]:
    """Microseconds of CPU and bytes, side by side, in Europe/Berlin."""
    berlin = zoneinfo("Europe/Berlin")
    begin = datetime(2026, 11, 1, tzinfo=berlin)
    start = int(begin.timestamp())
    make_ours = [
        partial(cron_timeline, text, zone="Europe/Berlin", dst=DstPolicy(), hash_key="")
        for text in TYPICAL
    ]
    make_theirs = [partial(croniter, text, begin) for text in TYPICAL]
    made = [make() for make in make_ours]
    asked = [partial(timeline.next_after, start) for timeline in made]
    asked_theirs = [partial(make().get_next, datetime) for make in make_theirs]
    worst = ",".join(["1-59/1"] * 35) + " * * * *"
    make_worst = partial(cron_timeline, worst, zone="UTC", dst=DstPolicy(), hash_key="")
    pairs = [
        ("construct", _micro(make_ours), _micro(make_theirs), "µs"),
        ("next", _micro(asked), _micro(asked_theirs), "µs"),
        ("memory", _bytes(make_ours), _bytes(make_theirs), "bytes"),
        (
            f"construct {len(worst)} characters",
            _micro([make_worst]),
            _micro([partial(croniter, worst, begin)]),
            "µs",
        ),
    ]
    return [
        f"{name}: taskrunner {mine:.0f} {unit}, croniter {other:.0f} {unit}"
        for name, mine, other, unit in pairs
    ]


def _micro(calls: Sequence[Callable[[], object]]) -> float:
    started = thread_time_ns()
    for _ in range(200):
        for call in calls:
            call()
    return (thread_time_ns() - started) / 200 / len(calls) / 1e3


def _bytes(calls: Sequence[Callable[[], object]]) -> float:
    tracemalloc.start()
    kept = [call() for _ in range(200) for call in calls]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / len(kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utc", type=int, default=20_000)
    parser.add_argument("--stride", type=int, default=40, help="every so many-th change")
    arguments = parser.parse_args()
    counts, lost = in_utc(arguments.utc, seed=1)
    print("UTC, next slot:", dict(counts.most_common()))
    print(*lost, sep="\n")
    print("Around changes of the clock:", dict(around_changes(arguments.stride)))
    print(*speed(), sep="\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
