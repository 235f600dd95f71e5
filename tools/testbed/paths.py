"""Where the test bed keeps things: always outside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

GO_MODULES = Path(__file__).parent / "go"
STAGES = Path(__file__).parent / "stages"


def cache() -> Path:
    """The directory of everything that outlives a command.

    `TASKRUNNER_CACHE` if set, else `$XDG_CACHE_HOME/taskrunner`, else `~/.cache/taskrunner`.
    """
    if chosen := os.environ.get("TASKRUNNER_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "taskrunner"


def binaries() -> Path:
    """Built programs, one directory for each Go module, version and set of build flags."""
    return cache() / "bin"


def clusters() -> Path:
    """State of the clusters that the command line started, one directory each."""
    return cache() / "clusters"
