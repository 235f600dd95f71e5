"""The API server's audit log: the policy, and a reader that yields events as dictionaries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Who did what to which object, once for each request, without bodies. Probes are left out.
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/readyz*", "/livez*"]
- level: Metadata
"""

_BEGIN = b'{"kind":"Event",'

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
"""The verbs that change something."""


def read_events(
    log: Path,
    *,
    since: int = 0,
    user: str | None = None,
    user_agent: str | None = None,
    writes: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the events of an audit log, oldest first, up to its present end.

    The API server writes an event before it answers the request, so what a client has seen done is
    in the log. A watch appears when it starts and again when it ends.

    Args:
        log: the file.
        since: the offset to begin at, from `size` earlier.
        user: only this user name.
        user_agent: only user agents that begin so.
        writes: only requests that change something.
    """
    with log.open("rb") as file:
        file.seek(since)
        for line in file:
            if not line.endswith(b"\n"):
                return  # still being written; the next reading gets it whole
            event = _event(line)
            if user is not None and event["user"].get("username") != user:
                continue
            if user_agent is not None and not event.get("userAgent", "").startswith(user_agent):
                continue
            if writes and event["verb"] not in WRITES:
                continue
            yield event


def _event(line: bytes) -> dict[str, Any]:
    """The last event of a line: a server that was killed while it wrote leaves a piece of a line in
    front of what the next one writes first."""
    event: dict[str, Any] = json.loads(line[line.rindex(_BEGIN) :])
    return event


def size(log: Path) -> int:
    """Where the log ends now, as an offset for `since`."""
    return log.stat().st_size if log.exists() else 0
