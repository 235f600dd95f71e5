"""Builds the product's image from the Dockerfile without Docker and without a registry.

buildah runs the same Dockerfile that `docker build` runs; only its two build arguments differ: the
base image is the test bed's own (`testbed.image_base`), and pip takes nothing but the wheels in the
build context. Those are fetched here, by this machine's pip with this machine's settings, so the
build itself needs no network and no index, proxy or certificate gets into a layer.

    python -m testbed.image           # builds what is missing and prints the archive's path
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from testbed import image_base, packages, paths
from testbed.binaries import Progress, to_stderr
from testbed.errors import TestbedError
from testbed.image_archive import architecture

PRODUCT_IMAGE = "taskrunner.dev/taskrunner:dev"
"""The name under which pods find the image on a real node."""

_CHECKOUT = Path(__file__).parents[2]
_CONTEXT = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")
_CONTEXT_TREES = ("requirements", "operator")
_LOCKS = ("build.txt", "runtime.txt")
_PYTHON = "3.11"
_KEPT_ARCHIVES = 3
_MOST_LAYERS = 300  # about thirty builds
_NEWEST_GLIBC = 36  # of the base image; wheels are named after the glibc 2.N they were built for


def archive(progress: Progress = to_stderr) -> Path:
    """The archive of the product's image, built from the checkout as it is now.

    Built again only when something that goes into it has changed; layers of dependencies that did
    not change are reused.

    Raises:
        MissingPartError: not root on Linux, or packages are missing.
        TestbedError: a wheel could not be had, or the build failed; with the end of the output.
    """
    base = image_base.archive(progress)
    with tempfile.TemporaryDirectory(prefix="taskrunner-image-") as scratch:
        # A copy first: the key and the image are then of the same content, whoever edits meanwhile.
        context = _stage(Path(scratch) / "context")
        key = _key(base, context)
        target = image_base.directory() / f"taskrunner-{architecture()}-{key}.tar"
        if not target.exists():
            packages.provide(packages.IMAGE, progress)
            with image_base.build_lock(progress):
                if not target.exists():
                    _make(target, base, context, progress)
    return target


def _make(target: Path, base: Path, context: Path, progress: Progress) -> None:
    shutil.copytree(_wheelhouse(context, progress), context / "requirements" / "wheelhouse")
    progress("building the image with buildah (usually 30 s, 15 s when only code changed)")
    started = time.monotonic()
    _build(target, base, context)
    # Another process may be about to import the one before, so a few are kept.
    archives = image_base.directory().glob("taskrunner-*.tar")
    for old in sorted(archives, key=lambda path: path.stat().st_mtime)[:-_KEPT_ARCHIVES]:
        old.unlink(missing_ok=True)
    size = target.stat().st_size / 1e6
    progress(f"built the image in {time.monotonic() - started:.0f} s ({size:.0f} MB)")


def _stage(context: Path) -> Path:
    """Copy what .dockerignore lets into the context."""
    context.mkdir(parents=True)
    for name in _CONTEXT:
        shutil.copy2(_CHECKOUT / name, context / name)
    left_out = shutil.ignore_patterns("__pycache__", "*.py[cod]", "wheelhouse")
    for tree in _CONTEXT_TREES:
        shutil.copytree(_CHECKOUT / tree, context / tree, ignore=left_out)
    return context


def _key(base: Path, context: Path) -> str:
    """Changes whenever what is built would change."""
    digest = hashlib.sha256(f"{base.name} {PRODUCT_IMAGE}".encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(context)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _wheelhouse(context: Path, progress: Progress) -> Path:
    """A directory with every wheel of the lock files, for the base image's Python."""
    locks = [context / "requirements" / name for name in _LOCKS]
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks))
    target = paths.cache() / "wheels" / f"{architecture()}-py{_PYTHON}-{digest.hexdigest()[:12]}"
    if target.exists():
        return target
    progress("fetching the image's Python packages with pip (usually 15 s)")
    partial = target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--dest", str(partial), *_target_platform()]
    for lock in locks:
        command += ["--requirement", str(lock)]
    _run(command)
    partial.rename(target)
    return target


def _target_platform() -> list[str]:
    """pip's options for wheels that fit the base image, whatever Python runs here."""
    machine = os.uname().machine
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(_NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    options = ["--python-version", _PYTHON, "--implementation", "cp"]
    options += [f"--abi={abi}" for abi in (f"cp{_PYTHON.replace('.', '')}", "abi3", "none")]
    return [*options, *(f"--platform={platform}" for platform in platforms)]


def _build(target: Path, base: Path, context: Path) -> None:
    # Images come from this machine only, so there is no signature to ask for.
    policy = context.parent / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    trust = f"--signature-policy={policy}"

    base_id = _buildah("pull", "--quiet", trust, f"oci-archive:{base}").split()[-1]
    _buildah("tag", base_id, image_base.BASE_IMAGE)
    base_argument = f"BASE_IMAGE={image_base.BASE_IMAGE}"
    arguments = (base_argument, "PIP_NO_INDEX=1", f"VERSION={_version(context)}")
    _buildah(
        *("build", "--isolation=chroot", "--layers", "--pull-never", trust),
        *(f"--build-arg={argument}" for argument in arguments),
        *("--tag", PRODUCT_IMAGE, str(context)),
    )
    # Under its final name only when it is complete; the lock makes this the only writer.
    built = target.with_name("taskrunner.part")
    built.unlink(missing_ok=True)
    _buildah("push", "--quiet", trust, PRODUCT_IMAGE, f"docker-archive:{built}:{PRODUCT_IMAGE}")
    built.rename(target)
    _forget_old_layers()


def _forget_old_layers() -> None:
    """Every build leaves its layers, which make the next one fast. Now and then, start afresh."""
    unnamed = _buildah("images", "--all", "--quiet", "--filter=dangling=true").split()
    if len(unnamed) > _MOST_LAYERS:
        _buildah("rmi", "--prune")


def _version(context: Path) -> str:
    project = tomllib.loads((context / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def _buildah(command: str, *arguments: str, check: bool = True) -> str:
    storage = paths.cache() / "buildah"
    options = ["--root", str(storage / "storage"), "--runroot", str(storage / "run")]
    return _run(["buildah", *options, command, *arguments], check=check)


def _run(command: Sequence[str], *, check: bool = True) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        program = re.sub(r".*/", "", command[0])
        raise TestbedError(f"`{program} {' '.join(command[1:8])} …` failed:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    print(archive())
