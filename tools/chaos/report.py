"""What came out, as Markdown."""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import dataclass

from chaos.ledger import Ledger
from chaos.verdict import Verdict, outcomes, recovery


@dataclass(frozen=True)
class Recorded:
    """A fault that was done. `at`: when it began, by the wall clock."""

    at: float
    name: str
    detail: str


@dataclass(frozen=True)
class Report:
    """A whole run."""

    options: argparse.Namespace
    verdict: Verdict
    faults: list[Recorded]
    ledger: Ledger
    memory: int
    restarts: int

    @property
    def text(self) -> str:
        """The report."""
        verdict, options = self.verdict, self.options
        lags = sorted(lag for _, lag in verdict.lags) or [0.0]
        lines = [
            "# Chaos report",
            "",
            f"{len(self.faults)} faults, {options.replicas} replicas, {options.tasks} tasks of 10 "
            f"to 60 s and {options.fast} of 1 to 5 s, Kubernetes {options.k8s_version}; written by "
            "`make chaos`.",
            "",
            "| | |",
            "|---|---|",
            f"| slots due | {verdict.slots} |",
            f"| of these started a Job | {verdict.ran} |",
            f"| decided otherwise, under Forbid | {verdict.decided_otherwise} |",
            f"| execution or Job deleted by the third party before it was seen | "
            f"{verdict.never_started} |",
            f"| **lost** | **{len(verdict.lost)}** |",
            f"| **doubled** | **{len(verdict.doubled)}** |",
            f"| **stuck** | **{len(verdict.stuck)}** |",
            f"| overlapping under Forbid | {len(verdict.overlapping)} |",
            f"| run again after a third party deleted the execution (documented) | "
            f"{len(verdict.excepted)} |",
            f"| start lag p50, p99, max | {lags[len(lags) // 2]:.0f} s, "
            f"{lags[int(len(lags) * 0.99)]:.0f} s, {lags[-1]:.0f} s |",
            f"| restarts of replicas | {self.restarts} |",
            f"| largest replica at the end | {self.memory / 1e6:.0f} MB |",
            "",
            "How the executions ended: "
            + ", ".join(f"{name} {count}" for name, count in outcomes(self.ledger).most_common())
            + ".",
            "",
            "Recovery is the longest start lag of the slots due within 15 s from the fault.",
            "",
            "| fault | times | recovery p50 | max |",
            "|---|---|---|---|",
            *self._recoveries(),
        ]
        if verdict.violations:
            lines += ["", "## Violations", "", *(f"- {text}" for text in verdict.violations)]
        return "\n".join(lines) + "\n"

    def _recoveries(self) -> list[str]:
        groups: dict[str, list[float]] = defaultdict(list)
        for fault in self.faults:
            groups[fault.name].append(recovery(fault.at, self.verdict.lags))
        return [
            f"| {name} | {len(times)} | {statistics.median(times):.0f} s | {max(times):.0f} s |"
            for name, times in sorted(groups.items())
        ]
