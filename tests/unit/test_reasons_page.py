"""The page about reasons has a row for each reason for which somebody would look."""

from __future__ import annotations

import re
from pathlib import Path

from taskrunner.api.v1alpha1.reasons import ExecutionReason
from taskrunner.domain.pod_problems import PROBLEMS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "troubleshoot-runs.md"
ROWS = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)


def test_each_row_is_a_reason_and_there_once() -> None:
    assert set(ROWS) <= {reason.value for reason in ExecutionReason}
    assert len(ROWS) == len(set(ROWS))


def test_each_problem_of_a_pod_has_a_row() -> None:
    assert {reason.value for reason in PROBLEMS} <= set(ROWS)
