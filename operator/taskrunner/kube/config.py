"""Where the API server is and how to prove who we are: kubeconfig files, or the service account.

Rules of kubeconfig: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
Secrets stay inside `Connection` and `credentials`; neither shows them in a repr or a log.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from taskrunner.errors import TaskrunnerError
from taskrunner.kube.credentials import (
    Anonymous,
    BasicAuth,
    Credentials,
    ExecPlugin,
    StaticToken,
    TokenFile,
)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(TaskrunnerError):
    """There is no usable description of a cluster; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything needed to talk to one API server as one user."""

    server: str
    """Base URL without a trailing slash."""
    namespace: str = "default"
    """Of the context or the service account; what a command without `--namespace` means."""
    origin: str = ""
    """Where this came from, for people: a file and context, or "service account"."""
    ca: bytes | None = field(default=None, repr=False)
    """PEM; the system's authorities when None."""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""
    client_cert: bytes | None = field(default=None, repr=False)
    client_key: bytes | None = field(default=None, repr=False)
    credentials: Credentials = field(default_factory=Anonymous, repr=False)

    def ssl_context(self) -> ssl.SSLContext:
        """A new context for this server. Raises ConfigError for unusable certificates."""
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.client_cert is not None and self.client_key is not None:
                _load_client_cert(context, self.client_cert, self.client_key)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"The certificates in {self.origin} cannot be used: {error}. "
                "Fetch a fresh kubeconfig."
            ) from error
        return context


def load(
    *, kubeconfig: str = "", context: str = "", env: Mapping[str, str] | None = None
) -> Connection:
    """The connection that these arguments and the environment ask for.

    `kubeconfig` (files separated as in PATH), or else $KUBECONFIG, or else the service account of
    the pod, or else ~/.kube/config. Raises ConfigError.
    """
    env = os.environ if env is None else env
    if paths := kubeconfig or env.get("KUBECONFIG", ""):
        return from_kubeconfig(paths, context=context)
    if env.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return from_service_account(env=env)
    home = Path(env.get("HOME") or Path.home()) / ".kube" / "config"
    if home.exists():
        return from_kubeconfig(str(home), context=context)
    raise ConfigError(
        f"No cluster is configured: $KUBECONFIG is not set, {home} does not exist, and this is not "
        "a pod with a service account. Set KUBECONFIG to the path of a kubeconfig file."
    )


def from_service_account(
    *, directory: Path = SERVICE_ACCOUNT, env: Mapping[str, str] | None = None
) -> Connection:
    """The connection of a pod (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).

    The token is read again when its file changes: bound tokens live an hour.
    """
    env = os.environ if env is None else env
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError(
            "KUBERNETES_SERVICE_HOST is not set: this is not a pod. Set KUBECONFIG instead."
        )
    if ":" in host:
        host = f"[{host}]"
    namespace = directory / "namespace"
    return Connection(
        server=f"https://{host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        origin="service account",
        ca=_read(directory / "ca.crt", "the service account's certificate authority"),
        credentials=TokenFile(directory / "token"),
    )


def from_kubeconfig(paths: str, *, context: str = "") -> Connection:
    """The named or current context of kubeconfig files; `paths` is separated as in PATH.

    Of several files, the first that defines a name or the current context wins, as in kubectl.
    """
    merged = _Merged(context)
    files = [Path(p).expanduser() for p in paths.split(os.pathsep) if p]
    found = [path for path in files if path.exists()]
    if not found:
        raise ConfigError(
            f"The kubeconfig {paths} does not exist. Set KUBECONFIG to the path of a kubeconfig."
        )
    for path in found:
        merged.add(path)
    return merged.connection(" and ".join(str(path) for path in found))


class _Merged:
    """Kubeconfig files read one after the other; entries remember the directory of their file."""

    def __init__(self, context: str) -> None:
        self._context = context
        self._entries: dict[str, dict[str, tuple[dict[str, Any], Path]]] = {
            "clusters": {},
            "contexts": {},
            "users": {},
        }

    def add(self, path: Path) -> None:
        try:
            data = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            # The parser's message may quote the line, and with it a token: only its place is told.
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1})" if mark else f" ({type(error).__name__})"
            raise ConfigError(f"The kubeconfig {path} cannot be read{where}.") from None
        if data is None:
            return
        if not isinstance(data, dict):
            raise ConfigError(f"The kubeconfig {path} is not a mapping; is it another file?")
        self._context = self._context or str(data.get("current-context") or "")
        for section, entries in self._entries.items():
            for entry in data.get(section) or []:
                body = entry.get(section[:-1]) or {}
                entries.setdefault(str(entry.get("name")), (body, path.parent))

    def connection(self, origin: str) -> Connection:
        if not self._context:
            raise ConfigError(
                f"{origin} has no current context. Run `kubectl config use-context NAME`."
            )
        context, _ = self._get("contexts", self._context, origin)
        cluster, cluster_dir = self._get("clusters", str(context.get("cluster")), origin)
        user, user_dir = (
            self._get("users", str(context["user"]), origin)
            if context.get("user")
            else ({}, Path())
        )
        origin = f"{origin}, context {self._context}"
        server = str(cluster.get("server") or "").rstrip("/")
        if not server.startswith(("https://", "http://")):
            raise ConfigError(f'The cluster\'s server in {origin} is "{server}", not a URL.')
        return Connection(
            server=server,
            namespace=str(context.get("namespace") or "default"),
            origin=origin,
            ca=_data_or_file(cluster, "certificate-authority", cluster_dir, origin),
            verify=not cluster.get("insecure-skip-tls-verify"),
            tls_server_name=str(cluster.get("tls-server-name") or ""),
            proxy=str(cluster.get("proxy-url") or ""),
            client_cert=_data_or_file(user, "client-certificate", user_dir, origin),
            client_key=_data_or_file(user, "client-key", user_dir, origin),
            credentials=_credentials(user, user_dir, origin),
        )

    def _get(self, section: str, name: str, origin: str) -> tuple[dict[str, Any], Path]:
        try:
            return self._entries[section][name]
        except KeyError:
            known = ", ".join(sorted(self._entries[section])) or "none"
            raise ConfigError(
                f'{origin} has no {section[:-1]} "{name}". It has: {known}.'
            ) from None


def _credentials(user: dict[str, Any], directory: Path, origin: str) -> Credentials:
    """In kubectl's order: token, then password, then plug-in. Certificates go with TLS."""
    if path := user.get("tokenFile"):
        return TokenFile(directory / str(path))
    if token := user.get("token"):
        return StaticToken(str(token))
    if username := user.get("username"):
        return BasicAuth(str(username), str(user.get("password") or ""))
    if plugin := user.get("exec"):
        return ExecPlugin(
            command=str(plugin.get("command") or ""),
            args=[str(arg) for arg in plugin.get("args") or []],
            env={str(e["name"]): str(e["value"]) for e in plugin.get("env") or []},
            directory=directory,
            api_version=str(plugin.get("apiVersion") or "client.authentication.k8s.io/v1"),
        )
    if "auth-provider" in user:
        raise ConfigError(
            f"The user in {origin} has an auth-provider, which kubectl dropped in 1.26. "
            "Use an exec plug-in or a token."
        )
    return Anonymous()


def _data_or_file(entry: dict[str, Any], key: str, directory: Path, origin: str) -> bytes | None:
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(f"{key}-data in {origin} is not base64.") from None
    if path := entry.get(key):
        return _read(directory / str(path), f"{key} in {origin}")
    return None


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error.strerror}.") from error


def _load_client_cert(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """The ssl module loads certificates from files only: one that only we can read, soon gone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(cert + b"\n" + key)
        file.flush()
        # An encrypted key is refused; without a password given, Python would ask on the terminal.
        context.load_cert_chain(file.name, password="")
