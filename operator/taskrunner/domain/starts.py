"""How many runs started within the last minute, exactly.

What must hold is said about Jobs as the API server creates them: in no 60 s are there more than the
limit. Nobody learns of a creation at its very instant, so each start is counted from the moment it
is allowed until 60 s after its Job has been seen. The time of the creation lies in between, so what
is allowed after that is created more than 60 s after it. An answer that does not come keeps its
start counted for as long as it takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from taskrunner.domain.observed import Execution, Job

WINDOW_SECONDS: Final = 60.0
UNCERTAIN_SECONDS: Final = 3
"""Times in objects are cut to seconds, and the clock of the API server may be so much ahead of ours
as still counts as right (2 s): so much later than it says may a Job have been created."""


class Starts:
    """The starts of one queue. Times are any clock's that never jumps; within one object, the
    same."""

    def __init__(self) -> None:
        self.most: int | None = None
        """So many within any WINDOW_SECONDS; None for no limit."""
        self._times: deque[float] = deque()
        self._under_way: set[str] = set()
        self._retries: dict[str, None] = {}

    def room(self, now: float) -> bool:
        """Whether another run may start."""
        if self.most is None:
            return True
        return self._counted(now) + len(self._retries) < self.most

    def frees(self, now: float) -> float | None:
        """When the mere passing of time lets the next one start; None when one may start now, or
        when it is something else that is waited for."""
        if self.most is None:
            return None
        too_many = self._counted(now) - self.most
        if too_many < 0:
            return now if self._retries else None
        return self._times[too_many] + WINDOW_SECONDS if too_many < len(self._times) else None

    def allow(self, run: str) -> None:
        """A run is about to start."""
        self._under_way.add(run)

    def ask_again(self, run: str, now: float) -> bool:
        """Whether the next attempt of a run may start. If not, the next room is for it: what has a
        place goes on before others begin."""
        if run in self._under_way:
            return True
        if self.most is not None and self._counted(now) >= self.most:
            self._retries[run] = None
            return False
        self._retries.pop(run, None)
        self._under_way.add(run)
        return True

    @property
    def retries(self) -> list[str]:
        """Runs whose next attempt waits, those first that asked first."""
        return list(self._retries)

    def started(self, run: str, now: float) -> None:
        """The Job of a run has been seen; it was created just now, or before."""
        self._under_way.discard(run)
        self._retries.pop(run, None)
        self._times.append(now)
        self._forget(now)

    def left(self, run: str, now: float, *, created: bool) -> None:
        """A run has gone. `created`: a Job that nobody has seen may have been created for it."""
        self._retries.pop(run, None)
        if run in self._under_way:
            self._under_way.discard(run)
            if created:
                self._times.append(now)

    def recall(self, times: Iterable[float]) -> None:
        """Take in starts that the objects tell of."""
        self._times = deque(sorted([*self._times, *times]))

    def _counted(self, now: float) -> int:
        self._forget(now)
        return len(self._times) + len(self._under_way)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] + WINDOW_SECONDS <= now:
            self._times.popleft()


def starts_of(execution: Execution, job: Job | None) -> list[int]:
    """When the Jobs of an execution were created at the latest, in seconds since the epoch; as far
    as the objects tell, each once."""
    found: dict[int, int] = {a.number: a.started for a in execution.attempts if a.started}
    if execution.terminal and execution.attempt and execution.started is not None:
        # Of what has ended, only the first start and the end are kept in memory: the later
        # attempts count as if they had started when it ended.
        found[1] = execution.started
        if execution.attempt > 1 and execution.finished is not None:
            found |= dict.fromkeys(range(2, execution.attempt + 1), execution.finished)
    if job is not None and job.owner_uid == execution.uid:
        found[job.attempt] = job.created
    return [started + UNCERTAIN_SECONDS for started in found.values()]
