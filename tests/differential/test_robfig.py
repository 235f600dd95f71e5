"""CronJob's parser: a sample with every run, all of it when slow tests run."""

from __future__ import annotations

import pytest

from differential.against_robfig import run


@pytest.mark.timeout(300)  # the first run builds the Go program
def test_a_sample_agrees_with_the_parser_of_cronjob() -> None:
    counts, broken = run(utc=1_500, zoned=1_000, seed=5)
    assert broken == []
    assert counts["equal"] > 1_200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_expressions_agree_with_the_parser_of_cronjob() -> None:
    counts, broken = run(utc=60_000, zoned=50_000)
    assert broken == []
    assert counts.total() >= 100_000
    assert counts["equal"] > 60_000
    assert counts["equal with Skip and Both, DST reported"] > 1_000
