"""CronJob's parser: a sample with every run, all of it when slow tests run."""

from __future__ import annotations

import pytest

from differential import against_robfig
from differential.against_robfig import Answer, Question, ask, judge, run


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


def test_a_wrong_answer_of_ours_would_be_noticed() -> None:
    asked = Question("30 4 * * *", "Europe/Berlin", (1_774_569_600,))
    (answer,) = ask([asked])
    assert judge(asked, answer) == "equal"
    later = Answer(slots=(tuple(slot + 60 for slot in answer.slots[0]),))
    assert judge(asked, later) == "!differs and is not reported"
    in_the_gap = Question("30 2 * * *", "Europe/Berlin", (1_774_569_600,))
    assert judge(in_the_gap, ask([in_the_gap])[0]).startswith("equal with Skip and Both")
    assert judge(in_the_gap, later) == "!not as Skip and Both"


def test_a_refusal_that_is_not_reported_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Question("+5 * * * *", "UTC", (0,))
    (answer,) = ask([asked])
    assert judge(asked, answer) == "refused here, and reported"
    monkeypatch.setattr(against_robfig, "differences_from_cronjob", lambda *_: [])
    assert judge(asked, answer) == "!refused here and not reported"
