"""Searches for tasks that are slow to plan: `python -m fuzz --plans [--minutes 10] [--seed 1]`.

Each candidate is a task that admission accepts, with calendars of its own and a time since which
nothing was decided. Half of them are random and extreme, half are changed copies of the slowest so
far. One evaluation (due, missed, next, and what is to be written) is timed warm, and cold: right
after the calendars were compiled, when it lays out pages of them, which is done once per process.
Public holidays and zones are loaded once per process, too; a year of a country takes about a
millisecond and does not count here.

What is told is CPU time, the best of several rounds, as on an idle machine: neighbours on the same
cores and caches make CPU time longer, too, so it is divided by how much slower a fixed piece of
work was in the same rounds than at its best. Before it is a finding, it is timed again at the end.
"""

from __future__ import annotations

import copy
import heapq
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fuzz.hang import no_hang
from taskrunner.api.v1alpha1.parse import parse_calendar, parse_scheduled_task
from taskrunner.domain.calendar_compile import compile_calendar
from taskrunner.domain.compile import CompiledTask, compile_task
from taskrunner.domain.cron import cron_timeline
from taskrunner.domain.decide import Seen, Streak, decide
from taskrunner.domain.missed import undecided
from taskrunner.domain.plan import EXCLUDED
from taskrunner.domain.timeline import DstPolicy
from taskrunner.errors import SpecError

HANG_SECONDS: Final = 5.0
LIMITS: Final = {"warm": 10.0, "cold": 150.0}
"""Milliseconds; above this it is a finding. Cold, an evaluation may come by hundreds of pages."""
ROUNDS: Final = 8
FINAL_ROUNDS: Final = 40
DAY, YEAR = 86_400, 366 * 86_400
BOUNDS: Final = ("jitterSeconds", "startingDeadlineSeconds", "startTime", "endTime", "dst",
                 "concurrencyPolicy")  # fmt: skip
NOW: Final = 1_793_000_000
KEPT: Final = 60

ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu",
         "America/Santiago", "Pacific/Apia"]  # fmt: skip
CRONS = ["* * * * * *", "* * * * *", "*/5 * * * *", "*/15 * * * *", "7-59/15 * * * *", "0 * * * *",
         "5 * * * *", "0 0,12 * * *", "0 9 * * *", "59 23 * * *", "30 2 * * *", "0 9 * * 1-5",
         "*/20 * * * 0,6", "0 0 1 * *", "0 0 29 2 *", "0 0 29 2 1#5", "30 2 29 2 *", "0 0 L * *",
         "H H * * *", "H/7 * * * *", "* * * * * 0,6", "0 0 1 1 *", "*/7 */3 * * *",
         "0-58/2 * * * * *", "30 2 L-3,LW,15W 3 1#1,5L"]  # fmt: skip
WINDOWS = ["*/30 * * * *", "0 * * * *", "0 */2 * * *", "0 22 * * *", "20,50 * * * *",
           "30 1-23/2 * * *", "0 0 * * 1", "0 0 1 * *", "0 0 29 2 *", "* 0 * * 6", "0 0 1 1 *",
           "15 */3 * * *", "*/30 9-17 * * 1-5", "0 12 * * *"]  # fmt: skip
DURATIONS = [1, 60, 299, 600, 899, 900, 1800, 3599, 3600, 7200, 21_600, 43_200, 86_399, 86_400,
             604_800, 2_678_400]  # fmt: skip
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
COUNTRIES = [("DE", "BY"), ("US", "CA"), ("IN", None), ("CH", "ZH"), ("JP", None), ("GB", "SCT")]
BY_DAYS = ["NextBusinessDay", "PreviousBusinessDay"]
ACTIONS = ["Skip", "Defer", *BY_DAYS]
DAILY = ["0 9 * * *", "30 2 * * *", "59 23 * * *", "H H * * *", "0 9 * * 1-5", "0 0 29 2 *",
         "0 0 L * *"]  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A task with its calendars, and the time that is to be decided."""

    spec: dict[str, Any]
    calendars: dict[str, dict[str, Any]]
    now: int
    back: int
    left: int | None = None
    ask: str = "undecided"
    """What is asked: "undecided", or "decide" for a task whose slots were skipped so far."""

    def compile(self) -> CompiledTask:
        """Raises SpecError when admission would refuse it. The calendars are laid out nowhere."""
        made = {}
        for name, spec in self.calendars.items():
            raw = {"metadata": {"name": name, "namespace": "qa"}, "spec": spec}
            made[name] = compile_calendar(parse_calendar(raw))
        job = {"spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}}
        raw = {
            "metadata": {"name": "task", "namespace": "qa"},
            "spec": {"jobTemplate": job, **self.spec},
        }
        return compile_task(parse_scheduled_task(raw), made)

    def shown(self) -> str:
        """For a finding: all that is needed to make it again."""
        parts = (self.spec, self.calendars, self.now, self.back, self.left, self.ask)
        return f"Candidate({', '.join(map(repr, parts))})"

    def summary(self) -> str:
        """What kind of task it is, in a line."""
        spec = self.spec
        times = Counter(str(e.get("cron", e.get("everySeconds"))) for e in spec["schedules"])
        most = ", ".join(f"{count} × {text!r}" for text, count in times.most_common(3))
        uses = ", ".join(use["onExcluded"] for use in spec["calendars"]) or "no calendars"
        rest = {key: value for key, value in spec.items() if key not in ("schedules", "calendars")}
        return f"{len(spec['schedules'])} schedules ({most}); {uses}; {rest}; {self.back} s"


class Candidates:
    """Makes extreme candidates from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def fresh(self) -> Candidate:
        pick = self.random
        names = [f"c{number}" for number in range(pick.choice([0, 1, 2, 3, 4, 5, 10]))]
        kind = pick.choice(["rich", "rich", "windows", "days"])
        calendars = {name: self.calendar(kind) for name in names}
        action = pick.choice([*ACTIONS, "mix"])
        spec: dict[str, Any] = {
            "schedules": self.schedules(),
            "calendars": [self.use(name, action) for name in names],
            "catchUp": self.catch_up(),
        }
        spec |= self.bounds()
        if action in BY_DAYS and pick.random() < 0.7:
            spec["schedules"] = self.few(action)
        left, ask = pick.choice([None, None, 7]), pick.choice(["undecided", "undecided", "decide"])
        return Candidate(spec, calendars, self.now(), self.back(), left, ask)

    def changed(self, parent: Candidate) -> Candidate:
        """A copy with one to three things made anew."""
        pick = self.random
        spec, calendars = copy.deepcopy(parent.spec), dict(parent.calendars)
        now, back, left, ask = parent.now, parent.back, parent.left, parent.ask
        for _ in range(pick.randint(1, 3)):
            what = pick.randrange(8)
            if what == 0:
                spec["schedules"] = self.schedules()
            elif what == 1:
                index = pick.randrange(len(spec["schedules"]))
                spec["schedules"][index] = self.schedule(index)
            elif what == 2:
                spec["catchUp"] = self.catch_up()
            elif what == 3:
                for key in BOUNDS:
                    spec.pop(key, None)
                spec |= self.bounds()
            elif what == 4:
                now = self.now()
            elif what == 5:
                back = self.back()
            elif what == 6:
                ask = "decide" if ask == "undecided" else "undecided"
            else:
                self.change_calendars(spec, calendars)
        return Candidate(spec, calendars, now, back, left, ask)

    def change_calendars(self, spec: dict[str, Any], calendars: dict[str, dict[str, Any]]) -> None:
        """Another calendar, one more, or another action."""
        pick = self.random
        what = pick.randrange(3)
        if what == 0 and calendars:
            calendars[pick.choice(list(calendars))] = self.calendar("rich")
        elif what == 1 and calendars:
            action = pick.choice([*ACTIONS, "mix"])
            spec["calendars"] = [self.use(name, action) for name in calendars]
        elif len(calendars) < 10:
            name = next(n for n in map("c{}".format, range(11)) if n not in calendars)
            calendars[name] = self.calendar("rich")
            uses = spec["calendars"]
            action = uses[0]["onExcluded"] if uses else "mix"
            spec["calendars"] = [*uses, self.use(name, action)]

    def few(self, action: str) -> list[dict[str, Any]]:
        """So few slots a day that calendars may move them by days."""
        pick = self.random
        count = pick.choice([1, 2]) if action == "PreviousBusinessDay" else pick.choice([1, 4, 8])
        return [self.schedule(number, pick.choice(DAILY)) for number in range(count)]

    def schedules(self) -> list[dict[str, Any]]:
        pick = self.random
        count = pick.choice([1, 1, 2, 5, 8, 25, 25, 50])
        if pick.random() < 0.5:
            return [self.schedule(number) for number in range(count)]
        alike = pick.choice(CRONS)
        return [self.schedule(number, alike) for number in range(count)]

    def schedule(self, number: int, cron: str | None = None) -> dict[str, Any]:
        pick = self.random
        made: dict[str, Any] = {"name": f"e{number}"}
        if cron is None and pick.random() < 0.15:
            made["everySeconds"] = pick.choice([1, 7, 61, 900, 3600, 86_400, 86_401])
        else:
            made["cron"] = cron or pick.choice(CRONS)
            if pick.random() < 0.6:
                made["timeZone"] = pick.choice(ZONES)
        group = pick.choice([number, number, number % 2, None])
        if group is not None:
            made["arguments"] = {"A": str(group)}
        return made

    def use(self, name: str, action: str) -> dict[str, str]:
        chosen = self.random.choice(ACTIONS[:3]) if action == "mix" else action
        return {"name": name, "onExcluded": chosen}

    def catch_up(self) -> dict[str, Any]:
        pick = self.random
        made: dict[str, Any] = {"policy": pick.choice(["None", "Last", "All", "All"])}
        if made["policy"] == "All":
            made["limit"] = pick.choice([1, 10, 25, 100, 500])
        if pick.random() < 0.3:
            made["windowSeconds"] = pick.choice([60, 3600, 31 * DAY, 365 * DAY])
        return made

    def bounds(self) -> dict[str, Any]:
        pick = self.random
        made: dict[str, Any] = {}
        if pick.random() < 0.4:
            made["jitterSeconds"] = pick.choice([1, 59, 3600, 86_400])
        if pick.random() < 0.15:
            made["startTime"] = _rfc3339(self.now() - pick.choice([DAY, 90 * DAY, YEAR]))
        if pick.random() < 0.15:
            made["endTime"] = _rfc3339(self.now() + pick.choice([1, DAY, 3 * YEAR]))
        if pick.random() < 0.2:
            made["concurrencyPolicy"] = pick.choice(["Forbid", "Replace", "Queue"])
        if pick.random() < 0.3:
            made["startingDeadlineSeconds"] = pick.choice([0, 600, 86_400, 31 * DAY])
        if pick.random() < 0.2:
            made["dst"] = {
                "gap": pick.choice(["RunAfter", "Skip"]),
                "overlap": pick.choice(["First", "Second", "Both"]),
            }
        return made

    def now(self) -> int:
        found = NOW + self.random.randrange(4 * YEAR)
        return found - found % self.random.choice([1, 60, 900, 3600, 86_400])

    def back(self) -> int:
        return self.random.choice([1, 60, 3600, DAY, 7 * DAY, 31 * DAY, 90 * DAY, YEAR, 5 * YEAR])

    def calendar(self, kind: str) -> dict[str, Any]:
        pick = self.random
        spec: dict[str, Any] = {}
        if pick.random() < 0.7:
            spec["timeZone"] = pick.choice(ZONES)
        if pick.random() < 0.3:
            spec["businessDays"] = pick.sample(WEEKDAYS, pick.randint(1, 7))
        which: tuple[str, ...] = pick.choice(
            [("exclude",), ("exclude",), ("include",), ("exclude", "include")]
        )
        for field_ in which:
            spec[field_] = self.times(kind)
        return spec

    def times(self, kind: str) -> dict[str, Any]:
        pick = self.random
        made: dict[str, Any] = {}
        if kind != "days" and pick.random() < 0.8:
            count = pick.choice([1, 1, 2, 4, 10, 24, 48])
            made["windows"] = [
                {"name": f"w{number}", "cron": self.opening(count),
                 "durationSeconds": pick.choice(DURATIONS)}
                for number in range(count)
            ]  # fmt: skip
        if kind == "windows":
            return made
        if pick.random() < 0.3:
            made["weekdays"] = pick.sample(WEEKDAYS, pick.randint(1, 7))
        if pick.random() < 0.3:
            first, step = pick.randrange(20_700, 21_500), pick.choice([1, 2])
            days = range(first, first + 400 * step, step)
            made["dates"] = [time.strftime("%Y-%m-%d", time.gmtime(day * DAY)) for day in days]
        if pick.random() < 0.3:
            begin = pick.choice(["2020-01-01", "2027-03-01"])
            last = pick.choice(["2027-03-20", "2028-12-31", "2099-12-31"])
            made["dateRanges"] = [{"name": "r", "from": begin, "to": last}]
        if pick.random() < 0.3:
            chosen = pick.sample(COUNTRIES, pick.randint(1, len(COUNTRIES)))
            made["holidays"] = [
                {"name": country.lower(), "country": country}
                | ({"subdivision": subdivision} if subdivision else {})
                for country, subdivision in chosen
            ]
        return made

    def opening(self, count: int) -> str:
        pick = self.random
        if count < 4:
            return pick.choice(WINDOWS)
        hour = pick.randrange(24)
        return f"{pick.randrange(60)} {hour if count > 4 else '*/3'} * * *"


@dataclass
class Plans:
    """What was seen so far."""

    source: Candidates
    counts: Counter[str] = field(default_factory=Counter)
    worst: dict[str, tuple[float, Candidate]] = field(default_factory=dict)
    suspects: dict[str, list[tuple[float, int, Candidate]]] = field(default_factory=dict)
    """Those above the limit, heaps of the slowest."""
    slowest: list[tuple[float, int, Candidate]] = field(default_factory=list)
    """A heap of the slowest candidates, parents of new ones."""
    findings: list[str] = field(default_factory=list)

    def shown(self) -> Iterator[str]:
        """The slowest of each kind."""
        for name, (took, candidate) in self.worst.items():
            yield f"slowest {name}: {took:.1f} ms (at most {LIMITS[name]:g}): {candidate.summary()}"

    def step(self) -> None:
        """Checks one more candidate."""
        pick = self.source.random
        if self.slowest and pick.random() < 0.5:
            self.check(self.source.changed(pick.choice(self.slowest)[2]))
        else:
            self.check(self.source.fresh())

    def check(self, candidate: Candidate) -> None:
        """Times the evaluation of one candidate."""
        number = self.counts["candidates"] = self.counts["candidates"] + 1
        try:
            candidate.compile()
        except SpecError:
            self.counts["refused"] += 1
            return
        self.counts["accepted"] += 1
        try:
            with no_hang(HANG_SECONDS):
                taken = {name: took(name, candidate, 2) for name in LIMITS}
        except Exception as error:  # noqa: BLE001 - any exception is what we look for
            self.findings.append(f"{type(error).__name__}: {error}: {candidate.shown()}")
            return
        for name, limit in LIMITS.items():
            if taken[name] > limit:
                taken[name] = min(taken[name], took(name, candidate, ROUNDS))
            if taken[name] > limit:
                suspects = self.suspects.setdefault(name, [])
                heapq.heappush(suspects, (taken[name], number, candidate))
                del suspects[: max(0, len(suspects) - KEPT)]
            elif taken[name] > self.worst.get(name, (0.0, None))[0]:
                self.worst[name] = (taken[name], candidate)
        rank = max(taken["warm"], taken["cold"] * LIMITS["warm"] / LIMITS["cold"])
        heapq.heappush(self.slowest, (rank, number, candidate))
        if len(self.slowest) > KEPT:
            heapq.heappop(self.slowest)

    def judge(self) -> None:
        """Times those above the limit again: what a busy moment made slow is none."""
        for name, suspects in self.suspects.items():
            for _, _, candidate in suspects:
                taken = took(name, candidate, FINAL_ROUNDS)
                if taken > self.worst.get(name, (0.0, None))[0]:
                    self.worst[name] = (taken, candidate)
                if taken > LIMITS[name]:
                    self.findings.append(f"{name} takes {taken:.1f} ms: {candidate.shown()}")


_REFERENCE = cron_timeline("*/7 */3 * * *", zone="Europe/Berlin", dst=DstPolicy(), hash_key="")
_best_reference = [math.inf]


def took(name: str, candidate: Candidate, rounds: int) -> float:
    """CPU milliseconds of an evaluation, warm or cold, as on an idle machine."""
    task = candidate.compile()
    evaluation(task, candidate)
    times, references = [], []
    for _ in range(rounds):
        references.append(_reference())
        times.append(evaluation(task if name == "warm" else candidate.compile(), candidate))
    _best_reference[0] = min(_best_reference[0], *references)
    return min(times) * _best_reference[0] / min(references)


def _reference() -> float:
    """CPU milliseconds of a fixed piece of work of the same kind."""
    started = time.thread_time_ns()
    at = NOW
    for _ in range(200):
        fire = _REFERENCE.next_after(at)
        at = fire.time if fire is not None else NOW
    return (time.thread_time_ns() - started) / 1e6


def evaluation(task: CompiledTask, candidate: Candidate) -> float:
    """CPU milliseconds of one evaluation."""
    watermark, now = candidate.now - candidate.back, candidate.now
    if candidate.ask == "decide":
        streak = Streak(EXCLUDED, watermark, 1)
        seen = Seen(watermark, 0, 0, streak=streak, busy_until=now - candidate.back // 2)
        started = time.thread_time_ns()
        decide(task, seen, now)
    else:
        started = time.thread_time_ns()
        undecided(task, watermark, now, left=candidate.left)
    return (time.thread_time_ns() - started) / 1e6


def search(seconds: float, seed: int, *, count: int | None = None) -> Plans:
    """Searches for so many seconds, or as many candidates."""
    plans = Plans(Candidates(seed))
    until = time.monotonic() + seconds
    while time.monotonic() < until and plans.counts["candidates"] != count:
        plans.step()
    plans.judge()
    return plans


def _rfc3339(instant: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))
