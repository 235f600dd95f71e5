"""Instants: whole seconds since the epoch (UTC) inside, RFC 3339 on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(4_096)  # In a burst the same second comes again and again.
def parse_instant(text: str) -> int:
    """RFC 3339 (`Z` or an offset; fractions are cut off) → seconds. Raises ValueError."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return int(parsed.timestamp() // 1)


def format_instant(instant: float) -> str:
    """Seconds → `2026-01-01T00:00:00Z`, as Kubernetes writes metav1.Time."""
    return _formatted(int(instant))


@lru_cache(4_096)
def _formatted(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
