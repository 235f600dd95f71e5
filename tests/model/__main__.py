"""Explore the models, or see what happens without a rule."""

from __future__ import annotations

import argparse
import sys

from model.bounds import DEEP, QUICK, TESTED, WITHOUT, Models
from model.explore import explore


def main() -> int:
    """0 when all invariants hold, or, with --without, when the missing rule shows."""
    options = _parser().parse_args()
    if options.without:
        report = explore(WITHOUT[options.without])
        print(f"without {options.without}: {report}")
        return 0 if report.broken else 1
    return _explore({**QUICK, **TESTED, **(DEEP if options.deep else {})})


def _explore(models: Models) -> int:
    states = steps = 0
    for name, model in models.items():
        report = explore(model)
        print(f"{name}: {report}", flush=True)
        states, steps = states + report.states, steps + report.steps
        if report.broken:
            return 1
    print(f"every invariant holds in {states:,} states, over {steps:,} steps")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model",
        description="Visits every state that the models of exactly-once creation can reach, and "
        "prints the shortest way to the first that breaks an invariant. What is modelled: "
        "docs/explanation/exactly-once.md.",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--deep", action="store_true", help="wider bounds than those of the tests (minutes)"
    )
    choice.add_argument(
        "--without",
        choices=sorted(WITHOUT),
        metavar="RULE",
        help="take a rule out, and print the shortest way to what it prevents; one of: %(choices)s",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
