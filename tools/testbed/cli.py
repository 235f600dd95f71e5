"""`python -m testbed`: build the programs, and start, look at and stop clusters that live on."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed import binaries, image, image_base, packages, paths, processes, supervisor, versions
from testbed.cluster import Cluster
from testbed.errors import MissingPartError, TestbedError
from testbed.spec import ClusterSpec

_EXAMPLES = """\
examples:
  python -m testbed up                        start a cluster with simulated nodes
  eval "$(python -m testbed up)"              … and let kubectl use it in this shell
  python -m testbed up --name two --audit     a second one beside it, with an audit log
  python -m testbed up --name real --nodes real      real pods; needs root on Linux
  python -m testbed logs kube-apiserver -n 50 what the API server said last
  python -m testbed down --name two
  $(python -m testbed path kubectl) get nodes

A simulated pod obeys annotations of its pod template, such as
testbed.taskrunner.dev/run-for: 30s; tools/testbed/stages/pod.yaml lists them.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a failure is one message on standard error and exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except TestbedError as error:
        sys.exit(f"testbed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testbed",
        description="Real Kubernetes clusters on this machine, without a container engine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="build the programs that are not in the cache yet")
    build.add_argument("programs", nargs="*", help="default: what a cluster with NODES needs")
    _add_version(build)
    _add_nodes(build)
    build.set_defaults(run=_build)

    prepare = commands.add_parser(
        "prepare", help="build everything that the tests use, and install missing system packages"
    )
    _add_version(prepare)
    prepare.set_defaults(run=_prepare)

    up = commands.add_parser("up", help="start a cluster that lives on; print its KUBECONFIG line")
    _add_name(up)
    _add_version(up)
    _add_nodes(up)
    up.add_argument("--node-count", type=int, default=10, help="simulated nodes (default: 10)")
    up.add_argument("--audit", action="store_true", help="write an audit log")
    up.add_argument("--fsync", action="store_true", help="let etcd wait for the disk")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="stop a cluster and remove all of it")
    _add_name(down)
    down.add_argument("--all", action="store_true", help="stop every cluster that `up` started")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", help="show clusters and their components")
    status.set_defaults(run=_status)

    kubeconfig = commands.add_parser("kubeconfig", help="print the path of a kubeconfig")
    _add_name(kubeconfig)
    kubeconfig.add_argument("--user", help="a user of this name instead of the administrator")
    kubeconfig.add_argument("--group", action="append", default=[], help="a group of the user's")
    kubeconfig.set_defaults(run=_kubeconfig)

    logs = commands.add_parser("logs", help="print the end of a component's log")
    logs.add_argument("component", help="such as kube-apiserver")
    _add_name(logs)
    logs.add_argument("-n", "--lines", type=int, default=30, help="how many lines (default: 30)")
    logs.set_defaults(run=_logs)

    path = commands.add_parser("path", help="print the path of a program; build it if need be")
    path.add_argument("program", help="such as kubectl or helm")
    _add_version(path)
    path.set_defaults(run=_path)
    return parser


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="dev", help="the cluster's name (default: dev)")


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version",
        choices=versions.KUBERNETES_VERSIONS,
        default=versions.DEFAULT_KUBERNETES,
        help=f"the Kubernetes minor (default: {versions.DEFAULT_KUBERNETES})",
    )


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nodes",
        choices=tuple(versions.PROGRAMS_FOR_NODES),
        default="simulated",
        help="what runs the pods (default: simulated)",
    )


def _build(options: argparse.Namespace) -> None:
    programs = options.programs or versions.PROGRAMS_FOR_NODES[options.nodes]
    for path in binaries.ensure(programs, options.version).values():
        print(path)


def _prepare(options: argparse.Namespace) -> None:
    """What cannot be had here is said and left out: the tests that need it are skipped by name."""
    programs = [*versions.PROGRAMS_FOR_NODES["simulated"], "helm"]
    if reason := packages.unsupported():
        binaries.to_stderr(reason)
    else:
        programs += versions.PROGRAMS_FOR_NODES["real"]
        try:
            packages.install()
            image.archive()  # and with it the base image
        except MissingPartError as error:
            binaries.to_stderr(str(error))
    binaries.ensure(dict.fromkeys(programs), options.version)


def _up(options: argparse.Namespace) -> None:
    spec = ClusterSpec(
        name=options.name,
        version=options.version,
        nodes=options.nodes,
        node_count=options.node_count,
        audit=options.audit,
        fsync=options.fsync,
    )
    directory = paths.clusters() / spec.name
    if processes.is_held(directory):
        cluster = Cluster.attach(directory)
        if cluster.spec != spec:
            raise TestbedError(
                f"Cluster {spec.name!r} is running with {_describe(cluster.spec)}, not with "
                f"{_describe(spec)}. Run `down` first, or choose another --name."
            )
        cluster.check()
    else:
        supervisor.remove(directory)  # what a reboot may have left
        cluster = Cluster(spec, directory=directory, detached=True)
        binaries.to_stderr(f"starting cluster {spec.name!r} ({_describe(spec)}; usually 5 s)")
        cluster.start()
        if spec.nodes == "real":
            # No registry can be reached from the node: without an image, no pod would run.
            cluster.real_node.load_images(image_base.archive())
            binaries.to_stderr(f"pods can use the image {image_base.BASE_IMAGE} (shell, Python)")
    binaries.to_stderr("ready; stop it with: python -m testbed down --name " + spec.name)
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def _describe(spec: ClusterSpec) -> str:
    flags = [f"nodes={spec.nodes}", f"version={spec.version}"]
    if spec.nodes == "simulated":
        flags.append(f"node-count={spec.node_count}")
    return ", ".join([*flags, f"audit={spec.audit}", f"fsync={spec.fsync}"])


def _down(options: argparse.Namespace) -> None:
    names = [path.name for path in _directories()] if options.all else [options.name]
    for name in names:
        directory = paths.clusters() / name
        if processes.is_held(directory):
            Cluster.attach(directory).stop()
            print(f"stopped cluster {name!r}")
        else:
            supervisor.remove(directory)
            print(f"cluster {name!r} was not running")


def _status(options: argparse.Namespace) -> None:
    running = [path for path in _directories() if processes.is_held(path)]
    if not running:
        print("No cluster is running. Start one with: python -m testbed up")
    for directory in running:
        cluster = Cluster.attach(directory)
        print(f"{cluster.spec.name}: {cluster.url} ({_describe(cluster.spec)})")
        print(f"  export KUBECONFIG={cluster.kubeconfig}")
        for name, component in cluster.components().items():
            pid = component.pid
            state = f"pid {pid}" if pid else f"ended with exit code {component.exit_code}"
            print(f"  {name:<24} {state:<12} {component.log}")


def _kubeconfig(options: argparse.Namespace) -> None:
    cluster = Cluster.attach(paths.clusters() / options.name)
    print(cluster.kubeconfig_for(options.user, options.group) if options.user else
          cluster.kubeconfig)  # fmt: skip


def _logs(options: argparse.Namespace) -> None:
    cluster = Cluster.attach(paths.clusters() / options.name)
    print(processes.tail(cluster.component(options.component).log, options.lines))


def _path(options: argparse.Namespace) -> None:
    print(binaries.ensure([options.program], options.version)[options.program])


def _directories() -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in paths.clusters().iterdir() if path.is_dir())
    return []
