"""Which finished executions to keep, and which to delete when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from taskrunner.api.v1alpha1.names import LABEL_EXECUTION, LABEL_MANAGED_BY, MANAGER
from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.observed import Execution, Job

RECORDS_KEPT: Final = 1
"""Skip and Miss records kept per task; they never push out runs."""
CANCELLED_KEPT: Final = 1
"""Runs kept per task that were cancelled, or asked for and not started; records of slots that were
not to run do not push them out."""

DEAD_LETTERS_KEPT: Final = 20
"""Runs kept per task that have exhausted their retries, unless the operator is set otherwise. They
wait for somebody, so they are counted apart from failures."""
_DEAD: Final = "DeadLetter"
_VAIN: Final = "Vain"
"""Requests to skip that named no slot: their names must not become locks of slots to come."""

MOST_AT_ONCE: Final = 100
"""Executions deleted by one call: with 56 characters a name, the address stays below the 8 KiB that
proxies in front of API servers take."""

ENDED: Final = ",".join(
    f"status.phase!={phase}" for phase in ("", "Pending", "Queued", "Running", "Retrying")
)
"""Field selector: what has ended. An `in` is not known to field selectors."""


def expendable(
    executions: Iterable[Execution],
    *,
    succeeded: int,
    failed: int,
    decided_until: int,
    dead_letters: int = DEAD_LETTERS_KEPT,
    ttl: int | None = None,
    now: float = 0,
    needed: Callable[[Execution], bool] = lambda execution: False,
) -> list[Execution]:
    """The executions to delete, oldest first: those beyond the limits, and those that ended more
    than `ttl` seconds ago.

    Only what is terminal, and only slots that the server has acknowledged as decided
    (`decided_until`, the watermark in the task's status): a name freed earlier could be taken
    again by a leader that still believes its slot undecided. `needed` says of a run of a Backfill
    whether it has yet to be counted.
    """
    limits = {
        "Succeeded": succeeded,
        "Failed": failed,
        _DEAD: dead_letters,
        "Cancelled": CANCELLED_KEPT,
        _VAIN: 0,
        "": RECORDS_KEPT,
    }
    # Runs of the past have the same limits, and do not push out those of the schedule.
    groups: dict[tuple[str, bool], list[Execution]] = {}
    for execution in executions:
        if execution.terminal and not execution.deleting:
            key = (_group(execution), execution.backfill is not None)
            groups.setdefault(key, []).append(execution)
    found: list[Execution] = []
    for (group, _), members in groups.items():
        members.sort(key=_age, reverse=True)
        limit = limits[group]
        kept, beyond = members[:limit], members[limit:]
        if ttl is not None:
            beyond += [e for e in kept if _ended(e) + ttl <= now]
        found += [e for e in beyond if _freed(e, decided_until) and not needed(e)]
    return sorted(found, key=_age)


def _group(execution: Execution) -> str:
    """What an execution counts with."""
    if is_dead_letter(execution):
        return _DEAD
    if execution.reason == ExecutionReason.NOT_A_SLOT:
        return _VAIN
    if execution.phase in ("Succeeded", "Failed"):
        return execution.phase
    return "Cancelled" if execution.is_run else ""


def is_dead_letter(execution: Execution) -> bool:
    """It has exhausted its retries."""
    return execution.reason == ExecutionReason.RETRIES_EXHAUSTED


def next_expiry(executions: Iterable[Execution], ttl: int | None, now: float) -> int | None:
    """When the next execution that is kept now has been there for `ttl` seconds."""
    if ttl is None:
        return None
    ends = (_ended(e) + ttl for e in executions if e.terminal and not e.deleting)
    return min((end for end in ends if end > now), default=None)


def job_expiry(execution: Execution, job: Job, ttl: int | None) -> int | None:
    """When the Job has been there for the `ttlSecondsAfterFinished` of its template; None while
    its outcome is not recorded, as a Job that is gone by then would count as deleted."""
    if ttl is None or job.deleting or not execution.terminal or job.owner_uid != execution.uid:
        return None
    ended = job.finished_at if job.finished_at is not None else _ended(execution)
    return ended + ttl if job.finished else None


def batches(
    expendables: Iterable[Execution], present: Iterable[Execution]
) -> Iterator[list[Execution]]:
    """Executions of one namespace, in groups that may each be deleted by one call with `selector`.

    A copy that somebody made of an execution, labels and all, would be deleted in its stead, so
    only names that no other of those `present` carries as its label are deleted together.
    """
    # Only who writes the outcome makes an execution match `ENDED`, and the answer to that write
    # brings its labels: no execution that matches is unknown here.
    foreign = {e.label for e in present if e.label != e.name}
    together: list[Execution] = []
    for execution in expendables:
        if execution.label != execution.name or execution.name in foreign:
            yield [execution]
        else:
            together.append(execution)
    for start in range(0, len(together), MOST_AT_ONCE):
        yield together[start : start + MOST_AT_ONCE]


def selector(batch: Iterable[Execution]) -> str:
    """Label selector of executions that carry their names as labels."""
    names = ",".join(execution.name for execution in batch)
    return f"{LABEL_MANAGED_BY}={MANAGER},{LABEL_EXECUTION} in ({names})"


def _freed(execution: Execution, decided_until: int) -> bool:
    """Whether nothing depends on the name any more; only those of slots are locks."""
    if execution.type != "Scheduled" or _group(execution) == _VAIN:
        return True
    return max(execution.nominal, execution.decided_at) <= decided_until


def _ended(execution: Execution) -> int:
    return execution.finished or execution.decided_at


def _age(execution: Execution) -> tuple[int, str]:
    return (_ended(execution), execution.name)
