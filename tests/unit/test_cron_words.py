"""Expressions in words."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from differential.strategies import expressions
from taskrunner.domain.cron import CronError, parse_cron
from taskrunner.domain.cron_words import describe

EITHER = " Both day fields are restricted, so a day that matches either of them counts."
DRAWN = " H stands for a value drawn from the task's namespace and name; it stays the same."

WORDS = [
    ("0 2 * * *", "At 02:00, every day."),
    ("15 30 2 * * *", "At 02:30:15, every day."),
    ("0,30 2,14 * * *", "At 02:00, 02:30, 14:00 and 14:30, every day."),
    ("1,2,3,4,5,6,7 1 * * *", "At minutes 1, 2, 3, 4, 5, 6 and 7 of hour 1, every day."),
    ("* * * * *", "Every minute."),
    ("* * * * * *", "Every second."),
    ("*/10 * * * * *", "Every 10 seconds."),
    ("15 * 2 * * *", "At second 15 of every minute of hour 2, every day."),
    ("30 */10 3 * * *", "At second 30 of every 10th minute of hour 3, every day."),
    ("*/15 9-17 * * MON-FRI", "Every 15 minutes from 09:00 to 17:59, Monday to Friday."),
    ("5,35 */2 * * *", "At minutes 5 and 35 of every 2nd hour, every day."),
    ("20/15 * * * *", "At every 15th minute from 20 on of every hour."),
    ("0 0-23/2 * * *", "At minute 0 of every 2nd hour from 0 to 23, every day."),
    ("@hourly", "At minute 0 of every hour."),
    ("@daily", "At 00:00, every day."),
    ("@weekly", "At 00:00, on Sunday."),
    ("@yearly", "At 00:00, on day 1 of the month, in January."),
    ("@every 1h30m", "Every 1 hour and 30 minutes, counted from 1970-01-01T00:00:00Z."),
    ("@every 90s", "Every 1 minute and 30 seconds, counted from 1970-01-01T00:00:00Z."),
    ("0 2 1-7 * *", "At 02:00, on days 1 to 7 of the month."),
    ("0 0 L-3,LW * *", "At 00:00, on the day 3 days before the last day of the month and the last "
     "Monday to Friday of the month."),
    ("0 9 15W JAN-MAR,JUL *", "At 09:00, on the Monday to Friday nearest to day 15 of the month, "
     "in January to March and July."),
    ("0 18 * * 5L", "At 18:00, on the last Friday of the month."),
    ("0 8 * * MON#1,7#5", "At 08:00, on the first Monday of the month and the fifth Sunday of the "
     "month."),
    ("0 0 * */3 *", "At 00:00, every day, in every 3rd month."),
    ("0 0,12 * * 1/2", "At 00:00 and 12:00, on every 2nd weekday from Monday on."),
    ("0 12 13 * FRI", "At 12:00, on day 13 of the month or on Friday." + EITHER),
    ("0 12 */2 * SUN", "At 12:00, on every 2nd day of the month or on Sunday." + EITHER),
    ("0 12 5,* * FRI", "At 12:00, on Friday."),
    ("H H * * *", "At minute H of hour H, every day." + DRAWN),
    ("H/15 * * * *", "Every 15 minutes from minute H." + DRAWN),
    ("H(0-29)/10 H(1-5) H * *", "At every 10th minute from H (0 to 29) of hour H (1 to 5), on day "
     "H (1 to 28) of the month." + DRAWN),
    ("0 0 * H(JAN-MAR) *", "At 00:00, every day, in month H (January to March)." + DRAWN),
    ("0 0 31 H *", "At 00:00, on day 31 of the month, in month H." + DRAWN),
    ("0 0 * * H", "At 00:00, on weekday H." + DRAWN),
    ("*/7 * * * *", "At every 7th minute of every hour. Steps start over with each hour, so the "
     "last one before is 4 minutes long."),
    ("0 */5 * * *", "At minute 0 of every 5th hour, every day. Steps start over with each day, so "
     "the last one before is 4 hours long."),
    ("*/90 * * * *", "At minute 0 of every hour. A step of 90 is longer than the hour: only minute "
     "0 matches."),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "words"), WORDS)
def test_an_expression_in_words(expression: str, words: str) -> None:
    assert describe(expression) == words


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "nonsense", "@every 1x", ""])
def test_a_wrong_expression_is_refused_and_not_described(expression: str) -> None:
    with pytest.raises(CronError):
        describe(expression)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expressions())
def test_whatever_is_accepted_can_be_described(expression: str) -> None:
    try:
        parse_cron(expression, hash_key="")
    except CronError:
        return
    words = describe(expression)
    assert words[0].isupper()
    assert words.endswith(".")
    assert "  " not in words
    assert ",," not in words
