"""The base image of the test bed: a small Debian with Python, made without a registry.

`debootstrap` takes it from the mirror that apt on this machine is set up with; the mirror is asked
for at run time and is not written into the image. The same base carries test pods (it has a shell,
the usual tools and Python) and the product's image, whose Dockerfile takes it as a build argument.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from testbed import packages, paths
from testbed.binaries import Progress, to_stderr
from testbed.errors import MissingPartError, TestbedError
from testbed.image_archive import ImageConfig, architecture, pack

BASE_IMAGE = "taskrunner.dev/testbed/base:1"
"""The name for pods and for the Dockerfile's BASE_IMAGE."""

# The release with Python 3.11, like the Dockerfile's default base.
_SUITE = "bookworm"
_INCLUDE = ("python3", "python3-venv", "ca-certificates")
# Nothing that runs needs these; without them the image is half as large, and imports twice as fast.
_LEFT_OUT = (
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./etc/apt/sources.list",
    "./etc/resolv.conf",
    "./etc/hostname",
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def directory() -> Path:
    """Where image archives are kept."""
    return paths.cache() / "images"


@contextlib.contextmanager
def build_lock(progress: Progress) -> Iterator[None]:
    """One image build at a time; a second process waits and then finds what the first one made."""
    directory().mkdir(parents=True, exist_ok=True)
    with (directory() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds an image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def archive(progress: Progress = to_stderr) -> Path:
    """The base image's archive; made on first use (usually 1 min on 2 cores), then cached.

    Raises:
        MissingPartError: not root on Linux, no debootstrap, or apt has no Debian mirror.
        TestbedError: debootstrap failed; the message has the end of its output.
    """
    recipe = repr((_SUITE, _INCLUDE, _LEFT_OUT, _PATH, BASE_IMAGE))
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    target = directory() / f"base-{architecture()}-{key}.tar"
    if target.exists():
        return target
    with build_lock(progress):
        if not target.exists():
            _make(target, progress)
    return target


def _make(target: Path, progress: Progress) -> None:
    packages.provide(packages.IMAGE, progress)
    mirror = _mirror()
    progress("making the base image with debootstrap (usually 1 min, once for each machine)")
    started = time.monotonic()
    # Left over from a build that was killed. debootstrap's mounts were never in our namespace.
    scratch = directory() / "base.part"
    shutil.rmtree(scratch, ignore_errors=True)
    root = scratch / "root"
    root.mkdir(parents=True)
    _run(
        [
            *("unshare", "--mount", "--propagation", "private"),
            *("debootstrap", "--variant=minbase", f"--include={','.join(_INCLUDE)}"),
            *(_SUITE, str(root), mirror),
        ],
        {**_proxy(), **os.environ},
    )
    layer = scratch / "layer.tar"
    left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    options = ["--sort=name", "--mtime=@0", "--numeric-owner", "--one-file-system", *left_out]
    _run(["tar", *options, "-C", str(root), "-cf", str(layer), "."])
    pack(target, BASE_IMAGE, layer, ImageConfig(command=["/bin/sh"], environment={"PATH": _PATH}))
    shutil.rmtree(scratch, ignore_errors=True)
    size = target.stat().st_size / 1e6
    progress(f"made the base image in {time.monotonic() - started:.0f} s ({size:.0f} MB)")


def _mirror() -> str:
    """The Debian archive that apt is set up with."""
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(ORIGIN) $(CODENAME) $(COMPONENT)",
    ]
    done = subprocess.run(
        [*asked, "Created-By: Packages"], capture_output=True, text=True, check=False
    )
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        uri, *rest = line.split()
        if len(rest) == 3 and rest[0] == "Debian" and rest[2] == "main" and "-" not in rest[1]:
            found[rest[1]] = uri
    # An archive of Debian has all its releases, so any release's entry will do.
    for mirror in (found.get(_SUITE, ""), *found.values()):
        if mirror.startswith(("http://", "https://", "file:")):
            return mirror
    raise MissingPartError(
        "The base image is made from the Debian mirror that apt is set up with, and there is none: "
        "run `apt-get update` on a Debian machine first. Elsewhere use `--cluster=kind`."
    )


def _proxy() -> dict[str, str]:
    """apt's own proxy, which debootstrap does not know of."""
    done = subprocess.run(
        ["apt-config", "shell", "proxy", "Acquire::http::Proxy"],
        capture_output=True,
        text=True,
        check=False,
    )
    value = done.stdout.strip().removeprefix("proxy=").strip("'")
    return {"http_proxy": value} if value else {}


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise TestbedError(f"`{' '.join(command[:6])} …` failed:\n{tail}")
