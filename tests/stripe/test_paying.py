"""Payments at Stripe: told twice, too early, too late or never, each is taken once, and goes back once if it must."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from domain.background.payments import close_begun_payments_once, send_refunds_once
from domain.background.rebuilding import rebuild
from domain.kernel.bookings import BookingStatus
from domain.sales.events import Deadline, Payment
from tests.api.conftest import serving
from tests.domain.payments.money import PRICE, hold_priced, lose_redis, payments_of, settle, unbalanced
from tests.factories import book, make_due
from tests.stripe.account import SECRET_KEY, WEBHOOK_SECRET, signed
from tests.waiting import eventually, persist_all


async def make_refunds_due(stores):
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE refunds SET next_at = created_at"))
        await connection.execute(text("UPDATE payment_intents SET next_at = created_at"))


async def tell_all(sale, account, intent, *, times=1):
    payload = account.message(intent)
    return [(await sale.tell(payload, signed(payload))).status_code for _ in range(times)]


async def test_a_buyer_pays_at_stripe_and_a_webhook_confirms_the_booking(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)

    told = await tell_all(sale, account, intent)
    await settle(stores)

    assert told == [200]
    assert (await sale.shown())["status"] == "confirmed"
    assert await sale.money() == (PRICE, 0, 0)
    assert await unbalanced(stores) == []


async def test_a_repeated_request_to_pay_is_the_same_payment(sale, account):
    first = await sale.begin()
    again = await asyncio.gather(*(sale.begin() for _ in range(4)))

    assert {first, *again} == {first}
    assert account.intent(first)["metadata"]["onsale_booking_id"] == str(sale.hold.id)


async def test_payments_that_are_begun_at_once_are_one_payment(sale):
    begun = await asyncio.gather(*(sale.begin() for _ in range(6)))

    assert len(set(begun)) == 1


async def test_a_payment_that_is_told_many_times_at_once_is_taken_once(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)

    told = await asyncio.gather(*(tell_all(sale, account, intent, times=2) for _ in range(6)))
    await settle(stores)

    assert told == [[200, 200]] * 6
    assert await payments_of(stores, sale.hold) == [(intent, "applied", None)]
    assert await unbalanced(stores) == []


async def test_a_payment_is_taken_before_the_request_that_began_it_is_answered(sale, account, stores):
    """The process died between Stripe's answer and its own: it does not know the PaymentIntent, the webhook does."""
    intent = await sale.begin()
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE payment_intents SET state = 'opening', reference = NULL"))
    account.pay(intent)

    told = await tell_all(sale, account, intent)
    await settle(stores)

    assert told == [200]
    assert (await sale.shown())["status"] == "confirmed"


async def test_other_messages_of_the_account_are_taken_and_do_nothing(sale, account, stores):
    intent, strange = await sale.begin(), account.make_intent()
    failed = account.message(intent, kind="payment_intent.payment_failed")
    strangers = account.message(strange)
    unknown = account.message(account.make_intent(**_of("0a0a0a0a-0000-4000-8000-0000000000aa")))

    answers = [await sale.tell(each, signed(each)) for each in (failed, strangers, unknown)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert (await sale.shown())["status"] == "held"
    assert await payments_of(stores, sale.hold) == []


def _of(event_id):
    return {"metadata[onsale_booking_id]": event_id, "metadata[onsale_event_id]": event_id}


async def test_a_message_with_a_wrong_signature_is_refused(sale, account):
    payload = account.message(await sale.begin())
    fields = [
        signed(payload, secret="whsec_other"),
        signed(payload, age_s=400),
        signed(payload + b" "),
        {"Stripe-Signature": "t=1,v1="},
        {},
    ]

    answers = [await sale.tell(payload, each) for each in fields]
    not_text = await sale.tell(b"\xff", signed(b"\xff"))

    assert [(answer.status_code, answer.json()["code"]) for answer in [*answers, not_text]] == [
        (400, "signature_invalid")
    ] * 6
    assert (await sale.shown())["status"] == "held"


async def test_wrong_signatures_are_limited_and_right_ones_are_not(clean, account, settings):  # noqa: ARG001
    payload = account.message(account.make_intent())
    async with serving(account.of(settings)) as limited:
        path = "/api/v1/payments/stripe/webhook"
        wrong = [await limited.post(path, content=payload) for _ in range(61)]
        right = [await limited.post(path, content=payload, headers=signed(payload)) for _ in range(70)]

    assert [answer.status_code for answer in wrong] == [400] * 60 + [429]
    assert {answer.status_code for answer in right} == {200}


async def test_without_a_key_no_message_is_taken(clean, settings, account):  # noqa: ARG001  (clean servers)
    payload = account.message(account.make_intent())
    async with serving(settings) as client:
        answer = await client.post("/api/v1/payments/stripe/webhook", content=payload, headers=signed(payload))

    assert answer.status_code == 400


async def test_late_money_takes_the_tickets_again(new_sale, account, stores):
    sale = await new_sale(capacity=1)
    intent = await sale.begin()
    account.pay(intent)
    await make_due(stores, sale.hold)
    await persist_all(stores)

    await tell_all(sale, account, intent)
    await settle(stores)

    assert (await sale.shown())["status"] == "confirmed"
    assert await unbalanced(stores) == []


async def test_late_money_whose_tickets_are_sold_goes_back_once(new_sale, account, stores, other_stores):
    sale = await new_sale(capacity=1)
    intent = await sale.begin()
    account.pay(intent)
    await make_due(stores, sale.hold)
    await book(stores, sale.event)

    told = await tell_all(sale, account, intent, times=3)
    await asyncio.gather(send_refunds_once(stores), send_refunds_once(other_stores), send_refunds_once(stores))
    await tell_all(sale, account, intent)
    await send_refunds_once(stores)

    assert told == [200] * 3
    assert (await sale.shown())["status"] == "expired"
    assert account.refunded(intent) == [PRICE]
    assert await sale.money() == (PRICE, PRICE, 0)


@pytest.mark.parametrize("fault", ["refuse", "lose"])
async def test_a_refund_whose_answer_is_lost_is_made_once_without_trust_in_keys(sale, account, stores, fault):
    intent = await sale.begin()
    account.pay(intent)
    await tell_all(sale, account, intent)
    await settle(stores)
    await stores.box_office.cancel(sale.hold, deadline=Deadline.OVER, reason="cancelled_by_organizer")
    await settle(stores)
    account.fail(fault)

    first = await send_refunds_once(stores)
    account.forget_keys()
    await make_refunds_due(stores)
    second = await send_refunds_once(stores)

    assert (first, second) == (0, 1)
    assert account.refunded(intent) == [PRICE]
    assert await sale.money() == (PRICE, PRICE, 0)


async def test_a_crash_between_refund_and_record_refunds_once(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)
    await tell_all(sale, account, intent)
    await settle(stores)
    await stores.box_office.cancel(sale.hold, deadline=Deadline.OVER, reason="cancelled_by_organizer")
    await settle(stores)
    (sent,) = await stores.money.refunds.pick(providers=["stripe"], limit=1)
    await stores.money.providers[Payment.STRIPE].refund(sent)

    account.forget_keys()
    await make_refunds_due(stores)

    assert await send_refunds_once(stores) == 1
    assert account.refunded(intent) == [PRICE]


async def test_the_payment_of_a_hold_that_was_given_back_is_cancelled(sale, account, stores):
    intent = await sale.begin()
    await persist_all(stores)
    still = await close_begun_payments_once(stores)

    await sale.buyer.delete(f"/api/v1/bookings/{sale.hold.id}")
    await persist_all(stores)
    closed = await close_begun_payments_once(stores)

    assert (still, closed) == (0, 1)
    assert account.intent(intent)["status"] == "canceled"
    assert await close_begun_payments_once(stores) == 0


async def test_a_payment_that_no_webhook_told_of_is_found_when_its_hold_has_ended(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)
    await sale.buyer.delete(f"/api/v1/bookings/{sale.hold.id}")
    await persist_all(stores)

    assert await close_begun_payments_once(stores) == 1
    await settle(stores)
    assert await send_refunds_once(stores) == 1

    assert account.refunded(intent) == [PRICE]
    assert await sale.money() == (PRICE, PRICE, 0)


async def test_a_payment_survives_a_wipe_of_redis_before_its_booking_is_stored(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)
    told = await tell_all(sale, account, intent)

    await lose_redis(stores)
    await settle(stores)

    assert told == [200]
    assert (await stores.box_office.booking(sale.hold.id)).status is BookingStatus.CONFIRMED
    assert await unbalanced(stores) == []


async def test_a_webhook_during_a_rebuild_stands_and_is_applied_afterwards(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)
    await persist_all(stores)
    await stores.pipeline.redis.flushall()

    told = await tell_all(sale, account, intent)
    stands = await payments_of(stores, sale.hold)
    await rebuild(stores)
    await settle(stores)

    assert told == [200]
    assert stands == [(intent, "received", None)]
    assert (await sale.shown())["status"] == "confirmed"
    assert await unbalanced(stores) == []


async def test_an_external_and_a_stripe_payment_of_one_booking_are_two_payments(sale, account, stores):
    intent = await sale.begin()
    account.pay(intent)
    paid = {"payment_reference": "cash", "amount_minor": PRICE, "currency": "EUR"}
    await sale.organizer.post(f"/api/v1/bookings/{sale.hold.id}/confirm", paid)

    await tell_all(sale, account, intent)
    await settle(stores)
    await send_refunds_once(stores)

    assert account.refunded(intent) == [PRICE]
    assert await sale.money() == (2 * PRICE, PRICE, 0)
    assert await unbalanced(stores) == []


async def test_webhooks_reach_running_processes_and_nothing_logs_a_key(sale, account, processes, stores):
    """The whole way: Stripe's own message, to an API process of its own, with a worker beside it."""
    api, worker = processes.api(**account.environment()), processes.worker(**account.environment())
    account.send_messages_to(f"{api.url}/api/v1/payments/stripe/webhook")
    late = await hold_priced(stores, sale.event)
    await stores.box_office.cancel(late)
    intent = await sale.begin()
    account.pay(intent)

    await eventually(sale.shown, is_so=lambda shown: shown["status"] == "confirmed")
    await stores.box_office.cancel(sale.hold, deadline=Deadline.OVER, reason="cancelled_by_organizer")
    await eventually(sale.money, is_so=lambda money: money == (PRICE, PRICE, 0))

    said = api.log.read_text() + worker.log.read_text()
    assert account.refunded(intent) == [PRICE]
    assert SECRET_KEY not in said
    assert WEBHOOK_SECRET not in said
