"""What every kind of cluster offers, wherever it runs."""

from __future__ import annotations

import abc
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed import kubeconfig
from testbed.errors import CommandError, UnsupportedError
from testbed.processes import Component


class BaseCluster(abc.ABC):
    """A cluster that tests can use; see `testbed.Cluster` for the one that the test bed starts.

    Attributes:
        kind: `local`, `kind` or `current`.
        dir: a directory for files about the cluster.
        url: the API server's address.
        ca_file: the certificate authority to trust, PEM.
        kubeconfig: of a user who may do everything.
    """

    kind: str
    dir: Path
    url: str
    ca_file: Path
    kubeconfig: Path

    @abc.abstractmethod
    def start(self) -> None:
        """Bring the cluster up (or find it) and wait until it is ready."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Give back what `start` took; a cluster that was there before stays."""

    @abc.abstractmethod
    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the API server serves and the nodes are ready."""

    @abc.abstractmethod
    def bin(self, name: str) -> Path:
        """The path of a program such as `kubectl`, in the version that fits the cluster."""

    @abc.abstractmethod
    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user with a client certificate, who has no rights to begin with."""

    def component(self, name: str) -> Component:
        """A component to kill, stop or pause.

        Raises:
            UnsupportedError: the cluster's components are not ours to touch.
        """
        raise UnsupportedError(f"{name} cannot be stopped in a cluster of kind {self.kind!r}.")

    def audit_events(self, **selection: Any) -> Iterator[dict[str, Any]]:
        """The API server's audit log; see `testbed.audit.read_events` for the selection.

        Raises:
            UnsupportedError: the cluster has no audit log that can be read here.
        """
        raise UnsupportedError(f"A cluster of kind {self.kind!r} has no audit log to read.")

    def audit_mark(self) -> int:
        """Where the audit log ends now, for `audit_events(since=…)`."""
        raise UnsupportedError(f"A cluster of kind {self.kind!r} has no audit log to read.")

    def check(self) -> None:  # noqa: B027  an empty default is right: others are not ours to check
        """Raise `ComponentDiedError` if a component ended without being asked to."""

    def kubeconfig_for_service_account(
        self, namespace: str, name: str, seconds: int = 24 * 3600
    ) -> Path:
        """A kubeconfig with a token for a service account that exists.

        Args:
            namespace: the account's namespace, and the default one of the kubeconfig.
            name: the account's name.
            seconds: how long the token is valid.
        """
        token = self.kubectl("create", "token", name, f"-n={namespace}", f"--duration={seconds}s")
        return kubeconfig.write(
            self.dir / f"{namespace}.{name}.service-account.kubeconfig",
            url=self.url,
            ca=self.ca_file.read_bytes(),
            user=name,
            credentials=kubeconfig.token(token.strip()),
            context=self.kind,
            namespace=namespace,
        )

    def kubectl(
        self,
        *arguments: str | Path,
        input: str | dict[str, Any] | None = None,  # noqa: A002  subprocess's own name for it
        kubeconfig: Path | None = None,
        timeout: float = 60,
    ) -> str:
        """Run kubectl and return what it printed.

        Args:
            arguments: as on the command line.
            input: standard input, for `-f -`; a dictionary is sent as JSON.
            kubeconfig: of another user than the one who may do everything.
            timeout: seconds.

        Raises:
            CommandError: kubectl failed, or took too long; the message has what it said.
        """
        command = [str(self.bin("kubectl")), f"--cache-dir={self.dir / 'kubectl'}"]
        command += [str(argument) for argument in arguments]
        said = " ".join(str(argument) for argument in arguments)
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig)},
                input=json.dumps(input) if isinstance(input, dict) else input or "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.check()
            raise CommandError(f"`kubectl {said}` took longer than {timeout:g} s", -1, "") from None
        if done.returncode != 0:
            self.check()
            raise CommandError(
                f"`kubectl {said}` failed ({done.returncode}): {done.stderr.strip()}",
                done.returncode,
                done.stderr,
            )
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
