"""What a task may not ask for, because it would take too much work to plan.

A user's schedule must not be able to hold up the others, so the work for each question is bounded.
What no bound of the search itself can do is refused when the task is applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from taskrunner.api.v1alpha1.scheduled_task import ScheduledTaskSpec
from taskrunner.domain.calendar import MAX_OPENINGS, CalendarUse
from taskrunner.domain.calendar_days import DAY
from taskrunner.domain.timeline import IntervalTimeline, Timeline, slots_a_day
from taskrunner.errors import Problem

MAX_MOVED_PER_DAY: Final = {"NextBusinessDay": 8, "PreviousBusinessDay": 2}
"""Most slots a day of a task whose calendars move to business days. It bounds the work: to know
what moves back to a day, slots of weeks are looked at. A schedule that runs every day
gains nothing from such a move, as the moved slot joins the one that is there."""
MAX_OPENINGS_MOVED: Final = 24
"""Most times a day that windows of a task's calendars open when one of them moves by days."""
DEFAULT_LIMIT: Final = 100
"""`catchUp.limit` under All when it is not set, and the most for a task with several schedules:
looking back for what may still run takes most of an evaluation then."""
LIMIT_WITH_CALENDARS: Final = 25
"""The same for a task with calendars: what is deferred or moved takes a search for each run."""
MOST_DEFERRED: Final = 25
"""Most schedules of a task with calendars that defer runs: where the runs of each of them go has to
be known, to tell which of them coincide. (Moves by days have a stricter bound, in slots a day.)"""
MOST_MOVING: Final = 4
"""Most calendars of a task that moves runs to business days: the search asks each of them about
every day."""


def too_much(
    spec: ScheduledTaskSpec,
    uses: tuple[CalendarUse, ...],
    timelines: Sequence[Timeline],
    created: int,
) -> Iterator[Problem]:
    """What would take more work than an evaluation may take, each with a remedy.

    `timelines`: one for each schedule of the task; `created`: when the task was, UTC seconds.
    """
    yield from _too_many_calendars(uses)
    yield from _too_many_schedules(uses, len(timelines))
    yield from _too_many_windows(uses)
    yield from _drifting(uses, timelines)
    yield from _too_many_slots_moved(uses, timelines, created)
    yield from _too_many_at_once(spec, uses, len(timelines))


def most_at_once(uses: tuple[CalendarUse, ...]) -> int:
    """`catchUp.limit` under All when it is not set."""
    return LIMIT_WITH_CALENDARS if uses else DEFAULT_LIMIT


def _too_many_slots_moved(
    uses: tuple[CalendarUse, ...], timelines: Sequence[Timeline], created: int
) -> Iterator[Problem]:
    for position, use in enumerate(uses):
        most = MAX_MOVED_PER_DAY.get(use.action)
        if most is None:
            continue
        per_day = sum(slots_a_day(timeline, created) for timeline in timelines)
        if per_day > most:
            yield Problem(
                f"spec.calendars[{position}].onExcluded",
                use.action,
                f"It moves runs by whole days, and this task has {per_day} slots on one day; at"
                f" most {most} are supported.",
                "Write Skip or Defer, or a schedule that runs less often.",
            )


def _drifting(uses: tuple[CalendarUse, ...], timelines: Sequence[Timeline]) -> Iterator[Problem]:
    """Such slots have no time of day at which to look for a business day, and no two of them are
    looked for at the same times."""
    for position, use in enumerate(uses):
        for timeline in timelines if use.moves_by_days else ():
            if (
                isinstance(timeline, IntervalTimeline)
                and timeline.every % DAY
                and DAY % timeline.every
            ):
                yield Problem(
                    f"spec.calendars[{position}].onExcluded",
                    use.action,
                    f"It moves runs by whole days, and an interval of {timeline.every} s has other"
                    " times on each day.",
                    "Write Skip or Defer, a cron line, or an interval of whole days (86400 s).",
                )


def _too_many_calendars(uses: tuple[CalendarUse, ...]) -> Iterator[Problem]:
    if _moves(uses) and len(uses) > MOST_MOVING:
        yield Problem(
            "spec.calendars",
            ", ".join(use.calendar.name for use in uses),
            f"They are {len(uses)}, and runs are moved to business days; at most {MOST_MOVING} are"
            " supported then.",
            "Put what they exclude into fewer Calendars, or write Skip or Defer.",
        )


def _too_many_schedules(uses: tuple[CalendarUse, ...], schedules: int) -> Iterator[Problem]:
    if schedules > MOST_DEFERRED and any(use.action == "Defer" for use in uses):
        yield Problem(
            "spec.schedules",
            f"{schedules} entries",
            f"At most {MOST_DEFERRED} are supported with calendars that defer runs.",
            "Make several tasks of it, or let the calendars Skip.",
        )


def _too_many_windows(uses: tuple[CalendarUse, ...]) -> Iterator[Problem]:
    moves = _moves(uses)
    most = MAX_OPENINGS_MOVED if moves else MAX_OPENINGS
    openings = sum({use.calendar.name: use.calendar.openings for use in uses}.values())
    if openings > most:
        yield Problem(
            "spec.calendars",
            ", ".join(dict.fromkeys(use.calendar.name for use in uses)),
            f"Their windows open {openings:,} times a day; at most {most} are supported for a task"
            f"{' that moves to business days' if moves else ''}.",
            "Name fewer calendars, or let windows open less often and stay open longer.",
        )


def _too_many_at_once(
    spec: ScheduledTaskSpec, uses: tuple[CalendarUse, ...], schedules: int
) -> Iterator[Problem]:
    limit, most = spec.catch_up.limit, most_at_once(uses)
    if limit is not None and limit > most and (uses or schedules > 1):
        kind = "calendars" if uses else "several schedules"
        other = "" if uses else ", or make a task of each schedule"
        yield Problem(
            "spec.catchUp.limit",
            str(limit),
            f"At most {most} are supported with {kind}.",
            f"Write {most} or less{other}.",
        )


def _moves(uses: tuple[CalendarUse, ...]) -> bool:
    """Whether runs are moved to business days."""
    return any(use.moves_by_days for use in uses)
