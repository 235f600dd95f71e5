"""Where the API server is found and as whom: kubeconfig files, service accounts, plug-ins."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import stat
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.clock import FakeClock
from taskrunner.errors import Transient
from taskrunner.kube.config import (
    ConfigError,
    Connection,
    from_kubeconfig,
    from_service_account,
    load,
)
from taskrunner.kube.credentials import ExecPlugin, TokenFile

CLOCK = FakeClock()


def config(
    user: dict[str, Any] | None = None,
    cluster: dict[str, Any] | None = None,
    *,
    name: str = "one",
    current: str | None = None,
    **context: Any,
) -> dict[str, Any]:
    """A kubeconfig with one context, whose cluster and user have its name."""
    return {
        "kind": "Config",
        "current-context": name if current is None else current,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **context}}],
        "clusters": [
            {"name": name, "cluster": {"server": f"https://{name}:6443/"} | (cluster or {})}
        ],
        "users": [{"name": name, "user": user or {}}],
    }


def write(path: Path, content: dict[str, Any] | str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


async def header(connection: Connection) -> str:
    return await connection.credentials.authorization(CLOCK)


def test_the_current_context_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "config", config(namespace="qa"))
    found = from_kubeconfig(path)
    assert (found.server, found.namespace) == ("https://one:6443", "qa")
    assert found.origin == f"{path}, context one"
    assert found.verify


def test_of_several_files_the_first_to_define_something_wins(tmp_path: Path) -> None:
    first = config(name="one", current="")
    second = config(name="one", cluster={"server": "https://other"}, current="two")
    third = config(name="two", current="one")
    paths = [write(tmp_path / str(n), c) for n, c in enumerate((first, second, third))]
    joined = os.pathsep.join([str(tmp_path / "missing"), *paths])
    assert from_kubeconfig(joined).server == "https://two:6443"
    assert from_kubeconfig(joined, context="one").server == "https://one:6443"


def test_files_are_relative_to_the_kubeconfig_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "sub/ca.crt", "authority")
    path = write(tmp_path / "sub/config", config(cluster={"certificate-authority": "ca.crt"}))
    assert from_kubeconfig(path).ca == b"authority"


def test_data_counts_more_than_a_file(tmp_path: Path) -> None:
    data = base64.b64encode(b"data").decode()
    user = {"client-certificate-data": data, "client-certificate": "none", "client-key-data": data}
    found = from_kubeconfig(write(tmp_path / "config", config(user)))
    assert (found.client_cert, found.client_key) == (b"data", b"data")


def test_the_rest_of_a_cluster_is_taken_over(tmp_path: Path) -> None:
    cluster = {
        "insecure-skip-tls-verify": True,
        "tls-server-name": "api.internal",
        "proxy-url": "http://proxy:3128",
    }
    found = from_kubeconfig(write(tmp_path / "config", config(cluster=cluster)))
    assert (found.verify, found.tls_server_name) == (False, "api.internal")
    assert found.proxy == "http://proxy:3128"
    assert not found.ssl_context().check_hostname


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"token": "t0ken"}, "Bearer t0ken"),
        ({"username": "ann", "password": "pw"}, "Basic YW5uOnB3"),
        ({"token": "t0ken", "exec": {"command": "none"}}, "Bearer t0ken"),
        ({}, ""),
    ],
)
async def test_a_user_authenticates_with(
    tmp_path: Path, user: dict[str, Any], expected: str
) -> None:
    assert await header(from_kubeconfig(write(tmp_path / "config", config(user)))) == expected


async def test_a_token_file_is_relative_to_the_kubeconfig_too(tmp_path: Path) -> None:
    write(tmp_path / "token", "from-file\n")
    path = write(tmp_path / "config", config({"tokenFile": "token"}))
    assert await header(from_kubeconfig(path)) == "Bearer from-file"


REFUSED: list[tuple[str, dict[str, Any] | str, str]] = [
    ("no current context", config(current="") | {"contexts": []}, "has no current context"),
    ("an unknown context", config(current="two"), 'has no context "two". It has: one.'),
    ("an unknown cluster", config() | {"clusters": []}, 'has no cluster "one". It has: none.'),
    ("an unknown user", config() | {"users": []}, 'has no user "one"'),
    ("no server", config(cluster={"server": ""}), 'server in .* is "", not a URL'),
    ("no https", config(cluster={"server": "one:6443"}), 'is "one:6443", not a URL'),
    ("broken base64", config({"client-key-data": "%"}), "client-key-data in .* is not base64"),
    ("a missing file", config({"client-key": "none"}), "client-key in .*none cannot be read"),
    ("an auth-provider", config({"auth-provider": {}}), "Use an exec plug-in or a token"),
    ("a list", "[1]", "is not a mapping"),
    ("broken YAML", "users:\n- token: s3cret: x", r"cannot be read \(line 2\)"),
    ("nothing", "", "has no current context"),
]


@pytest.mark.parametrize(("what", "content", "message"), REFUSED)
def test_a_kubeconfig_is_refused_for(
    tmp_path: Path, what: str, content: dict[str, Any] | str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        from_kubeconfig(write(tmp_path / "config", content))
    assert "s3cret" not in str(raised.value)


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    data = base64.b64encode(b"-----BEGIN NONSENSE-----").decode()
    path = write(tmp_path / "config", config(cluster={"certificate-authority-data": data}))
    with pytest.raises(ConfigError, match=r"The certificates in .*, context one cannot be used"):
        from_kubeconfig(path).ssl_context()


# --- where it is looked for -------------------------------------------------------------------


def test_the_environment_is_asked_before_the_home_directory(tmp_path: Path) -> None:
    write(tmp_path / ".kube/config", config(name="home"))
    path = write(tmp_path / "config", config(name="environment"))
    home = {"HOME": str(tmp_path)}
    assert load(env=home).server == "https://home:6443"
    assert load(env={**home, "KUBECONFIG": path}).server == "https://environment:6443"
    other = write(tmp_path / "argument", config(name="argument"))
    assert (
        load(kubeconfig=other, env={**home, "KUBECONFIG": path}).server == "https://argument:6443"
    )


def test_without_any_configuration_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Set KUBECONFIG to the path of a kubeconfig file"):
        load(env={"HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="none does not exist"):
        load(env={"KUBECONFIG": str(tmp_path / "none")})


async def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    for name, content in [("token", "t0ken\n"), ("ca.crt", "authority"), ("namespace", "ops\n")]:
        write(tmp_path / name, content)
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = from_service_account(directory=tmp_path, env=env)
    assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "ops")
    assert found.ca == b"authority"
    assert await header(found) == "Bearer t0ken"
    with pytest.raises(ConfigError, match="this is not a pod"):
        from_service_account(directory=tmp_path, env={})


# --- tokens that change -----------------------------------------------------------------------


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "token"
    path.write_text("one")
    token = TokenFile(path)
    assert await token.authorization(clock) == "Bearer one"
    path.write_text("two")
    assert await token.authorization(clock) == "Bearer one"  # It looks every ten seconds.
    await clock.advance(10.0)
    assert await token.authorization(clock) == "Bearer two"
    path.write_text("three")
    assert token.rejected()
    assert await token.authorization(clock) == "Bearer three"


async def test_a_token_file_that_is_gone_leaves_the_token_that_was_read(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "token"
    token = TokenFile(path)
    with pytest.raises(Transient, match="cannot be read"):
        await token.authorization(clock)
    path.write_text("one")
    await clock.advance(10.0)
    assert await token.authorization(clock) == "Bearer one"
    path.unlink()
    await clock.advance(10.0)
    assert await token.authorization(clock) == "Bearer one"


def plugin(tmp_path: Path, script: str, **options: Any) -> ExecPlugin:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ExecPlugin(command="./plugin", directory=tmp_path, **options)


async def test_a_plug_in_is_run_again_when_its_token_is_about_to_expire(tmp_path: Path) -> None:
    clock = FakeClock(now=1_790_000_000.0)  # 2026-09-21T14:13:20Z
    credentials = plugin(
        tmp_path,
        """
        echo x >> runs
        printf '{"status": {"token": "%s-%s-%s", "expirationTimestamp": "2026-09-21T15:13:20Z"}}' \\
          "$1" "$GREETING" "$(wc -l < runs | tr -d ' ')"
        echo "$KUBERNETES_EXEC_INFO" > info
        """.replace("runs", str(tmp_path / "runs")).replace("> info", f"> {tmp_path / 'info'}"),
        args=["get"],
        env={"GREETING": "hello"},
    )
    assert await credentials.authorization(clock) == "Bearer get-hello-1"
    assert '"kind":"ExecCredential"' in (tmp_path / "info").read_text()
    clock.jump(3_500.0)
    assert await credentials.authorization(clock) == "Bearer get-hello-1"
    clock.jump(80.0)
    assert await credentials.authorization(clock) == "Bearer get-hello-2"
    assert credentials.rejected()
    clock.jump(-60.0)
    assert await credentials.authorization(clock) == "Bearer get-hello-3"


async def test_a_plug_in_is_run_once_for_all_that_wait_for_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f"""echo x >> {runs}; sleep 0.1; echo '{{"status": {{"token": "t"}}}}'"""
    credentials = plugin(tmp_path, script)
    headers = await asyncio.gather(*(credentials.authorization(CLOCK) for _ in range(10)))
    assert headers == ["Bearer t"] * 10
    assert runs.read_text() == "x\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "ended with exit code 3"),
        ("echo s3cret", "printed no token"),
        ("""echo '{"status": {"clientCertificateData": "s3cret"}}'""", "printed no token"),
        ("sleep 60", "has not answered in 0.2 s"),
    ],
)
async def test_a_plug_in_that_fails_is_named(
    tmp_path: Path, script: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Transient, match=message) as raised:
        await plugin(
            tmp_path, f"exec {script}" if "sleep" in script else script, timeout=0.2
        ).authorization(CLOCK)
    assert "s3cret" not in f"{raised.value} {caplog.text}"


async def test_a_plug_in_that_is_not_installed_is_named() -> None:
    with pytest.raises(Transient, match=r"no-such-plug-in cannot be run: .*Install it"):
        await ExecPlugin(command="no-such-plug-in").authorization(CLOCK)
