"""Both planners over the same time: which slots a CronJob has, and which its ScheduledTask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from taskrunner.api.v1alpha1.parse import parse_scheduled_task
from taskrunner.domain.compile import compile_task
from taskrunner.domain.cronjob_import import Imported
from taskrunner.domain.cronjob_planner import NotACronJob, cronjob_slots, parse_as_cronjob
from taskrunner.domain.plan import walk
from taskrunner.domain.zones import Zone, load_zone

YEAR: Final = 365 * 86_400
MOST: Final = 10_000
"""Slots a year up to which all are compared."""
_DAY: Final = 86_400
_SAMPLE: Final = 3 * _DAY


@dataclass(frozen=True, slots=True)
class Comparison:
    """Slots with since < slot ≤ until. Instants are UTC seconds."""

    cronjob: int
    """How many the CronJob has."""
    ours: int
    only_cronjob: tuple[int, ...]
    only_ours: tuple[int, ...]
    sampled: bool
    """There are so many that only the first days and those around changes of the clock were looked
    at: in between, both planners go by the fields of an ordinary local time."""

    @property
    def same(self) -> bool:
        return not self.only_cronjob and not self.only_ours


def compare(item: Imported, since: int, until: int) -> Comparison | None:
    """None where the slots of the CronJob depend on more than its spec, as those of `@every`.

    Raises ZoneError and SpecError for what is refused.
    """
    try:
        schedule = parse_as_cronjob(item.schedule)
    except NotACronJob:
        return None
    metadata = {"namespace": item.namespace, **item.task["metadata"]}
    task = compile_task(parse_scheduled_task({**item.task, "metadata": metadata}), {})
    zone = load_zone(item.zone)
    sampled = len(schedule.minutes) * len(schedule.hours) * 365 > MOST
    windows = _windows(zone, since, until) if sampled else [(since, until)]
    cronjob, ours = set[int](), set[int]()
    for begin, end in windows:
        cronjob |= set(_until(end, cronjob_slots(schedule, zone, begin)))
        ours |= set(_until(end, (slot.due for slot in walk(task, begin))))
    only = tuple(sorted(cronjob - ours)), tuple(sorted(ours - cronjob))
    return Comparison(len(cronjob), len(ours), *only, sampled)


def _until(end: int, slots: Iterator[int]) -> Iterator[int]:
    return takewhile(lambda slot: slot <= end, slots)


def _windows(zone: Zone, since: int, until: int) -> list[tuple[int, int]]:
    """The first days, and those around each change of the clock."""
    changes = [at for at in zone.starts[1:-1] if since < at < until]
    found = [(since, min(since + _SAMPLE, until))]
    return found + [(max(since, at - _DAY), min(at + _DAY, until)) for at in changes]
