"""Real nodes leave the machine as they found it, however they end, and do not meet each other."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from testbed import Cluster, ClusterSpec, TestbedError, realnode_cgroup, realnode_config, require
from testbed.image_base import BASE_IMAGE
from testbed.image_base import archive as base_archive
from testbed.realnode_config import Place
from testbed.realnode_guard import lock_file

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TOOLS = Path(__file__).parents[2] / "tools"

OWNER = """
import sys, time
from testbed import Cluster, ClusterSpec, image_base
with Cluster(ClusterSpec(name="owned", version=sys.argv[1], nodes="real")) as cluster:
    cluster.real_node.load_images(image_base.archive())
    cluster.kubectl("run", "sleeper", "--image=" + image_base.BASE_IMAGE, "--", "sleep", "600")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
    print(cluster.dir, cluster.real_node.place.number, cluster.component("node").pid, flush=True)
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
    """What a node could change on the machine, but for what belongs to a node by its name."""
    return {
        "settings": {name: Path(name).read_text() for name in MACHINE_SETTINGS},
        "mounts": sorted(line.split()[4] for line in read_lines("/proc/self/mountinfo")),
        "places": {
            name: sorted(os.listdir(name)) for name in MACHINE_PLACES if Path(name).exists()
        },
        "nftables": run("nft", "list", "tables"),
        "links": [line.split(":")[1] for line in lines_without_nodes("ip", "-o", "link")],
        "routes": lines_without_nodes("ip", "route"),
    }


def leftovers(directory: Path, place: Place) -> list[str]:
    """What is still there of a node, as sentences."""
    found = []
    if realnode_cgroup.exists(place.cgroup):
        found.append("control groups, and with them perhaps processes")
    if f" {place.host_link}@" in run("ip", "-o", "link"):
        found.append("the link to the node")
    if directory.exists():
        found.append(f"the directory {directory}")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has just ended
            continue
        if str(directory) in command:
            found.append(f"process {process.name}: {command}")
    return found


def lines_without_nodes(*argv: str) -> list[str]:
    """What a command says, without the lines on nodes: other tests' may come and go."""
    return [line for line in run(*argv).splitlines() if realnode_config.HOST_LINKS not in line]


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
def owner(version: str) -> Iterator[tuple[subprocess.Popen[str], Path, Place, int]]:
    """A process that owns a cluster with a running pod; its directory, place and guard's id."""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    command = [sys.executable, "-c", OWNER, version]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            directory, place, guard = process.stdout.readline().split()
            yield process, Path(directory), Place(int(place)), int(guard)
        finally:
            process.kill()


def run_sleeper(cluster: Cluster) -> None:
    cluster.real_node.load_images(base_archive())
    cluster.kubectl("run", "sleeper", f"--image={BASE_IMAGE}", "--", "sleep", "600")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")


def test_stopping_a_cluster_leaves_the_machine_as_it_was(k8s_version: str) -> None:
    before = machine()
    with Cluster(ClusterSpec(name="ends", version=k8s_version, nodes="real")) as cluster:
        run_sleeper(cluster)
        place = cluster.real_node.place
        assert leftovers(cluster.dir, place)
        # A node that changed settings or mounts only for its own time would be no better.
        assert machine() == before
    assert leftovers(cluster.dir, place) == []
    assert machine() == before


def test_killing_the_owner_leaves_nothing(k8s_version: str) -> None:
    before = machine()
    with owner(k8s_version) as (process, directory, place, _):
        assert leftovers(directory, place)
        process.kill()
        until(lambda: not leftovers(directory, place), lambda: leftovers(directory, place))
    assert machine() == before


def test_what_a_killed_guard_leaves_goes_with_the_next_node(k8s_version: str) -> None:
    before = machine()
    with owner(k8s_version) as (process, directory, place, guard):
        supervisor = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
        # Everything that could clean up, at once: what is left is the pod and its shim.
        for pid in (guard, supervisor):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        until(lambda: not Path(f"/proc/{guard}").exists(), lambda: "the guard")
    assert realnode_cgroup.exists(place.cgroup), "then this test shows nothing"

    with Cluster(ClusterSpec(name="next", version=k8s_version, nodes="real")) as cluster:
        assert cluster.get("pods", "--all-namespaces")["items"] == []
        run_sleeper(cluster)
    until(lambda: not leftovers(directory, place), lambda: leftovers(directory, place))
    assert machine() == before


def test_two_nodes_run_side_by_side_and_end_apart(k8s_version: str) -> None:
    with Cluster(ClusterSpec(name="first", version=k8s_version, nodes="real")) as first:
        with Cluster(ClusterSpec(name="second", version=k8s_version, nodes="real")) as second:
            addresses = set()
            for cluster in (first, second):
                run_sleeper(cluster)
                addresses.add(cluster.get("pod", "sleeper")["status"]["podIP"])
                # Through the cluster's own API server and kubelet, into its own pod.
                assert cluster.kubectl("exec", "sleeper", "--", "hostname") == "sleeper\n"
            assert len(addresses) == 2
        assert first.kubectl("exec", "sleeper", "--", "hostname") == "sleeper\n"
        first.check()


def test_where_all_places_are_taken_the_error_says_by_whom(k8s_version: str) -> None:
    with ExitStack() as stack:
        for number in range(realnode_config.PLACES):
            lock = stack.enter_context(lock_file(Place(number)).open("a+"))
            with suppress(BlockingIOError):  # a node that runs; it does for this test
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate(0)
                lock.write(f"/a/test-{number}")
                lock.flush()
        cluster = Cluster(ClusterSpec(name="late", version=k8s_version, nodes="real"))
        with pytest.raises(TestbedError, match=r"All 8 places for real nodes .*/a/test-7\. Stop"):
            cluster.start()
