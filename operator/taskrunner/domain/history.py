"""Which finished executions to keep, and which to delete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from taskrunner.domain.observed import Execution

RECORDS_KEPT: Final = 1
"""Skip and Miss records kept per task; they never push out runs."""


def expendable(
    executions: Iterable[Execution], *, succeeded: int, failed: int, decided_until: int
) -> list[Execution]:
    """The executions to delete, oldest first.

    Only what is terminal, and only slots that the server has acknowledged as decided
    (`decided_until`, the watermark in the task's status): a name freed earlier could be taken
    again by a leader that still believes its slot undecided.
    """
    groups: dict[str, list[Execution]] = {"Succeeded": [], "Failed": [], "": []}
    for execution in executions:
        if execution.terminal and not execution.deleting:
            group = execution.phase if execution.phase in ("Succeeded", "Failed") else ""
            groups[group].append(execution)
    limits = {"Succeeded": succeeded, "Failed": failed, "": RECORDS_KEPT}
    found: list[Execution] = []
    for group, members in groups.items():
        members.sort(key=_age, reverse=True)
        found += [e for e in members[limits[group] :] if e.decided_at <= decided_until]
    return sorted(found, key=_age)


def _age(execution: Execution) -> tuple[int, str]:
    return (execution.finished or execution.decided_at, execution.name)
