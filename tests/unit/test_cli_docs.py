"""What the guides show is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.clock import FakeClock
from taskrunner.cli.main import build
from unit.planning import at

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["how-to/calendars.md", "how-to/time-zones-and-dst.md", "how-to/catch-up.md"]
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(page: str, folder: Path) -> str:
    """The page with the output of each command as it is now. A YAML block is task.yaml until the
    next one; lines without `$` in a console block are output."""

    def replaced(block: re.Match[str]) -> str:
        kind, text = block.groups()
        if kind == "yaml":
            (folder / "task.yaml").write_text(text)
            return block[0]
        parts = []
        for line in text.splitlines():
            if line.startswith("$ taskrunner "):
                words = shlex.split(line.removeprefix("$ taskrunner "))
                words = [str(folder / word) if word == "task.yaml" else word for word in words]
                done = CliRunner().invoke(build(FakeClock(now=at("2026-03-02"))), words)
                assert done.exit_code == 0, done.output
                output = [part.rstrip() for part in done.stdout.strip().splitlines()]
                parts += [line, *output]
        return "```console\n" + "\n".join(parts) + "\n```"

    return BLOCK.sub(replaced, page)


@pytest.mark.parametrize("name", PAGES)
def test_a_guide_shows_what_the_commands_print(name: str, tmp_path: Path) -> None:
    text = (DOCS / name).read_text("utf-8")
    assert shown(text, tmp_path) == text, (
        f"docs/{name} is out of date: PYTHONPATH=operator:tests .venv/bin/python -c"
        " 'import unit.test_cli_docs as d; d.rewrite()' writes it anew"
    )


def rewrite() -> None:
    """Write the guides anew."""
    import tempfile

    for name in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            text = (DOCS / name).read_text("utf-8")
            (DOCS / name).write_text(shown(text, Path(folder)), "utf-8")
