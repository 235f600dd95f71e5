"""Break things while tasks run, and account for every slot: `make chaos`.

Starts a cluster of the test bed (etcd with fsync), two or three replicas of the operator with the
chart's rights, and a few hundred tasks; then faults, one after the other, or several at a time.
Ctrl-C ends the faults early; what was done is accounted for all the same. Exits with 1 when a slot
was lost, doubled or stuck, and tells the life of that slot.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chaos.faults import FAULTS
from chaos.run import run
from testbed import Cluster, ClusterSpec


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    told = [argument for argument in given if not argument.startswith("--report=")]
    options.command = shlex.join(["python", "-m", "chaos", *told])
    spec = ClusterSpec(name="chaos", version=options.k8s_version, audit=True, fsync=True)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    with Cluster(spec) as cluster:
        report = asyncio.run(run(cluster, directory, options))
    print(report.text)
    if options.report is not None:
        options.report.write_text(report.text)
    if report.verdict.violations:
        print(f"chaos: the replicas' logs are in {directory}", file=sys.stderr)
        return 1
    if options.keep_logs:
        print(f"chaos: the replicas' logs are in {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--faults", type=int, default=60, help="at least so many (default: 60)")
    parser.add_argument("--lanes", type=int, default=1, help="faults at a time (default: 1)")
    parser.add_argument("--replicas", type=int, default=3, help="of the operator (default: 3)")
    parser.add_argument("--tasks", type=int, default=200, help="of 10 to 60 s (default: 200)")
    parser.add_argument("--fast", type=int, default=20, help="of 1 to 5 s (default: 20)")
    parser.add_argument(
        "--pause", type=float, default=3, help="seconds between faults of a lane (default: 3)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=300,
        help="after the last fault, seconds without progress after which what is not decided, or"
        " has not ended, is stuck (default: 300)",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        default=(),
        metavar="FAULT",
        choices=[fault.__name__ for fault in FAULTS],
        help=f"only these: {', '.join(fault.__name__ for fault in FAULTS)}",
    )
    parser.add_argument("--seed", type=int, default=None, help="for the same order of faults")
    parser.add_argument("--k8s-version", default="1.36", help="minor version (default: 1.36)")
    parser.add_argument("--report", type=Path, default=None, help="also write the report here")
    parser.add_argument("--keep-logs", action="store_true", help="of the replicas, in any case")
    return parser


if __name__ == "__main__":
    sys.exit(main())
