"""Generated files are written, compared and removed by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import generate
from generate import Generator


@pytest.fixture(autouse=True)
def _two_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        Generator("crds/*.yaml", lambda: {"crds/a.yaml": "kind: A\n", "crds/b.yaml": "kind: B\n"}),
        Generator("docs/reference/a.md", lambda: {"docs/reference/a.md": "# A\n"}),
    )
    monkeypatch.setattr(generate, "GENERATORS", table)


def files(root: Path) -> dict[str, str]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_text() for path in found}


def test_check_changes_nothing_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "crds/a.yaml is out of date; run: make generate",
        "crds/b.yaml is out of date; run: make generate",
        "docs/reference/a.md is out of date; run: make generate",
    ]
    assert files(tmp_path) == {}


def test_what_was_written_is_up_to_date(tmp_path: Path) -> None:
    assert generate.main([], tmp_path) == 0
    assert files(tmp_path) == {
        "crds/a.yaml": "kind: A\n",
        "crds/b.yaml": "kind: B\n",
        "docs/reference/a.md": "# A\n",
    }
    assert generate.main(["--check"], tmp_path) == 0


def test_drift_and_leftovers_are_found_and_put_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.main([], tmp_path)
    (tmp_path / "crds/a.yaml").write_text("kind: Other\n")
    (tmp_path / "crds/old.yaml").write_text("kind: Old\n")
    (tmp_path / "docs/reference/by-hand.md").write_text("# By hand\n")
    capsys.readouterr()
    assert generate.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "crds/a.yaml is out of date; run: make generate",
        "crds/old.yaml is no longer generated; run: make generate",
    ]
    assert generate.main([], tmp_path) == 0
    assert files(tmp_path)["crds/a.yaml"] == "kind: A\n"
    assert "crds/old.yaml" not in files(tmp_path)
    assert files(tmp_path)["docs/reference/by-hand.md"] == "# By hand\n"
    assert generate.main(["--check"], tmp_path) == 0
