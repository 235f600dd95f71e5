"""Two minutes of `make chaos`: faults two at a time, and every slot accounted for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]


def test_no_slot_is_lost_doubled_or_stuck_under_faults(k8s_version: str) -> None:
    command = [
        *(sys.executable, "-m", "chaos", f"--k8s-version={k8s_version}"),
        *("--minutes=2", "--faults=20", "--lanes=2", "--tasks=20", "--fast=2", "--pause=2"),
    ]
    paths = os.pathsep.join(str(ROOT / part) for part in ("tools", "operator"))
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
