"""A protection is removed from the engine as it is, and is back afterwards."""

from __future__ import annotations

import pytest

from domain.kernel import idempotency, partitions
from domain.store.redis.fence import FencingToken, source
from domain.store.redis.scripts import Scripts
from ops.chaos import protections
from ops.chaos.protections import EPOCH_LINE, LINES, NotFound, Protection, without
from worker import passes

TOKEN = FencingToken(deployment="00000000-0000-0000-0000-000000000000", epoch=1, server="0" * 40)


@pytest.mark.parametrize("protection", LINES)
def test_lines_of_scripts_are_cut_out_and_are_back_afterwards(protection):
    names = LINES[protection]
    before = {name: _source(name) for name in names}

    with without(protection):
        inside = {name: _source(name) for name in names}

    for name, (line, instead) in names.items():
        assert before[name].count(line) == 1
        assert inside[name].count(line) == 0
        assert instead in inside[name]
    assert {name: _source(name) for name in names} == before


def _source(name):
    """The text of a script, for a shared function that of a script that uses it."""
    return source("reserve_tickets" if name.startswith("shared/") else name, TOKEN)


def test_several_protections_are_removed_from_one_script():
    with without(Protection.SIZE_CHECK, Protection.LOOKUP, Protection.EPOCH_IN_REDIS):
        text = source("reserve_tickets", TOKEN)

    assert not any(word in text for word in (EPOCH_LINE, "remaining >=", "return {'lookup'}", "not same"))


def test_a_function_is_replaced_wherever_it_is_used():
    swept, anchored = passes.sweep_once, Scripts._is_anchored

    with without(Protection.SWEEP, Protection.STABLE_ID, Protection.EPOCH_IN_REDIS):
        assert passes.sweep_once is not swept
        assert idempotency.booking_id_for_key is partitions.booking_id_for_key is protections._random_id
        assert Scripts._is_anchored is not anchored

    assert passes.sweep_once is swept
    assert Scripts._is_anchored is anchored
    assert idempotency.booking_id_for_key is partitions.booking_id_for_key is not protections._random_id


def test_a_line_that_is_not_there_any_more_is_an_error(monkeypatch):
    monkeypatch.setitem(LINES, Protection.SIZE_CHECK, {"reserve_tickets": ("not a line\n", "")})

    with without(Protection.SIZE_CHECK), pytest.raises(NotFound):
        source("reserve_tickets", TOKEN)


def test_a_method_that_is_not_there_any_more_is_an_error(monkeypatch):
    monkeypatch.delattr(Scripts, "_is_rebuilt")

    with pytest.raises(NotFound), without(Protection.EPOCH_IN_REDIS):
        pass
