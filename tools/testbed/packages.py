"""Which system packages a real node needs, which of them are missing, and how to get them.

The packages are Debian's own, so their versions are pinned by the release: on Debian 12 these are
containerd 1.6, runc 1.1, buildah 1.28 and nftables 1.0.6. A package counts as present when the
programs that we call from it are there, whoever installed them: a machine with Docker has a
containerd of Docker's, and installing Debian's would remove Docker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.binaries import Progress, to_stderr
from testbed.errors import MissingPartError

CNI_DIRS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
"""Where distributions put the CNI plug-ins; the first is Debian's."""


@dataclass(frozen=True)
class Package:
    """A Debian package and the programs that we call from it.

    Attributes:
        name: the package's name in Debian.
        programs: what must be found for the package to count as present.
        purpose: what the test bed uses it for, in a few words.
    """

    name: str
    programs: tuple[str, ...]
    purpose: str

    def present(self) -> bool:
        return all(find_program(program) is not None for program in self.programs)


NODE = (
    Package("containerd", ("containerd", "ctr", "containerd-shim-runc-v2"), "runs pods"),
    Package("runc", ("runc",), "runs containers"),
    Package("containernetworking-plugins", ("ptp", "host-local"), "gives pods addresses"),
    Package("nftables", ("nft",), "kube-proxy's rules for Services"),
    Package("iproute2", ("ip",), "the node's network"),
    Package("util-linux", ("nsenter", "unshare"), "the node's namespaces"),
    Package("mount", ("mount", "umount"), "the node's volumes"),
)
"""What `testbed.realnode` needs."""

IMAGE = (
    Package("buildah", ("buildah",), "builds the image from the Dockerfile"),
    Package("debootstrap", ("debootstrap",), "makes the base image, as no registry is asked"),
)
"""What `testbed.image` needs."""

ALL = NODE + IMAGE


def find_program(name: str) -> Path | None:
    """The path of a program; also looks in the directories of root and of the CNI plug-ins."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, CNI_DIRS)]
    found = shutil.which(name, path=os.pathsep.join(places))
    return Path(found) if found else None


def cni_dir() -> Path:
    """The directory of the CNI plug-ins.

    Raises:
        MissingPartError: there is none.
    """
    for directory in CNI_DIRS:
        if (directory / "ptp").exists():
            return directory
    raise MissingPartError(remedy(["containernetworking-plugins"]))


def missing(packages: Iterable[Package] = ALL) -> list[str]:
    """The names of the packages that are not there, in the order of the table; empty is good."""
    return [package.name for package in packages if not package.present()]


def unsupported() -> str | None:
    """Why this machine can have no real node whatever is installed, as a sentence; None if it can.

    A real node makes namespaces, mounts and control groups, which takes root on Linux.
    """
    if sys.platform != "linux":
        return f"Real nodes need Linux; this is {sys.platform}. Use NODES=simulated or kind."
    if os.geteuid() != 0:
        return "Real nodes need root: run the same command with sudo, or use NODES=simulated."
    return None


def installable() -> bool:
    """Whether `install` can work here: root on Debian (or what derives from it)."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def remedy(names: Sequence[str]) -> str:
    """What to tell a person on a machine where the named packages are missing."""
    purposes = {package.name: package.purpose for package in ALL}
    listed = "\n".join(f"  {name:<28} {purposes.get(name, '')}".rstrip() for name in names)
    return (
        f"Missing for real pods ({len(names)}):\n{listed}\n"
        f"On Debian, as root: apt-get update && "
        f"apt-get install --no-install-recommends {' '.join(names)}\n"
        "On another distribution, install what has the same programs in it."
    )


def install(packages: Iterable[Package] = ALL, progress: Progress = to_stderr) -> list[str]:
    """Install what is missing with apt-get; returns the names, which is nothing when all is there.

    Nothing is ever removed to make room (`--no-remove`): a machine where these packages clash with
    others is left as it is, and apt's own message says why.

    Raises:
        MissingPartError: not root on Debian, or apt-get failed; the message has the remedy.
    """
    wanted = missing(packages)
    if not wanted:
        return []
    if not installable():
        raise MissingPartError(remedy(wanted))
    progress(f"installing {' '.join(wanted)} with apt-get (usually 20 s, once for each machine)")
    started = time.monotonic()
    _apt_get("update")
    _apt_get("install", "-y", "--no-install-recommends", "--no-remove", *wanted)
    still = missing(packages)
    if still:
        raise MissingPartError(remedy(still))
    progress(f"installed {len(wanted)} packages in {time.monotonic() - started:.0f} s")
    return wanted


def provide(packages: Iterable[Package], progress: Progress = to_stderr) -> None:
    """Make sure of the packages before they are used: they are there, or are installed.

    Raises:
        MissingPartError: this machine cannot have them; the message says why, or what to install.
    """
    if reason := unsupported():
        raise MissingPartError(reason)
    install(packages, progress)


def _apt_get(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise MissingPartError(f"`apt-get {' '.join(arguments)}` failed:\n{tail}")
