"""The documentation: every page is in the site, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import site_pages

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")})
_LINK = re.compile(r"\]\(([^)\s#]+)")


@pytest.mark.timeout(180)
def test_the_site_is_built_and_no_link_between_pages_is_broken() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "site_pages"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "tools",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = (site_pages.PAGES.parent / "html" / "docs" / "tutorial" / "index.html").read_text()
    assert "kubectl create namespace tutorial" in re.sub("<[^>]*>", "", built)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_other_files_lead_to_files_that_the_site_has(page: Path) -> None:
    for link in _LINK.findall(page.read_text("utf-8")):
        if "://" in link:
            continue
        target = (page.parent / link).resolve().relative_to(ROOT)
        assert (ROOT / target).exists(), link
        held = any(target.is_relative_to(name) for name in site_pages.WHAT)
        assert held, f"{link}: tools/site_pages.py does not gather it"


def test_every_page_but_the_decisions_can_be_found_in_the_navigation() -> None:
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    pages = {str(page.relative_to(ROOT)) for page in PAGES}
    hidden = {page for page in pages if page.startswith(("docs/adr/", "docs/reports/"))}
    assert set(_leaves(navigation)) == pages - hidden


def _leaves(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    else:
        for child in node.values() if isinstance(node, dict) else node:
            yield from _leaves(child)
