"""Payments beside everything that ends a hold, and beside the death of their process: money always adds up."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import httpx
import pytest
from msgspec import Struct
from sqlalchemy import text

from domain.background.payments import apply_received_payments_once, decide_payments_once
from domain.background.persisting import sweep_once
from domain.engine import Stores, open_stores
from domain.kernel.bookings import Booking, BookingStatus
from domain.sales.events import Deadline, Event
from domain.sales.payments import Balance
from tests.api.callers import Callers
from tests.books import differences, row
from tests.domain.payments.money import (
    PRICE,
    balance,
    hold_priced,
    lose_redis,
    make_received_due,
    pay,
    payment_of,
    payments_of,
    settle,
    unbalanced,
)
from tests.factories import ORGANIZED, as_organizer, book, make_due, make_event, new_event
from tests.waiting import eventually, persist_all

ROUNDS = 8


class Race(Struct, frozen=True):
    """A hold of the only ticket of an event, which is about to be paid."""

    stores: Stores
    held: Booking
    event: Event


async def given_back(race):
    await race.stores.box_office.cancel(race.held)


async def cancelled_by_organizer(race):
    await race.stores.box_office.cancel(race.held, deadline=Deadline.OVER, reason="cancelled_by_organizer")


async def deadline(race):
    await make_due(race.stores, race.held)
    await sweep_once(race.stores)


async def rival(race):
    await make_due(race.stores, race.held)
    await book(race.stores, race.event)


async def event_cancelled(race):
    await race.stores.event_actions.cancel(race.event.id, caller=ORGANIZED)
    await race.stores.box_office.clear_event(race.event.id, after=None)


async def persisted(race):
    await persist_all(race.stores)
    await decide_payments_once(race.stores)


async def paid_twice(race):
    await pay(race.stores, race.held, "transfer 2")


async def new_epoch(race):
    await lose_redis(race.stores)


@pytest.mark.parametrize(
    "beside",
    [given_back, cancelled_by_organizer, deadline, rival, event_cancelled, persisted, paid_twice, new_epoch],
)
async def test_a_payment_beside_what_ends_its_hold_adds_up(stores, other_stores, beside):
    for _ in range(ROUNDS):
        event = await make_event(stores, capacity=1)
        held = await hold_priced(stores, event)
        await persist_all(stores)

        await asyncio.gather(
            pay(stores, held),
            pay(other_stores, held),
            beside(Race(stores, held, event)),
            retried(other_stores),
            return_exceptions=True,
        )
        await stores.scripts.refresh()
        await settle(stores)
        await settle(stores)

        (_, state, _), *_ = await payments_of(stores, held)
        confirmed = (await row(stores, held))["status"] == "confirmed"
        assert state != "received"
        assert not confirmed or "applied" in {each[1] for each in await payments_of(stores, held)}
        assert await unbalanced(stores) == []
        assert await differences(stores) == []


async def retried(stores):
    await make_received_due(stores)
    await apply_received_payments_once(stores)


@pytest.mark.parametrize("durability", ["redis", "postgres"])
async def test_a_confirmation_outlives_the_loss_of_redis_with_every_durability(clean, settings, durability):  # noqa: ARG001
    async with open_stores(settings.model_copy(update={"durability": durability})) as stores:
        await stores.scripts.refresh()
        held = await hold_priced(stores, await make_event(stores))
        await pay(stores, held)

        await lose_redis(stores)
        await settle(stores)

        assert (await stores.box_office.booking(held.id)).status is BookingStatus.CONFIRMED
        assert await balance(stores, held) == Balance(PRICE, 0, 0)
        assert await unbalanced(stores) == []


async def test_a_payment_whose_process_is_killed_before_it_confirms_is_applied(stores, processes, tmp_path):
    hits = tmp_path / "hits"
    hits.touch()
    dying = processes.api(CHAOS="on", FAILPOINTS=json.dumps({"payment_stored": 1.0}), FAILPOINT_HITS=str(hits))
    async with httpx.AsyncClient(base_url=dying.url) as client:
        organizer = await Callers(client, stores).organizer()
        event = await stores.event_actions.create(new_event(), caller=as_organizer(UUID(organizer.id)))
        held = await hold_priced(stores, event)
        paid = {"payment_reference": "transfer 1", "amount_minor": PRICE, "currency": "EUR"}
        with pytest.raises(httpx.TransportError):
            await organizer.post(f"/api/v1/bookings/{held.id}/confirm", paid)

    stood = await payments_of(stores, held)
    processes.worker()

    async def confirmed():
        return (await row(stores, held))["status"] == "confirmed"

    await eventually(confirmed)
    assert hits.read_text() == "payment_stored\n"
    assert stood == [("transfer 1", "received", None)]
    await eventually(lambda: payments_of(stores, held), is_so=lambda found: found[0][1] == "applied")


async def test_a_payment_that_another_process_decides_is_waited_for(stores, other_stores):
    """The lock on the row of a payment lets two processes never decide it differently."""
    held = await hold_priced(stores, await make_event(stores))
    taken = await stores.money.payments.take(payment_of(held))

    async with stores.database.begin() as deciding:
        lock = text("SELECT FROM payments WHERE id = :id FOR UPDATE")
        await deciding.execute(lock, {"id": taken.payment.id})
        waiting = asyncio.create_task(pay(other_stores, held))
        await eventually(lambda: waits_for_a_lock(stores))
        undecided = (await stores.box_office.booking(held.id)).status
        skipped = await stores.money.payments.received(again_after_s=1.0, limit=5)

    assert (undecided, skipped) == (BookingStatus.HELD, [])
    assert (await waiting).status is BookingStatus.PENDING


async def waits_for_a_lock(stores):
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with stores.database.connect() as connection:
        return (await connection.execute(waiting)).scalar_one()
