"""The control group that holds everything on a real node: how it is entered, killed, removed.

What runs in it is known without guessing at names: the node's daemons are started in it, their
children inherit it, and the kubelet makes the pods' groups below it.

Version 1 has a tree for each controller; the freezer's is the one that tells what is in the group.
Version 2 has one tree, where a group with children holds no processes itself; so the daemons are in
a leaf next to the pods' groups.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


def unified() -> bool:
    """Whether the machine has control groups of version 2 only."""
    return (ROOT / "cgroup.controllers").exists()


def create(name: str) -> Path:
    """Make the group in every tree; returns the directory that the node's daemons belong in."""
    if unified():
        for controller in _CONTROLLERS:
            # What the kernel does not have, or another part of the machine holds, is left out.
            with contextlib.suppress(OSError):
                (ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
    for tree in _trees():
        (tree / name).mkdir(exist_ok=True)
    daemons = ROOT / name / "daemons" if unified() else ROOT / "freezer" / name
    daemons.mkdir(exist_ok=True)
    return daemons


def command_in(group: Path, argv: list[str]) -> list[str]:
    """The command that puts itself into the group and becomes `argv`, keeping its process id."""
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *argv]


def kill(name: str, seconds: float = 15) -> int:
    """Kill whatever is in the group, pods included, until nothing is left.

    Returns:
        how many processes were there at first.

    Raises:
        TimeoutError: something survived, for example a process that waits for a dead disk.
    """
    deadline = time.monotonic() + seconds
    first = list(_processes(name))
    found = first
    while found:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Processes {found} of control group {name} do not end.")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        found = list(_processes(name))
    return len(first)


def remove(name: str, seconds: float = 5) -> None:
    """Remove the emptied group from every tree.

    Raises:
        TimeoutError: the kernel still counts something as in it.
    """
    deadline = time.monotonic() + seconds
    while left := [tree / name for tree in _trees() if not _remove(tree / name)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Control groups {', '.join(map(str, left))} cannot be removed.")
        time.sleep(0.05)


def exists(name: str) -> bool:
    return any((tree / name).exists() for tree in _trees())


def _trees() -> list[Path]:
    if unified():
        return [ROOT]
    return sorted(tree for tree in ROOT.iterdir() if (tree / "cgroup.procs").exists())


def _processes(name: str) -> Iterator[int]:
    top = (ROOT if unified() else ROOT / "freezer") / name
    for directory, _, _ in os.walk(top):
        # A group may go, and "threaded" ones refuse to be read; their processes are listed above.
        with contextlib.suppress(OSError):
            yield from map(int, (Path(directory) / "cgroup.procs").read_text().split())


def _remove(top: Path) -> bool:
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    return not top.exists()
