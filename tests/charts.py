"""Helm for tests: renders the chart, and gives what it rendered as data."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed import binaries
from testbed.binaries import Progress, to_stderr
from testbed.errors import CommandError

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "taskrunner"
RELEASE = "taskrunner"
NAMESPACE = "taskrunner-system"


class Helm:
    """The pinned helm, with a home of its own, so that nothing of the machine's comes in."""

    def __init__(
        self, home: Path, kubeconfig: Path | None = None, *, kube_version: str = ""
    ) -> None:
        """`kube_version`: what `template` renders for; by default, the newest that helm knows."""
        self._home = home
        self._kubeconfig = kubeconfig
        self._kube_version = kube_version
        self._rendered: dict[str, str] = {}

    @staticmethod
    def program(progress: Progress = to_stderr) -> Path:
        """Builds it if need be. Raises MissingPartError when Go is missing."""
        return binaries.ensure(["helm"], progress=progress)["helm"]

    def run(self, *arguments: str | Path, values: Json | None = None, seconds: float = 60) -> str:
        """What helm printed. Raises CommandError with what it said on standard error.

        Args:
            arguments: as on the command line.
            values: given with `--values -`.
            seconds: how long it may take.
        """
        command = [str(self.program()), *(str(argument) for argument in arguments)]
        if values is not None:
            command.append("--values=-")
        done = subprocess.run(
            command,
            env={
                **os.environ,
                "HELM_CACHE_HOME": str(self._home / "cache"),
                "HELM_CONFIG_HOME": str(self._home / "config"),
                "HELM_DATA_HOME": str(self._home / "data"),
                "KUBECONFIG": str(self._kubeconfig or os.devnull),
            },
            input=json.dumps(values or {}),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            said = " ".join(command[1:])
            message = f"`helm {said}` failed: {done.stderr.strip()}\n{done.stdout.strip()}"
            raise CommandError(message, done.returncode, done.stderr)
        return done.stdout

    def template(self, values: Json | None = None, *, release: str = RELEASE) -> str:
        """The rendered manifests, as helm prints them; the same again costs nothing."""
        key = json.dumps([release, values or {}])
        if key not in self._rendered:
            arguments: list[str | Path] = ["template", release, CHART, f"--namespace={NAMESPACE}"]
            if self._kube_version:
                arguments.append(f"--kube-version={self._kube_version}")
            self._rendered[key] = self.run(*arguments, values=values or {})
        return self._rendered[key]


class Rendered:
    """Objects by kind and name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[Json] = [obj for obj in yaml.safe_load_all(text) if obj]

    def __iter__(self) -> Iterator[Json]:
        return iter(self.objects)

    def names(self, kind: str) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in self.objects if obj["kind"] == kind)

    def get(self, kind: str, name: str) -> Json:
        found = [
            obj for obj in self.objects if obj["kind"] == kind and obj["metadata"]["name"] == name
        ]
        assert len(found) == 1, f"{len(found)} objects {kind}/{name}; {kind}: {self.names(kind)}"
        return found[0]

    @property
    def pod_specs(self) -> dict[str, Json]:
        """Every pod that the chart makes or has made, by the name of the object that says so."""
        specs = {}
        for obj in self.objects:
            spec: Mapping[str, Any] = obj.get("spec") or {}
            if obj["kind"] == "Pod":
                specs[f"Pod/{obj['metadata']['name']}"] = obj["spec"]
            for holder in (spec, spec.get("jobTemplate", {}).get("spec", {})):
                if "template" in holder:
                    key = f"{obj['kind']}/{obj['metadata']['name']}"
                    specs[key] = holder["template"]["spec"]
        return specs
