"""Orders of ticket types: what they claim and cost, and why they are refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.engine import open_stores
from domain.kernel.bookings import BookingStatus
from domain.kernel.claims import read_claims
from domain.kernel.counters import POOL_MAIN, holds_counter, pool_counter, promo_counter, user_counter
from domain.kernel.refusals import (
    AboveMaximum,
    BelowMinimum,
    HoldExpired,
    IdempotencyKeyReused,
    Invalid,
    NotOnSale,
    PerUserLimit,
    PriceChanged,
    PromoCodeInvalid,
    PromoCodeNotForThis,
    PromoCodeUsedUp,
    RequirementMissing,
    SoldOut,
    TicketTypeNotFound,
    TooManyHolds,
)
from domain.sales.order_body import read_body
from tests.factories import book, make_account, make_due, make_event, tomorrow, until_served
from tests.selling import make_priced_event, order, promo_code, sell, ticket_pool, ticket_type
from tests.waiting import persist_all


async def test_a_ticket_claims_each_pool_by_its_weight_and_the_room(stores):
    event = await make_priced_event(stores)
    hall = ticket_pool(event.id, "Hall")
    balcony = ticket_pool(event.id, "Balcony", parent_id=hall.id)
    family = ticket_type(event.id, "Family", price_minor=6_000, pools=(balcony.id,), weight=4)
    buyer = await make_account(stores)
    await sell(stores, event, family, pools=[(hall, 50), (balcony, 20)])

    held = await order(stores, event, (family, 2), user_id=buyer)

    assert (held.status, held.quantity) == (BookingStatus.HELD, 2)
    assert read_claims(held.known_claims) == {
        user_counter(buyer): 2,
        holds_counter(buyer): 1,
        pool_counter(balcony.id): 8,
        pool_counter(hall.id): 8,
        POOL_MAIN: 8,
    }


async def test_the_prices_of_a_hold_are_those_of_its_order(stores):
    event = await make_priced_event(stores)
    adult, child = ticket_type(event.id, price_minor=2_999), ticket_type(event.id, "Child", price_minor=1_050)
    code = promo_code(event.id, "Early", percent_off=15, ticket_type_ids=(adult.id,))
    await sell(stores, event, adult, child, codes=[code])

    held = await order(stores, event, (adult, 3), (child, 1), promo_code=" eARLY ", expect_total_minor=8_697)

    body = read_body(held.body)
    assert [(line.name, line.discount_minor, line.sum_minor) for line in body.items] == [
        ("Adult", 1_350, 7_647),
        ("Child", 0, 1_050),
    ]
    assert (body.total_minor, body.currency, body.promo_code) == (8_697, "EUR", "Early")
    with pytest.raises(PriceChanged) as refused:
        await order(stores, event, (adult, 1), expect_total_minor=1)
    assert refused.value.facts == {"total_minor": 2_999, "currency": "EUR"}


async def test_a_free_order_is_confirmed_at_once_unless_it_asks_for_a_hold(stores):
    event = await make_event(stores)
    adult = ticket_type(event.id)
    await sell(stores, event, adult)

    free = await order(stores, event, (adult, 1))
    held = await order(stores, event, (adult, 1), hold=True)
    await persist_all(stores)

    assert (free.status, held.status) == (BookingStatus.PENDING, BookingStatus.HELD)
    assert (await stores.box_office.booking(free.id)).status is BookingStatus.CONFIRMED
    assert (await stores.box_office.confirm(held.id)).status is BookingStatus.PENDING


async def test_a_hold_is_read_with_its_lines_from_redis_and_from_postgresql(stores):
    event = await make_priced_event(stores)
    adult = ticket_type(event.id, price_minor=100)
    await sell(stores, event, adult)
    held = await order(stores, event, (adult, 1))

    polled = await stores.box_office.booking(held.id)
    await persist_all(stores)
    stored = await stores.ledger.find(held.id)

    assert read_body(polled.body) == read_body(stored.body) == read_body(held.body)


async def test_a_narrower_pool_is_sold_out_before_the_room(stores):
    event = await make_event(stores)
    box = ticket_pool(event.id, "Box")
    boxed, standing = ticket_type(event.id, "Box", pools=(box.id,)), ticket_type(event.id, "Standing")
    await sell(stores, event, boxed, standing, pools=[(box, 2)])
    await order(stores, event, (boxed, 1))

    with pytest.raises(SoldOut) as refused:
        await order(stores, event, (standing, 1), (boxed, 2))

    assert refused.value.facts == {"remaining": 1, "ticket_type_id": boxed.id, "earliest_release_at": None}
    await order(stores, event, (standing, 1), (boxed, 1))


async def test_family_tickets_do_not_oversell_the_pool_above(stores):
    event = await make_event(stores)
    hall = ticket_pool(event.id, "Hall")
    stalls, balcony = (ticket_pool(event.id, name, parent_id=hall.id) for name in ("Stalls", "Balcony"))
    family = ticket_type(event.id, "Family", pools=(stalls.id,), weight=4)
    single = ticket_type(event.id, "Single", pools=(balcony.id,))
    await sell(stores, event, family, single, pools=[(hall, 10), (stalls, 8), (balcony, 8)])
    await order(stores, event, (family, 2))
    await order(stores, event, (single, 2))

    with pytest.raises(SoldOut) as refused:
        await order(stores, event, (single, 1))

    assert refused.value.facts["remaining"] == 0


async def test_a_stock_takes_no_room_and_no_allowance(stores):
    event = await make_event(stores, capacity=2, max_per_user=2)
    shirts = ticket_pool(event.id, "Shirts")
    shirt = ticket_type(
        event.id, "Shirt", pools=(shirts.id,), takes_room=False, counts_for_max_per_user=False, max_per_user=3
    )
    adult, buyer = ticket_type(event.id), await make_account(stores)
    await sell(stores, event, adult, shirt, pools=[(shirts, 5)])

    await order(stores, event, (adult, 2), (shirt, 3), user_id=buyer)

    with pytest.raises(PerUserLimit) as refused:
        await order(stores, event, (shirt, 1), user_id=buyer)
    assert refused.value.facts == {"limit": 3, "already_booked": 3, "ticket_type_id": shirt.id}
    await order(stores, event, (shirt, 2))


async def test_a_promo_code_is_used_as_often_as_it_says_and_an_ended_hold_gives_its_use_back(stores):
    event = await make_priced_event(stores)
    adult = ticket_type(event.id, price_minor=1_000)
    code = promo_code(event.id, "Two", amount_off_minor=300, max_uses=2)
    await sell(stores, event, adult, codes=[code])
    first = await order(stores, event, (adult, 2), promo_code="two")
    await order(stores, event, (adult, 1), promo_code="TWO")

    with pytest.raises(PromoCodeUsedUp):
        await order(stores, event, (adult, 1), promo_code="two")
    await stores.box_office.cancel(first)

    again = await order(stores, event, (adult, 1), promo_code="two")
    assert read_claims(again.known_claims)[promo_counter(code.id)] == 1
    assert read_body(again.body).total_minor == 700


async def test_a_code_is_used_once_by_an_account_if_it_says_so(stores):
    event = await make_event(stores)
    adult, buyer = ticket_type(event.id), await make_account(stores)
    await sell(stores, event, adult, codes=[promo_code(event.id, max_uses_per_user=1)])
    await order(stores, event, (adult, 1), user_id=buyer, promo_code="early")

    with pytest.raises(PromoCodeUsedUp):
        await order(stores, event, (adult, 1), user_id=buyer, promo_code="early")
    await order(stores, event, (adult, 1), promo_code="early")


async def test_a_hidden_type_is_sold_to_those_with_its_code(stores):
    event = await make_event(stores)
    members = ticket_type(event.id, "Members", hidden=True)
    other = ticket_type(event.id, "Other")
    codes = [
        promo_code(event.id, "Club", unlocks_hidden=True),
        promo_code(event.id, "Press", ticket_type_ids=(other.id,)),
    ]
    await sell(stores, event, members, other, codes=codes)

    for wrong in (None, "press"):
        with pytest.raises(TicketTypeNotFound):
            await order(stores, event, (members, 1), promo_code=wrong)
    await order(stores, event, (members, 1), promo_code="club")
    with pytest.raises(PromoCodeInvalid):
        await order(stores, event, (members, 1), promo_code="clubs")


async def test_a_code_is_for_the_types_that_it_names(stores):
    event = await make_event(stores)
    adult, child = ticket_type(event.id), ticket_type(event.id, "Child")
    await sell(stores, event, adult, child, codes=[promo_code(event.id, ticket_type_ids=(adult.id,))])

    with pytest.raises(PromoCodeNotForThis):
        await order(stores, event, (child, 1), promo_code="early")


async def test_a_type_is_sold_in_the_quantities_that_it_allows(stores):
    event = await make_event(stores)
    group = ticket_type(event.id, "Group", min_per_booking=5, max_per_booking=10)
    await sell(stores, event, group)

    with pytest.raises(BelowMinimum):
        await order(stores, event, (group, 4))
    with pytest.raises(AboveMaximum):
        await order(stores, event, (group, 11))


async def test_a_type_that_needs_another_is_sold_with_it_or_after_it(stores):
    event = await make_event(stores)
    adult = ticket_type(event.id)
    van = ticket_type(event.id, "Van", requires_type_id=adult.id, takes_room=False)
    await sell(stores, event, adult, van)
    buyer, other = await make_account(stores), await make_account(stores)

    with pytest.raises(RequirementMissing) as refused:
        await order(stores, event, (van, 1), user_id=buyer)
    assert refused.value.facts == {"ticket_type_id": van.id, "requires_type_id": adult.id}
    await order(stores, event, (adult, 1), (van, 1), user_id=other)
    booked = await order(stores, event, (adult, 1), user_id=buyer)
    await order(stores, event, (van, 1), user_id=buyer)
    await persist_all(stores)
    await order(stores, event, (van, 1), user_id=buyer)

    await stores.box_office.cancel(booked)
    with pytest.raises(RequirementMissing):
        await order(stores, event, (van, 1), user_id=buyer)


async def test_a_type_is_sold_within_its_own_window(stores):
    event = await make_event(stores, starts_at=tomorrow())
    later = ticket_type(event.id, "Late", sales_open_at=tomorrow() - timedelta(hours=1))
    over = ticket_type(event.id, "Early bird", sales_close_at=tomorrow() - timedelta(days=2))
    await sell(stores, event, later, over)

    for each in (later, over):
        with pytest.raises(NotOnSale) as refused:
            await order(stores, event, (each, 1))
        assert refused.value.facts["ticket_type_id"] == each.id


async def test_an_account_has_as_many_holds_as_the_event_allows(stores):
    event = await make_priced_event(stores, max_holds_per_user=2)
    adult, buyer = ticket_type(event.id, price_minor=1), await make_account(stores)
    await sell(stores, event, adult)
    paid = await order(stores, event, (adult, 1), user_id=buyer)
    await order(stores, event, (adult, 1), user_id=buyer)

    with pytest.raises(TooManyHolds) as refused:
        await order(stores, event, (adult, 1), user_id=buyer)
    assert refused.value.facts == {"limit": 2}

    await stores.box_office.confirm(paid.id)
    await order(stores, event, (adult, 1), user_id=buyer)


async def test_an_order_by_number_is_one_of_the_only_free_type(stores):
    event = await make_event(stores)
    adult = ticket_type(event.id)
    await sell(stores, event, adult)

    booked = await book(stores, event, quantity=2)

    assert [line.ticket_type_id for line in read_body(booked.body).items] == [adult.id]
    await sell(stores, event, ticket_type(event.id, "Child"))
    with pytest.raises(Invalid) as refused:
        await book(stores, event)
    assert refused.value.facts["errors"][0]["pointer"] == "/items"


async def test_general_admission_is_the_type_of_an_event_without_types(stores):
    event, buyer = await make_event(stores), await make_account(stores)
    general = ticket_type(event.id, id=event.id)

    by_type = await order(stores, event, (general, 2), user_id=buyer, key="k")
    by_number = await book(stores, event, user_id=buyer, quantity=2, key="k")

    assert by_number.id == by_type.id
    assert by_type.body is None


async def test_a_retry_gets_its_booking_whatever_the_terms_are_now(stores):
    event = await make_priced_event(stores)
    adult, buyer = ticket_type(event.id, price_minor=1_000), await make_account(stores)
    await sell(stores, event, adult, codes=[promo_code(event.id)])
    first = await order(stores, event, (adult, 1), user_id=buyer, key="k", promo_code="early", expect_total_minor=1_000)
    async with stores.database.begin() as connection:
        await connection.exec_driver_sql("UPDATE ticket_types SET archived_at = now()")
        await connection.exec_driver_sql("UPDATE promo_codes SET archived_at = now()")
    await until_served(lambda: stores.catalog.renew_terms(event.id))

    again = await order(stores, event, (adult, 1), user_id=buyer, key="k", promo_code="early", expect_total_minor=1_000)

    assert again.id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await order(stores, event, (adult, 2), user_id=buyer, key="k", promo_code="early")
    with pytest.raises(TicketTypeNotFound):
        await order(stores, event, (adult, 1), user_id=buyer)


async def test_a_type_that_another_process_added_is_found(stores, other_stores):
    event = await make_event(stores)
    await book(other_stores, event)
    adult = ticket_type(event.id)
    await sell(stores, event, adult)

    assert (await order(other_stores, event, (adult, 1))).quantity == 1


async def test_a_late_payment_takes_tickets_again_only_while_their_type_is_on_sale(stores):
    event = await make_priced_event(stores)
    adult = ticket_type(event.id, price_minor=1_000)
    await sell(stores, event, adult)
    saved, lost = [await order(stores, event, (adult, 1)) for _ in range(2)]
    for each in (saved, lost):
        await make_due(stores, each)

    assert (await stores.box_office.confirm(saved.id)).status is BookingStatus.PENDING
    async with stores.database.begin() as connection:
        await connection.exec_driver_sql("UPDATE ticket_types SET sales_close_at = now() - interval '1 hour'")
    await until_served(lambda: stores.catalog.renew_terms(event.id))
    with pytest.raises(HoldExpired):
        await stores.box_office.confirm(lost.id)


async def test_a_test_may_shorten_every_hold(stores, settings):
    event = await make_priced_event(stores, hold_seconds=600)
    adult = ticket_type(event.id, price_minor=1_500)
    await sell(stores, event, adult)
    async with open_stores(settings.model_copy(update={"test_hold_ms": 500})) as short:
        await short.scripts.refresh()
        held = await order(short, event, (adult, 1))

    assert held.due_at - held.created_at == timedelta(milliseconds=500)
