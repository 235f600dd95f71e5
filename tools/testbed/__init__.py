"""A real Kubernetes cluster in one call, without a container engine.

    from testbed import Cluster, ClusterSpec

    with Cluster(ClusterSpec(name="t1", audit=True)) as cluster:
        cluster.kubectl("apply", "-f", "job.yaml")
        cluster.component("kube-scheduler").pause()

`python -m testbed --help` has the same on the command line; `testbed.pytest_plugin` has fixtures.
"""

from testbed.base import BaseCluster
from testbed.cluster import Cluster
from testbed.errors import (
    ApiError,
    CommandError,
    ComponentDiedError,
    MissingPartError,
    TestbedError,
    UnsupportedError,
)
from testbed.existing import ExistingCluster, KindCluster
from testbed.processes import Component
from testbed.requirements import require
from testbed.spec import ClusterSpec

__all__ = [
    "ApiError",
    "BaseCluster",
    "Cluster",
    "ClusterSpec",
    "CommandError",
    "Component",
    "ComponentDiedError",
    "ExistingCluster",
    "KindCluster",
    "MissingPartError",
    "TestbedError",
    "UnsupportedError",
    "require",
]
