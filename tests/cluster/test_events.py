"""Events on a real API server, as kubectl shows them."""

from __future__ import annotations

import asyncio
import json
import re
import uuid

import pytest

from contract.world import NAMESPACES, manifest
from taskrunner.kube.client import ApiClient
from taskrunner.kube.clock import SystemClock
from taskrunner.kube.config import from_kubeconfig
from taskrunner.kube.events import EventRecorder
from taskrunner.ports import JOBS
from testbed import Cluster

pytestmark = pytest.mark.cluster


async def test_kubectl_describe_shows_a_series_as_one_line(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskrunner.kube.events._SERIES_PAUSE", 0.1)
    clock = SystemClock()
    namespace = f"events-{uuid.uuid4().hex[:8]}"
    async with ApiClient(from_kubeconfig(str(cluster.kubeconfig)), clock) as api:
        made = await api.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        job = await api.create(JOBS, namespace, manifest(JOBS, "nightly"))
        events = EventRecorder(api, clock, instance="taskrunner-1")
        task = asyncio.create_task(events.run())
        for _ in range(5):
            events.record(job, kind="Warning", reason="RunFailed", message="Exit code 3.")
            await asyncio.sleep(0.3)
        events.record(job, kind="Normal", reason="Adopted", message="An existing Job fits.")
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        shown = cluster.kubectl("describe", "job", "nightly", "-n", namespace)
        lines = [re.split(r"  +", line.strip()) for line in shown.splitlines()]
        (failed,) = [line for line in lines if "RunFailed" in line]
        assert failed[0] == "Warning"
        assert re.fullmatch(r"\d+s \(x5 over \d+s\)", failed[2])
        assert failed[3:] == ["taskrunner.dev/operator", "Exit code 3."]
        (adopted,) = [line for line in lines if "Adopted" in line]
        assert adopted[0] == "Normal"
        listed = cluster.kubectl("get", "events", "-n", namespace, "-o", "json")
        reasons = [event["reason"] for event in json.loads(listed)["items"]]
        assert sorted(r for r in reasons if r in ("RunFailed", "Adopted")) == [
            "Adopted",
            "RunFailed",
        ]
        assert events.dropped == 0
        await api.delete(NAMESPACES, "", namespace, uid=made["metadata"]["uid"])
