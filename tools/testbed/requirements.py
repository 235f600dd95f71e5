"""Parts of the machine that some tests need, and what a test does where they are missing.

On a developer's machine such a test is skipped, and says what to install. Where `CI=true`, it
fails: a check that is never run must not look like one that passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import NoReturn

from testbed import packages
from testbed.errors import TestbedError

_IN_CI = "true"


def require(*parts: str) -> None:
    """Skip the calling test, or fail it where `CI=true`, unless the parts are there.

    Args:
        parts: `go`, `docker`, `real-nodes` (root on Linux), or names of Debian packages in
            `packages.ALL`, such as `containerd` and `buildah`.

    Raises:
        TestbedError: a part that the table does not know.
    """
    reasons = [reason for part in parts if (reason := _missing(part))]
    if reasons:
        skip_missing(" ".join(reasons))


def skip_missing(reason: str) -> NoReturn:
    """Skip the calling test for a missing part; where `CI=true`, fail it."""
    import pytest  # the command line works without it

    if os.environ.get("CI") == _IN_CI:
        pytest.fail(f"{reason} (With CI=true a missing part is a failure.)", pytrace=False)
    raise pytest.skip.Exception(reason, _use_item_location=True)


def _missing(part: str) -> str | None:
    """The sentence about a missing part, or None if it is there."""
    if part in _CHECKS:
        return _CHECKS[part]()
    known = {package.name: package for package in packages.ALL}
    if part not in known:
        names = ", ".join([*_CHECKS, *known])
        raise TestbedError(f"require: {part!r} is no part that can be asked for; there are {names}")
    return None if known[part].present() else packages.remedy([part])


def _go() -> str | None:
    if shutil.which("go"):
        return None
    return "Go is missing: install Go 1.26 or newer (https://go.dev/doc/install)."


def _docker() -> str | None:
    remedy = "Docker is missing: install it and start it, or use --cluster=local."
    if shutil.which("docker") is None:
        return remedy
    done = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    return None if done.returncode == 0 else remedy


_CHECKS: dict[str, Callable[[], str | None]] = {
    "go": _go,
    "docker": _docker,
    "real-nodes": packages.unsupported,
}
