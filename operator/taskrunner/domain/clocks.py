"""Whether the wall clock may be believed: slots are due by it, so a wrong one starts runs early.

It is judged by the API server's `Date`, and by the clock that counts since boot and never jumps. A
jump is seen at once; whether it was to the right time, only the server can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LIMIT_SECONDS: Final = 2.0
"""From so much on, the wall clock is not believed."""
_BACK_WITHIN: Final = 1.5
"""It is believed again when it is so near to the server's: less than the limit, or it would be
gained and lost in turns."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks at one moment, in seconds."""

    wall: float
    boot: float
    skew: float | None = None
    """Wall clock minus the API server's; None when there was no answer lately."""
    answered: float | None = None
    """Boot time of the server's last answer."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """What is thought of the wall clock."""

    offset: float
    """Wall minus boot clock when last looked at."""
    problem: str = ""
    """Why it is not believed, as a sentence; empty when it is."""
    since: float = 0.0
    """Boot time from which it is not believed."""


def first_look(reading: Reading) -> Clocks:
    """Nothing is known against the clock yet."""
    return Clocks(reading.wall - reading.boot)


def look(before: Clocks, reading: Reading) -> Clocks:
    """What is thought of it now. Without an answer of the server, a clock is believed as long as it
    does not jump, and not any more once it has."""
    offset = reading.wall - reading.boot
    seen = replace(before, offset=offset)
    jump = offset - before.offset
    if abs(jump) > LIMIT_SECONDS:
        return replace(
            seen,
            problem=f"The wall clock was set {_by(jump, 'forward', 'back')}; whether it is right"
            " now is not known before the API server has answered.",
            since=reading.boot,
        )
    fresh = reading.answered is not None and (not before.problem or reading.answered > before.since)
    if reading.skew is None or not fresh:
        return seen
    if abs(reading.skew) > LIMIT_SECONDS:
        where = _by(reading.skew, "ahead of", "behind")
        problem = f"The wall clock is {where} the API server's; set one of them right."
        return replace(seen, problem=problem, since=before.since or reading.boot)
    if before.problem and abs(reading.skew) > _BACK_WITHIN:
        return seen
    return replace(seen, problem="", since=0.0)


def _by(seconds: float, positive: str, negative: str) -> str:
    return f"{abs(seconds):.1f} s {positive if seconds > 0 else negative}"
