"""The search for tasks that are slow to plan: it runs, and it finds what it looks for."""

from __future__ import annotations

import pytest

from fuzz import plans
from taskrunner.domain.missed import undecided


def test_a_short_search_finds_nothing() -> None:
    found = plans.search(60, 3, count=25)
    # How fast they are is for the search itself to say, on a machine that is not busy.
    assert [each for each in found.findings if not each.startswith(("warm", "cold"))] == []
    assert found.counts["accepted"] > 5
    assert {"cold", "warm"} <= found.worst.keys()


def test_a_slow_plan_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: object, **more: object) -> object:
        sum(range(500_000))
        return undecided(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(plans, "undecided", slow)
    monkeypatch.setattr(plans, "ROUNDS", 1)
    monkeypatch.setattr(plans, "FINAL_ROUNDS", 1)
    monkeypatch.setattr(plans, "LIMITS", {"warm": 1.0, "cold": 1.0})
    found = plans.search(60, 3, count=6)
    assert any("takes" in finding and "Candidate(" in finding for finding in found.findings)
