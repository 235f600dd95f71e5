"""What a cron expression means, and how a wrong one is refused."""

from __future__ import annotations

import pytest

from taskrunner.domain.cron import MAX_LENGTH, CronError, cron_timeline, parse_cron
from taskrunner.domain.cron_days import bits
from taskrunner.domain.timeline import DstPolicy, IntervalTimeline

FIELDS = [
    # field number (of six), text, the values it names
    (0, "*/20", [0, 20, 40]),
    (1, "5", [5]),
    (1, "05", [5]),
    (1, "1,2,5-7", [1, 2, 5, 6, 7]),
    (1, "7-7", [7]),
    (1, "0-59/25", [0, 25, 50]),
    (1, "50/4", [50, 54, 58]),
    (1, "*/90", [0]),
    (1, "1,,2,", [1, 2]),
    (2, "9-17/4", [9, 13, 17]),
    (2, "?", list(range(24))),
    (4, "JAN,mar-May,12", [1, 3, 4, 5, 12]),
    (4, "FEB/5", [2, 7, 12]),
]


@pytest.mark.parametrize(("number", "text", "values"), FIELDS)
def test_a_field_names_its_values(number: int, text: str, values: list[int]) -> None:
    fields = ["0", "0", "0", "*", "*", "*"]
    fields[number] = text
    parsed = parse_cron(" ".join(fields), hash_key="")
    masks = (parsed.seconds, parsed.minutes, parsed.hours, 0, parsed.months)
    assert list(bits(masks[number])) == values


WEEKDAYS = [
    ("0", [0]),
    ("7", [0]),
    ("SUN", [0]),
    ("0-7", [0, 1, 2, 3, 4, 5, 6]),
    ("5-7", [0, 5, 6]),
    ("MON-FRI", [1, 2, 3, 4, 5]),
    ("mon,Wed", [1, 3]),
    ("*/2", [0, 2, 4, 6]),
    ("5/2", [5]),  # N/step runs to Saturday, as in CronJob
    ("1-7/2", [0, 1, 3, 5]),
    ("7/2", [0]),
]


@pytest.mark.parametrize(("text", "weekdays"), WEEKDAYS)
def test_weekdays_count_from_sunday_which_is_also_seven(text: str, weekdays: list[int]) -> None:
    assert list(bits(parse_cron(f"0 0 * * {text}", hash_key="").days.weekdays)) == weekdays


@pytest.mark.parametrize(
    ("macro", "fields"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        (" @Daily\n", "0 0 * * *"),
    ],
)
def test_a_macro_is_short_for_fields_and_never_hashed(macro: str, fields: str) -> None:
    one, other = (parse_cron(text, hash_key="qa/nightly") for text in (macro, fields))
    assert (one.seconds, one.minutes, one.hours, one.months, one.days, one.fixed) == (
        other.seconds, other.minutes, other.hours, other.months, other.days, other.fixed,
    )  # fmt: skip


def test_six_fields_begin_with_seconds_and_five_mean_second_zero() -> None:
    assert list(bits(parse_cron("30 1 2 * * *", hash_key="").seconds)) == [30]
    assert list(bits(parse_cron("1 2 * * *", hash_key="").seconds)) == [0]


@pytest.mark.parametrize(
    "text", ["0 2 * * *", "0\t2 * * *", " 0  2 * * *\n", "0\u00a02 * * *", "0 2\u3000* * *"]
)
def test_fields_are_separated_by_any_white_space(text: str) -> None:
    assert parse_cron(text, hash_key="").hours == 1 << 2


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("30 2 * * *", True),
        ("0 0-23/2 * * *", True),
        ("0 0/2 * * *", True),
        ("H H * * *", True),
        ("H(0-29) 2 * * *", True),
        ("* 30 2 * * *", True),  # seconds have no say
        ("@daily", True),
        ("*/15 2 * * *", False),
        ("0 */2 * * *", False),
        ("0 ? * * *", False),
        ("0,*/15 2 * * *", False),
        ("H/15 2 * * *", False),
        ("@hourly", False),
    ],
)
def test_a_time_is_fixed_when_hour_and_minute_have_no_wildcard(text: str, fixed: bool) -> None:
    assert parse_cron(text, hash_key="a/b").fixed is fixed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("@every 90s", 90),
        ("@every 1h30m", 5400),
        ("@every 1.5h", 5400),
        ("@every .5m", 30),
        ("@every 500ms500ms", 1),
        ("@every 1000000µs", 1),
        ("  @every   2h ", 7200),
        ("@EVERY 2h", 7200),
    ],
)
def test_every_is_an_interval_counted_from_1970(text: str, seconds: int) -> None:
    assert cron_timeline(
        text, zone="Europe/Berlin", dst=DstPolicy(), hash_key=""
    ) == IntervalTimeline(seconds, 0)


REFUSED = [
    # expression, the part found wrong, words of the message and of the remedy
    ("", "", "empty", "five fields"),
    ("   ", "   ", "empty", "five fields"),
    ("1 2 3", "1 2 3", "3 fields", "minute, hour, day of month"),
    ("nonsense", "nonsense", "1 field.", "five"),
    ("0 0 2 * * * 2027", "0 0 2 * * * 2027", "years", "startTime"),
    ("60 * * * *", "60", "minute field", "0 to 59"),
    ("* 24 * * *", "24", "hour field", "0 to 23"),
    ("* * 0 * *", "0", "day-of-month field", "1 to 31"),
    ("* * * 13 *", "13", "month field", "JAN to DEC"),
    ("* * * * 8", "8", "day-of-week field", "0 to 7"),
    ("* * * * MOON", "MOON", "day-of-week field", "SUN to SAT"),
    ("* * MON * *", "MON", "day-of-month field", "1 to 31"),
    ("99999999999999999999 * * * *", "99999999999999999999", "range", "0 to 59"),
    ("+5 * * * *", "+5", "minute field", "numbers"),
    ("-5 * * * *", "-5", "minute field", "numbers"),
    ("5- * * * *", "5-", "minute field", "ranges"),
    ("1-2-3 * * * *", "1-2-3", "minute field", "ranges"),
    ("*-5 * * * *", "*-5", "minute field", "numbers"),
    ("1.5 * * * *", "1.5", "minute field", "numbers"),
    ("\u0665 * * * *", "\u0665", "minute field", "numbers"),
    ("*/0 * * * *", "/0", "step", "*/15"),
    ("*/x * * * *", "/x", "step", "*/15"),
    ("*/ * * * *", "/", "step", "*/15"),
    ("*/9223372036854775808 * * * *", "/9223372036854775808", "step", "*/15"),
    (", * * * *", ",", "minute field is empty", "*"),
    ("40-20 * * * *", "40-20", "ends before it begins", '"40-59,0-20"'),
    ("* 22-2 * * *", "22-2", "ends before it begins", '"22-23,0-2"'),
    ("0 0 * * FRI-MON", "FRI-MON", "ends before it begins", '"FRI-6,0-MON"'),
    ("0 0 * NOV-FEB *", "NOV-FEB", "ends before it begins", '"NOV-12,1-FEB"'),
    ("0 0 30 2 *", "30 2 *", "never matches", "leave the schedule out"),
    ("59 23 31 2 *", "31 2 *", "never matches", "L"),
    ("0 0 31 4,6,9,11 *", "31 4,6,9,11 *", "never matches", "L"),
    ("0 0 31W 2 ?", "31W 2 ?", "never matches", "L"),
    ("0 0 L-30 FEB *", "L-30 FEB *", "never matches", "L"),
    ("0 0 H(30-31) 2 *", "H(30-31) 2 *", "values that H has for this task", "H(1-28)"),
    ("0 0 L-31 * *", "L-31", "No month", "L-30"),
    ("0 0 32W * *", "32", "day-of-month field", "1 to 31"),
    ("0 0 W * *", "W", "day-of-month field", "1 to 31"),
    ("0 0 1-5W * *", "5W", "day-of-month field", "15W"),
    ("0 0 * * L", "L", "day-of-week field", "5L"),
    ("0 0 * * L5", "L5", "day-of-week field", '"5L"'),
    ("0 0 * * 8L", "8", "day-of-week field", "0 to 7"),
    ("0 0 * * MON#6", "MON#6", "four or five", "#5"),
    ("0 0 * * MON#0", "MON#0", "four or five", "#5"),
    ("0 L * * *", "L", "hour field", "0 to 23"),
    ("0 5L * * *", "5L", "hour field", "day-of-month"),
    ("~ * * * *", "~", "minute field", "H"),
    ("0~59 * * * *", "0~59", "minute field", "H"),
    ("H(5) * * * *", "H(5)", "parentheses", "H(0-29)"),
    ("H(0-60) * * * *", "60", "minute field", "0 to 59"),
    ("H(9-3) * * * *", "9-3", "ends before it begins", "9-59,0-3"),
    ("H/61 * * * *", "H/61", "larger than the 60 values", "1 to 60"),
    ("H/0 * * * *", "/0", "step", "*/15"),
    ("@reboot", "@reboot", "no meaning", "TaskExecution"),
    ("@fortnightly", "@fortnightly", "no such macro", "@weekly"),
    ("@every", "@every", "no duration", "1h30m"),
    ("@every 5", "5", "no duration", "1h30m"),
    ("@every 5 m", "5 m", "no duration", "1h30m"),
    ("@every 1d", "1d", "no duration", "1h30m"),
    ("@every -5m", "-5m", "sign", "@every 5m"),
    ("@every 0s", "0s", "whole number of seconds", "@every 1s"),
    ("@every 1500ms", "1500ms", "whole number of seconds", "@every 2s"),
    ("@every 2562048h", "2562048h", "too long", "292 years"),
    ("CRON_TZ=Europe/Berlin 0 2 * * *", "CRON_TZ=Europe/Berlin 0 2 * * *", "time zone inside",
     'timeZone: "Europe/Berlin"'),
    ("TZ=UTC 0 2 * * *", "TZ=UTC 0 2 * * *", "time zone inside", 'write "0 2 * * *"'),
    ("TZ=UTC", "TZ=UTC", "time zone inside", "timeZone"),
    ("0 0 1 1 * 2027", "2027", "day-of-week", "Six fields start with seconds"),
    ("0 0 0 1 1 2027-2030", "2027", "day-of-week", "leave the year out"),
    ("TZ=UTC @every 5m", "TZ=UTC @every 5m", "time zone inside", 'write "@every 5m"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "message", "remedy"), REFUSED)
def test_a_wrong_expression_is_refused_with_the_part_and_the_remedy(
    text: str, value: str, message: str, remedy: str
) -> None:
    with pytest.raises(CronError) as caught:
        cron_timeline(text, zone="UTC", dst=DstPolicy(), hash_key="a/b")
    assert caught.value.value == value
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.message.endswith(".")
    assert caught.value.remedy[-1] in '."'


def test_the_length_is_bounded() -> None:
    longest = ",".join(["1"] * ((MAX_LENGTH - 7) // 2)) + " * * * *"
    assert MAX_LENGTH - 1 <= len(longest) <= MAX_LENGTH
    parse_cron(longest, hash_key="")
    for text in ("1" * 100_000, "@every " + "1" * 300 + "s", "* " * 5000):
        with pytest.raises(CronError, match="at most 256") as caught:
            cron_timeline(text, zone="UTC", dst=DstPolicy(), hash_key="")
        assert len(caught.value.value) < 50


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 * 2 MON#5", "0 0 31 2,3 *", "0 0 30 2 MON"])
def test_rare_days_are_accepted(text: str) -> None:
    timeline = cron_timeline(text, zone="UTC", dst=DstPolicy(), hash_key="")
    assert timeline.next_after(1_767_225_600) is not None


def test_every_is_no_cron_expression_for_the_parser() -> None:
    with pytest.raises(CronError, match="everySeconds"):
        parse_cron("@every 90s", hash_key="")
