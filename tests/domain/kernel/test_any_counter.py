"""A counter with any name is sold as often as its size says, and the claims of a booking stay what they were."""

from __future__ import annotations

import json
from contextlib import suppress
from uuid import uuid4

import pytest
from msgspec import structs
from sqlalchemy import text

from domain.background.audit import audit
from domain.background.persisting import write
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.engine import open_stores
from domain.kernel.claims import OWN
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import CapacityBelowSold, IdempotencyKeyReused, SoldOut
from domain.sales.events import EventChanges
from domain.store.redis.admission import Ask
from tests.books import counters, retire, row
from tests.domain.kernel.orders import UNLISTED_SIZE, AnyOrder
from tests.domain.redis_faults import restart, wipe_and_restart
from tests.factories import ORGANIZED, book, make_account, make_event, place_counters
from tests.waiting import persist_all

VIP, SEAT, CODE, UNLISTED = "pool:vip", "seat:A-1", "promo:EARLY", "thing:7"


async def order(stores, event, *units, user_id=None, **fields):
    """A booking of these units of counters."""
    ask = Ask.trusted(user_id or await make_account(stores))
    return (await stores.box_office.reserve(ask, AnyOrder(event.id, units, **fields))).booking


async def event_with(stores, **sizes):
    event = await make_event(stores)
    if sizes:
        await place_counters(stores, event.id, **sizes)
    return event


async def sizes_of(stores, event):
    """The size and the count of each counter in PostgreSQL."""
    async with stores.database.connect() as connection:
        found = await connection.execute(
            text("SELECT counter, size, taken FROM counters WHERE event_id = :id"), {"id": event.id}
        )
        return {name: (size, taken) for name, size, taken in found}


async def die_after_commit(stores, event, _valkey):
    """Write what is unpersisted to PostgreSQL as a worker that dies before it settles it."""
    entries = await stores.unpersisted.read(partition_of_event(event.id), limit=100)
    await write(stores, entries, epoch=stores.scripts.epoch)


async def die_and_rebuild(stores, event, valkey):
    await die_after_commit(stores, event, valkey)
    await rebuild(stores)


async def persist_and_reconcile(stores, _event, _valkey):
    await persist_all(stores)
    assert await reconcile(stores) == []


async def restart_redis(stores, _event, valkey):
    await restart(stores, valkey)
    await rebuild(stores)


async def lose_redis(stores, _event, valkey):
    await persist_all(stores)
    await wipe_and_restart(stores, valkey)
    await rebuild(stores)


async def change_the_title(stores, event, _valkey):
    await stores.event_actions.change(event.id, EventChanges(title="Other"), caller=ORGANIZED, expected_version=None)


MISHAPS = (
    die_after_commit,
    persist_and_reconcile,
    die_and_rebuild,
    restart_redis,
    change_the_title,
    lose_redis,
    persist_and_reconcile,
)


@pytest.mark.parametrize(
    ("counter", "size"),
    [(VIP, 3), (SEAT, 1), (CODE, 3), ("terms:x", 2), (UNLISTED, UNLISTED_SIZE)],
    ids=["tickets_of_a_pool", "a_seat", "uses_of_a_code", "what_is_named_like_a_fact", "what_the_event_does_not_list"],
)
async def test_a_counter_is_sold_as_often_as_its_size_says(stores, other_stores, valkey, counter, size):
    listed = {} if counter in {SEAT, UNLISTED} else {counter: size}
    event = await event_with(stores, **listed)
    sold = 0

    for mishap in MISHAPS:
        for each in (stores, other_stores):
            with suppress(SoldOut):
                await order(each, event, (POOL_MAIN, 1), (counter, 1))
                sold += 1
        await mishap(stores, event, valkey)
        await other_stores.scripts.refresh()

    assert sold == size
    assert (await counters(stores, event))[counter] == size


async def test_a_counter_of_the_account_is_taken_as_often_as_its_size_says(stores, valkey):
    event = await make_event(stores)
    user_id = await make_account(stores)
    own = f"user:{OWN}:vip"
    sold = 0

    for mishap in MISHAPS:
        with suppress(SoldOut):
            await order(stores, event, (own, 1), user_id=user_id)
            sold += 1
        await mishap(stores, event, valkey)

    assert sold == UNLISTED_SIZE
    assert await counters(stores, event) == {f"{user_counter(user_id)}:vip": UNLISTED_SIZE}


async def test_a_counter_that_is_short_is_named(stores):
    event = await event_with(stores, **{VIP: 3, CODE: 1})
    await order(stores, event, (VIP, 2))

    with pytest.raises(SoldOut) as refused:
        await order(stores, event, (CODE, 1), (VIP, 2))

    assert (refused.value.detail, refused.value.facts) == (VIP, {"remaining": 1})
    assert await counters(stores, event) == {VIP: 2}


async def test_a_counter_named_twice_counts_twice(stores):
    event = await event_with(stores, **{VIP: 5})

    booking = await order(stores, event, (VIP, 1), (POOL_MAIN, 1), (VIP, 2))
    with pytest.raises(SoldOut):
        await order(stores, event, (VIP, 1), (VIP, 2))
    await persist_all(stores)

    assert await counters(stores, event) == {VIP: 3, POOL_MAIN: 1}
    assert (await row(stores, booking))["claims"] == f"user:{OWN}=0 {VIP}=3 {POOL_MAIN}=1"
    await stores.box_office.cancel(booking)
    assert await counters(stores, event) == {}


async def test_a_claim_of_no_units_is_never_short(stores):
    event = await event_with(stores, **{VIP: 3})
    user_id = await make_account(stores)
    await book(stores, event, user_id=user_id, quantity=2)
    await stores.event_actions.change(event.id, EventChanges(max_per_user=1), caller=ORGANIZED, expected_version=None)

    await order(stores, event, (VIP, 1), user_id=user_id, allowance=0)

    assert (await counters(stores, event))[VIP] == 1


async def test_a_removed_counter_leaves_nothing_to_reconcile(stores):
    event = await event_with(stores, **{VIP: 3, CODE: 1})
    async with stores.database.begin() as connection:
        await connection.execute(
            text("DELETE FROM counters WHERE event_id = :id AND counter = :c"), {"id": event.id, "c": VIP}
        )
    await stores.catalog.renew_terms(event.id)

    assert await reconcile(stores) == []
    await place_counters(stores, event.id, **{VIP: 2})
    assert await reconcile(stores) == []
    await order(stores, event, (VIP, 2))


async def test_postgresql_refuses_what_redis_forgot_of_any_counter(stores):
    event = await event_with(stores, **{VIP: 1})
    first = await order(stores, event, (VIP, 1))
    await persist_all(stores)
    await stores.pipeline.redis.hset(f"{{p{partition_of_event(event.id)}}}:counters:{event.id}", VIP, 0)

    second = await order(stores, event, (VIP, 1))
    await persist_all(stores)
    await reconcile(stores)

    assert [(await stores.box_office.booking(each.id)).status for each in (first, second)] == ["confirmed", "rejected"]
    assert (await sizes_of(stores, event))[VIP] == (1, 1)


async def forget_seat(stores, event):
    await stores.pipeline.redis.hset(f"{{p{partition_of_event(event.id)}}}:counters:{event.id}", SEAT, 0)


async def seat_rows(stores):
    async with stores.database.connect() as connection:
        return (await connection.execute(text("SELECT counter, booking_id FROM seats ORDER BY 1"))).all()


async def test_postgresql_refuses_a_single_that_redis_forgot(stores):
    event = await make_event(stores)
    first = await order(stores, event, (SEAT, 1))
    await persist_all(stores)
    await forget_seat(stores, event)

    second = await order(stores, event, (SEAT, 1), ("seat:A-2", 1))
    await persist_all(stores)
    await reconcile(stores)

    found = [await stores.box_office.booking(each.id) for each in (first, second)]
    assert [(each.status, each.reason) for each in found] == [("confirmed", None), ("rejected", "sold_out")]
    assert await seat_rows(stores) == [(SEAT, first.id)]


async def test_a_single_that_is_returned_and_sold_again_fits_one_batch(stores):
    event = await make_event(stores)
    first = await order(stores, event, (SEAT, 1))
    await persist_all(stores)
    await stores.box_office.cancel(first)
    second = await order(stores, event, (SEAT, 1))
    written_at_once = await stores.unpersisted.read(partition_of_event(event.id), limit=100)

    _, refused = await write(stores, written_at_once, epoch=stores.scripts.epoch)

    assert (len(written_at_once), refused) == (2, [])
    assert await seat_rows(stores) == [(SEAT, second.id)]
    await persist_all(stores)


async def test_a_single_that_is_returned_later_is_sold_to_nobody_else_before(stores):
    """The buyer is put off until the return is persisted, and not rejected."""
    event = await make_event(stores)
    first = await order(stores, event, (SEAT, 1))
    await persist_all(stores)
    await stores.box_office.cancel(first)
    second = await order(stores, event, (SEAT, 1))
    _, buyer = await stores.unpersisted.read(partition_of_event(event.id), limit=100)

    _, refused = await write(stores, [buyer], epoch=stores.scripts.epoch)
    await persist_all(stores)

    assert [reason for _, reason in refused] == ["sold_out"]
    assert (await stores.box_office.booking(second.id)).status == "confirmed"
    assert await seat_rows(stores) == [(SEAT, second.id)]


async def test_an_older_version_that_is_written_late_takes_no_single(stores):
    event = await make_event(stores)
    first = await order(stores, event, (SEAT, 1))
    before = await stores.unpersisted.read(partition_of_event(event.id), limit=100)
    await stores.box_office.cancel(first)
    await persist_all(stores)

    await write(stores, before, epoch=stores.scripts.epoch)

    assert await seat_rows(stores) == []


async def test_postgresql_refuses_two_units_of_a_single(stores):
    event = await make_event(stores)
    await order(stores, event, (SEAT, 1))
    entries = await stores.unpersisted.read(partition_of_event(event.id), limit=100)
    doubled = [structs.replace(entry, claims=entry.claims.replace(f"{SEAT}=1", f"{SEAT}=2")) for entry in entries]

    _, refused = await write(stores, doubled, epoch=stores.scripts.epoch)

    assert [reason for _, reason in refused] == ["refused"]
    await persist_all(stores)


async def test_the_audit_counts_a_single_whose_row_is_lost(stores):
    event = await make_event(stores)
    await order(stores, event, (SEAT, 1), ("seat:A-2", 1))
    await persist_all(stores)
    async with stores.database.begin() as connection:
        await connection.execute(text("DELETE FROM seats WHERE counter = :seat"), {"seat": SEAT})

    (books,) = await audit(stores, event.id)

    assert (books.row_drift, books.in_order) == (1, False)
    assert [outcome.repaired for outcome in await reconcile(stores, event.id)] == [True]


@pytest.mark.unbalanced
async def test_a_single_that_two_bookings_claim_cannot_be_repaired(stores):
    event = await make_event(stores)
    booking = await order(stores, event, (SEAT, 1))
    await persist_all(stores)
    async with stores.database.begin() as connection:
        other = "INSERT INTO bookings SELECT (jsonb_populate_record(bookings, :other)).* FROM bookings"
        other_id = f"{uuid4().hex[:-2]}{booking.id.hex[-2:]}"
        await connection.execute(text(other), {"other": json.dumps({"id": other_id})})

    outcomes = await reconcile(stores, event.id)

    assert ("row_miscounted", SEAT, False) in {
        (each.difference.fault, each.difference.subject, each.repaired) for each in outcomes
    }


async def test_a_change_of_the_event_leaves_the_sizes_of_other_counters_alone(stores):
    event = await event_with(stores, **{VIP: 3, CODE: 1})

    for changes in (EventChanges(title="Other"), EventChanges(capacity=50), EventChanges(max_per_user=2)):
        await stores.event_actions.change(event.id, changes, caller=ORGANIZED, expected_version=None)

    assert await sizes_of(stores, event) == {POOL_MAIN: (50, 0), VIP: (3, 0), CODE: (1, 0)}
    assert await reconcile(stores) == []
    with pytest.raises(SoldOut):
        await order(stores, event, (VIP, 4))


async def test_a_counter_can_get_another_size_but_none_below_what_is_taken(stores, other_stores):
    event = await event_with(stores, **{VIP: 2})
    await order(other_stores, event, (VIP, 2))

    await place_counters(stores, event.id, **{VIP: 3})
    await order(other_stores, event, (VIP, 1))

    with pytest.raises(CapacityBelowSold) as refused:
        await place_counters(stores, event.id, **{VIP: 2})
    assert refused.value.facts == {"sold": 3}
    await place_counters(stores, event.id, **{VIP: 3})
    await persist_all(stores)
    assert (await sizes_of(stores, event))[VIP] == (3, 3)


async def test_claims_are_restored_as_they_were_stored_although_the_terms_changed(stores):
    event = await event_with(stores, **{VIP: 5})
    user_id = await make_account(stores)
    booking = await order(stores, event, (VIP, 1), user_id=user_id, one_more_if_odd=True, idempotency_key="order-7")
    await persist_all(stores)
    await retire(stores, booking)
    await place_counters(stores, event.id, **{VIP: 4})

    again = await order(stores, event, (VIP, 1), user_id=user_id, one_more_if_odd=True, idempotency_key="order-7")
    assert await counters(stores, event) == {VIP: 2}
    await stores.box_office.cancel(booking)

    assert again.claims == booking.claims
    assert await counters(stores, event) == {}


async def test_bookings_of_any_counter_survive_the_loss_of_redis_with_intents(stores, settings):
    async with open_stores(settings.model_copy(update={"durability": "postgres"})) as durable:
        await durable.scripts.refresh()
        event = await event_with(durable, **{VIP: 3})
        kept = await order(durable, event, (VIP, 2), (f"user:{OWN}:vip", 1), allowance=1)
        given_back = await order(durable, event, (VIP, 1))
        await durable.box_office.cancel(given_back)
        before = await counters(durable, event)
        await stores.pipeline.redis.flushall()

        await rebuild(durable)

        assert await counters(durable, event) == before
        assert (await row(durable, kept))["claims"] == f"user:{OWN}=1 {VIP}=2 user:{OWN}:vip=1"
        assert (await row(durable, kept))["body"] is None
        assert (await row(durable, given_back))["status"] == "cancelled"
    await stores.scripts.refresh()


@pytest.mark.parametrize("memory", ["record", "row", "rebuilt"])
async def test_a_key_with_another_order_of_as_many_tickets_is_another_request(stores, memory):
    event = await event_with(stores, **{VIP: 9})
    user_id = await make_account(stores)
    named = {"user_id": user_id, "idempotency_key": "order-7"}
    booking = await order(stores, event, (VIP, 1), **named)
    if memory != "record":
        await persist_all(stores)
        await retire(stores, booking)
    if memory == "rebuilt":
        await rebuild(stores)

    with pytest.raises(IdempotencyKeyReused):
        await order(stores, event, (VIP, 2), **named)
    with pytest.raises(IdempotencyKeyReused):
        await book(stores, event, user_id=user_id, key="order-7")

    assert (await order(stores, event, (VIP, 1), **named)).id == booking.id
    assert await counters(stores, event) == {VIP: 1}
