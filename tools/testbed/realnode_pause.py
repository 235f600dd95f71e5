"""The image of the pause container, made here because no registry is asked.

A static program of a few lines (`pause/main.go`) is all that is in it. It is built once for each
version of its source and kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from testbed import paths
from testbed.binaries import go
from testbed.errors import TestbedError
from testbed.image_archive import ImageConfig, architecture, layer_of_files, pack
from testbed.realnode_config import PAUSE_IMAGE

_SOURCE = Path(__file__).parent / "pause" / "main.go"


def archive() -> Path:
    """The image's archive; built on first use (under a second).

    Raises:
        MissingPartError: Go is not installed.
        TestbedError: the build failed.
    """
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    target = paths.cache() / "images" / f"pause-{architecture()}-{key}.tar"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            program = _build(Path(scratch) / "pause")
            layer = layer_of_files(Path(scratch) / "layer.tar", {"/pause": program})
            pack(target, PAUSE_IMAGE, layer, ImageConfig(entrypoint=["/pause"], user="65532:65532"))
    return target


def _build(target: Path) -> Path:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    command = [go(), "build", "-trimpath", "-ldflags=-s -w", "-o", str(target), str(_SOURCE)]
    done = subprocess.run(
        command, env=environment, cwd=target.parent, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise TestbedError(f"`go build` of {_SOURCE.name} failed:\n{done.stderr}")
    return target
