"""A real node for a cluster: containerd, kubelet and kube-proxy on this machine, as root on Linux.

The node lives in network and mount namespaces of its own (`testbed.realnode_guard`), joined to the
machine by one link. The API server is reached at `RealNode.host_address()`, the machine's end of
it; pods reach it at its Service address as on any cluster. Nothing else leads out: no registry, no
DNS.

Start takes about five seconds once the binaries are built. Several clusters can have one at the
same time, up to `realnode_config.PLACES`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from testbed import packages, realnode_cgroup, realnode_config, realnode_pause
from testbed.binaries import Progress, to_stderr
from testbed.errors import TestbedError
from testbed.processes import Component, tail
from testbed.realnode_guard import READY

_TOOLS = Path(__file__).parents[1]
_READY_SECONDS = 60
_KUBE_PROXY_USER = "system:kube-proxy"


class ClusterParts(Protocol):
    """What a node needs of its cluster; `testbed.Cluster` has it."""

    @property
    def dir(self) -> Path: ...
    @property
    def url(self) -> str: ...
    @property
    def ca_file(self) -> Path: ...
    def bin(self, name: str) -> Path: ...
    def issue_certificate(
        self, common_name: str, organizations: Sequence[str], hosts: Sequence[str]
    ) -> tuple[Path, Path]: ...
    def kubeconfig_for(self, user: str, groups: Sequence[str] = ...) -> Path: ...
    def spawn(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = ...
    ) -> Component: ...


class RealNode:
    """One real node of a cluster.

    Its daemons are components of the cluster: `node` (the guard), `containerd`, `kubelet` and
    `kube-proxy`. Tests can stop, kill or pause them through `Cluster.component`.

    Attributes:
        name: the Node object's name.
        dir: the node's directory; pod logs are in `log/pods`.
    """

    def __init__(
        self, cluster: ClusterParts, name: str = "node-1", progress: Progress = to_stderr
    ) -> None:
        self.name = name
        self.dir = cluster.dir / "node"
        self._components: dict[str, Component] = {}
        self._cluster = cluster
        self._progress = progress

    @classmethod
    def host_address(cls) -> str:
        """The address of this machine as node and pods see it; the API server advertises it.

        Known before anything runs. It exists from the node's start to its end.
        """
        return realnode_config.HOST_ADDRESS

    def start(self) -> None:
        """Start the daemons and wait until pods can be scheduled on the node.

        Missing packages are installed first where that can be done (root on Debian).

        Raises:
            MissingPartError: not root on Linux, or packages cannot be installed here.
            TestbedError: a daemon ended or the node did not become ready; with the log's tail.
        """
        started = time.monotonic()
        packages.provide(packages.NODE, self._progress)
        pause = realnode_pause.archive()
        self._start_guard()
        self._write_configuration()
        self._start_containerd()
        self.load_images(pause)
        self._start_kubelet()
        self._start_kube_proxy()
        self._await("the node is not ready", self.ready, ("kubelet", "containerd"))
        self._progress(f"node {self.name} is ready after {time.monotonic() - started:.1f} s")

    def stop(self) -> None:
        """End the node and everything on it; pods are killed, not asked.

        Returns when processes, mounts, links and control groups are gone. Safe to call twice.
        """
        for name in ("kube-proxy", "kubelet", "containerd", "node"):
            component = self._components.pop(name, None)
            if component is not None:
                component.stop(timeout=30)

    def ready(self) -> bool:
        """Whether the Node says it is ready and pods may be scheduled on it."""
        done = self._kubectl("get", "node", self.name, "--ignore-not-found", "-o", "json")
        if done.returncode != 0 or not done.stdout.strip():
            return False
        node = json.loads(done.stdout)
        conditions = node["status"].get("conditions", [])
        is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        return is_ready and not node["spec"].get("taints")

    def load_images(self, *archives: Path) -> None:
        """Import OCI or Docker image archives, so that pods can use what is in them.

        Raises:
            TestbedError: containerd refused an archive.
        """
        for archive in archives:
            with archive.open("rb") as content:
                done = self._ctr("images", "import", "--all-platforms", "-", stdin=content)
            if done.returncode != 0:
                raise TestbedError(f"Importing {archive} failed: {done.stderr.strip()}")

    def name_image(self, name: str, other: str) -> None:
        """Give an image that is on the node another name, too.

        Raises:
            TestbedError: containerd does not have the image.
        """
        done = self._ctr("images", "tag", "--force", name, other)
        if done.returncode != 0:
            raise TestbedError(f"Naming {name} {other} failed: {done.stderr.strip()}")

    def images(self) -> list[str]:
        """The names of the images on the node."""
        done = self._ctr("images", "list", "--quiet")
        if done.returncode != 0:
            raise TestbedError(f"Listing the node's images failed: {done.stderr.strip()}")
        return [name for name in done.stdout.split() if not name.startswith("sha256:")]

    @property
    def place(self) -> realnode_config.Place:
        """Which of the machine's places the node has, once it is started."""
        return realnode_config.Place(self._state()["place"])

    def _write_configuration(self) -> None:
        place = self.place
        write = {
            "containerd.toml": realnode_config.containerd(str(packages.cni_dir())),
            "cni/10-testbed.conflist": realnode_config.cni(place),
            "kubelet.json": realnode_config.kubelet(place),
            "kube-proxy.json": realnode_config.kube_proxy(place),
            "resolv.conf": "nameserver 127.0.0.1\n",
        }
        for name, content in write.items():
            (self.dir / name).write_text(content)
        shutil.copy(self._cluster.ca_file, self.dir / "ca.crt")
        user = f"system:node:{self.name}"
        certificate, key = self._cluster.issue_certificate(
            user, ["system:nodes"], [self.name, place.address]
        )
        shutil.copy(certificate, self.dir / "kubelet.crt")
        shutil.copy(key, self.dir / "kubelet.key")
        self._write_kubeconfig("kubelet", user, ["system:nodes"])
        self._write_kubeconfig("kube-proxy", _KUBE_PROXY_USER, [])

    def _write_kubeconfig(self, daemon: str, user: str, groups: Sequence[str]) -> None:
        """The cluster's own kubeconfigs name a loopback address, which is another one in there."""
        config = json.loads(self._cluster.kubeconfig_for(user, groups=groups).read_text())
        port = urlsplit(self._cluster.url).port
        for entry in config["clusters"]:
            entry["cluster"]["server"] = f"https://{realnode_config.HOST_ADDRESS}:{port}"
        path = self.dir / f"{daemon}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))

    def _start_guard(self) -> None:
        shutil.rmtree(self.dir, ignore_errors=True)
        for part in ("cni", "containerd", "kubelet", "log/pods", "log/containers"):
            (self.dir / part).mkdir(parents=True)
        self.dir.chmod(0o700)
        guard = [sys.executable, "-m", "testbed.realnode_guard", str(self.dir)]
        self._spawn("node", guard, {**os.environ, "PYTHONPATH": str(_TOOLS)})
        ready = self.dir / READY
        self._await("its namespaces were not made", ready.exists, ("node",), seconds=20)

    def _start_containerd(self) -> None:
        program = packages.find_program("containerd") or "containerd"
        config = f"{realnode_config.NODE}/containerd.toml"
        self._spawn("containerd", self._inside(program, "--config", config))
        self._await(
            "containerd does not answer",
            lambda: self._ctr("version").returncode == 0,
            ("containerd", "node"),
        )

    def _start_kubelet(self) -> None:
        node = realnode_config.NODE
        self._spawn(
            "kubelet",
            self._inside(
                self._cluster.bin("kubelet"),
                f"--config={node}/kubelet.json",
                f"--kubeconfig={node}/kubelet.kubeconfig",
                f"--root-dir={node}/kubelet",
                f"--cert-dir={node}/kubelet/pki",
                f"--hostname-override={self.name}",
                f"--node-ip={self.place.address}",
                "--v=2",
            ),
        )

    def _start_kube_proxy(self) -> None:
        config = f"--config={realnode_config.NODE}/kube-proxy.json"
        override = f"--hostname-override={self.name}"
        program = self._cluster.bin("kube-proxy")
        self._spawn("kube-proxy", self._inside(program, config, override, "--v=2"))

    def _state(self) -> dict[str, Any]:
        """What the guard wrote when it was ready."""
        state: dict[str, Any] = json.loads((self.dir / READY).read_text())
        return state

    def _inside(self, *argv: str | Path) -> list[str]:
        """The command that runs `argv` on the node under the id of the process that runs it."""
        state = self._state()
        enter = ["nsenter", "--target", str(state["pid"]), "--net", "--mount", "--"]
        return realnode_cgroup.command_in(Path(state["group"]), [*enter, *map(str, argv)])

    def _ctr(self, *arguments: str, stdin: IO[bytes] | None = None) -> CompletedProcess[str]:
        ctr = ("ctr", "--address", realnode_config.CONTAINERD_SOCKET, "--namespace", "k8s.io")
        return subprocess.run(
            self._inside(*ctr, *arguments),
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _kubectl(self, *arguments: str) -> CompletedProcess[str]:
        """kubectl as the kubelet's user, which may read its own Node."""
        kubeconfig = f"--kubeconfig={self.dir / 'kubelet.kubeconfig'}"
        command = [str(self._cluster.bin("kubectl")), kubeconfig, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _spawn(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        self._components[name] = self._cluster.spawn(name, argv, env)

    def _await(
        self,
        failure: str,
        condition: Callable[[], bool],
        components: Iterable[str],
        seconds: float = _READY_SECONDS,
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for name in components:
                if error := self._components[name].died():
                    raise error
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"--- {name}:\n{tail(self._components[name].log)}" for name in components
                )
                raise TestbedError(f"Node {self.name}: {failure} after {seconds:g} s.\n{logs}")
            time.sleep(0.1)
