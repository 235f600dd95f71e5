"""Fixtures for tests on a real kubelet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from testbed import Cluster, ClusterSpec, UnsupportedError, image_base, require


@pytest.fixture(scope="module")
def real_cluster(request: pytest.FixtureRequest, k8s_version: str) -> Iterator[Cluster]:
    """A cluster whose pods really run, with the base image on its node; one for each module."""
    if request.config.getoption("--cluster") != "local":
        raise UnsupportedError("The test bed puts images only on nodes of its own.")
    require("go", "real-nodes")
    base = image_base.archive()
    with Cluster(ClusterSpec(name="e2e", version=k8s_version, nodes="real", audit=True)) as cluster:
        cluster.real_node.load_images(base)
        yield cluster


@pytest.fixture
def restricted_namespace(real_cluster: Cluster) -> Iterator[str]:
    """A namespace that admits only pods of the `restricted` Pod Security Standard."""
    name = f"e2e-{secrets.token_hex(3)}"
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }
    real_cluster.kubectl("create", "-f", "-", input=manifest)
    yield name
    real_cluster.kubectl("delete", "namespace", name, "--wait=false")
