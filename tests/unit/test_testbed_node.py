"""The parts of the test bed's real node that need no node: addresses, archives, packages."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from testbed import packages, realnode_config
from testbed.errors import MissingPartError
from testbed.image_archive import ImageConfig, layer_of_files, pack
from testbed.packages import Package


@pytest.mark.parametrize(
    ("network", "overlaps"),
    [
        pytest.param("198.18.0.0/15", True, id="around it"),
        pytest.param("198.19.0.0/25", True, id="inside it"),
        pytest.param("198.19.255.1", True, id="one address"),
        pytest.param("198.18.0.0/16", False, id="beside it"),
        pytest.param("10.0.0.0/8", False, id="elsewhere"),
        pytest.param("0.0.0.0/0", False, id="the default route"),
        pytest.param("fd00::/8", False, id="IPv6"),
    ],
)
def test_a_route_overlaps_with_the_network_of_nodes_or_does_not(
    network: str, overlaps: bool
) -> None:
    assert realnode_config.overlapping(network) is overlaps


def test_places_share_nothing() -> None:
    places = [realnode_config.Place(number) for number in range(realnode_config.PLACES)]
    for attribute in ("cgroup", "host_link", "address", "pod_cidr"):
        assert len({getattr(place, attribute) for place in places}) == len(places)
    assert realnode_config.HOST_ADDRESS not in {place.address for place in places}
    for place in places:
        assert realnode_config.overlapping(place.address)
        assert realnode_config.overlapping(place.pod_cidr)
        assert len(place.host_link) <= 15  # the kernel's limit


def archive_of(directory: Path, content: bytes) -> Path:
    directory.mkdir()
    program = directory / "program"
    program.write_bytes(content)
    layer = layer_of_files(directory / "layer.tar", {"/bin/program": program})
    config = ImageConfig(entrypoint=["/bin/program"], user="1:1", environment={"A": "b"})
    return pack(directory / "image.tar", "example.com/some/image:7", layer, config)


def test_an_archive_names_its_image_and_its_digests_are_right(tmp_path: Path) -> None:
    with tarfile.open(archive_of(tmp_path / "one", b"#!/bin/sh\n")) as tar:

        def blob(digest: str) -> bytes:
            member = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert member is not None
            content = member.read()
            assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
            return content

        index = tar.extractfile("index.json")
        assert index is not None
        (entry,) = json.loads(index.read())["manifests"]
        assert entry["annotations"] == {
            "io.containerd.image.name": "example.com/some/image:7",
            "org.opencontainers.image.ref.name": "7",
        }
        manifest = json.loads(blob(entry["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        assert config["config"]["Entrypoint"] == ["/bin/program"]
        assert config["config"]["User"] == "1:1"
        assert config["config"]["Env"] == ["A=b"]
        (layer,) = manifest["layers"]
        assert config["rootfs"]["diff_ids"] == [layer["digest"]]
        assert len(blob(layer["digest"])) == layer["size"]


def test_the_same_content_gives_the_same_archive(tmp_path: Path) -> None:
    one, two, other = (
        archive_of(tmp_path / name, content).read_bytes()
        for name, content in (("one", b"x"), ("two", b"x"), ("other", b"y"))
    )
    assert one == two
    assert one != other


def test_missing_packages_are_named_with_their_purpose_and_the_command() -> None:
    absent = Package("no-such-package", ("no-such-program",), "nothing")
    assert packages.missing([absent]) == ["no-such-package"]
    said = packages.remedy(["buildah", "runc"])
    assert "builds the image from the Dockerfile" in said
    assert "apt-get install --no-install-recommends buildah runc" in said


def test_packages_that_cannot_be_installed_here_are_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = Package("no-such-package", ("no-such-program",), "nothing")
    monkeypatch.setattr(packages, "installable", lambda: False)
    with pytest.raises(MissingPartError, match=r"Missing for real pods \(1\):\n  no-such-package"):
        packages.install([absent])


def test_nothing_is_installed_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installable", lambda: False)
    assert packages.install([Package("coreutils", ("ls",), "present everywhere")]) == []
