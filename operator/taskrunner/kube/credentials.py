"""Bearer tokens and passwords, and how each kind is renewed."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

import orjson

from taskrunner.errors import Transient
from taskrunner.ports import Clock

_LOOK_EVERY = 10.0
"""Seconds between looks at a token file. The kubelet rotates at 80 % of an hour's validity."""


class Credentials(Protocol):
    """What goes into the Authorization header."""

    async def authorization(self, clock: Clock) -> str:
        """The header's value, empty for none. Cheap while nothing has to be renewed.
        Raises Transient when it cannot be had."""
        ...

    def rejected(self) -> bool:
        """The server answered 401. True when asking again may bring something new."""
        ...


class Anonymous:
    """No header: a client certificate, or nothing at all."""

    async def authorization(self, clock: Clock) -> str:
        return ""

    def rejected(self) -> bool:
        return False


class StaticToken:
    """A token that stays as it is."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token.strip()}"

    async def authorization(self, clock: Clock) -> str:
        return self._header

    def rejected(self) -> bool:
        return False


class BasicAuth:
    """Name and password, for proxies in front of API servers (which themselves refuse it)."""

    def __init__(self, username: str, password: str) -> None:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._header = f"Basic {pair}"

    async def authorization(self, clock: Clock) -> str:
        return self._header

    def rejected(self) -> bool:
        return False


class TokenFile:
    """A token in a file that somebody else renews, such as the kubelet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header = ""
        self._stamp: tuple[int, int] | None = None
        self._look_at = 0.0

    async def authorization(self, clock: Clock) -> str:
        if clock.boot() >= self._look_at:
            self._look_at = clock.boot() + _LOOK_EVERY
            self._read()
        return self._header

    def rejected(self) -> bool:
        self._look_at = 0.0
        self._stamp = None
        return True

    def _read(self) -> None:
        try:
            stat = self._path.stat()
            if (stamp := (stat.st_mtime_ns, stat.st_ino)) != self._stamp:
                # The kubelet swaps a symbolic link, so a read never sees half a token.
                self._header = f"Bearer {self._path.read_text().strip()}"
                self._stamp = stamp
        except OSError as error:
            if not self._header:
                raise Transient(
                    f"The token file {self._path} cannot be read: {error.strerror}."
                ) from error
            # Otherwise go on with the token that we have until the server refuses it.


class ExecPlugin:
    """A command that prints a token, as cloud vendors ship
    (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins).

    For people's machines; plug-ins that print client certificates are not supported.
    """

    def __init__(
        self,
        *,
        command: str,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        directory: Path | None = None,
        api_version: str = "client.authentication.k8s.io/v1",
        timeout: float = 60.0,
    ) -> None:
        # A relative path is relative to the kubeconfig; a bare name is looked up in PATH.
        in_directory = directory is not None and os.sep in command
        self._command = str(directory / command) if directory and in_directory else command
        self._args = list(args)
        self._env = dict(env or {})
        self._api_version = api_version
        self._timeout = timeout
        self._header = ""
        self._expires = 0.0
        # Two event loops may use one connection (kopf has one of its own), and a Lock is of one.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def authorization(self, clock: Clock) -> str:
        if clock.now() >= self._expires:
            lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
            async with lock:
                if clock.now() >= self._expires:
                    await self._run()
        return self._header

    def rejected(self) -> bool:
        self._expires = 0.0
        return True

    async def _run(self) -> None:
        request = {
            "apiVersion": self._api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        env = os.environ | self._env | {"KUBERNETES_EXEC_INFO": orjson.dumps(request).decode()}
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *self._args,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise Transient(
                f"The credential plug-in {self._command} cannot be run: {error.strerror}. "
                "Install it, or use another context."
            ) from error
        try:
            async with asyncio.timeout(self._timeout):
                output, _ = await process.communicate()
        except TimeoutError:
            raise Transient(
                f"The credential plug-in {self._command} has not answered in {self._timeout:g} s."
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise Transient(
                f"The credential plug-in {self._command} ended with exit code "
                f"{process.returncode}; its output on standard error says why."
            )
        self._take(output)

    def _take(self, output: bytes) -> None:
        try:
            status = orjson.loads(output)["status"]
            token = status["token"]
            expires = status.get("expirationTimestamp")
            when = dt.datetime.fromisoformat(expires).timestamp() if expires else float("inf")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            # The output holds a secret: it is never part of a message.
            raise Transient(
                f"The credential plug-in {self._command} printed no token. "
                "Plug-ins that print client certificates are not supported."
            ) from None
        self._header = f"Bearer {token}"
        self._expires = when - 30
