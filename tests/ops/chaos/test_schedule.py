"""A seed and a mix always make the same faults."""

from __future__ import annotations

from collections import Counter

from ops.chaos.schedule import (
    EVERYTHING,
    LINK_NAMES,
    NO_LOSS,
    PROCESS_NAMES,
    REDIS_LOSSES,
    SHAPES,
    WARM_UP_SECONDS,
    FaultKind,
    redis_is_lost,
    schedule,
)

HOUR = 3_600.0


def test_the_same_seed_makes_the_same_schedule() -> None:
    first = schedule("7", EVERYTHING, seconds=60, per_second=1.0)

    assert first == schedule("7", EVERYTHING, seconds=60, per_second=1.0)
    assert first != schedule("8", EVERYTHING, seconds=60, per_second=1.0)


def test_every_kind_has_its_turn_as_often_as_it_stands_in_the_deck() -> None:
    decks = 20
    faults = schedule("1", EVERYTHING, seconds=HOUR, per_second=1.0)[: decks * sum(EVERYTHING.values())]

    assert Counter(fault.kind for fault in faults) == {kind: decks * times for kind, times in EVERYTHING.items()}


def test_faults_come_in_order_within_the_run_and_hit_what_they_can() -> None:
    faults = schedule("1", EVERYTHING, seconds=HOUR, per_second=1.0)

    assert faults == sorted(faults, key=lambda fault: fault.at_s)
    assert faults[0].at_s >= WARM_UP_SECONDS
    assert faults[-1].at_s < HOUR
    for fault in faults:
        least_s, most_s = SHAPES[fault.kind].lasts_s
        assert fault.target in SHAPES[fault.kind].targets
        assert least_s <= fault.lasts_s <= most_s


def test_every_process_and_every_link_is_hit_in_the_long_run() -> None:
    faults = schedule("1", EVERYTHING, seconds=HOUR, per_second=1.0)

    assert {fault.target for fault in faults} == {*PROCESS_NAMES, *LINK_NAMES, "redis", "postgres"}


def test_the_deck_has_every_kind() -> None:
    assert EVERYTHING.keys() == SHAPES.keys() == set(FaultKind)
    assert NO_LOSS.keys() == set(FaultKind) - REDIS_LOSSES


def test_a_schedule_tells_whether_redis_loses_its_memory() -> None:
    assert redis_is_lost(schedule("1", {FaultKind.REDIS_STALE: 1}, seconds=60, per_second=1.0))
    assert not redis_is_lost(schedule("1", NO_LOSS, seconds=HOUR, per_second=1.0))


def test_no_faults_are_a_schedule_too() -> None:
    assert schedule("1", {}, seconds=60, per_second=1.0) == []
