"""What the documentation names in the repository is there."""

from __future__ import annotations

import re

import pytest

from tests.processes import ROOT

PAGES = [path for path in (ROOT / "domain" / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
"""Pages that name files and folders by their paths from the root of the repository."""

FOLDERS = "|".join(sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")))

PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*|[\w.-]+\.(?:md|toml|yml))`")

NAMED_AS_IT_STANDS = re.compile(r"`(\w+)` (?:in|of) `([\w/]+\.py)`")

SCRIPT = re.compile(r"`(\w+\.lua)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page):
    named = set(PATH.findall(page.read_text()))

    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_that_a_page_names_exists(page):
    scripts = {path.name for path in (ROOT / "domain" / "store" / "redis" / "lua").iterdir()}

    assert set(SCRIPT.findall(page.read_text())) <= scripts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_that_a_page_places_in_a_module_stands_there(page):
    placed = NAMED_AS_IT_STANDS.findall(page.read_text())

    assert [(name, path) for name, path in placed if not re.search(rf"\b{name}\b", (ROOT / path).read_text())] == []


def test_the_design_names_paths_at_all():
    """A pattern that matches nothing would hold nothing."""
    assert len(set(PATH.findall((ROOT / "domain" / "README.md").read_text()))) > 50
