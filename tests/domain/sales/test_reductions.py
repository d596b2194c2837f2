"""What a booking keeps of its lines, its claims and its total when some of its tickets are given back."""

from __future__ import annotations

from uuid import uuid4

import pytest
from msgspec import structs

from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.claims import read_claims
from domain.kernel.counters import (
    POOL_MAIN,
    holds_counter,
    pool_counter,
    promo_counter,
    promo_user_counter,
    user_counter,
    user_type_counter,
)
from domain.kernel.refusals import MoreThanBooked
from domain.sales.order_body import OrderLine, PricedOrder, ReducedBy, read_body, write_body
from domain.sales.reductions import reduce_lines
from domain.sales.ticket_types import Catalogue, general_admission
from tests.selling import CREATED_AT, ticket_pool, ticket_type

EVENT, USER, CODE = uuid4(), uuid4(), uuid4()
HALL = ticket_pool(EVENT, "Hall")
STALLS = ticket_pool(EVENT, "Stalls", parent_id=HALL.id)
ADULT = ticket_type(EVENT, "Adult", pools=(STALLS.id,), max_per_user=6)
FAMILY = ticket_type(EVENT, "Family", pools=(STALLS.id,), weight=4)
SHIRT = ticket_type(EVENT, "Shirt", takes_room=False, counts_for_max_per_user=False)
CATALOGUE = Catalogue((general_admission(EVENT, CREATED_AT), ADULT, FAMILY, SHIRT), (HALL, STALLS)).index()


def line(each, quantity, sum_minor=0, *, unit_price_minor=0):
    discount = unit_price_minor * quantity - sum_minor
    return OrderLine(each.id, each.name, quantity, unit_price_minor, discount, sum_minor)


def booking(claims, *lines, code=False):
    body = PricedOrder(
        items=lines,
        total_minor=sum(each.sum_minor for each in lines),
        currency="EUR",
        promo_code_id=CODE if code else None,
        promo_code="EARLY" if code else None,
    )
    return Booking(
        id=uuid4(),
        event_id=EVENT,
        user_id=USER,
        quantity=sum(each.quantity for each in lines),
        status=BookingStatus.CONFIRMED,
        version=2,
        created_at=CREATED_AT,
        claims=" ".join(f"{counter}={units}" for counter, units in claims.items()),
        body=write_body(body),
    )


def kept(made, *lines):
    """What is kept of a booking: its claims, its quantity and its body."""
    reduction = reduce_lines(made, [(each.id, quantity) for each, quantity in lines], CATALOGUE, by=ReducedBy.OWNER)
    return read_claims(reduction.claims), reduction.quantity, read_body(reduction.body)


def test_each_ticket_gives_back_what_its_type_claims():
    claims = {
        user_counter(USER): 3,
        user_type_counter(USER, ADULT.id): 2,
        holds_counter(USER): 1,
        pool_counter(STALLS.id): 6,
        pool_counter(HALL.id): 6,
        POOL_MAIN: 6,
    }
    made = booking(claims, line(ADULT, 2), line(FAMILY, 1), line(SHIRT, 5))

    left, quantity, body = kept(made, (ADULT, 1), (SHIRT, 2))

    assert left == {
        user_counter(USER): 1,
        user_type_counter(USER, ADULT.id): 1,
        holds_counter(USER): 1,
        pool_counter(STALLS.id): 1,
        pool_counter(HALL.id): 1,
        POOL_MAIN: 1,
    }
    assert quantity == 3
    assert body.items == (line(ADULT, 1), line(SHIRT, 2))


def test_what_was_never_claimed_is_not_given_back():
    """A comp claims no allowance, and a limit of a type may be newer than the booking."""
    made = booking(
        {user_counter(USER): 0, pool_counter(STALLS.id): 2, pool_counter(HALL.id): 2, POOL_MAIN: 2}, line(ADULT, 2)
    )

    left, _, _ = kept(made, (ADULT, 1))

    assert left == {user_counter(USER): 0, pool_counter(STALLS.id): 1, pool_counter(HALL.id): 1, POOL_MAIN: 1}


def test_the_tickets_that_remain_are_the_first_ones_in_however_many_steps():
    made = booking({POOL_MAIN: 7}, line(SHIRT, 7, 1_000, unit_price_minor=150))

    _, _, at_once = kept(made, (SHIRT, 3))
    reduction = reduce_lines(made, [(SHIRT.id, 5)], CATALOGUE, by=ReducedBy.OWNER)
    between = structs.replace(made, claims=reduction.claims, quantity=reduction.quantity, body=reduction.body)
    _, _, in_steps = kept(between, (SHIRT, 3))

    assert at_once == in_steps
    assert (at_once.total_minor, at_once.items[0].sum_minor, at_once.items[0].discount_minor) == (429, 429, 21)


def test_the_use_of_a_code_comes_back_with_the_last_ticket_that_it_has_made_cheaper():
    claims = {promo_counter(CODE): 1, promo_user_counter(CODE, USER): 1, POOL_MAIN: 4}
    made = booking(
        claims, line(ADULT, 2, 900, unit_price_minor=500), line(FAMILY, 2, 2_000, unit_price_minor=1_000), code=True
    )

    used, _, body_with = kept(made, (ADULT, 1), (FAMILY, 1))
    returned, _, body_without = kept(made, (FAMILY, 2))

    assert (used[promo_counter(CODE)], used[promo_user_counter(CODE, USER)], body_with.promo_code) == (1, 1, "EARLY")
    assert (returned[promo_counter(CODE)], returned[promo_user_counter(CODE, USER)]) == (0, 0)
    assert (body_without.promo_code, body_without.promo_code_id, body_without.total_minor) == (None, None, 2_000)


@pytest.mark.parametrize("by", ReducedBy)
def test_a_body_says_who_has_reduced_it_last(by):
    first = reduce_lines(booking({POOL_MAIN: 4}, line(ADULT, 4)), [(ADULT.id, 3)], CATALOGUE, by=ReducedBy.OWNER)
    reduced = structs.replace(booking({POOL_MAIN: 3}, line(ADULT, 3)), body=first.body)

    again = reduce_lines(reduced, [(ADULT.id, 1)], CATALOGUE, by=by)

    assert [read_body(each.body).reduced_by for each in (first, again)] == [ReducedBy.OWNER, by]


def test_a_code_without_a_discount_stays_used():
    made = booking({promo_counter(CODE): 1, POOL_MAIN: 2}, line(ADULT, 1), line(FAMILY, 1), code=True)

    left, _, body = kept(made, (FAMILY, 1))

    assert (left[promo_counter(CODE)], body.promo_code) == (1, "EARLY")


@pytest.mark.parametrize(("chosen", "booked"), [((ADULT, 3), 2), ((FAMILY, 1), 0)], ids=["more", "another type"])
def test_a_booking_does_not_grow(chosen, booked):
    with pytest.raises(MoreThanBooked) as refused:
        kept(booking({POOL_MAIN: 2}, line(ADULT, 2)), chosen)

    assert refused.value.facts == {"ticket_type_id": chosen[0].id, "quantity": booked}


def test_a_booking_without_lines_has_tickets_of_the_type_with_the_id_of_its_event():
    plain = Booking(
        id=uuid4(),
        event_id=EVENT,
        user_id=USER,
        quantity=3,
        status=BookingStatus.CONFIRMED,
        version=2,
        created_at=CREATED_AT,
        claims=f"{user_counter(USER)}=3 {POOL_MAIN}=3",
    )

    reduction = reduce_lines(plain, [(EVENT, 1)], CATALOGUE, by=ReducedBy.OWNER)

    assert (reduction.claims, reduction.quantity, reduction.body) == (f"{user_counter(USER)}=1 {POOL_MAIN}=1", 1, "")
