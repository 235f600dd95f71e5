"""The DST cases as data, and the tables of docs/reference/dst.md made from them.

`PYTHONPATH=tests .venv/bin/python -m differential.dst_page` writes the page anew; a unit test
fails while the page differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import yaml

from differential.oracle import wall, zoneinfo
from taskrunner.domain.cron import cron_timeline
from taskrunner.domain.timeline import JOINED, MOVED, DstPolicy, Gap, Overlap
from taskrunner.domain.zones import tzdata_version

CASES = Path(__file__).parent / "dst_cases.yaml"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dst.md"
POLICIES = {
    "gaps": {name: DstPolicy(gap=name) for name in get_args(Gap)},
    "overlaps": {name: DstPolicy(overlap=name) for name in get_args(Overlap)},
}
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
_MARKS = {MOVED: " moved", JOINED: " joined"}


@dataclass(frozen=True)
class Case:
    """A change of the clock and what each schedule does around it."""

    kind: str
    zone: str
    instant: int
    what: str
    slots: dict[str, dict[str, str]]
    """Expression → policy → slots as text."""

    @property
    def around(self) -> tuple[int, int]:
        """The instants that the case shows: begin ≤ slot < end."""
        day = 86_400 if self.zone == "Pacific/Apia" else 0
        return self.instant - max(9_000, day + 3_600), self.instant + max(9_000, day)

    def title(self) -> str:
        before, after = (wall(at, zoneinfo(self.zone)) for at in (self.instant - 1, self.instant))
        reached = wall(self.instant - 60, zoneinfo(self.zone))
        jump = f"{before:%H:%M:%S} is followed by {after:%H:%M:%S}"
        if reached.date() != after.date():
            jump = f"{before:%d %B %H:%M:%S} is followed by {after:%d %B %H:%M:%S}"
        return f"{self.zone}, {before:%-d %B %Y}: {self.what} ({jump})"


def load() -> list[Case]:
    """All cases."""
    found = []
    for kind, rows in yaml.safe_load(CASES.read_text("utf-8")).items():
        for row in rows:
            slots = {
                expression: told if isinstance(told, dict) else dict.fromkeys(POLICIES[kind], told)
                for expression, told in row["slots"].items()
            }
            instant = int(datetime.fromisoformat(row["change"]).timestamp())
            found.append(Case(kind, row["zone"], instant, row["what"], slots))
    return found


def slots(case: Case, expression: str, policy: str) -> str:
    """What the product does, written as in the cases."""
    timeline = cron_timeline(
        expression, zone=case.zone, dst=POLICIES[case.kind][policy], hash_key=""
    )
    begin, end = case.around
    found, at = [], begin - 1
    while (fire := timeline.next_after(at)) and fire.time < end:
        at = fire.time
        local = datetime.fromtimestamp(at, UTC).astimezone(zoneinfo(case.zone))
        offset = f"{local:%z}"
        found.append(f"{local:%a %H:%M} {offset[:3]}:{offset[3:5]}{_MARKS.get(fire.note, '')}")
    return ", ".join(found) or "-"


def tables() -> str:
    """The tables of the page, computed."""
    parts = [f"<!-- IANA database {tzdata_version()} -->\n"]
    heading = {"gaps": "## Gaps: the clock goes ahead", "overlaps": "## Overlaps: it goes back"}
    for kind, policies in POLICIES.items():
        parts.append(f"\n{heading[kind]}\n")
        for case in load():
            if case.kind != kind:
                continue
            parts.append(f"\n**{case.title()}**\n\n| Schedule | {' | '.join(policies)} |\n")
            parts.append("|---" * (len(policies) + 1) + "|\n")
            for expression in case.slots:
                cells = [_cell(slots(case, expression, policy)) for policy in policies]
                if len(set(cells)) == 1:
                    cells[1:] = ["the same"] * (len(cells) - 1)
                parts.append(f"| `{expression}` | {' | '.join(cells)} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return "no slot" if text == "-" else text.replace(", ", "<br>")


def page() -> str:
    """The whole page: what is written by hand around the tables stays."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables() + END + after


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
