"""`make fence-attack`: over 1,000 take-overs; exit 1 when the fence has let anything through."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from fence_attack.attack import Attack, Plan
from fence_attack.report import report
from testbed import Cluster, ClusterSpec


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fence-attack", description=__doc__)
    parser.add_argument("--idle", type=int, default=600, help="take-overs on an idle cluster")
    parser.add_argument("--burst", type=int, default=400, help="while 1,000 Jobs are created")
    parser.add_argument("--rounds", type=int, default=3, help="of breaking each thing")
    parser.add_argument("--lanes", type=int, default=8, help="shards side by side")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds to settle")
    parser.add_argument("--report", type=Path, default=None, help="also write a report here")
    options = parser.parse_args()
    plan = Plan(
        options.idle, options.burst, options.rounds, options.lanes, settle_seconds=options.settle
    )
    started = time.monotonic()
    with Cluster(ClusterSpec(name="fence-attack", nodes="none")) as cluster:
        attack = Attack(cluster, plan, lambda text: print(text, flush=True))
        asyncio.run(attack.run())
    tallies = attack.tallies.values()
    total = sum(tally.take_overs for tally in tallies)
    took = time.monotonic() - started
    print(f"in all {total} take-overs in {took:.0f} s")
    if options.report is not None:
        options.report.write_text(report(attack.tallies, sys.argv[1:], took))
    for tally in tallies:
        for problem in tally.problems:
            print(f"  {problem}")
    if not all(tally.ok for tally in tallies):
        sys.exit("fence-attack: the fence has let something through, or kept its holder out")


if __name__ == "__main__":
    main()
