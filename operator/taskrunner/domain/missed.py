"""Which slots were due since the watermark, and which of them still run: none, few, too many.

The same function answers in steady state (one slot, on time), after downtime, on resume, when a
blocking run has ended, and after a jump of the clock. Up to WALKED slots are looked at one by one;
of more than that, only those that may run are, and the rest is counted (`missed_many`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop
from typing import Final, Literal

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.calendar_placement import LOOK_AHEAD, Looks, exclusion_start
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.missed_many import count_slots, slot_at
from taskrunner.domain.plan import Slot, walk
from taskrunner.domain.runs import few_looks, runs_after, runs_before

WALKED: Final = 100
"""CronJob, too, gives up walking after 100 missed starts
(https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#cron-job-limitations)."""
SURELY_WALKED: Final = 3
"""Slots that are walked before it is counted whether there are too many: nearly always there is
one, on time, and counting would cost more than it saves."""
AT_ONCE: Final = 100
"""Runs that an answer is content with under `catchUp.policy: None`: fifty schedules that fire every
second have hundreds that are on time. The others are left to the next answer. (Under All,
`catchUp.limit` is the bound; under Last, it is what is due at one instant.)"""
ON_TIME_SECONDS: Final = 30
"""How late a slot may be and still count as on time under `catchUp.policy: None`. It covers what
happens in regular operation: the hand-over to another replica (at most 20 s) and a slow API server.
"""

DEADLINE_EXCEEDED: Final = ExecutionReason.DEADLINE_EXCEEDED.value
CATCH_UP_WINDOW: Final = ExecutionReason.CATCH_UP_WINDOW.value
CATCH_UP_POLICY: Final = ExecutionReason.CATCH_UP_POLICY.value
SUPERSEDED: Final = ExecutionReason.SUPERSEDED.value

MESSAGES: Final[dict[str, str]] = {
    DEADLINE_EXCEEDED: "It could not start before startingDeadlineSeconds had passed.",
    CATCH_UP_WINDOW: "It could not start before catchUp.windowSeconds had passed.",
    CATCH_UP_POLICY: "More slots were missed than catchUp.limit, or catchUp.policy is None.",
    SUPERSEDED: "A later slot runs instead; catchUp.policy All would run each.",
    ExecutionReason.SUSPENDED.value: "The task was suspended or paused when it was due.",
    ExecutionReason.PLAN_CHANGED.value: "The schedule was changed before the slot was decided.",
}


@dataclass(frozen=True, slots=True)
class MissedRange:
    """Slots that do not run, for one reason. Between `first` and `last` there may be other slots
    that run, or that do not for another reason."""

    decision: Literal["Skip", "Miss"]
    reason: str
    message: str
    """A sentence for people."""
    slot: Slot
    """The last slot of the range: the record takes its name."""
    first: int
    """Nominal instant of the first slot."""
    count: int
    exact: bool = True
    """False when so many slots were counted that `count` is an estimate: schedules with equal
    arguments that coincide count each, and of moves to business days nothing is known."""

    @property
    def last(self) -> int:
        """Nominal instant of the last slot."""
        return self.slot.nominal


@dataclass(frozen=True, slots=True)
class Undecided:
    """What to do about the slots with watermark < due ≤ now."""

    start: tuple[Slot, ...]
    """Slots that run, in due order; some are deferred to a `not_before` that is to come."""
    ranges: tuple[MissedRange, ...]
    """All the others, one range for each reason, in the order of their last slots."""
    next: Slot | None
    """The next slot that is due after the watermark; None when there is none."""
    watermark: int
    """The new watermark: all slots due at or before it are in this answer or were decided before.
    It is before now when there are more slots to start than one answer holds."""
    completed: bool = False
    """No slot is to come: the schedule has ended, or `maxExecutions` is reached."""


def undecided(
    task: CompiledTask,
    watermark: int,
    now: int,
    *,
    reason: str = "",
    left: int | None = None,
    runs: bool = True,
) -> Undecided:
    """Resolve every slot with watermark < due ≤ now by the task's catch-up rule; or, when more than
    AT_ONCE are on time, those up to the new watermark.

    `reason`: why slots were not decided in time when the caller knows (Suspended, PlanChanged); it
    replaces the reasons of what is missed. `left`: how many more slots may run (`maxExecutions`
    less those that have); None for no limit. With none left there are no more slots. `runs`: False
    when none of them may run any more, for that reason.
    """
    if left is not None and left <= 0:
        return Undecided((), (), None, watermark, completed=True)
    left = left if runs else None
    slots: list[Slot] = []
    upcoming: Slot | None = None
    looks = Looks(task)
    # Where slots move back, a walk begins with a search over weeks.
    if task.moves_back and looks.row.more_than(_walked(task), watermark, now):
        return _resolve_many(task, watermark, now, reason, left, runs, looks)
    for slot in walk(task, watermark, looks):
        if slot.due > now:
            upcoming = slot
            break
        slots.append(slot)
        if len(slots) == SURELY_WALKED and looks.row.more_than(_walked(task), watermark, now):
            return _resolve_many(task, watermark, now, reason, left, runs, looks)
    if not slots:
        return Undecided((), (), upcoming, watermark, completed=upcoming is None)
    fates = _fates(task, slots, now) if runs else [slot.skip or reason for slot in slots]
    exhausted = False
    if left is not None:
        running = [position for position, fate in enumerate(fates) if fate == ""]
        if len(running) >= left:
            # The last run that maxExecutions allows ends the schedule: what is later is no slot.
            exhausted = True
            slots, fates = slots[: running[left - 1] + 1], fates[: running[left - 1] + 1]
    start = tuple(slot for slot, fate in zip(slots, fates, strict=True) if fate == "")
    ranges = _ranges(zip(slots, fates, strict=True), reason)
    upcoming = None if exhausted else upcoming
    return Undecided(start, ranges, upcoming, max(watermark, now), completed=upcoming is None)


def _walked(task: CompiledTask) -> int:
    """How many slots are walked: each takes a search over weeks for each calendar that moves it."""
    moving = sum(use.moves_by_days for use in task.calendars)
    return WALKED // (1 + moving)


def _resolve_many(
    task: CompiledTask,
    watermark: int,
    now: int,
    reason: str,
    left: int | None,
    runs: bool,
    looks: Looks,
) -> Undecided:
    """The same answer for so many slots that only those that may run are looked at."""
    able, until = _able(task, watermark, now, looks) if runs else ([], now)
    exhausted = left is not None and len(able) >= left
    start = able[:left]
    last = start[-1].due if exhausted else until
    ranges: list[MissedRange] = []
    after, deferred = watermark, list[Slot]()
    for bound, why in _bounds(task, watermark, last, now, reason):
        found, deferred = _counted(task, after, bound, why, able, deferred, looks)
        ranges += found
        after = bound
    upcoming = None if exhausted else next(walk(task, until, looks), None)
    merged = _merged(ranges)
    reached = now if exhausted else until
    return Undecided(tuple(start), merged, upcoming, reached, completed=upcoming is None)


def _able(task: CompiledTask, watermark: int, now: int, looks: Looks) -> tuple[list[Slot], int]:
    """The slots that run, in due order, and up to when they are all."""
    if task.catch_up.policy != "None":
        return _latest(task, watermark, now, looks), now
    # What is on time runs, however much it is. Without Defer and moves, what is due earlier than
    # this starts earlier, too.
    late = max(watermark, now - ON_TIME_SECONDS - 1)
    found: list[Slot] = []
    if any(use.action != "Skip" for use in task.calendars):
        for slot in runs_before(task, late, max(watermark, _oldest(task, now, looks)), looks):
            if not too_late(task, slot.start, now):
                found.append(slot)
            elif _all_too_late(task, slot, now):
                break
        found.sort(key=_in_order)
    for slot in runs_after(task, late, looks, until=now):
        if len(found) >= AT_ONCE and slot.due > found[-1].due:
            return found, found[-1].due
        if not too_late(task, slot.start, now):
            found.append(slot)
    return found, now


def _latest(task: CompiledTask, watermark: int, now: int, looks: Looks) -> list[Slot]:
    """The slots that run under Last and All, in due order, found from the latest backwards."""
    most = task.catch_up.limit if task.catch_up.policy == "All" else 1
    found: list[Slot] = []
    ranked: list[int] = []
    """When the latest of those to be caught up on are due; a heap."""
    for slot in runs_before(task, now, max(watermark, _oldest(task, now, looks)), looks):
        if slot.start <= now:
            # No slot that is still to come in this search is due later than this.
            behind = slot.nominal + task.jitter if task.moves_back else slot.due
            if len(ranked) == most and behind < ranked[0]:
                break
            if too_late(task, slot.start, now):
                if _all_too_late(task, slot, now):
                    break
                continue
            (heappush if len(ranked) < most else heappushpop)(ranked, slot.due)
        found.append(slot)
    found.reverse()
    found.sort(key=_in_order)
    late = [slot for slot in found if slot.start <= now]
    if task.catch_up.policy == "All":
        left_out = late[:-most]
    else:
        left_out = [slot for slot in late if slot.due < late[-1].due]
    without = {(slot.nominal, slot.schedule) for slot in left_out}
    return [slot for slot in found if (slot.nominal, slot.schedule) not in without]


def _all_too_late(task: CompiledTask, slot: Slot, now: int) -> bool:
    """Whether all slots with an earlier nominal time are too late as well: unless they are moved by
    days, slots keep their order, but for jitter."""
    return not task.moves_by_days and too_late(task, slot.start + task.jitter, now) != ""


def _in_order(slot: Slot) -> tuple[int, int]:
    return slot.due, slot.nominal


def _oldest(task: CompiledTask, now: int, looks: Looks) -> int:
    """An instant such that no slot that is due at or before it may still run.

    A slot that starts later than it is due was moved over time that calendars exclude, all of it,
    and by days in the end. So the search goes back to where that time begins.
    """
    bounds = [task.starting_deadline, task.catch_up.window]
    if task.catch_up.policy == "None":
        bounds.append(ON_TIME_SECONDS)
    allowed = [seconds for seconds in bounds if seconds is not None]
    if not allowed:
        return 0
    oldest = now - min(allowed)
    actions = {use.action for use in task.calendars} & {"Defer", "NextBusinessDay"}
    if not actions:
        return oldest - 1
    if task.jitter:
        # It carries no slot past the task's next one.
        before = looks.row.nominal_before(oldest + 1)
        oldest = max(oldest - task.jitter, oldest if before is None else before)
    if "NextBusinessDay" in actions:
        oldest -= LOOK_AHEAD
    return exclusion_start(task.calendars, oldest) - 1


def _bounds(
    task: CompiledTask, watermark: int, until: int, now: int, reason: str
) -> list[tuple[int, str]]:
    """Until which instant slots are missed for which reason, in order; the last bound is `until`.

    As in `too_late`: what is older than the deadline is missed for that, the rest by the window …
    """
    if reason:
        return [(until, reason)]
    limits = [
        (task.starting_deadline, DEADLINE_EXCEEDED),
        (task.catch_up.window, CATCH_UP_WINDOW),
        (ON_TIME_SECONDS if task.catch_up.policy == "None" else None, CATCH_UP_POLICY),
    ]
    found: list[tuple[int, str]] = []
    after = watermark
    for seconds, why in limits:
        if seconds is not None and now - seconds - 1 > after:
            after = min(now - seconds - 1, until)
            found.append((after, why))
    if after < until:
        found.append((until, SUPERSEDED if task.catch_up.policy == "Last" else CATCH_UP_POLICY))
    return found


def _counted(
    task: CompiledTask,
    after: int,
    until: int,
    why: str,
    able: list[Slot],
    carried: list[Slot],
    looks: Looks,
) -> tuple[list[MissedRange], list[Slot]]:
    """What is skipped and missed in a part of the time, and what belongs to the next part.

    Lateness counts from the start. `carried` are slots of the part before that calendars defer into
    this one; returned are those that are deferred from this part to a later time.
    """
    counts = count_slots(task, after, until, looks)
    ranges = []
    for reason, skipped in counts.skipped.items():
        if skipped.count:
            slot = slot_at(task, looks, skipped.last, reason)
            ranges.append(
                MissedRange(
                    "Skip", reason, slot.message, slot, skipped.first, skipped.count, counts.exact
                )
            )
    part = [slot for slot in able if after < slot.due <= until]
    runs = {(slot.nominal, slot.schedule) for slot in part}
    # What runs are the latest slots, so that the search may begin at the first of them. Where slots
    # move back, counts are estimates; the record takes the name of a slot that is nominal here.
    begin = until if task.moves_back else min((s.due for s in part), default=until)
    back = runs_before(task, begin, after, looks, ahead=False)
    missed = (slot for slot in back if (slot.nominal, slot.schedule) not in runs)
    deferred = []
    last = next(missed, None)
    while last is not None and last.start > until:
        deferred.append(last)
        last = next(missed, None)
    count = counts.total - sum(each.count for each in counts.skipped.values())
    count -= len(part) + len(deferred) - len(carried)
    if last is None and carried:
        last = carried[0]
    if count > 0 and last is not None:
        # Where counts are estimates because of moves back, so is the first slot: it is costly.
        if task.moves_back:
            earliest = looks.row.nominal_after(after)
        else:
            few = runs_after(task, after, looks, until=until, most=few_looks(task))
            later = next(few, None)
            earliest = looks.row.nominal_after(after) if later is None else later.nominal
        known = [slot.nominal for slot in (*carried, last)]
        first = min(known if earliest is None else [*known, earliest])
        ranges.append(
            MissedRange("Miss", why, MESSAGES.get(why, ""), last, first, count, counts.exact)
        )
    return ranges, deferred


def _merged(ranges: list[MissedRange]) -> tuple[MissedRange, ...]:
    """One range for each reason: parts of the time were counted apart."""
    found: dict[tuple[str, str], MissedRange] = {}
    for each in ranges:
        key = (each.decision, each.reason)
        other = found.get(key)
        found[key] = each if other is None else replace(
            each, first=other.first, count=other.count + each.count,
            exact=other.exact and each.exact,
        )  # fmt: skip
    return tuple(sorted(found.values(), key=lambda each: each.slot.due))


def too_late(task: CompiledTask, start: int, now: int) -> str:
    """Why a slot that starts then cannot run any more, or "" when it can."""
    late = now - start
    if task.starting_deadline is not None and late > task.starting_deadline:
        return DEADLINE_EXCEEDED
    if task.catch_up.window is not None and late > task.catch_up.window:
        return CATCH_UP_WINDOW
    if task.catch_up.policy == "None" and late > ON_TIME_SECONDS:
        return CATCH_UP_POLICY
    return ""


def _fates(task: CompiledTask, slots: list[Slot], now: int) -> list[str]:
    """For each slot "" when it runs, else the reason why not."""
    fates = [slot.skip or too_late(task, slot.start, now) for slot in slots]
    # What is deferred to a time that is to come is not late, so there is nothing to catch up on.
    able = [p for p, fate in enumerate(fates) if fate == "" and slots[p].start <= now]
    if task.catch_up.policy == "Last" and able:
        latest = slots[able[-1]].due
        for position in able:
            if slots[position].due < latest:
                fates[position] = SUPERSEDED
    elif task.catch_up.policy == "All":
        for position in able[: -task.catch_up.limit]:
            fates[position] = CATCH_UP_POLICY
    return fates


def _ranges(fates: Iterable[tuple[Slot, str]], reason: str) -> tuple[MissedRange, ...]:
    groups: dict[tuple[Literal["Skip", "Miss"], str], list[Slot]] = {}
    for slot, fate in fates:
        if slot.skip:
            groups.setdefault(("Skip", slot.skip), []).append(slot)
        elif fate:
            groups.setdefault(("Miss", reason or fate), []).append(slot)
    found = [
        MissedRange(
            decision,
            why,
            slots[-1].message if decision == "Skip" else MESSAGES.get(why, ""),
            slots[-1],
            min(slot.nominal for slot in slots),
            len(slots),
        )
        for (decision, why), slots in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: each.slot.due))
