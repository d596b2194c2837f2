"""The report of a run of trials, and a control for every protection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import structs

from domain.platform.failpoints import Failpoint
from ops.chaos import campaign, report
from ops.chaos.campaign import plans, write_report
from ops.chaos.controls import CONTROLS, ControlResult
from ops.chaos.controls import table as controls_table
from ops.chaos.protections import CONDITIONS, Protection
from ops.chaos.recovery import Recovered
from ops.chaos.schedule import REDIS_LOSSES
from ops.chaos.trial import FAILPOINTS, Result
from ops.embedded.server import ServerFailed
from ops.evidence.checks import CHECKS

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [check.__name__ for check in CHECKS]


def result(**changes: object) -> Result:
    """A trial without violations."""
    kept = Result(
        seed=1,
        durability="redis",
        seconds=60.0,
        faults={"api killed": 3, "redis killed": 2},
        failpoints={"reserved": 4},
        requests=900,
        accepted=500,
        confirmed=400,
        cancelled=99,
        rejected=1,
        repairs=0,
        overdue=0,
        to_final_s=1.5,
        to_sale_s=[0.5, 2.5],
        redis_was_lost=False,
        violations={name: [] for name in NAMES},
    )
    return structs.replace(kept, **changes)


def broken(name: str, *found: str) -> Result:
    return result(violations={each: list(found) if each == name else [] for each in NAMES})


def test_a_table_has_a_column_for_each_durability() -> None:
    lines = report.table([result(), result(durability="postgres", accepted=7), result(seed=2)]).split("\n")

    assert lines[0] == "|  | `DURABILITY=redis` | `DURABILITY=postgres` |"
    assert "| seeds | 2 | 1 |" in lines
    assert "| faults from outside | 10 | 5 |" in lines
    assert "| self-kills at failpoints | 8 | 4 |" in lines
    assert "| bookings acknowledged | 1,000 | 7 |" in lines
    assert "| violations of any check | 0 | 0 |" in lines


def test_a_table_counts_what_was_lost_oversold_and_doubled() -> None:
    results = [
        broken("no_accepted_booking_is_lost", "one", "two"),
        broken("nothing_is_oversold_in_redis", "one"),
        broken("one_booking_per_key", "one"),
    ]

    lines = report.table(results).split("\n")

    assert "| acknowledged bookings and cancellations lost | 2 |" in lines
    assert "| tickets oversold | 1 |" in lines
    assert "| keys that made two bookings | 1 |" in lines
    assert "| violations of any check | 4 |" in lines


def test_a_line_names_the_checks_that_broke() -> None:
    assert report.line(result()).endswith("ok")
    assert report.line(broken("one_booking_per_key", "x")).endswith("FAIL one_booking_per_key")
    assert "never" in report.line(result(to_final_s=None))


def test_a_table_has_what_was_measured_apart_from_the_storm() -> None:
    measured = Recovered(what="Redis back empty until a sale", seconds=1.234, most=3.0)

    lines = report.table([result(), result(durability="postgres")], [measured]).split("\n")

    assert lines[-1] == "| seconds: Redis back empty until a sale, at most 3 | not measured | 1.23 |"


def test_a_run_says_what_it_lacks_to_be_a_full_one() -> None:
    every_point = {str(point): 60 for point in Failpoint}
    full = [
        result(seed=seed, durability=durability, faults={"api killed": 30}, failpoints=every_point, accepted=500)
        for seed in range(20)
        for durability in ("redis", "postgres")
    ]

    assert report.bar_line(full) == "a full run"
    lacks = report.bar_line([structs.replace(each, failpoints={"reserved": 60}) for each in full[2:]])
    assert lacks == (
        "a full run has more: seeds in each durability: 19 of 20, self-kills at each point: 0 of 1, "
        "bookings acknowledged in each durability: 9,500 of 10,000"
    )


def test_failpoints_that_were_never_hit_are_listed() -> None:
    text = report.breakdown([result()])

    assert all(f"  {point}" in text for point in Failpoint)
    assert "      4  reserved" in text
    assert "      0  shutting_down" in text


def test_the_report_is_written_as_json(tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", [result(), broken("one_booking_per_key", "x")])

    facts = msgspec.json.decode((tmp_path / "report.json").read_bytes())

    assert facts["faults"] == 10
    assert facts["broken"] == ["one_booking_per_key"]
    assert facts["bar"]["faults from outside"] == {"at_least": 1000, "has": 10}
    assert [trial["seed"] for trial in facts["trials"]] == [1, 1]


def test_redis_is_lost_only_where_that_is_survived_or_excused() -> None:
    of_redis = plans(seeds=range(1, 11), seconds=60, durability="redis")
    of_postgres = plans(seeds=range(1, 11), seconds=60, durability="postgres")

    assert [plan.seed for plan in of_redis if plan.mix.keys() & REDIS_LOSSES] == [5, 10]
    assert all(plan.mix.keys() >= REDIS_LOSSES for plan in of_postgres)
    assert not any(plan.redis_is_lost for plan in of_postgres)


def test_every_failpoint_is_armed() -> None:
    assert FAILPOINTS.keys() == set(Failpoint)
    assert all(0 < probability < 1 for probability in FAILPOINTS.values())


def test_every_protection_has_a_control() -> None:
    taken_away = [control.without.off - control.with_it.off for control in CONTROLS]

    assert set().union(*taken_away) == set(Protection) - CONDITIONS
    assert all(len(taken) <= 1 for taken in taken_away)
    assert [control.name for control, taken in zip(CONTROLS, taken_away, strict=True) if not taken] == [
        "DURABILITY=postgres"
    ]


def test_controls_watch_checks_that_there_are() -> None:
    for control in CONTROLS:
        assert control.watched
        assert control.watched <= set(NAMES)


def test_a_control_holds_if_a_check_fails_without_the_protection_and_none_with_it() -> None:
    held = ControlResult(name="sweep", seeds=1, failed=["one_booking_per_key"], failed_with_it=[])

    assert held.holds
    assert not structs.replace(held, failed=[]).holds
    assert not structs.replace(held, failed_with_it=["one_booking_per_key"]).holds
    assert "**nothing**" in controls_table([structs.replace(held, failed=[])])
    assert len({line.count("|") for line in controls_table([held]).splitlines()}) == 1


def test_a_trial_whose_server_did_not_come_back_is_held_again_and_said(tmp_path: Path, monkeypatch) -> None:
    held, said = [], []

    def try_plan(plan, *_: object) -> Result:
        held.append(plan.seed)
        if held == [1]:
            message = "faults"
            raise ExceptionGroup(message, [ServerFailed("postgres ended with 1")])
        return result(seed=plan.seed)

    monkeypatch.setattr(campaign, "try_plan", try_plan)
    results = campaign.campaign(plans(seeds=range(1, 3), seconds=1, durability="redis"), tmp_path, said.append)

    assert held == [1, 1, 2]
    assert [each.seed for each in results] == [1, 2]
    assert any("held again: postgres ended with 1" in line for line in said)


def test_a_trial_that_fails_in_another_way_ends_the_run(tmp_path: Path, monkeypatch) -> None:
    def try_plan(*_: object) -> Result:
        raise RuntimeError

    monkeypatch.setattr(campaign, "try_plan", try_plan)
    with pytest.raises(RuntimeError):
        campaign.campaign(plans(seeds=range(1, 2), seconds=1, durability="redis"), tmp_path, lambda _: None)
