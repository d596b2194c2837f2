"""A wait looks first when bookings are usually confirmed, and then ever more rarely."""

from __future__ import annotations

from itertools import accumulate, islice

import pytest

from domain.actions.waiting import FIRST_LOOK_S_MAX, FIRST_LOOK_S_MIN, PAUSE_S_MAX, LookTimes
from domain.kernel.bookings import BookingStatus
from tests.factories import book, make_event
from tests.waiting import persist_all


def first_look_after(waits, *, confirmed_s):
    """When waits look first, after `waits` of bookings that were confirmed after `confirmed_s`."""
    times = LookTimes()
    for _ in range(waits):
        times.note_first_look(changed=times.first_s >= confirmed_s)
    return times.first_s


@pytest.mark.parametrize("confirmed_s", [0.007, 0.02, 0.04])
def test_waits_learn_when_bookings_are_confirmed(confirmed_s):
    first_s = first_look_after(100, confirmed_s=confirmed_s)

    assert 0.7 * confirmed_s < first_s < 1.5 * confirmed_s


@pytest.mark.parametrize(("confirmed_s", "bound_s"), [(0.0, FIRST_LOOK_S_MIN), (60.0, FIRST_LOOK_S_MAX)])
def test_the_first_look_has_an_earliest_and_a_latest_time(confirmed_s, bound_s):
    assert first_look_after(100, confirmed_s=confirmed_s) == bound_s


def test_a_dozen_lone_bookings_are_enough_to_look_early_after_a_rush():
    times = LookTimes()
    for _ in range(100):
        times.note_first_look(changed=False)
    for _ in range(12):
        times.note_first_look(changed=True)

    assert times.first_s < 0.008


def test_looks_become_rarer_up_to_four_in_a_second():
    pauses_s = list(islice(LookTimes().pauses_s(), 40))

    looks_s = list(accumulate(pauses_s))
    assert looks_s[:4] == pytest.approx([FIRST_LOOK_S_MIN * 1.5**n for n in range(4)])
    assert pauses_s[1:] == sorted(pauses_s[1:])
    assert pauses_s[-1] == PAUSE_S_MAX


async def test_only_waits_for_a_pending_booking_are_learned_from(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    confirmed = await stores.box_office.booking(booking.id)
    times = stores.box_office._look_times

    await stores.box_office.wait_for_change(confirmed, seconds=0.01)
    after_confirmed_s = times.first_s
    pending = await book(stores, event)
    await stores.box_office.wait_until_final(pending, seconds=0.01)

    assert confirmed.status is BookingStatus.CONFIRMED
    assert after_confirmed_s == FIRST_LOOK_S_MIN
    assert times.first_s > FIRST_LOOK_S_MIN
