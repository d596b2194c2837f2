"""A payment stands before it is answered, confirms its hold or goes back, and is counted once."""

from __future__ import annotations

import asyncio

import pytest

from domain.background.payments import apply_received_payments_once
from domain.background.persisting import expire
from domain.kernel.bookings import BookingStatus
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import AlreadyPaid, AmountMismatch, HoldExpired, NotPayable, PaymentReferenceUsed
from domain.sales.payments import Balance
from tests.books import row
from tests.domain.payments.money import (
    PRICE,
    balance,
    hold_priced,
    lose_redis,
    make_received_due,
    pay,
    payment_of,
    payments_of,
    refunds_of,
    settle,
    unbalanced,
)
from tests.factories import book, make_due, make_event

PENDING, CONFIRMED, EXPIRED = BookingStatus.PENDING, BookingStatus.CONFIRMED, BookingStatus.EXPIRED


async def test_a_payment_confirms_its_hold(stores):
    event = await make_event(stores)
    held = await hold_priced(stores, event)

    paid = await pay(stores, held)
    await settle(stores)

    assert paid.status is PENDING
    assert (await row(stores, held))["status"] == "confirmed"
    assert await payments_of(stores, held) == [("transfer 1", "applied", None)]
    assert await balance(stores, held) == Balance(PRICE, 0, 0)
    assert await unbalanced(stores) == []


async def test_a_hold_is_persisted_before_its_payment_is_answered(stores):
    held = await hold_priced(stores, await make_event(stores))

    await pay(stores, held)

    assert (await row(stores, held))["status"] == "held"


async def test_a_repeated_payment_is_the_same_payment(stores):
    held = await hold_priced(stores, await make_event(stores))
    await pay(stores, held)

    again = await stores.payment_actions.confirm(held, payment_of(held))
    await settle(stores)
    later = await stores.payment_actions.confirm(held, payment_of(held))

    assert (again.repeated, again.booking.status) == (True, PENDING)
    assert (later.repeated, later.booking.status) == (True, CONFIRMED)
    assert await balance(stores, held) == Balance(PRICE, 0, 0)


async def test_one_payment_that_arrives_many_times_at_once_is_taken_once(stores, other_stores):
    held = await hold_priced(stores, await make_event(stores))
    at = [stores, other_stores] * 10

    told = await asyncio.gather(*(each.payment_actions.confirm(held, payment_of(held)) for each in at))
    await settle(stores)

    assert sum(not each.repeated for each in told) == 1
    assert await payments_of(stores, held) == [("transfer 1", "applied", None)]
    assert await unbalanced(stores) == []


async def test_a_second_payment_of_a_booking_goes_back(stores):
    held = await hold_priced(stores, await make_event(stores))
    await pay(stores, held)

    for reference in ("transfer 2", "transfer 3", "transfer 2"):
        with pytest.raises(AlreadyPaid):
            await pay(stores, held, reference)
    await settle(stores)

    assert await balance(stores, held) == Balance(3 * PRICE, 0, 2 * PRICE)
    assert await refunds_of(stores, held) == [(PRICE, "already_paid", "due")] * 2
    assert await unbalanced(stores) == []


async def test_of_different_payments_at_once_one_pays_and_the_others_go_back(stores, other_stores):
    held = await hold_priced(stores, await make_event(stores))

    told = await asyncio.gather(
        *(pay(at, held, f"transfer {n}") for n in range(8) for at in (stores, other_stores)), return_exceptions=True
    )
    await settle(stores)

    assert sum(isinstance(each, AlreadyPaid) for each in told) == 14
    assert await balance(stores, held) == Balance(8 * PRICE, 0, 7 * PRICE)
    assert await unbalanced(stores) == []


async def test_a_wrong_sum_is_refused_and_not_recorded(stores):
    held = await hold_priced(stores, await make_event(stores))

    for wrong in ({"amount_minor": PRICE - 1}, {"amount_minor": PRICE + 1}, {"currency": "USD"}):
        with pytest.raises(AmountMismatch) as refused:
            await pay(stores, held, **wrong)
        assert refused.value.facts == {"amount_minor": PRICE, "currency": "EUR"}

    assert await payments_of(stores, held) == []
    assert (await pay(stores, held)).status is PENDING


async def test_a_reference_pays_for_one_booking_of_an_event_only(stores):
    event, other = await make_event(stores), await make_event(stores)
    first, second = await hold_priced(stores, event), await hold_priced(stores, event)
    elsewhere = await hold_priced(stores, other)
    await pay(stores, first)

    with pytest.raises(PaymentReferenceUsed):
        await pay(stores, second)

    assert await payments_of(stores, second) == []
    assert (await pay(stores, elsewhere)).status is PENDING


async def test_money_for_a_booking_that_was_given_back_goes_back(stores):
    held = await hold_priced(stores, await make_event(stores))
    await stores.box_office.cancel(held)

    with pytest.raises(NotPayable):
        await pay(stores, held)
    await settle(stores)

    assert await payments_of(stores, held) == [("transfer 1", "returned", "not_payable")]
    assert await balance(stores, held) == Balance(PRICE, 0, PRICE)
    with pytest.raises(NotPayable):
        await pay(stores, held)
    assert await unbalanced(stores) == []


async def test_a_free_booking_takes_no_money(stores):
    booking = await book(stores, await make_event(stores))

    with pytest.raises(NotPayable):
        await pay(stores, booking, amount_minor=1)

    assert await payments_of(stores, booking) == []


async def test_a_late_payment_takes_the_tickets_again_if_they_are_free(stores):
    event = await make_event(stores, capacity=1)
    held = await hold_priced(stores, event)
    await make_due(stores, held)
    await expire(stores, partition_of_event(event.id))

    paid = await pay(stores, held)
    await settle(stores)

    assert paid.status is PENDING
    assert await payments_of(stores, held) == [("transfer 1", "applied", None)]
    assert await unbalanced(stores) == []


async def test_a_late_payment_whose_tickets_are_sold_goes_back_once(stores, other_stores):
    event = await make_event(stores, capacity=1)
    held = await hold_priced(stores, event)
    await make_due(stores, held)
    await book(stores, event)

    told = await asyncio.gather(*(pay(at, held) for at in (stores, other_stores) * 5), return_exceptions=True)
    await settle(stores)

    assert {type(each) for each in told} == {HoldExpired}
    assert await payments_of(stores, held) == [("transfer 1", "returned", "late")]
    assert await refunds_of(stores, held) == [(PRICE, "late", "due")]
    assert await balance(stores, held) == Balance(PRICE, 0, PRICE)
    assert (await row(stores, held))["status"] == "expired"


async def test_a_payment_that_went_back_takes_nothing_when_tickets_come_back(stores):
    event = await make_event(stores, capacity=1)
    held = await hold_priced(stores, event)
    await make_due(stores, held)
    rival = await book(stores, event)
    with pytest.raises(HoldExpired):
        await pay(stores, held)
    await stores.box_office.cancel(rival)

    with pytest.raises(HoldExpired):
        await pay(stores, held)
    await settle(stores)

    assert (await stores.box_office.booking(held.id)).status is EXPIRED
    assert await refunds_of(stores, held) == [(PRICE, "late", "due")]


async def test_a_payment_whose_process_died_is_applied_by_a_worker(stores):
    held = await hold_priced(stores, await make_event(stores))
    await stores.money.payments.take(payment_of(held))
    await make_received_due(stores)

    assert await apply_received_payments_once(stores) == 1
    await settle(stores)

    assert (await row(stores, held))["status"] == "confirmed"
    assert await payments_of(stores, held) == [("transfer 1", "applied", None)]
    await make_received_due(stores)
    assert await apply_received_payments_once(stores) == 0


async def test_a_worker_returns_a_payment_of_a_process_that_died_too_late(stores):
    event = await make_event(stores, capacity=1)
    held = await hold_priced(stores, event)
    await stores.money.payments.take(payment_of(held))
    await make_due(stores, held)
    await book(stores, event)

    await settle(stores)

    assert await refunds_of(stores, held) == [(PRICE, "late", "due")]
    assert await unbalanced(stores) == []


async def test_money_for_a_booking_that_redis_lost_before_it_was_stored_goes_back(stores):
    held = await hold_priced(stores, await make_event(stores))
    await lose_redis(stores)
    await stores.money.payments.take(payment_of(held))

    await settle(stores)

    assert await payments_of(stores, held) == [("transfer 1", "returned", "booking_lost")]
    assert await unbalanced(stores) == []


async def test_a_paid_hold_outlives_a_wipe_of_redis_before_it_is_persisted(stores):
    held = await hold_priced(stores, await make_event(stores))
    paid = await pay(stores, held)
    await lose_redis(stores)
    lost = await stores.box_office.booking(held.id)

    await settle(stores)

    assert (paid.status, lost.status) == (PENDING, BookingStatus.HELD)
    assert (await row(stores, held))["status"] == "confirmed"
    assert await payments_of(stores, held) == [("transfer 1", "applied", None)]
    assert await unbalanced(stores) == []


async def test_a_paid_hold_whose_tickets_are_gone_after_a_wipe_goes_back(stores):
    event = await make_event(stores, capacity=1)
    held = await hold_priced(stores, event)
    await pay(stores, held)
    await lose_redis(stores)
    await make_due(stores, held)
    await book(stores, event)

    await settle(stores)

    assert await refunds_of(stores, held) == [(PRICE, "late", "due")]
    assert await unbalanced(stores) == []
