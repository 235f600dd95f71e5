"""The operator with a wall clock that can be set: `python -m chaos.shifted FILE operator`.

FILE holds seconds to add to the wall clock, as a double. Only the one clock adapter is changed; the
program knows nothing of it.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

from taskrunner.__main__ import main
from taskrunner.kube.clock import SystemClock

DOUBLE = struct.Struct("d")


def shift_clock(path: Path) -> None:
    """Have the system clock show what the file says; it is read at each look at the clock."""
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), DOUBLE.size)

    def now(self: SystemClock) -> float:
        shift: float = DOUBLE.unpack_from(memory)[0]
        return time.time() + shift

    SystemClock.now = now  # type: ignore[method-assign]


if __name__ == "__main__":
    shift_clock(Path(sys.argv.pop(1)))
    main()
