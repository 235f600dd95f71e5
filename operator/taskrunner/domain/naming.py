"""Names of executions and Jobs: a slot's name is its lock, so the same slot always has one name.

    slot       <task>-<10 digits: nominal slot, UTC epoch>[-<4 hex of the schedule's name>]
    backfill   <task>-<10 digits: nominal slot, UTC epoch>-<8 hex of backfill and schedule>
    Job        <execution>-<attempt>
    run Lease  the execution's name

The last part of a slot's name is there when its schedule has arguments of its own: then two
schedules of one task may be due at the same instant and both run. Names are in UTC, so a local time
that occurs twice on the day the clocks go back has two names.
"""

from __future__ import annotations

from typing import Final

from taskrunner.domain.hashing import stable_hash

TASK_PART_MAX: Final = 40
"""40 + 1 + 10 + 1 + 4 + 1 + 2 digits of attempt = 59: within the 63 that a Job name may have, as
it becomes a label of its pods (https://kubernetes.io/docs/concepts/workloads/controllers/job/)."""
_KEPT: Final = 33
_HASH: Final = 6


def execution_name(
    task: str, nominal: int, schedule: str = "", has_own_arguments: bool = False
) -> str:
    """Name of the execution of a slot.

    `nominal` is the slot's instant before jitter and calendars, `schedule` the name of its entry.

    >>> execution_name("nightly", 1767225600)
    'nightly-1767225600'
    """
    name = f"{task_part(task)}-{nominal:010d}"
    return f"{name}-{schedule_part(schedule)}" if has_own_arguments else name


def backfill_name(
    task: str, nominal: int, schedule: str = "", has_own_arguments: bool = False, by: str = ""
) -> str:
    """Name of the execution that runs a slot of the past.

    `by`: uid of the Backfill, which runs the slot once; empty for one of slots that were missed: of
    those there is one run, whoever asks for it. With 40 characters of the task's name it has 60.

    >>> backfill_name("nightly", 1767225600)
    'nightly-1767225600-22e0a3fc'
    """
    digest = f"{stable_hash('backfill', by, schedule if has_own_arguments else ''):016x}"[:8]
    return f"{task_part(task)}-{nominal:010d}-{digest}"


def task_part(task: str) -> str:
    """The task's name, cut to 33 characters, `-` and 6 of a hash when it is longer than 40."""
    if len(task) <= TASK_PART_MAX:
        return task
    digest = f"{stable_hash('task name', task):016x}"[:_HASH]
    # A name may hold dots, and none of its parts may end with a hyphen or dot.
    return f"{task[:_KEPT].rstrip('-.')}-{digest}"


def schedule_part(schedule: str) -> str:
    """Four hex digits of the schedule's name. `compile` refuses two of one task that are equal."""
    return f"{stable_hash('schedule name', schedule):016x}"[:4]


def job_name(execution: str, attempt: int) -> str:
    """Name of the Job of one attempt; attempts count from 1.

    >>> job_name("nightly-1767225600", 2)
    'nightly-1767225600-2'
    """
    return f"{execution}-{attempt}"
