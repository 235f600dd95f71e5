"""Reading an audit log."""

from __future__ import annotations

from pathlib import Path

from testbed import audit

EVENT = '{"kind":"Event","auditID":"%s","verb":"%s","user":{"username":"me"},"requestObject":{}}'


def test_a_line_that_a_killed_server_left_unfinished_does_not_hide_the_next(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    whole, torn = EVENT % ("1", "create"), (EVENT % ("2", "get"))[:40]
    log.write_text(f"{whole}\n{torn}{EVENT % ('3', 'patch')}\n{torn}")
    assert [event["auditID"] for event in audit.read_events(log)] == ["1", "3"]
    assert [event["verb"] for event in audit.read_events(log, writes=True)] == ["create", "patch"]
