"""Elections between processes on a real API server: kill -9, SIGSTOP, SIGTERM, a hanging server.

Each process writes down when it acts; nobody may act while another does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cluster.candidate import DURATIONS
from testbed import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("candidate.py")
SLACK = 1.5
"""Seconds that a busy machine may take longer than the protocol."""


class Process:
    """One candidate."""

    def __init__(self, kubeconfig: Path, lease: str, name: str, directory: Path) -> None:
        self.name = name
        self._log = directory / f"{name}.jsonl"
        path = os.pathsep.join([str(ROOT / "operator"), str(ROOT / "tests")])
        with self._log.open("wb") as log, (directory / f"{name}.err").open("wb") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(kubeconfig), "default", lease, name],
                stdout=log,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": path},
            )

    def said(self, what: str) -> list[dict[str, Any]]:
        # The last line may be half written.
        lines = self._log.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["what"] == what]

    def times(self, what: str) -> list[float]:
        return [event["boot"] for event in self.said(what)]

    @property
    def works(self) -> bool:
        return len(self.said("started")) > len(self.said("stopped"))

    def signal(self, number: int) -> float:
        self.popen.send_signal(number)
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait()


class Election:
    """Two candidates for a new Lease, of which the first holds it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.lease = f"election-{uuid.uuid4().hex[:8]}"
        self.first = Process(cluster.kubeconfig, self.lease, "first", directory)
        self.second: Process | None = None
        wait(lambda: self.first.works, "the first does not work")
        self.second = Process(cluster.kubeconfig, self.lease, "second", directory)
        wait(lambda: bool(self.other.said("standing")), "the second does not stand")
        time.sleep(1.0)  # It has seen the Lease.

    @property
    def other(self) -> Process:
        assert self.second is not None
        return self.second

    @property
    def all(self) -> list[Process]:
        return [process for process in (self.first, self.second) if process is not None]

    def spec(self) -> dict[str, Any]:
        lease = self.cluster.kubectl("get", "lease", self.lease, "-n", "default", "-o", "json")
        spec: dict[str, Any] = json.loads(lease)["spec"]
        return spec

    def check(self) -> None:
        """Nobody has acted between the first and last act of another's term."""
        terms = []
        for process in self.all:
            starts = process.times("started")
            for start, end in pairwise([*starts, float("inf")]):
                acts = [boot for boot in process.times("acted") if start <= boot < end]
                if acts:
                    terms.append((acts[0], acts[-1], process.name))
        terms.sort()
        for (_, end, a), (start, _, b) in pairwise(terms):
            assert end < start, f"{a} acted {end - start:.3f} s after {b} had begun"


def wait(check: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what} (after {seconds:g} s)"
        time.sleep(0.02)


@pytest.fixture
def election(breakable: Cluster, tmp_path: Path) -> Iterator[Election]:
    made = Election(breakable, tmp_path)
    try:
        yield made
    finally:
        for process in made.all:
            process.end()


def test_after_a_kill_9_the_other_follows_when_the_lease_is_over(election: Election) -> None:
    died = election.first.signal(signal.SIGKILL)
    wait(lambda: election.other.works, "the second does not work")
    took = election.other.times("started")[0] - died
    assert DURATIONS.lease - DURATIONS.retry - 0.1 <= took
    assert took <= DURATIONS.lease + DURATIONS.poll + SLACK
    election.check()
    assert election.spec()["leaseTransitions"] == 1
    assert election.other.said("started")[0]["epoch"] == 1


def test_after_a_sigterm_the_other_follows_at_once(election: Election) -> None:
    election.first.signal(signal.SIGTERM)
    wait(lambda: election.other.works, "the second does not work")
    stopped = election.first.times("stopped")[0]
    assert 0 < election.other.times("started")[0] - stopped <= DURATIONS.poll + SLACK
    election.check()


def test_a_process_that_was_stopped_does_not_act_when_it_wakes_up(election: Election) -> None:
    election.first.signal(signal.SIGSTOP)
    wait(lambda: election.other.works, "the second does not work")
    time.sleep(0.5)
    woken = election.first.signal(signal.SIGCONT)
    wait(lambda: not election.first.works, "the first goes on")
    assert election.first.times("stopped")[0] - woken < SLACK
    assert max(election.first.times("acted")) < woken
    time.sleep(1.0)
    election.check()
    assert not election.first.works
    assert election.other.works


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_while_the_server_hangs_nobody_works_and_afterwards_one_does(
    election: Election, component: str
) -> None:
    part = election.cluster.component(component)
    part.pause()
    try:
        paused = time.clock_gettime(time.CLOCK_BOOTTIME)
        wait(lambda: not election.first.works, "the first goes on")
        stopped = election.first.times("stopped")[0]
        assert stopped - paused <= DURATIONS.renew_deadline + SLACK
        time.sleep(DURATIONS.lease)
        assert not any(process.works for process in election.all)
    finally:
        part.resume()
    wait(lambda: any(process.works for process in election.all), "nobody works")
    time.sleep(2.0)
    assert sum(process.works for process in election.all) == 1
    election.check()


def test_a_server_that_is_killed_and_restarted_leaves_one_at_work(election: Election) -> None:
    server = election.cluster.component("kube-apiserver")
    server.kill()
    time.sleep(1.0)
    server.start()
    election.cluster.wait_ready()
    wait(lambda: any(process.works for process in election.all), "nobody works")
    time.sleep(2.0)
    assert sum(process.works for process in election.all) == 1
    election.check()
