"""The process that owns the processes of one cluster, and ends them whatever happens.

Started by `testbed.processes` as a plain script, so that it needs nothing but the standard library
and is up in milliseconds. Whoever wants a component started, signalled or looked at asks over a
Unix socket in the cluster's directory: one JSON object on a line, one JSON object back. So a second
process (`python -m testbed down`, a test that attaches) has the same reach as the first.

What ends when who dies:

* the owner (a test run killed with -9): the kernel reports it on a pidfd, and on the pipe that is
  standard input; the supervisor ends everything and removes the directory;
* a component: nothing else; its exit is recorded as expected or not;
* the supervisor itself: the kernel kills its components (PR_SET_PDEATHSIG), and the directory's
  lock is given back, by which the next start knows that it may be removed.

Grandchildren that lost their parent (containerd's shims) become children of the supervisor
(PR_SET_CHILD_SUBREAPER) and end with it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)
ON_LINUX = sys.platform == "linux"


class Child:
    """One component: how to start it, and what became of it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.name: str = request["name"]
        self.argv: list[str] = request["argv"]
        self.env: dict[str, str] = request["env"]
        self.log = Path(request["log"])
        self.rank: int = request["rank"]
        self.stop_seconds: float = request["stop_seconds"]
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.paused = False
        self.expected = True
        self.starts = 0

    def start(self) -> None:
        if self.pid is not None:
            return
        parent = os.getpid()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )
        self.pid = process.pid
        process.returncode = 0  # the supervisor's own loop reaps; Popen must not
        self.exit_code = None
        self.paused = False
        self.expected = False
        self.starts += 1

    def send(self, number: int) -> None:
        """Signal the component; a request to end also wakes it, or a paused one would never end."""
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            if number == signal.SIGTERM:
                os.kill(self.pid, signal.SIGCONT)
        if number == signal.SIGSTOP:
            self.paused = True
        elif number in (signal.SIGCONT, signal.SIGTERM):
            self.paused = False

    def kill_group(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def ended(self, status: int) -> None:
        self.kill_group()  # what the component started itself and left behind
        self.pid = None
        self.exit_code = os.waitstatus_to_exitcode(status)
        self.paused = False

    def status(self) -> dict[str, Any]:
        return {
            "pid": self.pid,
            "exit_code": self.exit_code,
            "paused": self.paused,
            "expected": self.expected,
            "starts": self.starts,
            "log": str(self.log),
        }


def die_with_parent(parent: int) -> None:
    """In the child, before exec: ask the kernel to kill it when the supervisor dies."""
    if ON_LINUX:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)


class Supervisor:
    def __init__(self, directory: Path, listener: socket.socket, ephemeral: bool) -> None:
        self.directory = directory
        self.listener = listener
        self.ephemeral = ephemeral
        self.children: dict[str, Child] = {}
        self.cleanups: list[dict[str, Any]] = []
        self.ending = False
        self.selector = selectors.DefaultSelector()
        self.buffers: dict[socket.socket, bytes] = {}

    def run(self, owner: int) -> None:
        """Serve until asked to end, until a signal, or until the owner dies."""
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.end())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake_read, selectors.EVENT_READ, lambda: drain(wake_read))
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        if owner:
            self.watch_owner(owner)
        while not self.ending:
            for key, _ in self.selector.select():
                key.data()
            self.reap()
        self.shut_down()

    def end(self) -> None:
        self.ending = True

    def watch_owner(self, owner: int) -> None:
        """End with the owner. The pipe alone would be held open by a child the owner forked."""
        self.selector.register(sys.stdin.buffer, selectors.EVENT_READ, self.end)
        if hasattr(os, "pidfd_open"):
            try:
                descriptor = os.pidfd_open(owner)
            except ProcessLookupError:
                self.end()
            except OSError as error:
                print(f"no pidfd ({error}); the pipe alone watches the owner", flush=True)
            else:
                self.selector.register(descriptor, selectors.EVENT_READ, self.end)

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        self.buffers[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.receive(connection))

    def receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.selector.unregister(connection)
            del self.buffers[connection]
            connection.close()
            return
        *lines, rest = (self.buffers[connection] + data).split(b"\n")
        self.buffers[connection] = rest
        for line in lines:
            self.reap()
            answer = self.answer(line)
            with contextlib.suppress(ConnectionError):
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {"ok": self.handle(request)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def handle(self, request: dict[str, Any]) -> Any:
        match request["op"]:
            case "spawn":
                name = request["name"]
                if name in self.children and self.children[name].pid is not None:
                    raise ValueError(f"component {name!r} is already running")
                child = Child(request)
                child.start()
                self.children[name] = child
            case "start":
                self.children[request["name"]].start()
            case "signal":
                child = self.children[request["name"]]
                number = int(request["signal"])
                if number in (signal.SIGKILL, signal.SIGTERM):
                    child.expected = True
                child.send(number)
            case "cleanup":
                self.cleanups.append(request)
            case "status":
                pass
            case "shutdown":
                self.end()
            case other:
                raise ValueError(f"unknown request {other!r}")
        return {name: child.status() for name, child in self.children.items()}

    def reap(self) -> None:
        """Collect what has ended, adopted grandchildren included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self.children.values():
                if child.pid == pid:
                    child.ended(status)
                    state = "as asked" if child.expected else "UNEXPECTEDLY"
                    print(f"{child.name} ended {state}: exit code {child.exit_code}", flush=True)

    def shut_down(self) -> None:
        """End the components, clients before servers; then what is left; then the directory."""
        for rank in sorted({child.rank for child in self.children.values()}):
            group = [child for child in self.children.values() if child.rank == rank]
            for child in group:
                child.expected = True
                child.send(signal.SIGTERM)
            self.wait_for(group)
        kill_descendants(self.reap)
        for request in reversed(self.cleanups):
            run_cleanup(request)
        kill_descendants(self.reap)
        if self.ephemeral:
            remove(self.directory)

    def wait_for(self, group: list[Child]) -> None:
        begun = time.monotonic()
        while running := [child for child in group if child.pid is not None]:
            for child in running:
                if time.monotonic() - begun > child.stop_seconds:
                    print(f"{child.name} did not end in {child.stop_seconds} s: killed", flush=True)
                    child.kill_group()
            time.sleep(0.01)
            self.reap()


def drain(wake: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while wake.recv(4096):
            pass


def kill_descendants(reap: Any) -> None:
    """Kill children nobody else will end: orphans that were handed to us as their subreaper."""
    if not ON_LINUX:
        return
    for _ in range(200):
        children = my_children()
        if not children:
            return
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        reap()


def my_children() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name in parentheses may hold blanks; the parent's id is the second field after it.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def run_cleanup(request: dict[str, Any]) -> None:
    try:
        done = subprocess.run(
            request["argv"],
            env=request["env"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stdout,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"cleanup {request['argv']} failed: {error}", flush=True)
    else:
        if done.returncode:
            print(f"cleanup {request['argv']}: exit code {done.returncode}", flush=True)


def remove(directory: Path) -> None:
    """Remove the directory, but never what is mounted below it (a pod's volume may be the host's).

    Pods can only be there where a real node was; the mounts are detached first, and if one stays,
    so does the directory.
    """
    if ON_LINUX:
        for mount in sorted(mounts_below(directory), reverse=True):
            LIBC.umount2(os.fsencode(mount), MNT_DETACH)
        if left := mounts_below(directory):
            print(f"not removed, still mounted: {left}", flush=True)
            return
    shutil.rmtree(directory, ignore_errors=True)


def mounts_below(directory: Path) -> list[str]:
    prefix = str(directory.resolve()) + "/"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # Field 5 is the mount point, with blanks written in octal (proc(5)).
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if point.startswith(prefix)]


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--listener", type=int, required=True)
    # Locked files (the directory, the ports): theirs is the lock until this process ends.
    parser.add_argument("--hold", type=int, nargs="*", default=[])
    parser.add_argument("--owner", type=int, default=0)
    parser.add_argument("--ephemeral", action="store_true")
    arguments = parser.parse_args()
    if ON_LINUX:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    listener = socket.socket(fileno=arguments.listener)
    os.set_inheritable(arguments.listener, False)
    for descriptor in arguments.hold:
        os.set_inheritable(descriptor, False)
    Supervisor(arguments.directory, listener, arguments.ephemeral).run(arguments.owner)
    sys.exit(0)


if __name__ == "__main__":
    main()
