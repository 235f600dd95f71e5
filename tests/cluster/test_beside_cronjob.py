"""The same specs under the CronJob controller and under taskrunner, on one cluster, at one time.

Compared is which slots have started a Job: both write the slot on the Job (KEP-4026). It takes
eight minutes, because CronJob counts in minutes.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.cronjob_pairs import DOWN, END, PAIRS, UP, Pair
from team import Team
from testbed import Cluster, ClusterSpec

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(720)]

KINDS = ("CronJob", "ScheduledTask")
SLOT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "differences-from-cronjob.md"


@dataclass
class Started:
    """Slots that have started a Job, as UTC seconds, by kind and pair."""

    first_minute: int = 0
    slots: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))

    def minutes(self, kind: str, pair: Pair) -> frozenset[int]:
        """As minutes from the first."""
        found = self.slots[kind, pair.name]
        return frozenset((slot - self.first_minute) // 60 for slot in found)


class Watcher(threading.Thread):
    """Looks at all Jobs, often enough to see those that history limits delete at once."""

    def __init__(self, cluster: Cluster, namespace: str, started: Started) -> None:
        super().__init__(daemon=True)
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._cluster, self._record = cluster, started
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.3):
            for job in self._cluster.api.request("GET", self._path)["items"]:
                self._note(job["metadata"])

    def _note(self, meta: dict[str, Any]) -> None:
        task = (meta.get("labels") or {}).get("taskrunner.dev/task")
        owner = meta["ownerReferences"][0]["name"]
        key = ("ScheduledTask", task) if task else ("CronJob", owner)
        slot = datetime.fromisoformat(meta["annotations"][SLOT]).timestamp()
        self._record.slots[key].add(int(slot))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, k8s_version: str) -> Iterator[Started]:
    """Everything that was started, once all is over."""
    spec = ClusterSpec(name="cronjob", version=k8s_version)
    with Cluster(spec) as cluster:
        team = Team(cluster, tmp_path_factory.mktemp("cronjob"))
        try:
            team.start()
            team.leader()
            yield _play(cluster, team)
        finally:
            team.stop()


def _play(cluster: Cluster, team: Team) -> Started:
    """Apply all pairs, make the changes, take both controllers down for a while, and look."""
    script: list[tuple[float, Pair | str, Any]] = [(DOWN, "down", None), (UP, "up", None)]
    script += [(at, pair, change) for pair in PAIRS for at, change in pair.changes.items()]
    script.sort(key=lambda step: step[0])
    # All must be there before the first slot, and not the minute before it.
    time.sleep((25 - time.time()) % 60)
    found = Started(first_minute=(int(time.time()) // 60 + 1) * 60)
    everything = [pair.manifest(kind) for pair in PAIRS for kind in KINDS]
    team.kubectl("apply", "-f", "-", obj={"apiVersion": "v1", "kind": "List", "items": everything})
    assert time.time() < found.first_minute, "applying took too long"
    watcher = Watcher(cluster, team.name, found)
    watcher.start()
    for at, what, change in script:
        time.sleep(max(0.0, found.first_minute + at - time.time()))
        if isinstance(what, Pair):
            _change(team, what, change)
        elif what == "down":
            cluster.component("kube-controller-manager").kill()
            team.leader().kill()
        else:
            cluster.component("kube-controller-manager").start()
            team.start()
    time.sleep(max(0.0, found.first_minute + END - time.time()))
    watcher.done.set()
    watcher.join()
    return found


def _change(team: Team, pair: Pair, change: Any) -> None:
    for kind in KINDS:
        if change is None:
            team.kubectl("delete", kind, pair.name, "--wait=false")
        elif None in pair.changes.values():
            team.apply(pair.manifest(kind))
        else:
            team.kubectl("patch", kind, pair.name, "--type=merge", "-p", json.dumps(change))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_same_slots_start(pair: Pair, started: Started) -> None:
    ours, theirs = (started.minutes(kind, pair) for kind in reversed(KINDS))
    assert theirs == pair.expected_of_cronjob, "CronJob does not do what the table says"
    assert ours == pair.ours


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.theirs is not None], ids=lambda p: p.name)
def test_each_difference_is_published(pair: Pair) -> None:
    assert pair.difference
    assert f"| {pair.difference} |" in DOCS.read_text()
