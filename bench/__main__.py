"""Runs benchmarks and compares them with limits.yaml: `python -m bench [--suite planning]`.

A suite is a directory here; each module in it has `measure()`, which yields `Measure`s; one that
starts a cluster takes an `Effort`. The table goes to standard output and the figures to
bench/results/ as JSON. Exit code 1: a limit is broken, or one has no measure.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench.measures import Effort, Measure

HERE = Path(__file__).parent


def suites() -> dict[str, list[str]]:
    """The modules of each suite."""
    found: dict[str, list[str]] = {}
    for file in sorted(HERE.glob("*/*.py")):
        if file.name != "__init__.py":
            found.setdefault(file.parent.name, []).append(file.stem)
    return found


def run(suite: str, modules: list[str], effort: Effort) -> Iterator[tuple[str, Measure]]:
    """Each measure with its full name, `suite/module/name`."""
    for module in modules:
        measure = importlib.import_module(f"bench.{suite}.{module}").measure
        takes = [effort] if inspect.signature(measure).parameters else []
        for found in measure(*takes):
            print(f"{suite}/{module}/{found.name}: {found.value:.4g} {found.unit}", file=sys.stderr)
            yield f"{suite}/{module}/{found.name}", found


def compare(
    measures: dict[str, Measure], limits: dict[str, dict[str, Any]]
) -> tuple[list[str], bool]:
    """The rows of the table, and whether all limits hold."""
    rows, good = [], True
    for name, measure in measures.items():
        limit = limits.get(name)
        verdict = "no limit"
        if limit is not None:
            if limit["unit"] != measure.unit:
                raise SystemExit(f"{name} is in {measure.unit}, its limit in {limit['unit']}")
            kept = measure.value <= limit["most"]  # What is not a number keeps nothing.
            good = good and kept
            verdict = f"{'ok' if kept else 'BROKEN'} (at most {limit['most']:g})"
        value = f"{measure.value:.4g} {measure.unit}"
        rows.append(f"{name:<46} {value:>14}  {verdict:<22} {measure.note}".rstrip())
    for name in limits.keys() - measures.keys():
        rows.append(f"{name:<46} {'missing':>14}  BROKEN")
        good = False
    return rows, good


def save(measures: dict[str, Measure]) -> Path:
    now = datetime.now(UTC)
    target = HERE / "results" / f"{now:%Y%m%dT%H%M%SZ}.json"
    target.parent.mkdir(exist_ok=True)
    report = {
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "measures": {
            name: {"value": measure.value, "unit": measure.unit, "note": measure.note}
            | ({"samples": measure.samples} if measure.samples else {})
            for name, measure in measures.items()
        },
    }
    target.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return target


def main() -> int:
    known = suites()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", action="append", choices=sorted(known), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of what is compared (default: 3)")
    parser.add_argument(
        "--small", action="store_true", help="about a minute for each suite with a cluster, for CI"
    )
    arguments = parser.parse_args()
    chosen = arguments.suite or sorted(known)
    effort = Effort(arguments.rounds, arguments.small)
    measures = {name: found for suite in chosen for name, found in run(suite, known[suite], effort)}
    limits = yaml.safe_load((HERE / "limits.yaml").read_text("utf-8"))
    wanted = {
        name: limit
        for name, limit in limits.items()
        if name.split("/")[0] in chosen and (not effort.small or limit.get("small", True))
    }
    rows, good = compare(measures, wanted)
    print(*rows, f"saved: {save(measures).relative_to(HERE.parent)}", sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
