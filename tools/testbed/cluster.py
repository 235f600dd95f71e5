"""A cluster of real Kubernetes components on this machine."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from testbed import (
    audit,
    binaries,
    controlplane,
    kubeconfig,
    ports,
    processes,
    simulated,
    supervisor,
    versions,
)
from testbed.api import Api
from testbed.base import BaseCluster
from testbed.certificates import Authority, new_key, write_public_key
from testbed.controlplane import LOOPBACK, Layout
from testbed.errors import ApiError, TestbedError
from testbed.processes import Component, Supervision
from testbed.spec import ClusterSpec

if TYPE_CHECKING:
    from testbed.realnode import RealNode

_POLL_SECONDS = 0.05
_STATE = "cluster.json"
_REAL_NODE = "node-1"
# At the end, lower ranks end first: without etcd the API server takes a minute to end.
_RANK_API_SERVER, _RANK_ETCD = 1, 2


class Cluster(BaseCluster):
    """etcd, API server, controller manager, scheduler and nodes, started and ended together.

    Used as a context manager it is ready inside the block and gone after it. When the process that
    started it dies in whatever way, so does the cluster, directory included; one made with
    `detached=True` lives on until somebody attaches and stops it.
    """

    kind = "local"
    service_cidr = controlplane.SERVICE_CIDR

    def __init__(
        self,
        spec: ClusterSpec | None = None,
        *,
        directory: Path | None = None,
        detached: bool = False,
        progress: binaries.Progress = binaries.to_stderr,
    ) -> None:
        """Prepare a cluster; `start` or `with` brings it up.

        Args:
            spec: what it shall be.
            directory: where its state goes; by default a new directory for temporary files.
            detached: let it live on when this process ends.
            progress: takes a line for each step that takes long.
        """
        self.spec = spec or ClusterSpec()
        self._detached = detached
        self._progress = progress
        self._real_node: RealNode | None = None
        self._layout: Layout | None = None
        if directory is None:
            unique = f"testbed-{self.spec.name}-{secrets.token_hex(4)}"
            directory = Path(tempfile.gettempdir()) / unique
        self.dir = directory
        self._supervision = Supervision(directory)

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """Take hold of a cluster that another process started; `stop` ends it.

        Raises:
            TestbedError: no cluster runs in the directory.
        """
        try:
            state = json.loads((directory / _STATE).read_text())
        except FileNotFoundError:
            raise TestbedError(f"No cluster is running in {directory}.") from None
        cluster = cls(ClusterSpec.from_json(state["spec"]), directory=directory, detached=True)
        cluster._supervision.status()
        cluster._lay_out(ports.Ports(*state["ports"]), state["advertise"])
        if cluster.spec.nodes == "real":
            cluster._real_node = cluster._new_real_node()
        return cluster

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises:
            MissingPartError: a program must be built and Go is missing, or real nodes cannot run.
            ComponentDiedError: a component ended during the start.
            TestbedError: a cluster runs in this directory already, or took too long.
        """
        binaries.ensure(
            versions.PROGRAMS_FOR_NODES[self.spec.nodes], self.spec.version, self._progress
        )
        _remove_stale_directories()
        self.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with processes.hold(self.dir) as lock:
            try:
                self._launch_supervisor(lock)
            except BaseException:
                supervisor.remove(self.dir)
                raise
        try:
            self._start_components()
            self.wait_ready()
        except BaseException:  # whatever interrupts the start, Ctrl-C too, nothing stays behind
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, clients before servers, and remove the directory (unless `keep`)."""
        try:
            if self._real_node is not None:
                self._real_node.stop()
        finally:
            self._supervision.shut_down()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the API server, the nodes and the default service account are ready.

        Args:
            timeout: seconds; by default `ClusterSpec.ready_seconds`.

        Raises:
            ComponentDiedError: a component ended by itself.
            TestbedError: the time is over; the message says what was missing.
        """
        seconds = self.spec.ready_seconds if timeout is None else timeout
        self._await(self._not_ready, seconds)

    def check(self) -> None:
        """Raise `ComponentDiedError` if a component ended without being asked to."""
        for name, status in self._supervision.status().items():
            if error := processes.died(name, status):
                raise error

    # --- access -----------------------------------------------------------------------------------

    @functools.cached_property
    def api(self) -> Api:
        """Direct requests as the user who may do everything."""
        certificate, key = self.issue_certificate("testbed-admin", ["system:masters"])
        return Api(self.url, self.ca_file, certificate, key)

    @property
    def etcd_url(self) -> str:
        """Where etcd listens, without TLS."""
        return f"http://{LOOPBACK}:{self._laid_out.ports.etcd}"

    def bin(self, name: str) -> Path:
        return binaries.ensure([name], self.spec.version, self._progress)[name]

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        certificate, key = self.issue_certificate(user, groups)
        return kubeconfig.write(
            certificate.with_suffix(".kubeconfig"),
            url=self.url,
            ca=self.ca_file.read_bytes(),
            user=user,
            credentials=kubeconfig.client_certificate(certificate.read_bytes(), key.read_bytes()),
            context=f"testbed-{self.spec.name}",
        )

    def issue_certificate(
        self, common_name: str, organizations: Iterable[str] = (), hosts: Iterable[str] = ()
    ) -> tuple[Path, Path]:
        """A certificate by the cluster's authority, and its key; see `Authority.issue`."""
        return self._authority.issue(common_name, organizations, hosts)

    def audit_events(self, **selection: Any) -> Iterator[dict[str, Any]]:
        if not self.spec.audit:
            raise TestbedError("The cluster has no audit log; start it with audit=True (--audit).")
        return audit.read_events(self._laid_out.audit_log, **selection)

    def audit_mark(self) -> int:
        return audit.size(self._laid_out.audit_log)

    @property
    def real_node(self) -> RealNode:
        """The real node, for example to import images into.

        Raises:
            TestbedError: the cluster has no real node.
        """
        if self._real_node is None:
            raise TestbedError('The cluster has no real node; start it with nodes="real".')
        return self._real_node

    # --- components -------------------------------------------------------------------------------

    def component(self, name: str) -> Component:
        known = self._supervision.status()
        if name not in known:
            raise TestbedError(f"There is no component {name!r}; there are {', '.join(known)}.")
        return Component(self._supervision, name, Path(known[name]["log"]))

    def components(self) -> dict[str, Component]:
        """All components by name, in the order they were started."""
        return {name: self.component(name) for name in self._supervision.status()}

    def spawn(
        self,
        name: str,
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        *,
        stop_seconds: float = 30,
    ) -> Component:
        """Start one more component that lives and ends with the cluster.

        Args:
            name: unique in the cluster; also the name of its log, `logs/<name>.log`.
            argv: the program and its arguments.
            env: its whole environment; None takes this process's.
            stop_seconds: how long it may take to end before it is killed.
        """
        return processes.spawn(self._supervision, name, argv, env=env, stop_seconds=stop_seconds)

    def add_cleanup(self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Run a command at the very end, after all components, also when the owner was killed.

        For what is no process: network devices, mounts, rules. Must do no harm when run twice.
        """
        self._supervision.ask(
            "cleanup",
            argv=[str(argument) for argument in argv],
            env=dict(os.environ if env is None else env),
        )

    # --- inside -----------------------------------------------------------------------------------

    @property
    def _laid_out(self) -> Layout:
        if self._layout is None:
            raise TestbedError("The cluster has not been started.")
        return self._layout

    def _address_for_pods(self) -> str | None:
        if self.spec.nodes != "real":
            return None
        from testbed.realnode import RealNode  # only here is what it imports needed

        return RealNode.host_address()

    def _new_real_node(self) -> RealNode:
        from testbed.realnode import RealNode

        return RealNode(self, name=_REAL_NODE, progress=self._progress)

    def _launch_supervisor(self, lock: IO[str]) -> None:
        reserved, ports_lock = ports.reserve()
        with ports_lock:
            self._lay_out(reserved, self._address_for_pods())
            self._write_files()
            self._supervision.launch(
                owned=not self._detached,
                ephemeral=not self.spec.keep,
                locks=[lock, ports_lock],
            )

    def _lay_out(self, reserved: ports.Ports, advertise: str | None) -> None:
        (self.dir / "logs").mkdir(exist_ok=True)
        self._authority = Authority(self.dir / "pki")
        self.ca_file = self._authority.certificate_file
        self.url = f"https://{LOOPBACK}:{reserved.api_server}"
        hosts = [
            LOOPBACK,
            "localhost",
            controlplane.API_SERVICE_ADDRESS,
            *("kubernetes", "kubernetes.default", "kubernetes.default.svc"),
            *([advertise] if advertise else []),
        ]
        self._layout = Layout(
            spec=self.spec,
            directory=self.dir,
            ports=reserved,
            advertise=advertise,
            ca=self.ca_file,
            serving=self.issue_certificate("kube-apiserver", (), hosts),
            kubelet_client=self.issue_certificate("kube-apiserver-client", ["system:masters"]),
        )
        self.kubeconfig = self.dir / "admin.kubeconfig"

    def _write_files(self) -> None:
        layout = self._laid_out
        write_public_key(new_key(layout.service_account_key), layout.service_account_public_key)
        layout.audit_policy.write_text(audit.POLICY)
        for component, user, groups in (
            ("admin", "testbed-admin", ["system:masters"]),
            ("kube-controller-manager", "system:kube-controller-manager", []),
            ("kube-scheduler", "system:kube-scheduler", []),
            ("kwok", "testbed-kwok", ["system:masters"]),
        ):
            self.kubeconfig_for(user, groups).replace(layout.kubeconfig(component))
        layout.scheduler_configuration.write_text(controlplane.scheduler_configuration(layout))
        state = {
            "spec": self.spec.as_json(),
            "ports": list(layout.ports),
            "advertise": layout.advertise,
        }
        # Last: `attach` takes the file for a sign that the others are there.
        (self.dir / _STATE).write_text(json.dumps(state, indent=1))

    def _start_components(self) -> None:
        layout = self._laid_out
        self._run("etcd", controlplane.etcd(layout), rank=_RANK_ETCD)
        self._run("kube-apiserver", controlplane.api_server(layout), rank=_RANK_API_SERVER)
        self._await(self._api_server_not_ready, self.spec.ready_seconds)
        self._run("kube-controller-manager", controlplane.controller_manager(layout))
        self._run("kube-scheduler", controlplane.scheduler(layout))
        if self.spec.nodes == "simulated":
            self._start_simulated_nodes(layout)
        elif self.spec.nodes == "real":
            self._real_node = self._new_real_node()
            self._real_node.start()

    def _start_simulated_nodes(self, layout: Layout) -> None:
        configuration = simulated.write_configuration(
            self.dir,
            address=LOOPBACK,
            port=layout.ports.kwok,
            certificate=self.issue_certificate("kwok", (), [LOOPBACK]),
        )
        self._run("kwok", simulated.arguments(configuration, layout.kubeconfig("kwok")))
        api = self.api
        for number in range(1, self.spec.node_count + 1):
            api.request("POST", "/api/v1/nodes", simulated.node(f"node-{number}"))

    def _run(self, program: str, arguments: list[str], rank: int = 0) -> Component:
        return processes.spawn(
            self._supervision,
            program,
            [binaries.path(program, self.spec.version), *arguments],
            rank=rank,
            stop_seconds=15,
        )

    def _await(self, obstacle: Callable[[], str | None], seconds: float) -> None:
        """Wait until the function names no obstacle any more."""
        end = time.monotonic() + seconds
        while missing := obstacle():
            self.check()
            if time.monotonic() > end:
                log = self.dir / "logs" / "kube-apiserver.log"
                raise TestbedError(
                    f"The cluster is not ready after {seconds:g} s: {missing}. The end of the API "
                    f"server's log ({log}):\n{processes.tail(log)}"
                )
            time.sleep(_POLL_SECONDS)

    def _api_server_not_ready(self) -> str | None:
        try:
            self.api.text("GET", "/readyz")
        except (OSError, ApiError) as error:
            return str(error)
        return None

    def _not_ready(self) -> str | None:
        if reason := self._api_server_not_ready():
            return reason
        try:
            if self.spec.nodes != "none":
                nodes = self.api.request("GET", "/api/v1/nodes")["items"]
                ready = sum(_is_ready(node) for node in nodes)
                wanted = self.spec.node_count if self.spec.nodes == "simulated" else 1
                if ready < wanted:
                    return f"{ready} of {wanted} nodes are ready"
            self.api.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        except (OSError, ApiError) as error:
            return str(error)
        return None


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    # Until the controller manager has taken the taint away, no pod comes here.
    return ready and not node["spec"].get("taints")


def _remove_stale_directories() -> None:
    """Remove what is left of clusters whose supervisor was killed too (a reboot, kill -9)."""
    for directory in Path(tempfile.gettempdir()).glob("testbed-*-*"):
        with contextlib.suppress(OSError):
            mine = directory.stat().st_uid == os.getuid()
            if mine and (directory / _STATE).exists() and not processes.is_held(directory):
                supervisor.remove(directory)
