"""Of the benchmarks, the one ratio that does not depend on how busy the machine is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bench.burst import process
from bench.measures import Effort

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]


def test_a_burst_takes_about_as_much_cpu_of_ours_as_of_a_bare_client() -> None:
    found = {measure.name: measure.value for measure in process.measure(Effort(rounds=1))}
    limits = yaml.safe_load((ROOT / "bench" / "limits.yaml").read_text("utf-8"))
    limit = limits["burst/process/CPU, to a bare client"]
    assert found["CPU, to a bare client"] <= limit["most"]
