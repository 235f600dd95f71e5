"""What an importer tells about a CronJob's schedule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskrunner.domain.cron_differences import (
    EVERY,
    GAP,
    IRREGULAR,
    OVERLAP,
    differences_from_cronjob,
)
from taskrunner.domain.zones import ZoneError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cron.md"


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("0 2 * * *", "UTC"),
        ("*/15 * * * *", "Europe/Berlin"),  # wildcards follow elapsed time in both
        ("0 4 * * *", "Europe/Berlin"),  # never in the gap or overlap
        ("30 2 * * *", "Asia/Kolkata"),
        ("0 0 */2 * MON", "UTC"),
        ("5/20 1-3 ? jan-Mar Sun", "UTC"),
        ("@daily", "UTC"),
        ("30 1 * * *", "Europe/Moscow"),  # its last change is in the past
    ],
)
def test_most_schedules_mean_the_same(expression: str, zone: str) -> None:
    assert differences_from_cronjob(expression, zone) == []


@pytest.mark.parametrize(
    ("expression", "zone", "sentences"),
    [
        ("30 2 * * *", "Europe/Berlin", [GAP, OVERLAP]),
        ("0 2,3 * * *", "Europe/Berlin", [GAP, OVERLAP]),
        ("30 1 * * *", "America/New_York", [OVERLAP]),
        ("30 3 * * *", "Europe/Athens", [GAP, OVERLAP]),
        ("@daily", "Asia/Beirut", [GAP, IRREGULAR]),
        ("0 12 * * *", "Australia/Lord_Howe", [IRREGULAR]),
        ("@every 5m", "Europe/Berlin", [EVERY]),
    ],
)
def test_a_schedule_that_means_something_else_is_told(
    expression: str, zone: str, sentences: list[str]
) -> None:
    told = [sentence.format(zone=zone) for sentence in sentences]
    assert differences_from_cronjob(expression, zone) == told


@pytest.mark.parametrize(
    "expression",
    ["0 0 31 2 *", "+5 * * * *", "*-5 * * * *", ", * * * *", "@every 500ms", "@every -1m",
     "TZ=Europe/Berlin 0 2 * * *", "0" * 250 + " * * * *"],
)  # fmt: skip
def test_what_cronjob_accepts_and_is_refused_here_is_told(expression: str) -> None:
    (told,) = differences_from_cronjob(expression)
    assert told.startswith("Refused: ")


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ZoneError):
        differences_from_cronjob("0 2 * * *", "Europe/Berln")


@pytest.mark.parametrize("sentence", [EVERY, GAP, OVERLAP, IRREGULAR])
def test_each_difference_is_published(sentence: str) -> None:
    page = re.sub(r"\s+", " ", PAGE.read_text("utf-8"))
    told = sentence.replace("{zone}", "a zone").replace("{{", "{").replace("}}", "}")
    assert told.replace("In a zone the", "The").replace("In a zone this", "This") in page
