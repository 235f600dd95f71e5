"""Gaps and overlaps: each row of dst_cases.yaml, and the page made from it."""

from __future__ import annotations

import pytest

from differential.dst_page import PAGE, POLICIES, Case, load, page, slots
from differential.oracle import Oracle

ROWS = [
    pytest.param(case, expression, policy, told, id=f"{case.zone} {expression} {policy}")
    for case in load()
    for expression, by_policy in case.slots.items()
    for policy, told in by_policy.items()
]


@pytest.mark.parametrize(("case", "expression", "policy", "told"), ROWS)
def test_around_a_change_of_the_clock(case: Case, expression: str, policy: str, told: str) -> None:
    assert slots(case, expression, policy) == told


@pytest.mark.parametrize(("case", "expression", "policy", "told"), ROWS)
def test_the_oracle_sees_the_same_number_of_slots(
    case: Case, expression: str, policy: str, told: str
) -> None:
    dst = POLICIES[case.kind][policy]
    step = 15 if len(expression.split()) == 6 else 60
    found = Oracle(expression, case.zone, dst.gap, dst.overlap).slots(*case.around, step)
    assert len(found) == (0 if told == "-" else told.count(",") + 1)


def test_every_policy_and_kind_of_change_is_in_the_cases() -> None:
    shifts = {case.zone for case in load()}
    assert {"Australia/Lord_Howe", "Asia/Beirut", "America/Asuncion", "America/Santiago",
            "Pacific/Apia"} <= shifts  # fmt: skip
    assert all(set(by) == set(POLICIES[case.kind]) for case in load() for by in case.slots.values())


def test_the_page_shows_the_tables_as_computed() -> None:
    assert PAGE.read_text("utf-8") == page(), (
        "docs/reference/dst.md is out of date: "
        "run PYTHONPATH=tests .venv/bin/python -m differential.dst_page"
    )
