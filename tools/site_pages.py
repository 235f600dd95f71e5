"""Build the documentation as a site in build/site/html: `make docs`.

The pages link to each other, to examples and to other files of the repository as they lie in it.
They are gathered in one folder in the same places; the generator checks every link between them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "site" / "pages"
WHAT = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("docs", "examples", "gitops", "helm/taskrunner/files/monitoring", "tools/testbed/README.md"),
)
"""What is a page, or what pages link to."""


def gather() -> None:
    """Copy what the site is made of."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for name in WHAT:
        target = PAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy(ROOT / name, target)


def main() -> int:
    gather()
    program = Path(sys.executable).with_name("zensical")
    command = [str(program), "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
