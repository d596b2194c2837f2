"""Money goes back once: for whatever is cancelled, by whom and when, and by a provider that counts what it is asked."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from domain.background.clearing import clear_event
from domain.background.payments import (
    apply_received_payments_once,
    close_begun_payments_once,
    decide_payments_once,
    send_refunds_once,
)
from domain.kernel.refusals import AmountMismatch
from domain.sales.events import Deadline, Payment
from domain.sales.payments import Balance
from domain.store.payment_providers.port import ProviderUnavailable
from tests.domain.payments.money import (
    PRICE,
    balance,
    hold_priced,
    lose_redis,
    pay,
    refunds_of,
    set_policy,
    settle,
    unbalanced,
)
from tests.factories import ORGANIZED, make_event
from tests.waiting import persist_all


async def paid_booking(stores, event=None, **fields):
    held = await hold_priced(stores, event or await make_event(stores))
    await pay(stores, held, **fields)
    await settle(stores)
    return await stores.box_office.booking(held.id)


@pytest.mark.parametrize(("policy", "back"), [("none", 0), ("full", PRICE)])
async def test_an_owner_who_cancels_gets_back_what_the_event_says(stores, policy, back):
    event = await make_event(stores)
    await set_policy(stores, event, policy)
    booking = await paid_booking(stores, event)

    await stores.box_office.cancel(booking)
    await settle(stores)

    assert await balance(stores, booking) == Balance(PRICE, 0, back)
    assert await unbalanced(stores) == []


@pytest.mark.parametrize("reason", ["cancelled_by_organizer", "cancelled_by_admin"])
async def test_whoever_else_cancels_returns_all(stores, reason):
    booking = await paid_booking(stores)

    await stores.box_office.cancel(booking, deadline=Deadline.OVER, reason=reason)
    await settle(stores)
    await settle(stores)

    assert await refunds_of(stores, booking) == [(PRICE, "cancelled", "due")]
    assert await unbalanced(stores) == []


async def test_a_cancelled_event_returns_every_payment_once(stores):
    event = await make_event(stores)
    bookings = [await paid_booking(stores, event, reference=f"transfer {n}") for n in range(3)]
    waiting = await hold_priced(stores, event)

    await stores.event_actions.cancel(event.id, caller=ORGANIZED)
    await clear_event(stores, event.id)
    await settle(stores)
    await settle(stores)

    assert [await balance(stores, each) for each in bookings] == [Balance(PRICE, 0, PRICE)] * 3
    assert await balance(stores, waiting) == Balance()
    assert await unbalanced(stores) == []


async def test_a_booking_that_is_cancelled_before_it_was_persisted_returns_its_money(stores):
    held = await hold_priced(stores, await make_event(stores))
    await pay(stores, held)
    await stores.box_office.cancel(held)

    await settle(stores)

    assert await balance(stores, held) == Balance(PRICE, 0, PRICE)
    assert await unbalanced(stores) == []


async def test_a_change_that_is_persisted_while_another_is_decided_is_decided_too(stores):
    """The check of the first version is locked meanwhile; the second version makes one of its own."""
    held = await hold_priced(stores, await make_event(stores))
    await pay(stores, held)
    await persist_all(stores)
    lock = text("SELECT FROM payment_checks FOR UPDATE")

    async with stores.database.begin() as deciding:
        await deciding.execute(lock)
        await stores.box_office.cancel(held, deadline=Deadline.OVER, reason="cancelled_by_admin")
        await persist_all(stores)
    await decide_payments_once(stores)

    assert await balance(stores, held) == Balance(PRICE, 0, PRICE)
    assert (await decide_payments_once(stores)).bookings == 0


async def test_a_change_is_decided_later_while_its_payment_is_locked(stores):
    booking = await paid_booking(stores)
    await stores.box_office.cancel(booking, deadline=Deadline.OVER, reason="cancelled_by_admin")
    await persist_all(stores)

    async with stores.database.begin() as busy:
        await busy.execute(text("SELECT FROM payments FOR UPDATE"))
        done = await decide_payments_once(stores)

    assert done.bookings == 0
    assert (await decide_payments_once(stores)).bookings == 1
    assert await balance(stores, booking) == Balance(PRICE, 0, PRICE)


async def test_workers_beside_each_other_decide_once(stores, other_stores):
    event = await make_event(stores)
    bookings = [await paid_booking(stores, event, reference=f"transfer {n}") for n in range(4)]
    for booking in bookings:
        await stores.box_office.cancel(booking, deadline=Deadline.OVER, reason="cancelled_by_admin")
    await persist_all(stores)

    await asyncio.gather(*(decide_payments_once(each, limit=2) for each in [stores, other_stores] * 4))
    await decide_payments_once(stores)

    assert [await refunds_of(stores, each) for each in bookings] == [[(PRICE, "cancelled", "due")]] * 4
    assert await unbalanced(stores) == []


async def test_the_organizers_system_reports_a_refund_once(stores):
    booking = await paid_booking(stores)
    await stores.box_office.cancel(booking, deadline=Deadline.OVER, reason="cancelled_by_organizer")
    await settle(stores)

    async def report(amount_minor, reference="payout 1", currency="EUR"):
        await stores.payment_actions.report_refund(
            booking, amount_minor=amount_minor, currency=currency, reference=reference
        )

    for wrong in ((PRICE - 1, "payout 1", "EUR"), (PRICE, "payout 1", "USD")):
        with pytest.raises(AmountMismatch):
            await report(*wrong)
    await report(PRICE)
    await report(PRICE)
    with pytest.raises(AmountMismatch) as refused:
        await report(PRICE, "payout 2")

    assert refused.value.facts["amount_minor"] == 0
    assert await balance(stores, booking) == Balance(PRICE, PRICE, 0)


class CountingProvider:
    """A provider that pays as often as it is asked, and counts. `fails` says what each next request does."""

    def __init__(self):
        self.made = {}
        self.asked = 0
        self.fails = []

    async def find_refund(self, refund):
        found = self.made.get(refund.id)
        return found and found[0]

    async def refund(self, refund):
        self.asked += 1
        fault = self.fails.pop(0) if self.fails else ""
        if fault == "refused":
            raise ProviderUnavailable(fault, retry_after_seconds=1)
        self.made.setdefault(refund.id, []).append(f"re_{self.asked}")
        if fault == "no answer":
            raise ProviderUnavailable(fault, retry_after_seconds=1)
        if fault == "crash":
            raise KeyboardInterrupt
        return self.made[refund.id][0]

    async def open(self, intent):
        raise NotImplementedError

    async def close(self, intent):
        raise NotImplementedError

    async def disconnect(self):
        """Nothing to close."""


@pytest.fixture
def provider(stores):
    counting = CountingProvider()
    stores.money.providers[Payment.STRIPE] = counting
    return counting


async def refund_by_provider(stores):
    booking = await paid_booking(stores, provider=Payment.STRIPE, reference="pi_1")
    await stores.box_office.cancel(booking, deadline=Deadline.OVER, reason="cancelled_by_admin")
    await settle(stores)
    return booking


async def pass_time(stores):
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE refunds SET next_at = created_at"))


async def test_a_provider_refunds_once_over_all_workers(stores, other_stores, provider):
    other_stores.money.providers[Payment.STRIPE] = provider
    booking = await refund_by_provider(stores)

    await asyncio.gather(*(send_refunds_once(each) for each in [stores, other_stores] * 3))
    await pass_time(stores)
    await send_refunds_once(stores)

    assert provider.asked == 1
    assert await balance(stores, booking) == Balance(PRICE, PRICE, 0)


@pytest.mark.parametrize("fault", ["refused", "no answer", "crash"])
async def test_a_refund_whose_answer_is_lost_is_looked_up_before_it_is_sent_again(stores, provider, fault):
    booking = await refund_by_provider(stores)
    provider.fails = [fault]

    if fault == "crash":
        with pytest.raises(KeyboardInterrupt):
            await send_refunds_once(stores)
    else:
        await send_refunds_once(stores)
    assert await refunds_of(stores, booking) == [(PRICE, "cancelled", "sent")]
    assert await send_refunds_once(stores) == 0
    await pass_time(stores)
    assert await send_refunds_once(stores) == 1

    assert [len(names) for names in provider.made.values()] == [1]
    assert await balance(stores, booking) == Balance(PRICE, PRICE, 0)


async def test_a_sender_that_was_overtaken_sends_nothing(stores, provider):
    await refund_by_provider(stores)
    (slow,) = await stores.money.refunds.pick(providers=["stripe"], limit=5)
    await pass_time(stores)
    (quick,) = await stores.money.refunds.pick(providers=["stripe"], limit=5)

    assert await stores.payment_actions.send(quick)
    assert not await stores.payment_actions.send(slow)

    assert provider.asked == 1


async def test_a_refund_of_a_provider_that_is_not_configured_waits(stores):
    booking = await refund_by_provider(stores)

    assert await send_refunds_once(stores) == 0
    assert await refunds_of(stores, booking) == [(PRICE, "cancelled", "due")]
    assert await close_begun_payments_once(stores) == 0


async def test_refunds_outlive_a_wipe_of_redis(stores):
    booking = await paid_booking(stores)
    await stores.box_office.cancel(booking, deadline=Deadline.OVER, reason="cancelled_by_admin")
    await persist_all(stores)
    await lose_redis(stores)

    await decide_payments_once(stores)
    await apply_received_payments_once(stores)

    assert await refunds_of(stores, booking) == [(PRICE, "cancelled", "due")]
    assert await unbalanced(stores) == []
