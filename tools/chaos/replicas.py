"""Replicas of the operator as processes, each behind a link and a tap and with its own clock."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from chaos.install import NAMESPACE
from chaos.link import Link
from chaos.shifted import DOUBLE
from chaos.tap import Tap
from testbed import Cluster

LEASE_SECONDS = 12
_SETTINGS = {
    # Shorter than the defaults, so that ten minutes see many changes of leader; long enough for a
    # busy machine, where a Lease that is lost without a fault only hides what the faults do.
    "LOCK_TTL": str(LEASE_SECONDS),
    "RENEW_DEADLINE": "8",
    "RETRY_PERIOD": "1",
}
_WATCH_EVERY_SECONDS = 0.2


class Replica:
    """One replica; restarted when it dies, as a kubelet would."""

    def __init__(self, name: str, kubeconfig: Path, directory: Path, cluster: Cluster) -> None:
        self.name = name
        self.restarts = -1
        self.frozen = False
        document = yaml.safe_load(kubeconfig.read_text())
        server = urlsplit(document["clusters"][0]["cluster"]["server"])
        assert server.hostname is not None
        assert server.port is not None
        self.tap = Tap(cluster, server.hostname, server.port)
        self.link = Link("127.0.0.1")
        self._document = document
        self._config = directory / f"{name}.kubeconfig"
        self._shift = directory / f"{name}.shift"
        self.log = directory / f"{name}.log"
        self._output = self.log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and keep it running from now on."""
        await self.tap.start()
        await self.link.start(self.tap.port)
        server = f"https://127.0.0.1:{self.link.port}"
        self._document["clusters"][0]["cluster"]["server"] = server
        self._config.write_text(yaml.safe_dump(self._document))
        self.shift_clock(0.0)
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it for good."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        await self.link.close()
        await self.tap.close()
        self._output.close()

    @property
    def identity(self) -> str:
        """Its name in Leases: another one after each restart."""
        return f"{self.name}-{self.restarts}"

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self.frozen = number == signal.SIGSTOP

    def shift_clock(self, seconds: float) -> None:
        """Set its wall clock so much ahead, or back."""
        data = DOUBLE.pack(seconds)
        if self._shift.exists():
            with self._shift.open("r+b") as file:  # in place: the process has it mapped
                file.write(data)
        else:
            self._shift.write_bytes(data)

    def limit_memory(self, extra: int | None) -> None:
        """Let it take only so many bytes more than now; None for no limit."""
        if self._process is None or self._process.poll() is not None:
            return
        pid, limit = self._process.pid, resource.RLIM_INFINITY
        if extra is not None:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + extra
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    def memory(self) -> int:
        """Resident bytes; 0 while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return 0
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    async def _keep(self) -> None:
        while True:
            if self._process is None or self._process.poll() is not None:
                self.restarts += 1
                self._spawn()
            await asyncio.sleep(_WATCH_EVERY_SECONDS)

    def _spawn(self) -> None:
        environment = {
            **os.environ,
            **{f"SCHEDULER_{name}": value for name, value in _SETTINGS.items()},
            "SCHEDULER_NAMESPACE": NAMESPACE,
            "SCHEDULER_IDENTITY": self.identity,
            "SCHEDULER_PROBE_PORT": "0",
            "SCHEDULER_PROBE_ADDRESS": "127.0.0.1",
            "KUBECONFIG": str(self._config),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.shifted", str(self._shift), "operator"],
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.frozen = False
