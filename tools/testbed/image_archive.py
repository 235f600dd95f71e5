"""Packs files into an OCI image archive, without any container tool.

An archive is a tar file of an OCI image layout (OCI Image Format Specification v1.0): one layer,
one configuration, one manifest. `ctr images import` and `buildah pull oci-archive:` read it.
The same input gives the same bytes: times are zero and owners are root.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ImageConfig:
    """How a container of the image starts; fields as in the OCI image configuration."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def architecture() -> str:
    """This machine's architecture as images name it.

    Raises:
        RuntimeError: an architecture that the test bed has never run on.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise RuntimeError(f"No image can be packed for {machine}; known are {known}.")
    return _ARCHITECTURES[machine]


def layer_of_files(target: Path, files: Mapping[str, Path]) -> Path:
    """Write a layer that holds executable files: path in the image → file on this machine."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, source in sorted(files.items()):
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size = source.stat().st_size
            member.mode = 0o755
            with source.open("rb") as content:
                tar.addfile(member, content)
    return target


def pack(target: Path, name: str, layer: Path, config: ImageConfig) -> Path:
    """Write the archive of an image with one layer.

    Args:
        target: the archive; replaced in one step, so that a crash leaves the old one or none.
        name: the image's full name with its tag, as pods name it.
        layer: an uncompressed tar file of the root file system.
        config: how a container of it starts.
    """
    layer_digest = _digest_of_file(layer)
    image = _json(
        {
            "created": _EPOCH,
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": list(config.entrypoint),
                "Cmd": list(config.command),
                "User": config.user,
                "Env": [f"{key}={value}" for key, value in config.environment.items()],
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "history": [{"created": _EPOCH, "created_by": "testbed.image_archive"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", image),
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer_digest,
                    "size": layer.stat().st_size,
                }
            ],
        }
    )
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    # containerd takes the whole name from its own annotation; the OCI one is only a tag.
    entry["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    partial = target.with_name(target.name + ".partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        _add(tar, _blob(_digest(manifest)), manifest)
        _add(tar, _blob(_digest(image)), image)
        member = tarfile.TarInfo(_blob(layer_digest))
        member.size = layer.stat().st_size
        with layer.open("rb") as content:
            tar.addfile(member, content)
    partial.replace(target)
    return target


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
