"""How far the local wall clock is from the API server's, from the `Date` of its answers."""

from __future__ import annotations

from collections import deque
from email.utils import parsedate_to_datetime

_KEEP_SECONDS = 60.0
_KEEP_SAMPLES = 64


class ServerSkew:
    """Bounds of local minus server time, narrowed by each answer.

    `Date` has whole seconds (RFC 9110, section 6.6.1): an answer that says D was written in
    [D, D + 1), at a local time between sending and receiving. So one answer tells the skew within a
    second and a round trip; where several overlap, they tell it better.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_KEEP_SAMPLES)
        self._text = ""
        self._date = 0.0
        self.answered: float | None = None
        """Boot time of the last answer with a `Date`."""

    def note(self, date: str | None, *, sent: float, received: float, now: float) -> None:
        """An answer's `Date`, boot times of sending and receiving, wall time of receiving."""
        if not date:
            return
        if date != self._text:
            try:
                self._date = parsedate_to_datetime(date).timestamp()
            except ValueError:
                return
            self._text = date
        self.answered = received
        low, high = now - (received - sent) - (self._date + 1), now - self._date
        last = self._samples[-1] if self._samples else None
        if last is not None and low <= last[1] and last[2] <= high and received - last[0] < 1:
            return  # Tells nothing new; under load most answers do not.
        if self._samples and not self._overlaps(low, high):
            self._samples.clear()  # A clock was set in between; what was known no longer holds.
        self._samples.append((received, low, high))

    def seconds(self, boot: float) -> float | None:
        """The smallest skew that explains the answers of the last minute (0 when none is needed);
        positive when the local clock is ahead. None when there was no answer lately."""
        while self._samples and boot - self._samples[0][0] > _KEEP_SECONDS:
            self._samples.popleft()
        if not self._samples:
            return None
        low = max(sample[1] for sample in self._samples)
        high = min(sample[2] for sample in self._samples)
        return min(max(0.0, low), high)

    def _overlaps(self, low: float, high: float) -> bool:
        return all(low <= sample[2] and sample[1] <= high for sample in self._samples)
