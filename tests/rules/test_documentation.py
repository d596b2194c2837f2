"""Everything that the documentation names exists: paths, links, scripts, modules, metrics, make targets, figures."""

from __future__ import annotations

import json
import re
from statistics import median

import pytest

from tests.contract.pages import OPERATE, PERFORMANCE, README, section, table
from tests.processes import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "domain").glob("*.md"),
        *(ROOT / "findings").glob("*.md"),
        *(ROOT / "loadtests").glob("*.md"),
        *(ROOT / "loadtests" / "results").glob("*.md"),
    )
)

TOLD = [page for page in PAGES if page == README or page.startswith(("docs/", "domain/"))]
"""Pages that name files and folders by their paths from the root of the repository, as they are now."""

MADE_LATER = {"loadtests/report/"}
"""What a command makes that the page tells of."""

README_LINES_MAX = 110
"""A screen and a half and the session that books: what is longer stands in docs/."""

FOLDERS = "|".join(sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")))

PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]*|[\w.-]+\.(?:md|toml|yml))`")
PLACED = re.compile(r"`(\w+)` (?:in|of) `([\w/]+\.py)`")
SCRIPT = re.compile(r"`(\w+\.lua)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _prose(page):
    return FENCED.sub("", (ROOT / page).read_text())


def _anchor(heading):
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    return target.exists() and (not anchor or anchor in map(_anchor, HEADING.findall(target.read_text())))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    links = [link for link in LINK.findall(_prose(page)) if not re.match(r"[a-z]+:|/", link)]

    assert [link for link in links if not _leads_somewhere(page, link)] == []


def test_the_readme_leads_to_every_page_of_the_documentation():
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / README).read_text())}

    assert {page for page in TOLD if page != README} <= linked


def test_the_readme_is_for_newcomers():
    assert len((ROOT / README).read_text().splitlines()) <= README_LINES_MAX


@pytest.mark.parametrize("page", TOLD)
def test_every_path_that_a_page_names_exists(page):
    named = set(PATH.findall((ROOT / page).read_text())) - MADE_LATER

    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", TOLD)
def test_every_script_that_a_page_names_exists(page):
    scripts = {path.name for path in (ROOT / "domain" / "store" / "redis" / "lua").iterdir()}

    assert set(SCRIPT.findall((ROOT / page).read_text())) <= scripts


@pytest.mark.parametrize("page", TOLD)
def test_every_name_that_a_page_places_in_a_module_stands_there(page):
    placed = PLACED.findall((ROOT / page).read_text())

    assert [at for at in placed if not re.search(rf"\b{at[0]}\b", (ROOT / at[1]).read_text())] == []


@pytest.mark.parametrize("page", TOLD)
def test_every_target_of_make_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"(?:\$ |`)make ([a-z-]+)", (ROOT / page).read_text())) <= targets


def test_the_design_names_paths_at_all():
    """A pattern that matches nothing would hold nothing."""
    assert len(set(PATH.findall((ROOT / "domain" / "README.md").read_text()))) > 50


def test_alerts_are_about_metrics_there_are():
    metrics = set(re.findall(r'"(onsale_\w+)"', (ROOT / "api" / "http" / "metrics.py").read_text()))
    named = {name.removesuffix("_total") for name in re.findall(r"\bonsale_\w+", section(OPERATE, "Alerts"))}

    assert named <= metrics
    assert len(named) > 5


def test_ratios_of_speed_follow_from_their_table():
    """Each is the median of the rates, every one divided by the bare POST's of the same round."""
    rows = {
        name: ([_number(cell) for cell in rates], _number(middle), ratio) for name, *rates, middle, ratio in _rates()
    }
    bare, _, _ = rows["bare Litestar, `POST`"]

    for name, (rates, middle, ratio) in rows.items():
        assert median(rates) == middle, name
        if ratio:
            assert f"{median(rate / base for rate, base in zip(rates, bare, strict=True)):.2f}" == ratio, name


def test_rates_are_those_of_the_run_that_is_kept():
    measured = json.loads((ROOT / "loadtests" / "results" / "after.json").read_text())
    rounds = [each["rounds"] for each in measured["measures"]]
    kept = [[round(each["per_second"]) for each in one] for one in rounds]
    kept.append([round(each["persisted_per_second"]) for each in measured["drains"]])

    assert [rates for _, *rates, _, _ in _rates() if [_number(rate) for rate in rates] not in kept] == []


def test_the_readmes_line_on_speed_is_of_that_table():
    told = re.search(r"it accepted ([\d,]+) bookings a second, ([\d.]+) of what", (ROOT / README).read_text())

    assert list(told.groups()) == next(row[-2:] for row in _rates() if row[0] == "bookings accepted")


def _rates():
    return table(PERFORMANCE, "What was measured")


def _number(cell):
    return int(cell.replace(",", ""))
