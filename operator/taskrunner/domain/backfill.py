"""Which slots of the past a Backfill runs, decided once and without side effects (docs/adr/0018).

A plan is a list of spans of nominal time, small enough to be kept in the status; the slots in them
follow from the task's schedules again and again, for each leader alike.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from taskrunner.api.v1alpha1.reasons import LeftOutReason
from taskrunner.domain.calendar_placement import Looks
from taskrunner.domain.compile import CompiledTask
from taskrunner.domain.instants import format_instant, parse_instant
from taskrunner.domain.merge import groups_after, groups_before
from taskrunner.domain.missed_many import how_many
from taskrunner.domain.naming import backfill_name, execution_name
from taskrunner.domain.observed import Execution
from taskrunner.domain.plan import Slot, next_slot, slots_of
from taskrunner.domain.status import MISSED_RANGES_KEPT
from taskrunner.errors import Problem, SpecError

MOST_SLOTS: Final = 10_000
"""Slots of one Backfill, those that calendars skip included: they are counted one by one."""
MOST_SPANS: Final = 200
_STEP: Final = 50

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""An answer that is found in steps, so that others may be served in between."""


class Span(NamedTuple):
    """Nominal instants, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of the range of which nothing is run, and why."""

    first: int
    last: int
    reason: LeftOutReason
    message: str

    def to_wire(self) -> dict[str, str]:
        """As an entry of `status.leftOut`."""
        return {
            "from": format_instant(self.first),
            "to": format_instant(self.last),
            "reason": self.reason,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. Instants are seconds; `end` is not part of the range."""

    task: str
    begin: int
    end: int
    only_missed: bool = False
    newest_first: bool = False
    arguments: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a task's past.

    `watermark`: every slot due at or before it is decided. `plan_since`: since when the task has
    its present schedules. `missed`: (from, to, count) of `status.missedRanges`. `others`: names of
    other Backfills of the task, with what they run.
    """

    watermark: int
    plan_since: int
    missed: Sequence[tuple[int, int, int]] = ()
    executions: Iterable[Execution] = ()
    others: Mapping[str, Sequence[Span]] | None = None


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a Backfill runs."""

    spans: tuple[Span, ...]
    left_out: tuple[LeftOut, ...]
    total: int


def plan_backfill(task: CompiledTask, request: Request, known: Known) -> BackfillPlan:
    """Decide which slots are run. Raises SpecError when there are too many to count."""
    steps = planning(task, request, known)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: BackfillPlan = done.value
            return found


def planning(task: CompiledTask, request: Request, known: Known) -> Steps[BackfillPlan]:
    """The same in small steps: 10,000 slots take half a second, and others wait meanwhile."""
    task = _whole(task)
    left_out: list[LeftOut] = []
    until = min(request.end - 1, _decided(task, known.watermark))
    if until < request.end - 1:
        first = max(until + 1, request.begin)
        message = "The schedule has yet to decide these slots."
        left_out.append(LeftOut(first, request.end, LeftOutReason.NOT_DECIDED, message))
    whole = Span(max(request.begin, task.start), until)
    _bounded(task, whole)
    if not request.only_missed:
        spans = [whole] if whole.first <= whole.last else []
    else:
        spans = yield from _missed(task, whole, known, left_out)
    total = 0
    for number, (_, slots) in enumerate(slots_in(task, spans)):
        total += len(slots)
        if number % _STEP == 0:
            yield
    return BackfillPlan(tuple(spans), tuple(sorted(left_out, key=lambda e: e.first)), total)


def slots_in(
    task: CompiledTask,
    spans: Sequence[Span],
    *,
    newest_first: bool = False,
    beyond: int | None = None,
) -> Iterator[tuple[int, list[Slot]]]:
    """The slots of a plan by nominal instant, in the order in which they are run; those that come
    after `beyond`, when given. What calendars skip is left out."""
    task, looks = _whole(task), Looks(task)
    for span in sorted(spans, reverse=newest_first):
        if newest_first:
            last = span.last if beyond is None else min(span.last, beyond - 1)
            groups = groups_before(task, last + 1)
        else:
            first = span.first if beyond is None else max(span.first, beyond + 1)
            groups = groups_after(task, first - 1)
        for group in groups:
            if not span.first <= group.nominal <= span.last:
                break
            slots = [s for s in slots_of(task, looks, group, None) if s.skip is None]
            if slots:
                yield group.nominal, slots


def run_name(task: CompiledTask, slot: Slot, request: Request, uid: str) -> str:
    """Name of the execution of a slot: the lock that keeps it from being run twice."""
    by = "" if request.only_missed else uid
    return backfill_name(task.name, slot.nominal, slot.schedule, bool(slot.arguments), by)


def spans_from(plan: Mapping[str, Any]) -> tuple[Span, ...]:
    """From `status.plan`."""
    ranges = plan.get("ranges") or ()
    return tuple(Span(parse_instant(r["from"]), parse_instant(r["to"])) for r in ranges)


def missed_ranges(status: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """From `status.missedRanges` of a task."""
    found = status.get("missedRanges") or ()
    return [(parse_instant(r["from"]), parse_instant(r["to"]), r["count"]) for r in found]


def plan_to_wire(plan: BackfillPlan, task: CompiledTask) -> dict[str, Any]:
    """As `status.plan`."""
    return {
        "hash": task.plan_hash,
        "taskUid": task.uid,
        "ranges": [
            {"from": format_instant(s.first), "to": format_instant(s.last)} for s in plan.spans
        ],
    }


def _whole(task: CompiledTask) -> CompiledTask:
    """The task with the slots that it would have had before it was created."""
    return task if task.first == task.start else replace(task, first=task.start)


def _decided(task: CompiledTask, watermark: int) -> int:
    """The nominal instant up to which every slot is decided: jitter lets the last be due later."""
    following = next_slot(task, watermark)
    if following is None or following.nominal > watermark:
        return watermark
    return following.nominal - 1


def _bounded(task: CompiledTask, span: Span) -> None:
    count = how_many(task, span.first - 1, span.last) if span.first <= span.last else 0
    if count > MOST_SLOTS:
        raise SpecError(
            Problem(
                "spec",
                "",
                f"There are {count:,} slots in the range; at most {MOST_SLOTS:,} can be run by one"
                " Backfill.",
                "Choose a shorter range.",
            )
        )


# --- only what was missed -----------------------------------------------------------------------


def _missed(
    task: CompiledTask, whole: Span, known: Known, left_out: list[LeftOut]
) -> Steps[list[Span]]:
    """The parts of the range that are known to have been missed, and have not been run since."""
    executions = [e for e in known.executions if e.type == "Scheduled"]
    ranges = {(first, last): count for first, last, count in known.missed}
    ranges |= {(e.first, e.nominal): e.count for e in executions if e.decision == "Miss"}
    begin = max(whole.first, _remembered(task, whole, known, left_out))
    ran = {e.name for e in executions if e.decision == "Run"}
    spans: list[Span] = []
    for (first, last), count in sorted(ranges.items()):
        if last < begin or first > whole.last:
            continue
        found = yield from _slots_missed(task, Span(first, last), count, ran)
        if found is None:
            part = Span(max(first, begin), min(last, whole.last))
            message = f"{count} of the slots in it were missed, and it is not known which."
            left_out.append(LeftOut(*part, LeftOutReason.AMBIGUOUS, message))
            continue
        spans += found
    spans = _joined(_cut(spans, Span(begin, whole.last)))
    for name, taken in (known.others or {}).items():
        kept = list(chain.from_iterable(_without(span, taken) for span in spans))
        if kept != spans:
            gone = [s for s in taken if any(s.first <= o.last and o.first <= s.last for o in spans)]
            message = f'The Backfill "{name}" has run them, or will.'
            part = Span(max(gone[0].first, begin), min(gone[-1].last, whole.last))
            left_out.append(LeftOut(*part, LeftOutReason.OTHER_BACKFILL, message))
        spans = kept
    if len(spans) > MOST_SPANS:
        raise SpecError(
            Problem("spec", "", "What was missed is in too many parts.", "Choose a shorter range.")
        )
    return spans


def _remembered(task: CompiledTask, whole: Span, known: Known, left_out: list[LeftOut]) -> int:
    """From when on it is known what was missed; what is before is left out."""
    begin = task.created + 1
    _leave(left_out, whole, begin, LeftOutReason.BEFORE_TASK, _BEFORE_TASK, task.created)
    if known.plan_since > begin:
        before = Span(max(whole.first, begin), whole.last)
        begin = known.plan_since + 1
        _leave(left_out, before, begin, LeftOutReason.PLAN_CHANGED, _EDITED, known.plan_since)
    if len(known.missed) >= MISSED_RANGES_KEPT:
        oldest = min(known.missed, key=lambda each: each[1])[0]
        if oldest > begin:
            before = Span(max(whole.first, begin), whole.last)
            begin = oldest
            _leave(left_out, before, begin, LeftOutReason.FORGOTTEN, _FORGOTTEN, oldest)
    return begin


_BEFORE_TASK: Final = "The task was created at {at}; before, it missed nothing."
_EDITED: Final = (
    "The schedule was changed at {at}; which slots it had before, and missed, is not known."
)
_FORGOTTEN: Final = (
    f"A task remembers the last {MISSED_RANGES_KEPT} ranges that it missed; whether it missed"
    " something before {at} is not known."
)


def _leave(
    left_out: list[LeftOut],
    span: Span,
    begin: int,
    reason: LeftOutReason,
    message: str,
    at: int,
) -> None:
    if span.first < begin and span.first <= span.last:
        text = message.format(at=format_instant(at))
        left_out.append(LeftOut(span.first, min(begin - 1, span.last), reason, text))


def _slots_missed(
    task: CompiledTask, span: Span, count: int, ran: set[str]
) -> Steps[list[Span] | None]:
    """The slots of a record of missed ones; None when it is not known which these are.

    Other slots may lie between them, which ran, or which a calendar skipped. When there are no more
    slots than were missed, but for those that are known to have run, it is all of these.
    """
    if how_many(task, span.first - 1, span.last) > MOST_SLOTS:
        return None
    found: list[Span] = []
    slots, broken = 0, True
    for number, (nominal, group) in enumerate(slots_in(task, [span])):
        if number % _STEP == 0:
            yield
        names = (execution_name(task.name, s.nominal, s.schedule, bool(s.arguments)) for s in group)
        if any(name in ran for name in names):
            broken = True
            continue
        slots += len(group)
        found.append(Span(nominal if broken else found.pop().first, nominal))
        broken = False
    return found if slots <= count else None


def _cut(spans: Iterable[Span], bounds: Span) -> list[Span]:
    cut = (Span(max(s.first, bounds.first), min(s.last, bounds.last)) for s in spans)
    return [span for span in cut if span.first <= span.last]


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Without overlaps, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.first <= found[-1].last:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found


def _without(span: Span, taken: Sequence[Span]) -> list[Span]:
    parts = [span]
    for other in taken:
        parts = [
            piece
            for part in parts
            for piece in (
                Span(part.first, min(part.last, other.first - 1)),
                Span(max(part.first, other.last + 1), part.last),
            )
            if piece.first <= piece.last
        ]
    return parts
