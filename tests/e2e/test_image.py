"""The product's image: it starts locked down, and carries nothing that it does not need."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from testbed import Cluster, image

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# What the `restricted` standard asks for and no more: user and group come from the image.
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def archive() -> Path:
    return image.archive()


@pytest.fixture(scope="module")
def node_with_image(real_cluster: Cluster, archive: Path) -> Cluster:
    real_cluster.real_node.load_images(archive)
    return real_cluster


def run(cluster: Cluster, namespace: str, **container: Any) -> tuple[int, str]:
    """Run a container of the image to its end; its exit code and what it said."""
    main = {"name": "main", "image": image.PRODUCT_IMAGE, "imagePullPolicy": "Never"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "image"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{**main, "securityContext": RESTRICTED, **container}],
        },
    }
    here = ("-n", namespace)
    cluster.kubectl("create", *here, "-f", "-", input=pod)
    ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
    cluster.kubectl("wait", ended, "pod/image", *here, "--timeout=60s", timeout=90)
    (status,) = cluster.get("pod", "image", *here)["status"]["containerStatuses"]
    said = cluster.kubectl("logs", "image", *here)
    return status["state"]["terminated"]["exitCode"], said


def test_the_image_runs_the_command_on_a_read_only_root_without_being_root(
    node_with_image: Cluster, restricted_namespace: str
) -> None:
    exit_code, said = run(node_with_image, restricted_namespace, args=["--help"])
    assert exit_code == 0, said
    assert "Usage: taskrunner" in said


def test_the_image_has_no_means_to_install_or_compile(
    node_with_image: Cluster, restricted_namespace: str
) -> None:
    tools = "pip pip3 gcc cc clang make git curl wget"
    look = (
        f"for tool in {tools}; do command -v $tool; done;"
        "for module in pip ensurepip setuptools hatchling; do"
        "  for python in /opt/taskrunner/bin/python python3; do"
        "    $python -c \"import $module; print('$module')\" 2>/dev/null; done; done; echo looked"
    )
    exit_code, said = run(node_with_image, restricted_namespace, command=["sh", "-c", look])
    assert (exit_code, said.split()) == (0, ["looked"])


def test_time_zones_come_from_the_pinned_package(
    node_with_image: Cluster, restricted_namespace: str
) -> None:
    look = (
        "import json, tzdata, zoneinfo;"
        "print(json.dumps([zoneinfo.TZPATH, zoneinfo.ZoneInfo('Europe/Berlin').key,"
        " tzdata.__file__]))"
    )
    exit_code, said = run(node_with_image, restricted_namespace, command=["python", "-c", look])
    assert exit_code == 0, said
    searched, zone, package = json.loads(said)
    assert (searched, zone) == ([], "Europe/Berlin")
    assert package.startswith("/opt/taskrunner/")


def test_the_image_says_what_it_is_and_names_a_user_by_number(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        (manifest,) = read_json(tar, "manifest.json")
        config = read_json(tar, manifest["Config"])
    assert manifest["RepoTags"] == [image.PRODUCT_IMAGE]
    # The kubelet refuses runAsNonRoot for a user that it knows by name only.
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["taskrunner"]
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "taskrunner"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"]


def test_the_image_adds_little_to_its_base(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        (manifest,) = read_json(tar, "manifest.json")
        sizes = [tar.getmember(layer).size / 1e6 for layer in manifest["Layers"]]
    base, _, dependencies, code = sizes
    assert dependencies < 120, f"megabytes of each layer: {sizes}"
    assert code < 5, f"megabytes of each layer: {sizes}"
    assert base > dependencies, "the layers are not what this test takes them for"


def read_json(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    assert member is not None, name
    return json.loads(member.read())
