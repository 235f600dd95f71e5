"""What came out, as Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from chaos.ledger import Ledger
from chaos.load import CATCH_UP_LIMIT
from chaos.verdict import Verdict, outcomes, recovery

_ROOT = Path(__file__).parents[2]
_TOLD = 30
"""At most so many violations are told at length."""


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
    took: float
    """Seconds."""
    commit: str = field(default_factory=lambda: commit())

    @property
    def text(self) -> str:
        """The report."""
        sections = [self._run(), self._counts(), self._exceptions(), self._recoveries()]
        if self.verdict.violations:
            sections.append(self._violations())
        return "\n\n".join(sections) + "\n"

    def _run(self) -> str:
        options = self.options
        at_once = f", up to {options.lanes} at a time" if options.lanes > 1 else ""
        cores = os.cpu_count()
        return "\n".join(
            (
                "# Chaos report",
                "",
                f"{len(self.faults)} faults{at_once}, {options.replicas} replicas, {options.tasks} "
                f"tasks of 10 to 60 s and {options.fast} of 1 to 5 s, Kubernetes "
                f"{options.k8s_version}, etcd with fsync.",
                "",
                f"- Command: `PYTHONPATH=operator:tools {options.command}`",
                f"- Commit: {self.commit}",
                f"- When: {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, in "
                f"{self.took / 60:.0f} minutes",
                f"- Where: {platform.system()}, {cores} cores for everything, load average "
                f"{os.getloadavg()[2]:.1f} over the last 15 minutes; times are those of this "
                "machine at this load",
            )
        )

    def _counts(self) -> str:
        verdict = self.verdict
        jobs = ", ".join(f"{n}: {count}" for n, count in sorted(verdict.jobs.items()))
        lags = sorted(lag for _, lag in verdict.lags) or [0.0]
        rows = (
            ("slots due", verdict.slots),
            ("of these started a Job", verdict.ran),
            ("decided otherwise, under Forbid", verdict.decided_otherwise),
            ("execution deleted by the third party before it had a Job", verdict.never_started),
            ("missed after an outage, on record, under catchUp Last", verdict.missed),
            (f"missed as the oldest of over {CATCH_UP_LIMIT} overdue", verdict.beyond_limit),
            ("slots by number of Jobs (one for each attempt)", jobs or "none"),
            ("most Jobs of one attempt (the exception apart)", verdict.most_per_attempt),
            ("**lost**", f"**{len(verdict.lost)}**"),
            ("**doubled**", f"**{len(verdict.doubled)}**"),
            ("**stuck**", f"**{len(verdict.stuck)}**"),
            ("overlapping under Forbid", len(verdict.overlapping)),
            ("started before they were due", len(verdict.early)),
            ("with an outcome that is not what became of their pods", len(verdict.misjudged)),
            ("run again as the documented exception", len(verdict.excepted)),
            (
                "start lag p50, p99, max",
                f"{lags[len(lags) // 2]:.0f} s, {lags[int(len(lags) * 0.99)]:.0f} s, "
                f"{lags[-1]:.0f} s",
            ),
            ("restarts of replicas", self.restarts),
            ("largest replica at the end", f"{self.memory / 1e6:.0f} MB"),
        )
        table = [f"| {name} | {value} |" for name, value in rows]
        ended = ", ".join(f"{name} {n}" for name, n in outcomes(self.ledger).most_common())
        removed = Counter(
            f"{removal.kind}s" for found in self.ledger.removed.values() for removal in found
        )
        deleted = ", ".join(f"{count} {kind}" for kind, count in removed.most_common())
        return "\n".join(
            (
                "| | |",
                "|---|---|",
                *table,
                "",
                f"How the executions ended: {ended}.",
                f"Deleted by the third party: {deleted or 'nothing'}.",
            )
        )

    def _exceptions(self) -> str:
        """One line each: they are as documented, and still worth a look."""
        found = [text.partition("\n")[0] for text in self.verdict.excepted]
        head = (
            "The documented exception: somebody deletes an execution or a Job *and* its leader "
            "dies before it is on record; then the slot runs again. It is counted only where the "
            "server had no record when it was deleted."
        )
        return "\n".join((head, *(["", *(f"- {text}" for text in found)] if found else ())))

    def _recoveries(self) -> str:
        groups: dict[str, list[float]] = defaultdict(list)
        for fault in self.faults:
            name = fault.name
            if name == "watch errors":
                name += f" {fault.detail.partition(' ')[0]}"
            groups[name].append(recovery(fault.at, self.verdict.lags))
        every = [seconds for times in groups.values() for seconds in times]
        rows = [*sorted(groups.items()), ("**all**", every)] if every else []
        note = "Recovery is the longest start lag of the slots due within 15 s from the fault"
        if self.options.lanes > 1:
            note += "; with several faults at a time it is that of all of them together"
        return "\n".join(
            (
                f"{note}.",
                "",
                "| fault | times | recovery p50 | max |",
                "|---|---|---|---|",
                *(
                    f"| {name} | {len(times)} | {statistics.median(times):.0f} s | "
                    f"{max(times):.0f} s |"
                    for name, times in rows
                ),
            )
        )

    def _violations(self) -> str:
        found = self.verdict.violations
        lines = ["## Violations", "", *(f"- {text}" for text in found[:_TOLD])]
        if len(found) > _TOLD:
            lines += ["", f"and {len(found) - _TOLD} more:", ""]
            lines += [f"- {text.partition(chr(10))[0]}" for text in found[_TOLD:]]
        return "\n".join(lines)


def commit() -> str:
    """What is checked out here; with a mark when files differ from it."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    command += ["--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.sub(r"-dirty$", ", with changes", done.stdout.strip()) or "unknown"
