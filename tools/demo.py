"""`make demo`: a cluster, the operator and two first tasks, and live what happens to them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from install import install
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.reflector import Reflector
from taskrunner.ports import TASK_EXECUTIONS, EventType, Obj
from testbed import Cluster, ClusterSpec

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ("01-hello.yaml", "02-interval.yaml")
NAMESPACE = "demo"
FIRST_RUNS = 3
ONCE_SECONDS = 180


def main() -> None:
    """Show the product; exit 1 when the first runs do not succeed in time."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the first runs succeeded")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), Cluster(ClusterSpec(name="demo")) as cluster:
        say(f"cluster is up: export KUBECONFIG={cluster.kubeconfig}")
        install(cluster.kubectl, "taskrunner-system")
        cluster.kubectl("create", "namespace", NAMESPACE)
        with operator(cluster):
            for example in EXAMPLES:
                cluster.kubectl("apply", "-n", NAMESPACE, "-f", str(ROOT / "examples" / example))
                say(f"applied examples/{example}")
            ok = asyncio.run(show(cluster, once=options.once))
        print()
        print(cluster.kubectl("get", "scheduledtasks", "-n", NAMESPACE))
        print(cluster.kubectl("get", "taskexecutions", "-n", NAMESPACE))
        if not ok:
            sys.exit(f"demo: {FIRST_RUNS} runs did not succeed within {ONCE_SECONDS} s")


@contextlib.contextmanager
def operator(cluster: Cluster) -> Iterator[None]:
    """Run one replica of the operator, with its log in the cluster's directory."""
    log = cluster.dir / "operator.log"
    environment = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig),
        "SCHEDULER_PROBE_PORT": "0",
        "SCHEDULER_PROBE_ADDRESS": "127.0.0.1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskrunner", "operator"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        say("the operator is running")
        try:
            yield
            if process.poll() is not None:
                sys.exit(f"demo: the operator ended:\n{log.read_text()[-4000:]}")
        finally:
            process.terminate()
            process.wait(timeout=15)


async def show(cluster: Cluster, *, once: bool) -> bool:
    """Print what happens to executions, for ever or until the first runs have succeeded."""
    clock = SystemClock()
    async with ApiClient(from_kubeconfig(str(cluster.kubeconfig)), clock, pool=2) as client:
        sink = Printer()
        watch = asyncio.create_task(Reflector(client, clock, TASK_EXECUTIONS, sink).run())
        say("waiting for the first slots (Ctrl+C ends the demo)")
        try:
            async with asyncio.timeout(ONCE_SECONDS if once else None):
                await sink.first_runs.wait()
                if not once:
                    await asyncio.Event().wait()
        except TimeoutError:
            return False
        finally:
            watch.cancel()
    return True


class Printer:
    """A sink that prints a line when an execution enters a phase."""

    def __init__(self) -> None:
        self.first_runs = asyncio.Event()
        self._succeeded = 0
        self._phases: dict[str, str] = {}

    def synced(self, present: Mapping[str, str], resource_version: int) -> None:
        """What has gone is not told."""

    def seen(self, event: EventType, obj: Obj) -> None:
        name, status = obj["metadata"]["name"], obj.get("status") or {}
        phase = status.get("phase", "Pending")
        if event == "DELETED" or self._phases.get(name) == phase:
            return
        self._phases[name] = phase
        details = [status.get("message", "")]
        if "startLagMilliseconds" in status:
            details.append(f"started {status['startLagMilliseconds']} ms after it was due")
        if "durationSeconds" in status:
            details.append(f"took {status['durationSeconds']} s")
        say(f"{name:24} {phase:10} {'; '.join(filter(None, details))}")
        self._succeeded += phase == "Succeeded"
        if self._succeeded >= FIRST_RUNS:
            self.first_runs.set()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


if __name__ == "__main__":
    main()
