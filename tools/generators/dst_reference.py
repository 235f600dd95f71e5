"""docs/reference/dst.md: the tables of the DST cases, computed from the data of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from differential.dst_page import page


def generate() -> dict[str, str]:
    return {"docs/reference/dst.md": page()}
