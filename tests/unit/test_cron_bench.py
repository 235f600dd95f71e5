"""The benchmark's table and verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bench.__main__ import compare, suites
from bench.measures import Measure, cpu_times, percentile

LIMITS = Path(__file__).parents[2] / "bench" / "limits.yaml"


def test_a_measure_within_its_limit_is_good() -> None:
    rows, good = compare({"a/b/c": Measure("c", 1.0, "ms")}, {"a/b/c": {"most": 1, "unit": "ms"}})
    assert good
    assert "ok (at most 1)" in rows[0]


def test_a_broken_limit_and_a_missing_measure_are_bad() -> None:
    limit = {"a/b/c": {"most": 1, "unit": "ms"}}
    assert not compare({"a/b/c": Measure("c", 1.1, "ms")}, limit)[1]
    assert not compare({}, limit)[1]


def test_a_limit_in_another_unit_is_an_error() -> None:
    with pytest.raises(SystemExit, match="is in s, its limit in ms"):
        compare({"a/b/c": Measure("c", 1.0, "s")}, {"a/b/c": {"most": 1, "unit": "ms"}})


def test_every_limit_belongs_to_a_module_that_exists() -> None:
    known = {f"{suite}/{module}" for suite, modules in suites().items() for module in modules}
    assert known
    for name in yaml.safe_load(LIMITS.read_text("utf-8")):
        assert name.rpartition("/")[0] in known, name


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 101), 50) == 50
    assert percentile([7], 99) == 7


def test_cpu_time_is_measured_for_each_call() -> None:
    quick, slow = cpu_times([lambda: None, lambda: sum(range(500_000))])
    assert slow > 1
    assert quick < slow / 5
