"""Cron expressions and their timelines: parse, refuse, next, count, memory."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.measures import Measure, cpu_times, percentile
from taskrunner.domain.cron import CronError, cron_timeline, parse_cron
from taskrunner.domain.timeline import DstPolicy, Timeline
from taskrunner.domain.zones import ZoneError, load_zone, zone_names

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from differential.expressions import Expressions

NOW = 1_793_000_000  # October 2026
YEAR = 365 * 86_400

TYPICAL = [
    "0 2 * * *", "*/5 * * * *", "*/15 9-17 * * MON-FRI", "0 0 * * 0", "30 6 1 * *", "H H * * *",
    "H/10 * * * *", "0 0 1,15 * *", "0 30 2 ? * MON-FRI", "0 22 * * 1-5", "5 4 * * SUN", "@hourly",
    "@daily", "@weekly", "@monthly", "0 0 L * *", "0 8 * * MON#1", "0 18 * * 5L", "0 9 LW * *",
    "*/30 * * * * *",
]  # fmt: skip
TYPICAL_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney"]

RARE = [
    # The leap day on one weekday: up to 40 years apart, 80 changes of the clock in between.
    *(f"{time} * 2 {day}#5" for time in ("0 0", "59 23", "30 2") for day in range(7)),
    "0 0 29 2 *", "59 59 23 29 2 ?", "0 0 31W 2-3 ?", "30 2 L-28 2 *", "0 0 L-30 * *",
    "30 0 * 4 5L", "30 2 * 3 0L", "30 1 31 12 ?", "* * * * * *",
]  # fmt: skip
RARE_ZONES = ["UTC", "Europe/Berlin", "Africa/Cairo", "Asia/Gaza", "Africa/Casablanca",
              "America/Santiago", "Australia/Lord_Howe", "Asia/Tokyo"]  # fmt: skip

BAD = [
    # What fuzzing found slowest, and the longest forms of each kind of term.
    "1," * 123 + "x * * * *",
    "1-59/1," * 30 + "60 * * * *",
    "*," * 123 + "* 30 2 *",
    "* * " + "1W," * 80 + "31W 2 X",
    "* * 31W" + ",31W" * 60 + " 2 ?",
    "0 0 30 2 ?" + "/1" * 20,
    "H(0-59)," * 28 + "H/61 * * * *",
    "* * * * " + "MON#1," * 40 + "MON#6",
    "1" * 256,
    "1" * 247 + " * * * *",
    "@every " + "1h" * 120 + "1x",
    "@every " + "1" * 248 + "s",
    "TZ=" + "A" * 240 + " * * *",
    " " * 256,
    "*/" + "9" * 240 + " * * * *",
    "* " * 128,
]


def measure() -> Iterator[Measure]:
    yield from _parse()
    yield from _refuse()
    yield from _next()
    yield from _count()
    yield from _memory()


def _parse() -> Iterator[Measure]:
    source = Expressions(seed=11)
    accepted: list[str] = []
    while len(accepted) < 20_000:
        text = source.dialect() if len(accepted) % 2 else source.random.choice(TYPICAL)
        try:
            parse_cron(text, hash_key="qa/nightly")
        except CronError:
            continue
        accepted.append(text)
    times = cpu_times(partial(parse_cron, text, hash_key="qa/nightly") for text in accepted)
    yield Measure("parse p50", percentile(times, 50), "ms")
    yield Measure("parse p99", percentile(times, 99), "ms", "20,000 accepted, half of them random")


def _refuse() -> Iterator[Measure]:
    source = Expressions(seed=12)
    refused = [text for text in (source.broken() for _ in range(20_000)) if _is_refused(text)]
    refused += [text for text in BAD if _is_refused(text)]
    # Each several times, and the fastest counts: a fault of the machine is not the expression's.
    rounds = [cpu_times(partial(_is_refused, text) for text in refused) for _ in range(3)]
    worst = max(map(min, zip(*rounds, strict=True)))
    yield Measure("refuse worst", worst, "ms", f"of {len(refused):,} refused expressions")
    zones = [f"Europe/Berl{'i' * number}" for number in range(50)] + ["x" * 5000, "A/" * 100]
    zones += ["Americ/Argentina/Buenos", "Amerika/Argentine/Xyz", "America/Indiana/Xxxxxxxxxx"]
    rounds = [cpu_times(partial(_is_refused, "* * * * *", zone) for zone in zones) for _ in "123"]
    worst = max(map(min, zip(*rounds, strict=True)))
    yield Measure("refuse zone worst", worst, "ms", "with its suggestion")


def _is_refused(text: str, zone: str = "UTC") -> bool:
    try:
        cron_timeline(text, zone=zone, dst=DstPolicy(), hash_key="qa/nightly")
    except (CronError, ZoneError):
        return True
    return False


def _timeline(text: str, zone: str) -> Timeline:
    return cron_timeline(text, zone=zone, dst=DstPolicy(), hash_key="qa/nightly")


def _next() -> Iterator[Measure]:
    source = random.Random(13)
    pairs = [_timeline(text, zone) for text in TYPICAL for zone in TYPICAL_ZONES]
    typical: list[Callable[[], object]] = [
        partial(timeline.next_after, source.randrange(NOW, NOW + 5 * YEAR))
        for timeline in pairs
        for _ in range(200)
    ]
    times = cpu_times(typical)
    yield Measure("next p50", percentile(times, 50), "ms")
    yield Measure("next p99", percentile(times, 99), "ms", f"{len(times):,} typical calls")
    rare = [_timeline(text, zone) for text in RARE for zone in RARE_ZONES]
    for name in ("next_after", "previous_before"):
        calls = [
            partial(getattr(timeline, name), NOW + year * YEAR)
            for timeline in rare
            for year in range(-20, 120, 5)
        ]
        rounds = [cpu_times(calls) for _ in range(2)]
        worst = max(map(min, zip(*rounds, strict=True)))
        label = "next worst" if name == "next_after" else "previous worst"
        yield Measure(label, worst, "ms", f"{len(calls):,} calls of rare expressions")


def _count() -> Iterator[Measure]:
    texts = ["* * * * * *", "*/7 * * * * *", "30 2 * * *", "* * 1,15 * MON", "@every 1s"]
    timelines = [_timeline(text, zone) for text in texts for zone in RARE_ZONES]
    times = cpu_times(
        partial(timeline.count_between, NOW + day * 86_400, NOW + day * 86_400 + YEAR)
        for timeline in timelines
        for day in range(0, 3000, 37)
    )
    yield Measure("count a year worst", percentile(times, 99.9), "ms", "31,536,000 slots")
    every = [partial(timeline.count_between, 0, NOW + 170 * YEAR) for timeline in timelines]
    yield Measure("count 230 years worst", max(cpu_times(every)), "ms")


def _memory() -> Iterator[Measure]:
    for zone in TYPICAL_ZONES:
        load_zone(zone)
    number = 10_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [
        _timeline("".join(TYPICAL[count % len(TYPICAL)]), TYPICAL_ZONES[count % 5])
        for count in range(number)
    ]
    used = tracemalloc.get_traced_memory()[0] - before
    yield Measure("memory of a timeline", used / len(kept) / 1024, "KiB", f"{number:,} typical")
    load_zone.cache_clear()
    before = tracemalloc.get_traced_memory()[0]
    names = sorted(zone_names())
    zones = [load_zone(name) for name in names]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    yield Measure("memory of a zone", used / len(zones) / 1024, "KiB", "mean of all, shared")
    load_zone.cache_clear()
    times = cpu_times(partial(load_zone, name) for name in names)
    yield Measure("load a zone p99", percentile(times, 99), "ms", "once in a process")
