"""The process that gives a real node a machine of its own, and takes it away again.

It makes namespaces for the node's network and mounts, and a control group, in which
`testbed.realnode` then starts containerd, kubelet and kube-proxy. So the machine itself keeps its
settings: forwarding, the nftables rules of kube-proxy, pod interfaces, volumes, `/run` and
`/var/log` of the node are seen only in there, and vanish with the last process.

What ends when who dies:

* the guard is asked to end (SIGTERM), or the supervisor that started it dies (the kernel sends the
  same): it kills everything in the control group and removes group and link;
* the guard itself is killed: the pods stay until the next guard starts, which does the same first.

One lock file for the machine makes sure that a guard never sweeps another's node away.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from testbed import realnode_cgroup as cgroup
from testbed import realnode_config as config

LOCK = Path("/run/taskrunner-testbed-node.lock")
READY = "ready.json"
"""Written in the node's directory when the namespaces can be entered: process id and group."""
_PR_SET_PDEATHSIG = 1

# Runs in the new namespaces. The node's directory is opened first, as the new /run may hide it.
# Images are kept in memory: importing them is twice as fast, and nothing has to be deleted. The
# kubelet insists on changing settings of the machine's kernel, and on a directory below /var/lib:
# it gets copies of the files, and a layer over the directory, which go with the mount namespace.
_SETUP = f"""
set -eu
exec 9<"$1"
mount --make-rshared /
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir {config.NODE} /run/upper /run/work
mount --no-canonicalize --bind /proc/self/fd/9 {config.NODE}
exec 9<&-
mount -t tmpfs -o mode=0700 tmpfs {config.NODE}/containerd
mount --bind {config.NODE}/log /var/log
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work overlay /var/lib
for part in kernel vm; do
  mount --bind /proc/sys/$part /proc/sys/$part
  mount -o remount,bind,ro /proc/sys/$part
done
for setting in {" ".join(config.KERNEL_SETTINGS)}; do
  mkdir -p /run/sys/$setting
  cat /proc/sys/$setting > /run/sys/$setting/value
  mount --bind /run/sys/$setting/value /proc/sys/$setting
done
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set lo up
echo done > {config.NODE}/namespaces
exec sleep infinity
"""


class GuardError(RuntimeError):
    """The node cannot have its namespaces; the message says why and what to do."""


def main() -> NoReturn:
    directory = Path(sys.argv[1])
    # The supervisor asks the kernel for SIGKILL at its own death; we need the moment to clean up.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _on_request(lambda *_: sys.exit(0))
    try:
        with _lock(directory):
            sweep()  # what a guard that was killed left
            try:
                _serve(directory)
            finally:
                _on_request(signal.SIG_IGN)  # asked once is enough
                sweep()
    except (GuardError, OSError) as error:
        sys.exit(f"node: {error}")
    sys.exit(0)


def sweep() -> None:
    """Remove what a node leaves: its processes, link and control groups.

    Call it only with the lock held. Files are not touched: images are in memory and go with the
    mounts; logs and configuration go with the cluster's directory.
    """
    killed = cgroup.kill(config.CGROUP)
    # The link goes with the network namespace, but the kernel takes its time.
    subprocess.run(["ip", "link", "delete", config.HOST_LINK], capture_output=True, check=False)
    cgroup.remove(config.CGROUP)
    _say(f"swept: {killed} processes killed")


def _on_request(handler: Callable[..., object] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)


@contextlib.contextmanager
def _lock(directory: Path, seconds: float = 8) -> Iterator[None]:
    """Hold the machine's lock, with the node's directory in it for who meets it.

    It waits a little, as the guard of a cluster that was just stopped may still be sweeping.
    """
    with LOCK.open("a+") as lock:
        deadline = time.monotonic() + seconds
        while not _locked(lock):
            if time.monotonic() > deadline:
                lock.seek(0)
                raise GuardError(
                    f"Another real node runs on this machine, in {lock.read()}. There can be one "
                    "at a time: stop that cluster (make cluster-down), or use NODES=simulated."
                )
            time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(directory))
        lock.flush()
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _serve(directory: Path) -> None:
    """Make the namespaces, say so, and wait until asked to end."""
    _check_addresses()
    _load_modules()
    group = cgroup.create(config.CGROUP)
    unshare = ["unshare", "--net", "--mount", "--propagation", "slave"]
    holder = subprocess.Popen(
        cgroup.command_in(group, [*unshare, "sh", "-c", _SETUP, "setup", str(directory)]),
        stdin=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not (directory / "namespaces").exists():
        if holder.poll() is not None or time.monotonic() > deadline:
            raise GuardError("the namespaces could not be made; the lines above say why.")
        time.sleep(0.01)
    _connect(holder.pid)
    ready = directory / READY
    partial = ready.with_suffix(".part")
    partial.write_text(json.dumps({"pid": holder.pid, "group": str(group)}))
    partial.replace(ready)
    _say(f"ready: namespaces of process {holder.pid}")
    holder.wait()
    raise GuardError(f"the process that holds the namespaces ended ({holder.returncode}).")


def _connect(pid: int) -> None:
    """Join machine and node by a link; the machine's route to the pods goes through it."""
    peer = ["peer", "name", "eth0", "netns", str(pid)]
    _run("ip", "link", "add", config.HOST_LINK, "type", "veth", *peer)
    inside = ("nsenter", "--target", str(pid), "--net")
    ends = (((), config.HOST_LINK, config.HOST_ADDRESS), (inside, "eth0", config.NODE_ADDRESS))
    for enter, link, address in ends:
        _run(*enter, "ip", "address", "add", f"{address}/{config.LINK_PREFIX}", "dev", link)
        _run(*enter, "ip", "link", "set", link, "up")
    _run("ip", "route", "add", config.POD_CIDR, "via", config.NODE_ADDRESS)


def _check_addresses() -> None:
    done = _run("ip", "-json", "-4", "route", "show")
    routes: list[dict[str, Any]] = json.loads(done or "[]")
    for route in routes:
        destination = str(route["dst"])
        if destination != "default" and config.overlapping(destination):
            raise GuardError(
                f"This machine has a route to {destination} (device {route.get('dev')}), which "
                f"overlaps with the node's networks {config.POD_CIDR} and "
                f"{config.HOST_ADDRESS}/{config.LINK_PREFIX}. "
                "Remove that route, or use NODES=simulated."
            )


def _load_modules() -> None:
    """Load what the node needs; where it is part of the kernel there is nothing to load."""
    with contextlib.suppress(FileNotFoundError):
        modules = ["overlay", "veth", "nf_tables"]
        subprocess.run(["modprobe", "--all", "--quiet", *modules], check=False)


def _say(message: str) -> None:
    """Standard output is the component's log."""
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuardError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
