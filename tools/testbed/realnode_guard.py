"""The process that gives a real node a machine of its own, and takes it away again.

It makes namespaces for the node's network and mounts, and a control group, in which
`testbed.realnode` then starts containerd, kubelet and kube-proxy. So the machine itself keeps its
settings: forwarding, the nftables rules of kube-proxy, pod interfaces, volumes, `/run` and
`/var/log` of the node are seen only in there, and vanish with the last process.

What ends when who dies:

* the guard is asked to end (SIGTERM), or the supervisor that started it dies (the kernel sends the
  same): it kills everything in the control group and removes group and link;
* the guard itself is killed: the pods stay until the next guard starts, which does the same first.

A lock file for each place (`realnode_config.Place`) makes sure that a guard takes none that is in
use, and never sweeps another's node away.
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

LOCKS = Path("/run")
READY = "ready.json"
"""Written in the node's directory when its namespaces can be entered: process id, group, place."""
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
        with _place(directory) as place:
            try:
                _serve(directory, place)
            finally:
                _on_request(signal.SIG_IGN)  # asked once is enough
                sweep(place)
    except (GuardError, OSError) as error:
        sys.exit(f"node: {error}")
    sys.exit(0)


def sweep(place: config.Place) -> None:
    """Remove what a node leaves: its processes, link and control groups.

    Call it only with the place's lock held. Files are not touched: images are in memory and go with
    the mounts; logs and configuration go with the cluster's directory.
    """
    killed = cgroup.kill(place.cgroup)
    # The link goes with the network namespace, but the kernel takes its time.
    subprocess.run(["ip", "link", "delete", place.host_link], capture_output=True, check=False)
    cgroup.remove(place.cgroup)
    _say(f"swept place {place.number}: {killed} processes killed")


def lock_file(place: config.Place) -> Path:
    """Locked by the guard whose node has the place; holds the node's directory."""
    return LOCKS / f"{place.cgroup}.lock"


def _on_request(handler: Callable[..., object] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)


@contextlib.contextmanager
def _place(directory: Path) -> Iterator[config.Place]:
    """Take the first free place; sweep all free ones, as guards may have been killed there."""
    taken: config.Place | None = None
    others = []
    with contextlib.ExitStack() as held:
        for place in map(config.Place, range(config.PLACES)):
            with contextlib.ExitStack() as stack:
                lock = stack.enter_context(lock_file(place).open("a+"))
                if not _locked(lock):
                    lock.seek(0)
                    others.append(lock.read())
                    continue
                if cgroup.exists(place.cgroup):
                    sweep(place)
                if taken is None:
                    taken = place
                    lock.truncate(0)
                    lock.write(str(directory))
                    lock.flush()
                    held.push(stack.pop_all())
        if taken is None:
            raise GuardError(
                f"All {config.PLACES} places for real nodes on this machine are taken, by "
                f"{', '.join(others)}. Stop one (make cluster-down), or use NODES=simulated."
            )
        yield taken


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _serve(directory: Path, place: config.Place) -> None:
    """Make the namespaces, say so, and wait until asked to end."""
    _check_addresses()
    _load_modules()
    group = cgroup.create(place.cgroup)
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
    _connect(holder.pid, place)
    ready = directory / READY
    partial = ready.with_suffix(".part")
    state = {"pid": holder.pid, "group": str(group), "place": place.number}
    partial.write_text(json.dumps(state))
    partial.replace(ready)
    _say(f"ready: namespaces of process {holder.pid}")
    holder.wait()
    raise GuardError(f"the process that holds the namespaces ended ({holder.returncode}).")


def _connect(pid: int, place: config.Place) -> None:
    """Join machine and node by a link; the machine's route to the pods goes through it."""
    peer = ["peer", "name", "eth0", "netns", str(pid)]
    _run("ip", "link", "add", place.host_link, "type", "veth", *peer)
    inside = ("nsenter", "--target", str(pid), "--net")
    # Every link has the same address on the machine's side, so each end names the other.
    for enter, link, address, other in (
        ((), place.host_link, config.HOST_ADDRESS, place.address),
        (inside, "eth0", place.address, config.HOST_ADDRESS),
    ):
        _run(*enter, "ip", "address", "add", address, "peer", other, "dev", link)
        _run(*enter, "ip", "link", "set", link, "up")
    _run("ip", "route", "add", place.pod_cidr, "via", place.address, "dev", place.host_link)


def _check_addresses() -> None:
    done = _run("ip", "-json", "-4", "route", "show")
    routes: list[dict[str, Any]] = json.loads(done or "[]")
    for route in routes:
        destination, device = str(route["dst"]), str(route.get("dev", "none"))
        ours = device.startswith(config.HOST_LINKS)
        if destination != "default" and not ours and config.overlapping(destination):
            raise GuardError(
                f"This machine has a route to {destination} (device {device}), which overlaps with "
                f"the network of real nodes, {config.NETWORK}. Remove that route, or use "
                "NODES=simulated."
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
