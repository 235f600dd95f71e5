"""Fixtures for tests on a real cluster; loaded with `-p testbed.pytest_plugin`.

`cluster` is one cluster for the whole session, with simulated nodes and an audit log. Which one it
is, is chosen by `--cluster`: `local` (the test bed's own), `kind` (made by pytest-kind, needs
Docker), or `current` (what KUBECONFIG names). A test that needs more than the chosen cluster has
(for example a component to kill) is skipped by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from testbed import binaries, processes, versions
from testbed.base import BaseCluster
from testbed.cluster import Cluster
from testbed.errors import ComponentDiedError, MissingPartError, TestbedError, UnsupportedError
from testbed.existing import ExistingCluster, KindCluster
from testbed.requirements import skip_missing
from testbed.spec import ClusterSpec

_RUNNING: pytest.StashKey[BaseCluster] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("testbed", "the cluster that tests run against")
    group.addoption(
        "--cluster",
        choices=("local", "kind", "current"),
        default="local",
        help="local: started here from Go modules (default); kind: by pytest-kind, needs Docker; "
        "current: the one that KUBECONFIG names",
    )
    group.addoption(
        "--k8s-version",
        choices=versions.KUBERNETES_VERSIONS,
        default=versions.DEFAULT_KUBERNETES,
        help=f"the Kubernetes minor of a local cluster (default: {versions.DEFAULT_KUBERNETES})",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the programs before the first test: a build may take longer than a test may."""
    config = session.config
    if config.option.collectonly or config.getoption("--cluster") != "local":
        return
    programs: set[str] = set()
    for marker, nodes in (("cluster", "simulated"), ("e2e", "real")):
        if any(item.get_closest_marker(marker) for item in session.items):
            programs.update(versions.PROGRAMS_FOR_NODES[nodes])
    version = config.getoption("--k8s-version")
    if not binaries.missing(programs, version):
        return
    with contextlib.suppress(MissingPartError):  # each test that needs them says so
        binaries.ensure(programs, version, progress=_terminal(config))


@pytest.fixture(scope="session")
def k8s_version(request: pytest.FixtureRequest) -> str:
    """The chosen Kubernetes minor, for tests that start clusters of their own."""
    version: str = request.config.getoption("--k8s-version")
    return version


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, k8s_version: str) -> Iterator[BaseCluster]:
    """The session's cluster: simulated nodes, audit log. Tests share it; use your own namespace."""
    config = request.config
    try:
        made = _make(config, k8s_version)
        with made:
            config.stash[_RUNNING] = made
            yield made
            del config.stash[_RUNNING]
    except MissingPartError as error:
        skip_missing(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _named_skips())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _named_skips())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say at a failed test if a component of the session's cluster has died, with its log."""
    report = yield
    cluster = item.config.stash.get(_RUNNING, None)
    if report.failed and isinstance(cluster, Cluster):
        try:
            cluster.check()
        except ComponentDiedError as error:
            report.sections.append(("A component of the cluster died", str(error)))
        except TestbedError as error:
            supervisor = processes.tail(cluster.dir / "logs" / "supervisor.log")
            report.sections.append(("The cluster is gone", f"{error}\n{supervisor}"))
    return report


def _named_skips() -> Generator[None, Any, Any]:
    """What the cluster cannot do, or the machine has not, is a skip that says so."""
    try:
        return (yield)
    except UnsupportedError as error:
        # With the place of the test, not of this line.
        raise pytest.skip.Exception(str(error), _use_item_location=True) from None
    except MissingPartError as error:
        skip_missing(str(error))


def _make(config: pytest.Config, version: str) -> BaseCluster:
    chosen = config.getoption("--cluster")
    if chosen == "current":
        return ExistingCluster()
    if chosen == "kind":
        # pytest-kind's own options, if its plug-in is loaded.
        return KindCluster(
            name=config.getoption("--cluster-name", None) or "taskrunner",
            image=config.getoption("--kind-image", None),
            kind_program=config.getoption("--kind-bin", None),
            keep=bool(config.getoption("--keep-cluster", None)),
        )
    spec = ClusterSpec(name="pytest", version=version, audit=True)
    return Cluster(spec, progress=_terminal(config))


def _terminal(config: pytest.Config) -> binaries.Progress:
    """Progress lines on the terminal, past pytest's capture of the output."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def show(message: str) -> None:
        if capture is None:
            binaries.to_stderr(message)
            return
        with capture.global_and_fixture_disabled():
            binaries.to_stderr(message)

    return show
