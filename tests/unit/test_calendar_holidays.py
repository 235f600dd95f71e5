"""Public holidays against the lists that governments publish (calendar_holidays.yaml)."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskrunner.domain.calendar_days import Holidays, holidays_in, to_date, to_day
from unit.planning import at, calendar

TABLES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "calendar_holidays.yaml").read_text("utf-8")
)
ROWS = [
    pytest.param(table, year, days, id=f"{table['country']} {table.get('subdivision', '')} {year}")
    for table in TABLES
    for year, days in table["days"].items()
]


@pytest.mark.parametrize(("table", "year", "days"), ROWS)
def test_a_year_is_as_published(table: dict[str, Any], year: int, days: list[date]) -> None:
    found = holidays_in(table["country"], table.get("subdivision"), (), frozenset(), year)
    assert [to_date(day) for day in found.days] == days


def test_three_countries_and_three_years_are_in_the_tables() -> None:
    assert {table["country"] for table in TABLES} == {"DE", "US", "JP"}
    assert all(set(table["days"]) == {2024, 2025, 2026} for table in TABLES)
    assert all(table["source"] and table["checked"] for table in TABLES)


def test_neighbours_are_found_across_years() -> None:
    rule = Holidays("DE", None, ())
    assert rule.next_after(to_day(date(2026, 12, 26))) == to_day(date(2027, 1, 1))
    assert rule.previous_before(to_day(date(2026, 1, 1))) == to_day(date(2025, 12, 26))


def test_a_country_without_holidays_of_the_kind_has_no_neighbours() -> None:
    rule = Holidays("DE", None, (), frozenset({"No such day"}))
    day = to_day(date(2026, 1, 1))
    assert (rule.next_after(day), rule.previous_before(day), rule.label(day)) == (None, None, None)


def test_only_the_named_holidays_count() -> None:
    entry = {"name": "x", "country": "DE", "names": ["Christmas Day", "New Year's Day"]}
    made = calendar("c", exclude={"holidays": [entry]})
    assert made.excludes(at("2026-12-25")) == "Christmas Day"
    assert made.excludes(at("2026-12-26")) is None


def test_categories_add_days() -> None:
    entry = {"name": "x", "country": "JP", "categories": ["bank", "public"]}
    made = calendar("c", exclude={"holidays": [entry]})
    assert made.excludes(at("2026-12-31")) is not None  # banks are closed
    assert made.excludes(at("2026-11-03")) is not None


def test_names_do_not_depend_on_the_language_of_the_machine() -> None:
    code = (
        "from taskrunner.domain.calendar_days import holidays_in;"
        "print(holidays_in('DE', None, (), frozenset(), 2026).names)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"LANG": language, "LANGUAGE": language, "PYTHONPATH": "operator"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for language in ("C", "de_DE.UTF-8", "en_US.UTF-8")
    }
    assert len(outputs) == 1
    assert "Good Friday" in outputs.pop()


def test_the_library_is_loaded_only_when_a_calendar_has_holidays() -> None:
    code = (
        "import sys; from taskrunner.api.v1alpha1.parse import parse_calendar;"
        "from taskrunner.domain.calendar_compile import compile_calendar;"
        "compile_calendar(parse_calendar({'metadata': {'name': 'c'}, 'spec': {'exclude':"
        " {'weekdays': ['Sunday']}}})); print('holidays' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": "operator"}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "False"
