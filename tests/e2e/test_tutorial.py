"""The tutorial, followed to the letter: files saved, commands typed, answers compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from charts import NAMESPACE, ROOT, Helm
from e2e.installation import Installation, eventually
from testbed import Cluster, CommandError, image
from testbed.image_base import BASE_IMAGE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TUTORIAL = ROOT / "docs" / "tutorial.md"
IMAGE = "docker.io/library/busybox:1.37"
"""What the tutorial's pods run; the node has no registry, so another image goes by that name."""
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"as `([\w.]+)`")
_LOOKS = re.compile(r"kubectl (get|logs|wait)|taskrunner (history|preview|logs)")
"""Commands that change nothing: who follows the tutorial looks again until there is something."""
_PATIENCE_SECONDS = 60


def steps() -> Iterator[tuple[str, str]]:
    """("save NAME", text) and ("run COMMAND", answer), in the order of the page."""
    page = TUTORIAL.read_text("utf-8")
    for fence in _FENCE.finditer(page):
        kind, text = fence.groups()
        if kind == "yaml":
            *_, name = _NAME.findall(page[: fence.start()])
            yield f"save {name}", text
        elif kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, answer = part.replace("\\\n", "").partition("\n")
                yield f"run {command}", answer


_VARIES = (
    (re.compile(r"[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d"), "LOCAL-TIME"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\b(report|fails-once-\d)-([a-z0-9]{5}|\d{10})\b"), r"\1-ID"),
    (re.compile(r"\bredrive-[0-9a-f]{8}\b"), "redrive-ID"),
    (re.compile(r'Context "[^"]*"'), "Context ID"),
    (re.compile(r"\b\d+(\.\d+)?(ms|s|m)\b"), "DURATION"),
    (re.compile(r"\b\d+(?= DURATION$)"), "SECONDS"),
)
_PASSES = re.compile(r"\S+: (Pending|Queued|Starting|Running)\b")
"""Told when it is seen; who looks a moment later does not see it."""


def told(text: str) -> list[str]:
    """The lines of an answer, without what is different each time."""
    lines = [re.sub(r"\s+", " ", line.strip()) for line in text.strip().splitlines()]
    for varies, name in _VARIES:
        lines = [varies.sub(name, line) for line in lines]
    return [line for line in lines if line and not _PASSES.match(line)]


@pytest.fixture
def installed(real_cluster: Cluster, tmp_path: Path) -> Cluster:
    """A cluster with taskrunner, as the tutorial asks for."""
    real_cluster.real_node.load_images(image.archive())
    real_cluster.real_node.name_image(BASE_IMAGE, IMAGE)
    real_cluster.kubectl("create", "namespace", NAMESPACE)
    installation = Installation(real_cluster, Helm(tmp_path, real_cluster.kubeconfig))
    installation.install()
    installation.await_ready()
    # Policies that mutate learn of a new definition some seconds after everybody else.
    eventually(lambda: _takes_tasks(real_cluster), "tasks are accepted", 30)
    return real_cluster


def _takes_tasks(cluster: Cluster) -> bool:
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", ROOT / "examples" / "01-hello.yaml")
    except CommandError:
        return False
    return True


def test_the_tutorial_can_be_followed_to_the_letter(
    installed: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "kubectl").symlink_to(installed.bin("kubectl"))
    (bin_dir / "taskrunner").symlink_to(Path(sys.executable).with_name("taskrunner"))
    kubeconfig = shutil.copy(installed.kubeconfig, tmp_path / "kubeconfig")
    environment = {
        **os.environ,
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "KUBECONFIG": str(kubeconfig),
        "COLUMNS": "160",
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=150,
            check=False,
        )
        return done.stdout

    for step, text in steps():
        what, _, rest = step.partition(" ")
        if what == "save":
            (tmp_path / rest).write_text(text, "utf-8")
            continue
        if rest == "kubectl apply -f report.yaml" and (second := time.time() % 60) > 40:
            time.sleep(60 - second)  # What follows is told before the first full minute.
        until = time.monotonic() + _PATIENCE_SECONDS
        while told(output := run(rest)) != told(text):
            late = time.monotonic() > until or not _LOOKS.match(rest)
            assert not late, f"$ {rest}\n{output}\n--- the tutorial says:\n{text}"
            time.sleep(1)
        with capsys.disabled():
            print(f"\n  $ {rest}", end="", flush=True)
