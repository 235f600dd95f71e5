"""How much is under way at a time: less when the API server does not keep up.

128 writes at a time are what a healthy server works off fastest. One that has just come back, is
out of CPU, or sheds load (429, API Priority and Fairness) answers them too late: they are given up,
done all the same, and sent again, while Leases wait behind them. So the number is halved when
writes fail for such reasons, and grows again with those that succeed (additive increase,
multiplicative decrease: Chiu and Jain 1989, as in TCP). What was half a minute ago is forgotten.
"""

from __future__ import annotations

from typing import Final

LEAST: Final = 8
_ROUND_SECONDS: Final = 1.0
"""What fails within this time of a decrease was sent before it."""
_FORGET_SECONDS: Final = 30.0
_GAIN: Final = 4.0
"""More at a time, for as many successes as are under way."""


class Pace:
    """The number of keys to handle at a time, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._decreased = float("-inf")

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return int(self._limit)

    def wrote(self, code: int, now: float) -> None:
        """A write was answered with an HTTP status, or was not (0); `now` is boot time, seconds. An
        error that is the object's, such as a conflict, is an answer in time."""
        if 0 < code < 500 and code != 429:
            forgotten = now - self._decreased >= _FORGET_SECONDS
            grown = self._most if forgotten else self._limit + _GAIN / self._limit
            self._limit = min(self._most, grown)
        elif now - self._decreased >= _ROUND_SECONDS:
            self._decreased = now
            self._limit = max(min(LEAST, self._most), self._limit / 2)
