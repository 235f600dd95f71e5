"""Write the generated files anew, or (`--check`) say which ones are out of date.

Each generator returns the text of its files and names the glob of files that belong to it, so that
a file that is no longer generated is found, too. Add one by adding a line to GENERATORS.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from generators import (
    api_reference,
    argocd,
    chart_crds,
    chart_fence,
    cli_reference,
    crds,
    dashboard,
    dst_reference,
    metrics_reference,
    values_reference,
)

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Generator:
    """Writes the files that match `owns`, a glob relative to the repository."""

    owns: str
    generate: Callable[[], dict[str, str]]


GENERATORS: tuple[Generator, ...] = (
    Generator("crds/*.yaml", crds.generate),
    Generator("helm/taskrunner/files/crds/*.yaml", chart_crds.generate),
    Generator("helm/taskrunner/files/fence.yaml", chart_fence.generate),
    Generator("docs/reference/api.md", api_reference.generate),
    Generator("docs/reference/cli.md", cli_reference.generate),
    Generator("helm/taskrunner/files/monitoring/*.json", dashboard.generate),
    Generator("docs/reference/metrics.md", metrics_reference.generate),
    Generator("docs/reference/dst.md", dst_reference.generate),
    Generator("docs/reference/values.md", values_reference.generate),
    Generator("gitops/argocd/argocd-cm.yaml", argocd.generate),
)


def out_of_date(root: Path) -> dict[str, str | None]:
    """The files that differ from what is generated, with their text; None: to be removed."""
    found: dict[str, str | None] = {}
    for generator in GENERATORS:
        fresh = generator.generate()
        for path, text in fresh.items():
            file = root / path
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                found[path] = text
        for file in root.glob(generator.owns):
            path = file.relative_to(root).as_posix()
            if path not in fresh:
                found[path] = None
    return found


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Exit status: 0 when all is up to date or was written, 1 when `--check` found a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on drift")
    check = parser.parse_args(arguments).check
    changes = out_of_date(root)
    for path, text in sorted(changes.items()):
        if check:
            problem = "is no longer generated" if text is None else "is out of date"
            print(f"{path} {problem}; run: make generate", file=sys.stderr)
        elif text is None:
            (root / path).unlink()
            print(f"removed {path}")
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if check and changes else 0


if __name__ == "__main__":
    sys.exit(main())
