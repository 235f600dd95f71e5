"""`helm/taskrunner/files/crds/`: the chart's copy of `crds/`; a template adds labels to it."""

from __future__ import annotations

from pathlib import PurePosixPath

from generators import crds

_DIRECTORY = PurePosixPath("helm/taskrunner/files/crds")


def generate() -> dict[str, str]:
    """The text of each file by its path in the repository."""
    return {
        str(_DIRECTORY / PurePosixPath(path).name): text for path, text in crds.generate().items()
    }
