"""The importer's copy of CronJob's rules against the program that CronJob uses."""

from __future__ import annotations

from itertools import islice

import pytest

from differential.against_robfig import Answer, Question, ask, questions
from taskrunner.domain.cronjob_planner import NotACronJob, cronjob_slots, parse_as_cronjob
from taskrunner.domain.zones import load_zone


def answered(question: Question) -> Answer:
    """As the Go program answers."""
    try:
        schedule = parse_as_cronjob(question.expression)
    except NotACronJob as error:
        return Answer(error=str(error))
    zone = load_zone(question.zone)
    found = (
        tuple(islice(cronjob_slots(schedule, zone, start), question.count))
        for start in question.starts
    )
    return Answer(slots=tuple(found))


def _same(ours: Answer, theirs: Answer) -> bool:
    if ours.error or theirs.error:
        return bool(ours.error) == bool(theirs.error)
    return ours.slots == theirs.slots


@pytest.mark.timeout(300)  # the first run builds the Go program
def test_it_answers_as_cronjob_does_when_clocks_change_too() -> None:
    asked = [*questions(700, 21, zones=False), *questions(1_300, 22, zones=True)]
    asked = [one for one in asked if not one.expression.strip().startswith("@every")]
    answers = ask(asked)
    different = [
        (one, ours, theirs)
        for one, theirs in zip(asked, answers, strict=True)
        if not _same(ours := answered(one), theirs)
    ]
    assert different == []
    assert sum(bool(one.slots) for one in answers) > 1_000


def test_a_wrong_answer_would_be_noticed() -> None:
    asked = Question("30 4 * * *", "Europe/Berlin", (1_774_569_600,))
    (theirs,) = ask([asked])
    assert _same(answered(asked), theirs)
    assert not _same(answered(Question("31 4 * * *", asked.zone, asked.starts)), theirs)


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "0 0 * * 7", "61 * * * *", "5-1 * * * *", "*/0 * * * *", "@every 5m"],
)
def test_what_cronjob_refuses_or_counts_from_its_last_run_is_refused(expression: str) -> None:
    with pytest.raises(NotACronJob):
        parse_as_cronjob(expression)


def test_an_expression_that_never_fires_ends() -> None:
    found = cronjob_slots(parse_as_cronjob("0 0 31 2 *"), load_zone("UTC"), 1_774_569_600)
    assert list(found) == []
