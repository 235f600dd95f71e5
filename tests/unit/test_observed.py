"""Objects as anybody may have written them, where neither schema nor webhook stood in the way."""

from __future__ import annotations

import pytest

from taskrunner.domain.instants import parse_instant
from taskrunner.domain.observed import execution_from

CREATED = "2026-11-21T11:06:00Z"


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("2026-12-24T18:00:00Z", "2026-12-24T18:00:00Z"),
        ("2026-12-24t18:00:00z", "2026-12-24T18:00:00Z"),
        ("2026-12-24T18:00:00.123456789Z", "2026-12-24T18:00:00Z"),
        ("0000-01-01T00:00:00Z", CREATED),
        ("2026-12-24T18:00:00+25:00", CREATED),
        ("2026-12-24T18:00:60Z", CREATED),
    ],
)
def test_a_time_that_is_none_stops_nothing_and_counts_as_not_said(text: str, due: str) -> None:
    meta = {
        "namespace": "team",
        "name": "by-hand",
        "uid": "u",
        "resourceVersion": "1",
        "creationTimestamp": CREATED,
    }
    spec = {"taskRef": {"name": "t"}, "notBefore": text}
    assert execution_from({"metadata": meta, "spec": spec}).due == parse_instant(due)
