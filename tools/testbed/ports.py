"""Ports that no other cluster of this machine uses, now or after a restart of a component.

They lie below the range from which the kernel takes the ports of outgoing connections: otherwise a
connection made while the API server is down could sit on its port when it comes back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from testbed.errors import TestbedError

_FIRST = 20_000
_SLOTS = 1_000


class Ports(NamedTuple):
    """The ports of one cluster."""

    etcd: int
    etcd_peer: int
    api_server: int
    kwok: int


def reserve() -> tuple[Ports, IO[str]]:
    """Reserve ports.

    Returns:
        The ports, and the locked file that stands for them: they stay reserved until every process
        that it was handed to has closed it.

    Raises:
        TestbedError: none are free.
    """
    directory = Path(tempfile.gettempdir()) / f"taskrunner-testbed-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    slots = list(range(_SLOTS))
    random.shuffle(slots)  # clusters of other users, whose locks are elsewhere, are seldom met
    for slot in slots:
        first = _FIRST + slot * len(Ports._fields)
        ports = Ports(*range(first, first + len(Ports._fields)))
        lock = (directory / f"{first}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if all(_is_free(port) for port in ports):
            return ports, lock
        lock.close()
    raise TestbedError(f"No free ports between {_FIRST} and {_FIRST + _SLOTS * len(Ports._fields)}")


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
