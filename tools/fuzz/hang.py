"""What takes forever ends with an error, so that it becomes a finding."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_hang(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the body after so many seconds of CPU time of the process: a busy
    machine is no hang."""
    signal.signal(signal.SIGVTALRM, _interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _interrupt(_number: int, _frame: object) -> None:
    raise TimeoutError("hangs")
