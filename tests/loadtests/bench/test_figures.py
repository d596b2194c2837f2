"""Medians, ratios, bars, the report and its pictures."""

from __future__ import annotations

from argparse import Namespace
from xml.etree import ElementTree as ET

import msgspec
import pytest

from loadtests.bench.cases.furnishing import Owner
from loadtests.bench.cases.growth import themes_of
from loadtests.bench.load.locust_ceiling import Entry, answered_by
from loadtests.bench.plan import BOUNDS, THEMES, growth_plan_of, plan_of
from loadtests.bench.report.bars import Bar, bars_of
from loadtests.bench.report.pictures import DrawnBar, bar_picture, line_picture, pictures
from loadtests.bench.report.results import OTHER, THIS, Results, ratio_of, spread_of
from loadtests.bench.report.tables import report, table
from tests.loadtests.bench.results import everything, full, half, halves, measure, measured, results

SVG = "{http://www.w3.org/2000/svg}"


def options(**given: object) -> Namespace:
    return Namespace(**{**dict.fromkeys(BOUNDS), "quick": False, "only": "", "themes": "", **given})


def test_the_median_is_told_with_the_lowest_and_the_highest() -> None:
    spread = spread_of([3.0, 1.0, 20.0])

    assert (spread.median, spread.low, spread.high) == (3.0, 1.0, 20.0)


def test_a_ratio_is_taken_within_each_round() -> None:
    """A moment in which the machine was busy halves both sides and changes nothing."""
    spread = ratio_of([500.0, 1_000.0, 1_000.0], [1_000.0, 2_000.0, 2_000.0])

    assert (spread.median, spread.low, spread.high) == (0.5, 0.5, 0.5)


def test_a_round_that_one_side_lacks_has_no_ratio() -> None:
    assert ratio_of([1.0], [2.0, 100.0]).cells == ["0.50", "0.50", "0.50"]


def test_a_run_that_failed_within_a_round_has_a_report() -> None:
    found = everything()
    found.cases.series["bare_post"].sides[THIS].append(measured(1.0))
    found.growth[0].series["book"].sides[OTHER].append(measured(1.0))

    lines = zip(report(found).split("\n"), report(everything()).split("\n"), strict=True)
    changed = [line.split("|")[1].strip() for line, before in lines if line != before]
    assert changed == ["(x) the case bare_post", "events on sale, 1 and 10,000: book"]


@pytest.mark.parametrize(
    ("figure", "at_most", "verdict"),
    [
        (0.70, False, "met"),
        (0.69, False, "not met"),
        (0.70, True, "met"),
        (0.71, True, "not met"),
        (None, False, "not measured"),
    ],
)
def test_a_bar_is_met_from_its_figure_on(figure, at_most, verdict) -> None:
    assert Bar("a bar", 0.70, figure, at_most=at_most).cells[-1] == verdict


def test_bars_compare_cases_round_by_round() -> None:
    found = results(measure("bare_post", 100.0, 1_000.0, 1_000.0), measure("book", 80.0, 800.0, 600.0))

    bars = {bar.title: bar for bar in bars_of(found)}

    assert bars["accepted bookings to a bare POST"].figure == pytest.approx(0.8)
    assert bars["accepted bookings to the baseline's"].met is None


def test_waiting_is_judged_by_the_median_of_the_rounds() -> None:
    rounds = [half(post_p99_ms=10.0), half(post_p99_ms=90.0), half(post_p99_ms=12.0)]
    found = results(measure("book", 1_000.0), halves(*rounds))

    bars = {bar.title: bar for bar in bars_of(found)}

    assert bars["POST p99 at half load"].figure == 12.0
    assert bars["POST p99 at half load"].met is True


@pytest.mark.parametrize(
    ("backlog", "growing"),
    [
        ([100, 150, 90, 100, 140, 110], False),
        ([0, 400, 100, 400, 0, 400], False),
        ([100, 100, 500, 900, 1_300, 1_300], True),
    ],
)
def test_a_backlog_grows_when_its_end_waits_longer_than_its_beginning(backlog, growing) -> None:
    found = results()
    found.cases.add("full", "(h) full load", full(backlog))

    (bar,) = [bar for bar in bars_of(found) if bar.unit == " s"]

    assert bar.met is not growing


def test_growth_and_rush_have_bars_of_their_own() -> None:
    bars = {bar.title: bar for bar in bars_of(everything())}

    assert bars["events on sale, 10,000 to 1: book"].met is True
    assert bars["Redis for a pending booking"].met is True
    assert bars["requests of the rush that failed"].met is False
    assert bars["promises the books break after the rush"].met is False


def test_only_what_was_measured_is_judged() -> None:
    found = results()
    found.rush = everything().rush

    assert {bar.title for bar in bars_of(found)} == {
        "requests of the rush that failed",
        "promises the books break after the rush",
    }


def test_columns_of_a_table_are_as_wide_as_their_widest_cell() -> None:
    lines = table(["case", "per s"], [["a", "1,000,000"], ["longer", "1"]]).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert lines[3] == "| longer |         1 |"


def test_the_report_has_every_figure() -> None:
    text = report(everything())

    for figure in ("3,500", "0.78", "6,000", "700", "13000", "guest list", "not met", "nothing_is_oversold"):
        assert figure in text


def test_results_that_were_kept_can_be_read_again() -> None:
    kept = msgspec.json.decode(msgspec.json.encode(everything()), type=Results)

    assert report(kept) == report(everything())


def test_every_theme_has_a_picture_that_can_be_drawn() -> None:
    drawn = pictures(everything())

    assert drawn.keys() == {
        *("rates", "cpu", "drain", "waits", "backlog", "growth-events-on-sale", "growth-pages", "growth-memory"),
    }
    for picture in drawn.values():
        assert ET.fromstring(picture).tag == f"{SVG}svg"


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    picture = ET.fromstring(bar_picture("Rates", [DrawnBar("a", [30.0]), DrawnBar("b", [10.0, 5.0])], unit="per s"))

    widths = [float(rect.get("width") or 0) for rect in picture.iter(f"{SVG}rect")][1:]

    assert widths[0] == pytest.approx(2 * (widths[1] + widths[2]), rel=0.01)


def test_labels_cannot_break_a_picture() -> None:
    picture = ET.fromstring(bar_picture('<"&', [DrawnBar("</svg>", [1.0], 0.5, 1.5)], unit="<b>"))

    assert [text.text for text in picture.iter(f"{SVG}text")][:3] == ['<"&', "<b>", "</svg>"]


def test_a_line_goes_through_its_points() -> None:
    picture = ET.fromstring(line_picture("Pages", {"a": [(0, 0.0), (2, 4.0)]}, x_unit="x", y_unit="y"))

    points = [point.split(",") for point in (next(picture.iter(f"{SVG}polyline")).get("points") or "").split()]

    assert float(points[0][0]) < float(points[1][0])
    assert float(points[0][1]) > float(points[1][1])


def test_the_command_line_bounds_a_run() -> None:
    with pytest.raises(ValueError, match="--full-seconds is 1 to 120"):
        plan_of(options(full_seconds=3_600))


def test_cases_there_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match="no such case: q"):
        plan_of(options(only="a,q"))


def test_waits_are_never_measured_without_the_rate_they_are_half_of() -> None:
    plan = plan_of(options(only="h", rounds=2))

    assert (plan.wants("h"), plan.wants("b"), plan.wants("a"), plan.rounds) == (True, True, False, 2)


def test_locusts_figures_are_read_from_its_own() -> None:
    entry = Entry(
        num_requests=100,
        num_failures=0,
        start_time=10.0,
        last_request_timestamp=12.0,
        response_times={"100": 1, "7": 98, "50": 1},
    )

    answered = answered_by([entry])

    assert (answered.per_second, answered.p50_ms, answered.p99_ms) == (50.0, 7.0, 50.0)


def test_everything_grows_unless_some_of_it_is_asked_for() -> None:
    everything, some = growth_plan_of(options()), growth_plan_of(options(themes="workers, events", quick=True))

    assert tuple(theme.name for theme in themes_of(everything, Owner())) == THEMES
    assert [theme.name for theme in themes_of(some, Owner())] == ["events", "workers"]


def test_what_cannot_grow_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="seats; there are events, bookings"):
        growth_plan_of(options(themes="events,seats"))


def test_growth_takes_the_rounds_that_are_asked_for() -> None:
    plan = growth_plan_of(options(rounds=3, backlog=500))

    assert (plan.rounds, plan.backlog, plan.bookings) == (3, 500, 1_000_000)
