"""Exactly-once creation holds in every state within the bounds, and no rule of it is idle."""

from __future__ import annotations

import pytest

from model.bounds import QUICK, TESTED, WITHOUT
from model.election import ELECTION_RULES
from model.explore import explore
from model.resharding import RESHARDING_RULES
from model.rules import NAMES


@pytest.mark.timeout(300)  # Seconds of CPU, on machines that may be busy.
@pytest.mark.parametrize(
    "bounds", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in TESTED)]
)
def test_every_slot_is_decided_once_and_gets_one_job_and_nothing_is_stuck(bounds: str) -> None:
    report = explore({**QUICK, **TESTED}[bounds])
    assert not report.broken, str(report)


SHOWS = {
    "fence": "a second Job",
    "settle": "was decided to run, and now not to run",
    "decision_in_post": "is lost",
    "freed_late": "a second Job",
    "roll_forward": "was decided to run, and now not to run",
    "attempt_in_name": "Attempt 2 of slot 1 is recorded, but had no Job",
    "released_clean": "was decided to run, and now not to run",
    "live_get": "recorded as Failed, but its Job is there",
    "versioned": "was Succeeded, and is now Running",
    "only_forward": "The watermark goes back",
    "raise_again": "Something is stuck",
    "look_after_silence": "beside another one, under Forbid",
    "valid_from_sending": "Both may act at the same time",
    "versioned_lease": "Both may act at the same time",
    "deleted_is_not_free": "Both may act at the same time",
    "closing_first": "of the old number passes",
    "number_before_write": "of the old number passes",
    "raise_the_others": "of the old number passes",
}


@pytest.mark.parametrize("rule", SHOWS)
def test_without_a_rule_the_explorer_finds_what_it_prevents(rule: str) -> None:
    report = explore(WITHOUT[rule])
    assert SHOWS[rule] in report.broken, str(report)


def test_every_rule_has_its_counterexample() -> None:
    assert set(SHOWS) == set(WITHOUT) == {*NAMES, *ELECTION_RULES, *RESHARDING_RULES}
