"""Which programs the test bed builds, from which Go module, and how.

The versions stand in one place only: the `go.mod` files under `go/`.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from testbed import paths
from testbed.errors import TestbedError

DEFAULT_KUBERNETES = "1.36"
OLDER_KUBERNETES = "1.34"
KUBERNETES_VERSIONS = (DEFAULT_KUBERNETES, OLDER_KUBERNETES)
"""The Kubernetes minors that can be chosen; the first is the default."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
PROGRAMS_FOR_NODES = {
    "none": CONTROL_PLANE,
    "simulated": (*CONTROL_PLANE, "kwok"),
    "real": (*CONTROL_PLANE, "kubelet", "kube-proxy"),
}
"""The programs that a cluster needs, by its kind of nodes."""


@dataclass(frozen=True)
class GoModule:
    """A directory under `go/` with a pinned `go.mod`, and the programs built from it.

    Attributes:
        directory: the directory's name.
        requires: the module whose version is the programs' version.
        programs: name → import path of its main package.
        usual_seconds: name → how long the build takes on 2 cores with empty caches, in the order
            of `programs` (the first one compiles most of what the others share).
        stamp: linker symbols that take the version; `{version}`, `{major}` and `{minor}` are
            filled in. Without them the API server calls itself v0.0.0 and clients misjudge it.
    """

    directory: str
    requires: str
    programs: dict[str, str]
    usual_seconds: dict[str, int]
    stamp: dict[str, str]

    @property
    def path(self) -> Path:
        return paths.GO_MODULES / self.directory

    @functools.cached_property
    def version(self) -> str:
        """The pinned version, such as `v1.36.3`."""
        text = (self.path / "go.mod").read_text()
        found = re.search(rf"^(?:require)?\s*{re.escape(self.requires)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise TestbedError(f"{self.path / 'go.mod'} does not require {self.requires}.")
        return found[1]

    @property
    def build_flags(self) -> tuple[str, ...]:
        major, minor = self.version.removeprefix("v").split(".")[:2]
        values = {"version": self.version, "major": major, "minor": minor}
        stamps = [f"-X {symbol}={text.format(**values)}" for symbol, text in self.stamp.items()]
        ldflags = " ".join(["-s", "-w", *stamps])
        return ("-mod=readonly", "-buildvcs=false", "-trimpath", f"-ldflags={ldflags}")

    @property
    def key(self) -> str:
        """A name for the set of binaries: it changes whenever what is built would change."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.path / name).read_bytes())
        digest.update(repr((self.build_flags, sys.platform, platform.machine())).encode())
        return f"{self.directory}-{self.version}-{digest.hexdigest()[:12]}"


def _kubernetes(minor: str) -> GoModule:
    programs = {
        "kube-apiserver": 190,
        "kube-controller-manager": 40,
        "kube-scheduler": 5,
        "kubectl": 25,
        "kubelet": 15,
        "kube-proxy": 5,
    }
    stamp = {
        f"k8s.io/{package}.{symbol}": text
        for package in ("component-base/version", "client-go/pkg/version")
        for symbol, text in (
            ("gitVersion", "{version}"),
            ("gitMajor", "{major}"),
            ("gitMinor", "{minor}"),
            ("gitTreeState", "clean"),
        )
    }
    return GoModule(
        directory=f"kubernetes-{minor}",
        requires="k8s.io/kubernetes",
        programs={name: f"k8s.io/kubernetes/cmd/{name}" for name in programs},
        usual_seconds=programs,
        stamp=stamp,
    )


_KUBERNETES = {minor: _kubernetes(minor) for minor in KUBERNETES_VERSIONS}
_OTHERS = (
    GoModule(
        directory="etcd",
        requires="go.etcd.io/etcd/server/v3",
        programs={"etcd": "go.etcd.io/etcd/server/v3"},
        usual_seconds={"etcd": 60},
        stamp={},
    ),
    GoModule(
        directory="kwok",
        requires="sigs.k8s.io/kwok",
        programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        usual_seconds={"kwok": 60},
        stamp={"sigs.k8s.io/kwok/pkg/consts.Version": "{version}"},
    ),
    GoModule(
        directory="helm",
        requires="helm.sh/helm/v4",
        programs={"helm": "helm.sh/helm/v4/cmd/helm"},
        usual_seconds={"helm": 120},
        stamp={
            "helm.sh/helm/v4/internal/version.version": "{version}",
            "helm.sh/helm/v4/internal/version.gitTreeState": "clean",
        },
    ),
    GoModule(
        directory="prometheus",
        requires="github.com/prometheus/prometheus",
        programs={"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        usual_seconds={"promtool": 180},
        stamp={},
    ),
)


def module_of(program: str, kubernetes: str = DEFAULT_KUBERNETES) -> GoModule:
    """The Go module that a program is built from.

    Raises:
        TestbedError: there is no such program, or no such Kubernetes version.
    """
    if kubernetes not in _KUBERNETES:
        known = ", ".join(KUBERNETES_VERSIONS)
        raise TestbedError(f"Kubernetes version {kubernetes!r} is not pinned; choose from {known}.")
    modules = (_KUBERNETES[kubernetes], *_OTHERS)
    for module in modules:
        if program in module.programs:
            return module
    known = ", ".join(name for module in modules for name in module.programs)
    raise TestbedError(f"The test bed builds no program {program!r}; it builds {known}.")


def kubernetes_module(minor: str) -> GoModule:
    """The Go module of one Kubernetes minor, such as `1.36`.

    Raises:
        TestbedError: that minor is not pinned.
    """
    return module_of("kube-apiserver", minor)
