"""The system's clocks. The only module that may ask what time it is."""

from __future__ import annotations

import time

# Linux counts suspended time in CLOCK_BOOTTIME only. Elsewhere (macOS) the monotonic clock does.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """`taskrunner.ports.Clock` on the machine's clocks."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch (UTC)."""
        return time.time()

    def boot(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(_BOOT)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`, or later: the event loop's timer does not count suspended time,
        so whoever needs to know how long it was compares `boot()` afterwards. Others have a turn
        even when there is nothing to wait for."""
        import asyncio  # Late: commands that only plan start without it.

        await asyncio.sleep(max(0.0, seconds))
