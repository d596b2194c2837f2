"""Holds over HTTP: orders by ticket type, with prices and promo codes, and how long they are held."""

from __future__ import annotations

from uuid import UUID

from tests.factories import make_due
from tests.selling import promo_code, sell, ticket_type
from tests.waiting import persist_all


async def _sale(callers, stores, *, price_minor=1_500, codes=(), **fields):
    organizer = await callers.organizer()
    made = await organizer.make_event(**{"currency": "EUR", "payment": "external"} | fields)
    event = await stores.event_actions.find(UUID(made["id"]))
    adult = ticket_type(event.id, price_minor=price_minor)
    await sell(stores, event, adult, codes=[promo_code(event.id, **code) for code in codes])
    return event, adult, await callers.attendee()


def _order(event, adult, quantity=1, **fields):
    return {"event_id": str(event.id), "items": [{"ticket_type_id": str(adult.id), "quantity": quantity}]} | fields


async def test_tickets_with_a_price_are_held(callers, stores):
    event, adult, buyer = await _sale(callers, stores, codes=[{"code": "Early", "percent_off": 10}])
    order = _order(event, adult, 2, promo_code="early", expect_total_minor=2_700)

    made = await buyer.post("/api/v1/bookings", order, headers={"Idempotency-Key": "k", "Prefer": "wait=5"})
    again = await buyer.post("/api/v1/bookings", order, headers={"Idempotency-Key": "k"})

    assert (made.status_code, again.status_code) == (201, 200)
    held = made.json()
    assert held | {"status": "held", "total_minor": 2_700, "currency": "EUR", "promo_code": "Early"} == held
    assert held["items"] == [
        {
            "ticket_type_id": str(adult.id),
            "name": "Adult",
            "quantity": 2,
            "unit_price_minor": 1_500,
            "discount_minor": 300,
            "sum_minor": 2_700,
        }
    ]
    assert again.json() == held
    polled = await buyer.get(made.headers["Location"])
    await persist_all(stores)
    assert (await buyer.get(made.headers["Location"])).json() == polled.json() == held
    assert (await buyer.get("/api/v1/bookings/my-bookings")).json()["items"] == [held]


async def test_a_hold_is_told_expired_at_its_deadline(callers, stores):
    event, adult, buyer = await _sale(callers, stores)
    made = await buyer.post("/api/v1/bookings", _order(event, adult))
    await make_due(stores, await stores.box_office.booking(UUID(made.json()["id"])))

    polled = await buyer.get(made.headers["Location"], headers={"If-None-Match": made.headers["ETag"]})

    assert (polled.status_code, polled.json()["status"]) == (200, "expired")


async def test_a_hold_is_extended_until_its_cap(callers, stores):
    event, adult, buyer = await _sale(callers, stores)
    short, child, _ = await _sale(callers, stores, hold_seconds=60, hold_extend_until_seconds=60)
    held = (await buyer.post("/api/v1/bookings", _order(event, adult))).json()
    at_cap = (await buyer.post("/api/v1/bookings", _order(short, child))).json()

    extended = await buyer.post(f"/api/v1/bookings/{held['id']}/extend")
    capped = await buyer.post(f"/api/v1/bookings/{at_cap['id']}/extend")
    stranger = await (await callers.attendee()).post(f"/api/v1/bookings/{held['id']}/extend")

    assert extended.status_code == 200
    assert extended.json()["expires_at"] > held["expires_at"]
    assert (capped.status_code, capped.json()["code"]) == (409, "hold_at_cap")
    assert capped.json()["expires_at"] == at_cap["expires_at"]
    assert stranger.status_code == 404


async def test_an_order_says_either_how_many_or_which(callers, stores):
    event, adult, buyer = await _sale(callers, stores, price_minor=0)
    both = _order(event, adult, quantity=1) | {"quantity": 2}
    twice = _order(event, adult) | {"items": [{"ticket_type_id": str(adult.id)}] * 2}
    code = {"event_id": str(event.id), "promo_code": "x"}

    answers = [await buyer.post("/api/v1/bookings", body) for body in (both, twice, code)]

    assert [answer.json()["errors"][0]["pointer"] for answer in answers] == [
        "/quantity",
        "/items/1/ticket_type_id",
        "/items",
    ]


async def test_an_order_by_number_needs_one_free_type(callers, stores):
    event, _, buyer = await _sale(callers, stores)

    refused = await buyer.book(str(event.id))

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/items")


async def test_refusals_name_the_ticket_type(callers, stores):
    event, adult, buyer = await _sale(callers, stores, capacity=1, price_minor=0)
    await buyer.post("/api/v1/bookings", _order(event, adult))

    refused = await buyer.post("/api/v1/bookings", _order(event, adult))

    assert refused.status_code == 409
    assert refused.json() | {"code": "sold_out", "remaining": 0, "ticket_type_id": str(adult.id)} == refused.json()


async def test_prices_need_a_currency_and_a_payment(callers):
    organizer = await callers.organizer()

    event = await organizer.make_event()

    patched = await organizer.patch(f"/api/v1/events/{event['id']}", {"payment": "external"})

    assert (patched.status_code, patched.json()["errors"][0]["pointer"]) == (422, "/currency")
