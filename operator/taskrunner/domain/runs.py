"""The slots of a task that run, passing over blackouts without looking at each slot in them.

A blackout of two weeks holds 1.2 million slots of a schedule that fires every second. Between two
edges of the calendars all slots are treated alike, so that one look settles a whole stretch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from taskrunner.domain.calendar_placement import LOOK_AHEAD, Looks
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.plan import UNKNOWN, Slot, as_asked, slots_of, walk
from taskrunner.domain.zones import LATEST

MAX_LOOKS: Final = 400
"""Looks in a row that find nothing that runs, before the search is given up. It bounds the work for
calendars that exclude nearly everything; over a year of excluded days fits in."""
FEW_LOOKS: Final = 30
"""The same for an evaluation: when it looks back for what to catch up on, and ahead for the end of
a streak of skipped slots. A blackout takes one look, and more when it is long."""
LOOK_WORK: Final = 160
"""There are fewer looks with many schedules and calendars: a look asks each schedule once and each
calendar a few times, and all looks together so often."""
MIN_LOOKS: Final = 6
MOVED_LOOKS: Final = 45
"""Instants that a search back looks at in all, those with runs included, for a task that moves runs
to business days: each takes a search over weeks."""


def runs_after(
    task: CompiledTask,
    after: int,
    looks: Looks | None = None,
    *,
    until: int = LATEST,
    most: int = MAX_LOOKS,
) -> Iterator[Slot]:
    """The slots with after < due ≤ until that run, in due order, like `walk` without what is
    skipped. It ends after `most` looks in a row that find none."""
    left = most
    for slot in _looked_at(task, after, looks or Looks(task)):
        if slot.due > until:
            return
        if slot.skip is None:
            left = most
            yield slot
            continue
        left -= 1
        if not left:
            return


def next_run(task: CompiledTask, after: int) -> int | None:
    """When the next run is due; or until when there is none, as far as a few looks tell: half as
    many as there are for the past, since one may look again then. None when no slot is to come."""
    found = None
    for slot in islice(_looked_at(task, after, Looks(task)), few_looks(task) // 2):
        found = slot.due
        if slot.skip is None:
            break
    return found


def few_looks(task: CompiledTask) -> int:
    """Looks that an evaluation takes."""
    work = max(1, len(task.entries) + 3 * len(task.calendars))
    return max(MIN_LOOKS, min(FEW_LOOKS, LOOK_WORK // work))


def _looked_at(task: CompiledTask, after: int, looks: Looks) -> Iterator[Slot]:
    """All slots with due > after that run, in due order, and of those that are skipped the first of
    each blackout."""
    cursor: int | None = after
    while cursor is not None:
        slots, cursor = walk(task, cursor, looks), None
        for slot in slots:
            yield slot
            if slot.skip is None:
                continue
            later = _skipped_until(task, looks, slot.nominal)
            if later > slot.nominal:
                cursor = later
                break


def runs_before(
    task: CompiledTask,
    until: int,
    floor: int,
    looks: Looks | None = None,
    *,
    ahead: bool = True,
) -> Iterator[Slot]:
    """The slots with floor < due ≤ until that run, the latest nominal first.

    `looks` as for `walk`. Without `ahead`, none that calendars move back to before `until`.
    """
    most = few_looks(task)
    left, looks = most, looks or Looks(task)
    in_all = MOVED_LOOKS if task.moves_by_days else LATEST
    before: int | None = until + 1 + (LOOK_AHEAD if task.moves_back and ahead else 0)
    while before is not None:
        groups, before = looks.row.backward(before), None
        following = UNKNOWN if task.jitter else None
        for group in groups:
            slots = list(slots_of(task, looks, group, following, until=until))
            if task.left_out:
                slots = [as_asked(task, slot) for slot in slots]
            if task.jitter:
                following = group.nominal
            running = [slot for slot in slots if slot.skip is None]
            yield from (slot for slot in reversed(running) if floor < slot.due <= until)
            in_all -= group.nominal <= until
            if group.nominal <= floor or not in_all:
                return
            left = most if running or group.nominal > until else left - 1
            if not left:
                return
            if not running:
                earlier = _skipped_from(task, looks, group.nominal)
                if earlier < group.nominal:
                    # Calendars are laid out page by page: that is work, too.
                    span = group.nominal - earlier
                    left -= 2 * sum(span // use.calendar.length for use in task.calendars)
                    before = earlier if left > 0 else None
                    break


def _skipped_until(task: CompiledTask, looks: Looks, nominal: int) -> int:
    """An instant ≥ nominal such that no slot from the skipped one at `nominal` to it runs."""
    found = looks.excluder(nominal)
    if found is None or found[0].moves_by_days:
        return nominal
    _, end = looks.blackout(nominal)
    if found[0].action == "Skip":
        return end - 1
    # Defer: of each class of arguments, at most the last slot of the stretch runs. It may be here.
    lasts = looks.row.lasts(end).values()
    running = min((last for last in lasts if last >= nominal), default=end)
    return max(nominal, running - 1)


def _skipped_from(task: CompiledTask, looks: Looks, nominal: int) -> int:
    """An instant ≤ nominal such that no slot from it to the skipped one at `nominal` runs."""
    found = looks.excluder(nominal)
    if found is None or found[0].moves_by_days:
        return nominal
    begin, end = looks.blackout(nominal)
    if found[0].action == "Skip":
        return begin
    running = (last for last in looks.row.lasts(end).values() if begin <= last < nominal)
    return max((last + 1 for last in running), default=begin)
