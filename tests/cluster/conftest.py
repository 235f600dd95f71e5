"""Fixtures for tests on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import Cluster, ClusterSpec

pytest.register_assert_rewrite("cluster.semantics_table")


@pytest.fixture(scope="session")
def breakable(k8s_version: str) -> Iterator[Cluster]:
    """A control plane for tests that kill and pause its parts, so that no other test feels it.

    Each test leaves it as it found it: everything running, nothing paused.
    """
    spec = ClusterSpec(name="breakable", version=k8s_version, nodes="none")
    with Cluster(spec) as cluster:
        yield cluster
