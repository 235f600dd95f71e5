"""A real node leaves the machine as it found it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed import Cluster, ClusterSpec, TestbedError, realnode_cgroup, realnode_config, require
from testbed.image_base import BASE_IMAGE
from testbed.image_base import archive as base_archive

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TOOLS = Path(__file__).parents[2] / "tools"

OWNER = """
import sys, time
from testbed import Cluster, ClusterSpec, image_base
with Cluster(ClusterSpec(name="owned", version=sys.argv[1], nodes="real")) as cluster:
    cluster.real_node.load_images(image_base.archive())
    cluster.kubectl("run", "sleeper", "--image=" + image_base.BASE_IMAGE, "--", "sleep", "600")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
    print(cluster.dir, cluster.component("node").pid, flush=True)
    time.sleep(600)
"""

MACHINE_SETTINGS = (
    "/proc/sys/net/ipv4/ip_forward",
    *(f"/proc/sys/{setting}" for setting in realnode_config.KERNEL_SETTINGS),
)
MACHINE_PLACES = (
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)


@pytest.fixture(autouse=True)
def _needs_real_nodes(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--cluster") != "local":
        pytest.skip("Only nodes that the test bed starts can be looked after here.")
    require("go", "real-nodes")
    base_archive()


def machine() -> dict[str, object]:
    """What a node could change on the machine, but for what carries the node's own name."""
    return {
        "settings": {name: Path(name).read_text() for name in MACHINE_SETTINGS},
        "mounts": sorted(line.split()[4] for line in read_lines("/proc/self/mountinfo")),
        "places": {
            name: sorted(os.listdir(name)) for name in MACHINE_PLACES if Path(name).exists()
        },
        "nftables": run("nft", "list", "tables"),
        "links": sorted(link.split(":")[1] for link in run("ip", "-o", "link").splitlines()),
        "routes": run("ip", "route"),
    }


def leftovers(directory: Path) -> list[str]:
    """What is still there of a node, as sentences."""
    found = []
    if realnode_cgroup.exists(realnode_config.CGROUP):
        found.append("control groups")
    if realnode_config.HOST_LINK in run("ip", "-o", "link"):
        found.append("the link to the node")
    if directory.exists():
        found.append(f"the directory {directory}")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has just ended
            continue
        if realnode_config.NODE + "/" in command or str(directory) in command:
            found.append(f"process {process.name}: {command}")
    return found


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def read_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def until(condition: Callable[[], bool], what: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds:g} s still: {what()}"
        time.sleep(0.1)


@contextmanager
def owner(version: str) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """A process that owns a cluster with a running pod; its directory, and the guard's id."""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    command = [sys.executable, "-c", OWNER, version]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            directory, guard = process.stdout.readline().split()
            yield process, Path(directory), int(guard)
        finally:
            process.kill()


def test_stopping_a_cluster_leaves_the_machine_as_it_was(k8s_version: str) -> None:
    before = machine()
    with Cluster(ClusterSpec(name="ends", version=k8s_version, nodes="real")) as cluster:
        cluster.real_node.load_images(base_archive())
        image = f"--image={BASE_IMAGE}"
        cluster.kubectl("run", "sleeper", image, "--", "sleep", "600")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
        during = machine()
        assert leftovers(cluster.dir)
        # A node that changed settings or mounts only for its own time would be no better.
        assert {k: during[k] for k in ("settings", "mounts", "places", "nftables")} == {
            k: before[k] for k in ("settings", "mounts", "places", "nftables")
        }
    assert leftovers(cluster.dir) == []
    assert machine() == before


def test_killing_the_owner_leaves_nothing(k8s_version: str) -> None:
    before = machine()
    with owner(k8s_version) as (process, directory, _):
        assert leftovers(directory)
        process.kill()
        until(lambda: not leftovers(directory), lambda: leftovers(directory))
    assert machine() == before


def test_what_a_killed_guard_leaves_goes_with_the_next_node(k8s_version: str) -> None:
    before = machine()
    with owner(k8s_version) as (process, directory, guard):
        supervisor = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
        # Everything that could clean up, at once: what is left is the pod and its shim.
        for pid in (guard, supervisor):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        until(lambda: not Path(f"/proc/{guard}").exists(), lambda: "the guard")
    assert realnode_cgroup.exists(realnode_config.CGROUP), "then this test shows nothing"

    with Cluster(ClusterSpec(name="next", version=k8s_version, nodes="real")) as cluster:
        (node,) = cluster.get("nodes")["items"]
        assert node["metadata"]["name"] == "node-1"
        assert cluster.get("pods", "--all-namespaces")["items"] == []
    until(lambda: not leftovers(directory), lambda: leftovers(directory))
    assert machine() == before


def test_a_second_real_node_is_refused_and_the_first_goes_on(k8s_version: str) -> None:
    spec = ClusterSpec(name="first", version=k8s_version, nodes="real")
    with Cluster(spec) as first:
        second = Cluster(ClusterSpec(name="second", version=k8s_version, nodes="real"))
        with pytest.raises(TestbedError, match=f"Another real node runs .* in {first.dir}/node"):
            second.start()
        assert first.real_node.ready()
        first.check()
