"""Components: processes that the cluster's supervisor owns, seen from the outside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from testbed.errors import ComponentDiedError, TestbedError

_SCRIPT = Path(__file__).with_name("supervisor.py")
_SOCKET = "supervisor.sock"
_LONGEST_SOCKET_PATH = 100  # the kernel's sockaddr_un takes 107 bytes
_POLL_SECONDS = 0.01


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a message."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def hold(directory: Path) -> IO[str]:
    """Take a directory for a cluster, by a lock that dies with those who hold it.

    Raises:
        TestbedError: a running cluster holds it.
    """
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise TestbedError(f"A cluster is already running in {directory}.") from None
    return lock


def is_held(directory: Path) -> bool:
    """Whether a cluster runs in the directory; one that a reboot or a kill -9 ended does not."""
    try:
        with (directory / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class Supervision:
    """The way to the supervisor of one cluster; see `testbed.supervisor`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "logs" / "supervisor.log"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, *, owned: bool, ephemeral: bool, locks: Sequence[IO[str]]) -> None:
        """Start the supervisor.

        Args:
            owned: end everything when this process ends, however it ends.
            ephemeral: remove the directory at the end.
            locks: locked files to hold from now until the supervisor's end.

        Raises:
            TestbedError: the directory's path is too long.
        """
        path = self.directory / _SOCKET
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise TestbedError(
                f"The path {path} is too long for a Unix socket ({_LONGEST_SOCKET_PATH} bytes); "
                "set TASKRUNNER_CACHE or TMPDIR to a shorter directory."
            )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # The socket is bound here, so that it takes requests before the supervisor is up.
        with socket.socket(socket.AF_UNIX) as listener, self.log.open("ab") as log:
            listener.bind(str(path))
            listener.listen(16)
            command = [
                sys.executable, "-I", "-S", str(_SCRIPT), str(self.directory),
                "--listener", str(listener.fileno()),
                "--owner", str(os.getpid() if owned else 0),
                *(["--ephemeral"] if ephemeral else []),
                "--hold", *(str(lock.fileno()) for lock in locks),
            ]  # fmt: skip
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if owned else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno(), *(lock.fileno() for lock in locks)],
                start_new_session=True,
                cwd="/",
            )

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Send one request; the answer is the state of every component."""
        with self._connect() as connection:
            connection.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise TestbedError(
                f"The supervisor ended during {op!r}; its log says:\n{tail(self.log)}"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TestbedError(f"The supervisor refused {op!r}: {answer['error']}")
        result: dict[str, Any] = answer["ok"]
        return result

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def shut_down(self) -> None:
        """End all components, run the cleanups, remove what is to be removed, and wait for it."""
        with contextlib.suppress(TestbedError), self._connect() as connection:
            connection.sendall(b'{"op": "shutdown"}\n')
            while connection.recv(4096):  # the end of the stream is the supervisor's end
                pass
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(120)
        try:
            connection.connect(str(self.directory / _SOCKET))
        except OSError as error:
            connection.close()
            raise TestbedError(
                f"No cluster is running in {self.directory} ({error.strerror}); "
                f"the supervisor's log says:\n{tail(self.log)}"
            ) from error
        return connection


class Component:
    """One process of the cluster, such as `kube-apiserver`.

    Whatever ends it through this class is expected. An end that nobody asked for is an error, which
    `Cluster.check` raises with the tail of its log.
    """

    def __init__(self, supervision: Supervision, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._supervision = supervision

    def __repr__(self) -> str:
        return f"Component({self.name!r}, log={str(self.log)!r})"

    @property
    def alive(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        pid: int | None = self._status()["pid"]
        return pid

    @property
    def exit_code(self) -> int | None:
        """How it ended the last time; negative for a signal; None while it runs."""
        code: int | None = self._status()["exit_code"]
        return code

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._wait_gone(10)

    def stop(self, timeout: float = 70) -> None:
        """End it with SIGTERM and wait until it is gone.

        Args:
            timeout: seconds; the API server takes up to a minute when etcd is not there.
        """
        self._signal(signal.SIGTERM)
        self._wait_gone(timeout)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused component go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def start(self) -> None:
        """Start it again with the arguments it had; nothing happens while it runs."""
        self._supervision.ask("start", name=self.name)

    def restart(self) -> None:
        """Stop it and start it again. `Cluster.wait_ready` tells when it serves."""
        self.stop()
        self.start()

    def wait(self, timeout: float = 60) -> int:
        """Wait for it to end by itself; returns its exit code.

        Raises:
            TestbedError: it still runs after the timeout (seconds).
        """
        self._wait_gone(timeout)
        code = self.exit_code
        if code is None:
            raise TestbedError(f"{self.name} was started anew while its end was awaited.")
        return code

    def died(self) -> ComponentDiedError | None:
        """The error to raise if it ended without being asked to."""
        return died(self.name, self._status())

    def _signal(self, number: int) -> None:
        self._supervision.ask("signal", name=self.name, signal=int(number))

    def _status(self) -> dict[str, Any]:
        components = self._supervision.status()
        if self.name not in components:
            raise TestbedError(f"Component {self.name} has never been started.")
        status: dict[str, Any] = components[self.name]
        return status

    def _wait_gone(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while self.alive:
            if time.monotonic() > end:
                raise TestbedError(
                    f"{self.name} still runs after {timeout:g} s; its log ends:\n{tail(self.log)}"
                )
            time.sleep(_POLL_SECONDS)


def died(name: str, status: Mapping[str, Any]) -> ComponentDiedError | None:
    """The error for a component that ended without being asked to, or None."""
    if status["pid"] is not None or status["expected"]:
        return None
    return ComponentDiedError(
        f"{name} ended by itself with exit code {status['exit_code']}; its log "
        f"({status['log']}) ends:\n{tail(Path(status['log']), 25)}"
    )


def spawn(
    supervision: Supervision,
    name: str,
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    rank: int = 0,
    stop_seconds: float = 10,
) -> Component:
    """Start a component under the cluster's supervisor.

    Args:
        name: unique in the cluster; also the name of its log.
        argv: the program (looked up on PATH) and its arguments.
        env: the whole environment; None takes this process's.
        rank: at the end of the cluster, lower ranks end first, the same rank together.
        stop_seconds: how long it may take to end before it is killed.

    Raises:
        TestbedError: the program does not exist, or a component of that name runs.
    """
    arguments = [str(argument) for argument in argv]
    if shutil.which(arguments[0]) is None:
        raise TestbedError(f"Cannot start {name}: there is no program {arguments[0]}.")
    log = supervision.log.with_name(f"{name}.log")
    supervision.ask(
        "spawn",
        name=name,
        argv=arguments,
        env=dict(os.environ if env is None else env),
        log=str(log),
        rank=rank,
        stop_seconds=stop_seconds,
    )
    return Component(supervision, name, log)
