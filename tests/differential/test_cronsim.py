"""cronsim: a sample with every run, all of it when slow tests run."""

from __future__ import annotations

import pytest

from differential import against_cronsim
from differential.against_cronsim import change_triples, compare, random_triples, run, sample
from differential.transitions import transitions
from taskrunner.domain.timeline import DstPolicy


def test_a_sample_of_next_slots_agrees_with_cronsim_or_differs_for_a_known_reason() -> None:
    counts, unexplained = compare(change_triples(sample(12, seed=3)))
    more_counts, more_unexplained = compare(random_triples(1_500, seed=4))
    assert [*unexplained, *more_unexplained] == []
    assert (counts + more_counts)["agree"] > 5_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_change_of_the_clock_from_2020_to_2035_agrees_with_cronsim() -> None:
    counts, unexplained = run(list(transitions()), random_count=100_000, processes=2)
    assert unexplained == []
    assert counts.total() >= 1_000_000
    assert counts["agree"] / counts.total() > 0.95


def test_a_wrong_answer_of_ours_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The other pass of an overlap, and no slot for a gap: what a mistake in the policy would give.
    wrong = DstPolicy(gap="Skip", overlap="Second")
    monkeypatch.setattr(against_cronsim, "DstPolicy", lambda: wrong)
    _, unexplained = compare(change_triples(sample(5, seed=6)))
    assert len(unexplained) > 20
