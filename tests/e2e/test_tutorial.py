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


def matches(answer: str, output: str) -> bool:
    """Whether the lines of the answer are the output's; `…` stands for anything, and for lines of
    anything when it is alone."""
    lines = [re.sub(r"\s+", " ", line.strip()) for line in answer.strip().splitlines()]
    pattern = r"\n".join(re.escape(line).replace("…", ".*") for line in lines)
    pattern = pattern.replace(r"\n.*\n", r"\n(?:.*\n)*?")
    given = "\n".join(re.sub(r"\s+", " ", line.strip()) for line in output.strip().splitlines())
    return re.fullmatch(pattern, given) is not None


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
        until = time.monotonic() + _PATIENCE_SECONDS
        while not matches(text, output := run(rest)):
            assert _LOOKS.match(rest), f"$ {rest}\n{output}\n--- the tutorial says:\n{text}"
            assert time.monotonic() < until, f"$ {rest}\n{output}\n--- the tutorial says:\n{text}"
            time.sleep(1)
        with capsys.disabled():
            print(f"\n  $ {rest}", end="", flush=True)
