"""Whole tasks: compile, memory, and what the engine asks at each slot (due, missed, next).

Every measure is of a set of tasks made from a fixed seed; the worst cases are those that stress a
bound: a year of missed seconds, calendars of many windows, moves by days, fifty schedules. They are
the best of many rounds, so that what else the machine does is not measured. Calendars, like
zones and holidays, are laid out once per process; what that takes is a measure of its own.
"""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.measures import Measure, cpu_times, percentile
from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.domain.calendar import CompiledCalendar
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.domain.missed import undecided
from taskrunner.domain.plan import next_slot
from taskrunner.domain.preview import next_runs
from taskrunner.domain.warnings import warnings_for

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from unit.planning import calendar

NOW = 1_811_851_200  # 2027-06-01T12:00:00Z
YEAR = 366 * 86_400
TASKS = 1000
ROUNDS = 20
PASSES = 3

TEMPLATE = {
    "spec": {
        "backoffLimit": 2,
        "template": {
            "metadata": {"labels": {"team": "qa"}},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "main",
                        "image": "registry.example.com/qa/regression:2026.11",
                        "command": ["sh", "-c", "run --suite full --report /out"],
                        "env": [{"name": "STAGE", "value": "staging"}],
                        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    }
                ],
            },
        },
    }
}
CALENDARS = {
    each.name: each
    for each in (
        calendar("weekend", exclude={"weekdays": ["Saturday", "Sunday"]}),
        calendar(
            "night",
            timeZone="Europe/Berlin",
            exclude={"windows": [{"name": "n", "cron": "0 22 * * *", "durationSeconds": 21_600}]},
        ),
        calendar(
            "holidays",
            timeZone="Europe/Berlin",
            exclude={"holidays": [{"name": "de", "country": "DE", "subdivision": "BY"}]},
        ),
        calendar(
            "freeze",
            exclude={"dateRanges": [{"name": "f", "from": "2026-12-21", "to": "2027-01-03"}]},
        ),
    )
}
ALL = list(CALENDARS)
CALENDARS |= {
    each.name: each
    for each in (
        calendar(
            "halves",
            timeZone="Europe/Berlin",
            exclude={"windows": [{"name": "q", "cron": "*/30 * * * *", "durationSeconds": 1200}]},
        ),
        calendar(
            "always",
            exclude={"windows": [{"name": "a", "cron": "0 0 * * *", "durationSeconds": 86_400}]},
        ),
    )
}
ALL_LATE = {"policy": "All"}
MANY = {"policy": "All", "limit": 500}


def raw(spec: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"task-{number}",
            "namespace": "qa",
            "uid": f"00000000-0000-4000-8000-{number:012d}",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"jobTemplate": TEMPLATE, **spec},
    }


def compiled(spec: dict[str, Any], number: int = 0) -> CompiledTask:
    return compile_task(parse_scheduled_task(raw(spec, number)), CALENDARS)


def uses(action: str, *names: str) -> list[dict[str, str]]:
    return [{"name": name, "onExcluded": action} for name in names]


def hourly(count: int) -> list[dict[str, Any]]:
    """So many schedules with arguments of their own, in several zones."""
    zones = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu")
    return [
        {"name": f"e{n}", "cron": "0 * * * *", "timeZone": zones[n % 4], "arguments": {"A": str(n)}}
        for n in range(count)
    ]


def typical_specs() -> list[dict[str, Any]]:
    """A mix as in a cluster: mostly one cron line, some zones, jitter, calendars, lists."""
    chance = random.Random(7)
    found = []
    for _ in range(TASKS):
        minute, hour = chance.randrange(60), chance.randrange(24)
        spec: dict[str, Any] = {
            "schedule": chance.choice(
                [f"{minute} {hour} * * *", f"{minute} {hour} * * 1-5", "*/5 * * * *",
                 f"{minute} * * * *", f"{minute} {hour} 1 * *"]
            )
        }  # fmt: skip
        spec["timeZone"] = chance.choice(["UTC", "Europe/Berlin", "America/New_York"])
        if chance.random() < 0.2:
            spec["jitterSeconds"] = 120
        if chance.random() < 0.2:
            spec["calendars"] = uses(chance.choice(["Skip", "Defer"]), "weekend", "holidays")
        if chance.random() < 0.1:
            spec["schedules"] = [
                {"name": "a", "cron": spec.pop("schedule"), "arguments": {"SUITE": "full"}},
                {"name": "b", "everySeconds": 3600},
            ]
        found.append(spec)
    return found


def worst_cases() -> dict[str, tuple[CompiledTask, int, int]]:
    """Tasks that stress a bound each, with watermark and present time."""
    second = {"schedule": "* * * * * *", "timeZone": "Europe/Berlin"}
    found: dict[str, tuple[dict[str, Any], int]] = {
        "a year of seconds, Last": (second, YEAR),
        "a year of seconds, All": ({**second, "catchUp": {"policy": "All"}}, YEAR),
        "a year of seconds, jitter, deadline and window": (
            {**second, "jitterSeconds": 10, "startingDeadlineSeconds": 3600,
             "catchUp": {"policy": "All", "windowSeconds": 1800}}, YEAR),
        "a year of seconds, fifty schedules": (
            {"schedules": [{"name": f"e{n}", "cron": "* * * * * *", "arguments": {"A": str(n)}}
                           for n in range(50)]}, YEAR),
        "one second, fifty schedules": (
            {"schedules": [{"name": f"e{n}", "cron": "* * * * * *", "arguments": {"A": str(n)}}
                           for n in range(50)]}, 1),
        "a year of seconds, four calendars skip": (
            {**second, "calendars": uses("Skip", *ALL)}, YEAR),
        "a year of seconds, four calendars defer": (
            {**second, "calendars": uses("Defer", *ALL)}, YEAR),
        "a year of eight slots a day, moved to next business days": (
            {"schedule": "0 */3 * * *", "calendars": uses("NextBusinessDay", *ALL)}, YEAR),
        "one slot, moved to next business days": (
            {"schedule": "0 */3 * * *", "calendars": uses("NextBusinessDay", *ALL)}, 3 * 3600),
        "one slot, moved to previous business days": (
            {"schedule": "0 0,12 * * *", "calendars": uses("PreviousBusinessDay", *ALL)}, 3600),
        "the freeze ahead, moved to previous business days": (
            {"schedule": "0 0,12 * * *", "calendars": uses("PreviousBusinessDay", "weekend",
                                                           "holidays", "freeze")},
            3600),
    }  # fmt: skip
    slow: dict[str, tuple[dict[str, Any], int]] = {
        "a year of seconds, All up to 500": ({**second, "catchUp": MANY}, YEAR),
        "a year of seconds, All up to 500, jitter": (
            {**second, "catchUp": MANY, "jitterSeconds": 10}, YEAR),
        "a year of seconds, All, four calendars skip": (
            {**second, "catchUp": ALL_LATE, "calendars": uses("Skip", *ALL)}, YEAR),
        "fifty days of moves to previous business days": (
            {"schedule": "0 0,12 * * *", "calendars": uses("PreviousBusinessDay", *ALL)},
            50 * 86_400),
        "a year of moves to previous business days": (
            {"schedule": "0 0,12 * * *", "calendars": uses("PreviousBusinessDay", *ALL)}, YEAR),
        "a year of hours that is closed, five schedules defer to five calendars": (
            {"schedules": hourly(5), "calendars": uses("Defer", *ALL, "always")},
            YEAR),
        "a year of hours, halves of hours skipped": (
            {"schedule": "5 * * * *", "catchUp": ALL_LATE, "calendars": uses("Skip", "halves")},
            YEAR),
        "a month of hours, 25 schedules defer to the end of halves of hours": (
            {"schedules": hourly(25), "calendars": uses("Defer", "halves", "weekend")},
            31 * 86_400),
    }  # fmt: skip
    found |= slow
    # The last slots that are not in the freeze or a weekend: 34 others may move back to them.
    friday = 1_797_595_200  # 2026-12-18T12:00:00Z
    nows = {name: friday if "freeze ahead" in name else NOW for name in found}
    return {
        name: (compiled(spec), nows[name] - back, nows[name])
        for name, (spec, back) in found.items()
    }


def measure() -> Iterator[Measure]:
    specs = typical_specs()
    raws = [raw(spec, number) for number, spec in enumerate(specs)]
    calls = [partial(_compile, one, CALENDARS) for one in raws]
    cpu_times(calls)  # zones and holidays are loaded once per process
    yield Measure("compile 1,000 tasks", sum(cpu_times(calls)) / 1000, "s", "parsed, too")
    tasks, memory = _memory(raws)
    yield Measure("memory of a planned task", memory / 1024, "KiB", "job template included")
    yield from _evaluations(tasks)
    worst = worst_cases()
    best = dict.fromkeys(worst, float("inf"))
    for _ in range(PASSES):  # what holds the machine up for a while is over in another pass
        for name, (made, watermark, now) in worst.items():
            times = cpu_times([partial(undecided, made, watermark, now)] * ROUNDS)
            best[name] = min(best[name], *times)
    for name, took in best.items():
        yield Measure(f"evaluate: {name}", took, "ms")
    pages = [calendar.length for calendar in CALENDARS.values()]
    times = cpu_times(
        partial(each._lay_out, NOW, NOW + length)
        for each, length in zip(CALENDARS.values(), pages, strict=True)
        for _ in range(ROUNDS)
    )
    yield Measure("lay out a page of a calendar p50", percentile(times, 50), "ms")
    yield Measure(
        "lay out a page of a calendar p99", percentile(times, 99), "ms", "48 windows a day"
    )
    times = cpu_times([partial(next_runs, made, NOW) for made in tasks])
    yield Measure("five next runs p99", percentile(times, 99), "ms")
    times = cpu_times([partial(warnings_for, made, NOW) for made in tasks])
    yield Measure("warnings p99", percentile(times, 99), "ms")


def _compile(one: dict[str, Any], calendars: dict[str, CompiledCalendar]) -> CompiledTask:
    return compile_task(parse_scheduled_task(one), calendars)


def _memory(raws: list[dict[str, Any]]) -> tuple[list[CompiledTask], float]:
    models = [parse_scheduled_task(one) for one in raws]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tasks = [compile_task(model, CALENDARS) for model in models]
    for made in tasks:
        next_slot(made, NOW)
    gc.collect()
    size = (tracemalloc.get_traced_memory()[0] - before) / len(tasks)
    tracemalloc.stop()
    return tasks, size


def _evaluations(tasks: list[CompiledTask]) -> Iterator[Measure]:
    """Steady state: the watermark is just before a slot, and it is that slot's time."""
    calls: list[Callable[[], object]] = []
    for made in tasks:
        slot = next_slot(made, NOW)
        if slot is not None:
            calls.append(partial(undecided, made, slot.due - 1, slot.due))
    for call in calls:
        call()
    times = cpu_times(calls * 5)
    yield Measure("evaluate on time p50", percentile(times, 50), "ms", "due, missed and next")
    yield Measure("evaluate on time p99", percentile(times, 99), "ms", "due, missed and next")
