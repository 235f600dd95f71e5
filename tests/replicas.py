"""Replicas of the operator as processes, for tests on a real API server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

READY_SECONDS = 30.0


class OperatorProcess:
    """One `taskrunner operator`, with its log in a file."""

    program: tuple[str, ...] = ("-m", "taskrunner")
    """What Python runs."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, **settings: str) -> None:
        self.identity = log.stem
        self._log = log
        environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "SCHEDULER_NAMESPACE": namespace,
            "SCHEDULER_WATCH_NAMESPACE": namespace,
            "SCHEDULER_IDENTITY": self.identity,
            "SCHEDULER_PROBE_PORT": "0",
            "SCHEDULER_PROBE_ADDRESS": "127.0.0.1",
            **{f"SCHEDULER_{name.upper()}": value for name, value in settings.items()},
        }
        self._output = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *self.program, "operator"],
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str) -> None:
        """Return when the log has `text`."""
        eventually(lambda: self._has(text), f"{self.identity} to log {text!r}", self._tail)

    def leads(self) -> bool:
        """Whether it acts now, by its own log."""
        return self.log.count("; acting") > self.log.count("no longer leading")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise AssertionError(
                    f"{self.identity} did not end on SIGTERM\n{self._tail()}"
                ) from error
        self._output.close()

    def _has(self, text: str) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.identity} ended\n{self._tail()}")
        return text in self.log

    def _tail(self) -> str:
        return self.log[-4000:]


def eventually(
    check: Callable[[], T],
    what: str,
    explain: Callable[[], str] = lambda: "",
    *,
    seconds: float = READY_SECONDS,
) -> T:
    """The first true value of `check`; fails after `seconds`, naming what did not come."""
    end = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s for {what}\n{explain()}")
        time.sleep(0.1)
    return found
