"""Clusters that are not ours: any cluster with a kubeconfig, and kind where Docker runs."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed import binaries, kubeconfig
from testbed.base import BaseCluster
from testbed.certificates import new_key, signing_request
from testbed.errors import CommandError, MissingPartError, TestbedError

_POLL_SECONDS = 0.2
# pytest-kind's own default is too old for the Kubernetes versions that we support.
_KIND_VERSION = "v0.32.0"


class ExistingCluster(BaseCluster):
    """The cluster that a kubeconfig points to, with the rights of its current context."""

    kind = "current"

    def __init__(self, source: str | None = None) -> None:
        """Look at a cluster.

        Args:
            source: a kubeconfig, or several with colons between; by default the variable
                KUBECONFIG. What kubectl would use without it might be somebody's production.
        """
        self._source = source or os.environ.get("KUBECONFIG")
        self.dir = Path(tempfile.mkdtemp(prefix="testbed-existing-"))

    def start(self) -> None:
        """Read the kubeconfig and wait for the API server.

        Raises:
            MissingPartError: the kubeconfig names no cluster.
            TestbedError: the API server does not answer.
        """
        try:
            self._connect()
        except BaseException:
            self.stop()
            raise

    def _connect(self) -> None:
        if not self._source:
            raise MissingPartError(
                "KUBECONFIG is not set: let it name a cluster that may be used for tests."
            )
        done = subprocess.run(
            [str(self.bin("kubectl")), "config", "view", "--minify", "--flatten", "-o", "json"],
            env={**os.environ, "KUBECONFIG": self._source},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise MissingPartError(
                f"KUBECONFIG={self._source} names no cluster (kubectl says: {done.stderr.strip()})."
            )
        cluster = json.loads(done.stdout)["clusters"][0]["cluster"]
        self.url = cluster["server"]
        self.ca_file = self.dir / "ca.crt"
        self.ca_file.write_bytes(base64.b64decode(cluster.get("certificate-authority-data", "")))
        self.kubeconfig = self.dir / "admin.kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(done.stdout)
        self.wait_ready()

    def stop(self) -> None:
        """Forget the cluster; it goes on."""
        shutil.rmtree(self.dir, ignore_errors=True)

    def wait_ready(self, timeout: float | None = None) -> None:
        end = time.monotonic() + (60 if timeout is None else timeout)
        while True:
            try:
                self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s")
            except CommandError as error:
                if time.monotonic() > end:
                    raise TestbedError(f"The cluster at {self.url} is not ready: {error}") from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def bin(self, name: str) -> Path:
        """What is on PATH goes first: it is likely to fit the cluster."""
        found = shutil.which(name)
        return Path(found) if found else binaries.ensure([name])[name]

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a client certificate that the cluster itself has signed.

        Raises:
            CommandError: the current user may not approve certificates.
            TestbedError: the cluster did not sign it.
        """
        name = f"testbed-{secrets.token_hex(4)}"
        key_file = self.dir / f"{name}.key"
        request = signing_request(new_key(key_file), user, groups)
        self.kubectl("create", "-f", "-", input=_certificate_request(name, request))
        try:
            self.kubectl("certificate", "approve", name)
            certificate = self._signed_certificate(name)
        finally:
            self.kubectl("delete", "certificatesigningrequest", name)
        return kubeconfig.write(
            self.dir / f"{name}.kubeconfig",
            url=self.url,
            ca=self.ca_file.read_bytes(),
            user=user,
            credentials=kubeconfig.client_certificate(certificate, key_file.read_bytes()),
            context=self.kind,
        )

    def _signed_certificate(self, name: str) -> bytes:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            status = self.get("certificatesigningrequest", name).get("status", {})
            if "certificate" in status:
                return base64.b64decode(status["certificate"])
            time.sleep(_POLL_SECONDS)
        raise TestbedError("The cluster did not sign the client certificate within 30 s.")


class KindCluster(ExistingCluster):
    """A kind cluster, made by pytest-kind and deleted at the end. Needs Docker."""

    kind = "kind"

    def __init__(
        self,
        *,
        name: str = "taskrunner",
        image: str | None = None,
        kind_program: str | None = None,
        keep: bool = False,
    ) -> None:
        """Prepare a kind cluster.

        Args:
            name: kind's name for it; one that exists is used as it is.
            image: the node image, which decides the Kubernetes version; default: kind's.
            kind_program: the path of kind; by default the one on PATH, else it is downloaded.
            keep: do not delete it at the end.
        """
        super().__init__()
        self._name = name
        self._image = image
        self._program = kind_program or shutil.which("kind")
        self._keep = keep
        self._made: Any = None

    def _connect(self) -> None:
        """Make the cluster (usually 1 min) before it is looked at."""
        if shutil.which("docker") is None:
            raise MissingPartError(
                "Docker is missing, and kind needs it: install it, or use --cluster=local."
            )
        os.environ.setdefault("KIND_VERSION", _KIND_VERSION)  # it is read at the import
        try:
            pytest_kind = importlib.import_module("pytest_kind")
        except ModuleNotFoundError:
            raise MissingPartError("pytest-kind is missing: run make setup.") from None
        with contextlib.chdir(self.dir):  # it makes a directory where it is called
            self._made = pytest_kind.KindCluster(
                self._name,
                kubeconfig=self.dir / "kind.kubeconfig",
                image=self._image,
                kind_path=Path(self._program) if self._program else None,
            )
            self._made.kind_path = self._made.kind_path.absolute()
        try:
            self._made.create()
        except subprocess.CalledProcessError as error:
            raise TestbedError(f"kind failed; the lines above say why ({error}).") from None
        self._source = str(self._made.kubeconfig_path)
        super()._connect()

    def stop(self) -> None:
        if self._made is not None and not self._keep:
            with contextlib.suppress(subprocess.CalledProcessError):  # kind has said why
                self._made.delete()
        super().stop()


def _certificate_request(name: str, request: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }
