"""What came out of an attack, as Markdown."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Mapping, Sequence

from chaos.report import commit
from fence_attack.arena import Tally

_HEAD = (
    "while",
    "take-overs",
    "longest",
    "stale writes sent",
    "accepted before the holder acted",
    "the latest, after the raise",
    "**accepted later**",
    "**not in the holder's list**",
    "the holder's writes",
    "**of these refused**",
    "terms ended with their Shard",
)


def report(tallies: Mapping[str, Tally], arguments: Sequence[str], seconds: float) -> str:
    """The report of a run that took so many seconds; `arguments` are those of the command."""
    told = [argument for argument in arguments if not argument.startswith("--report")]
    command = "make fence-attack" + (f' ARGS="{shlex.join(told)}"' if told else "")
    total = sum(tally.take_overs for tally in tallies.values())
    bad = sum(t.after_settle + t.unseen + t.holder_refused for t in tallies.values())
    lines = [
        "# Fence attack",
        "",
        f"{total} take-overs of shards, each while the prepared writes of the holder before are "
        f"released; {bad} of the writes had an outcome that may not be.",
        "",
        f"- Command: `{command}`",
        f"- Commit: {commit()}",
        f"- When: {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, in "
        f"{seconds / 60:.0f} minutes",
        f"- Where: {platform.system()}, {os.cpu_count()} cores for everything, load average "
        f"{os.getloadavg()[2]:.1f} over the last 15 minutes",
        "",
        f"| {' | '.join(_HEAD)} |",
        "|" + "---|" * len(_HEAD),
        *(f"| {' | '.join(_row(phase, tally))} |" for phase, tally in tallies.items()),
        "",
        "Stale writes that the server accepts before the new holder acts are in the list that it "
        "takes then, and are followed as runs; none may be accepted later, none may be missing in "
        "the list, and the holder itself may not be refused.",
    ]
    problems = [problem for tally in tallies.values() for problem in tally.problems]
    if problems:
        lines += ["", "## Violations", "", *(f"- {problem}" for problem in problems)]
    return "\n".join(lines) + "\n"


def _row(phase: str, tally: Tally) -> tuple[str, ...]:
    return (
        phase,
        str(tally.take_overs),
        f"{tally.longest_take_over:.1f} s",
        str(tally.stale_sent),
        str(tally.slipped_in),
        f"{tally.longest_lag * 1000:.0f} ms",
        str(tally.after_settle),
        str(tally.unseen),
        str(tally.holder_writes),
        str(tally.holder_refused),
        str(tally.terms_ended),
    )
