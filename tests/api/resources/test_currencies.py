"""The currency of an event: which ones there are, and until when it can be changed."""

from __future__ import annotations

import asyncio

import pytest

from domain.kernel.refusals import CurrencyFixed, NotOnSale, Unavailable
from domain.sales.events import EventChanges
from tests.factories import ORGANIZED, make_due
from tests.selling import make_priced_event, order, sell, ticket_type
from tests.waiting import persist_all

ROUNDS = 20


def path_of(event):
    return f"/api/v1/events/{event['id']}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("BGN", "must be the code of an active currency of ISO 4217, such as EUR"),
        ("XAU", "must be the code of an active currency of ISO 4217, such as EUR"),
        ("eur", "must have the form of `EUR`"),
        ("EURO", "must have the form of `EUR`"),
        ("", "must have the form of `EUR`"),
    ],
)
async def test_an_unknown_currency_is_refused(callers, code, message):
    organizer = await callers.organizer()
    event = await organizer.make_event()

    made = await organizer.post(
        "/api/v1/events",
        {"title": "A", "location": "Berlin", "capacity": 1, "currency": code} | {"starts_at": event["starts_at"]},
    )
    changed = await organizer.patch(path_of(event), {"currency": code})

    for answer in (made, changed):
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"pointer": "/currency", "message": message}]


@pytest.mark.parametrize(("code", "decimals"), [(None, None), ("HUF", 2), ("JPY", 0), ("KWD", 3)])
async def test_an_event_shows_the_decimals_of_its_currency(callers, code, decimals):
    event = await (await callers.organizer()).make_event(currency=code)

    assert (event["currency"], event["currency_decimals"]) == (code, decimals)


async def test_a_currency_can_be_changed_until_something_was_booked(callers):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(currency="EUR")

    before = await organizer.patch(path_of(event), {"currency": "JPY"})
    await buyer.book(event["id"])
    after = [await organizer.patch(path_of(event), {"currency": code}) for code in ("EUR", None)]
    same = await organizer.patch(path_of(event), {"currency": "JPY", "title": "Another"})

    assert (before.status_code, before.json()["currency"]) == (200, "JPY")
    assert [(answer.status_code, answer.json()["code"]) for answer in after] == [(409, "currency_fixed")] * 2
    assert (same.status_code, same.json()["currency"]) == (200, "JPY")
    assert (await buyer.book(event["id"])).status_code == 202


async def test_a_free_event_gets_its_first_currency_after_it_was_booked(callers):
    """Nothing was booked at a price: prices need a currency."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    await buyer.book(event["id"])

    priced = await organizer.patch(path_of(event), {"currency": "EUR", "payment": "external"})

    assert (priced.status_code, priced.json()["currency"]) == (200, "EUR")


@pytest.mark.parametrize("persisted", [False, True])
async def test_a_booking_that_ended_fixes_the_currency_too(stores, persisted):
    """It may be paid late, or paid back."""
    event = await make_priced_event(stores)
    adult = ticket_type(event.id, price_minor=1_500)
    await sell(stores, event, adult)
    held = await order(stores, event, (adult, 1))
    await make_due(stores, held)
    await stores.box_office.booking(held.id)
    if persisted:
        await persist_all(stores)

    with pytest.raises(CurrencyFixed):
        await change(stores, event.id, "JPY")


async def change(stores, event_id, currency):
    changes = EventChanges(currency=currency)
    return await stores.event_actions.change(event_id, changes, caller=ORGANIZED, expected_version=None)


async def test_what_is_booked_during_a_change_is_in_the_currency_of_the_event(stores):
    booked = 0
    for _ in range(ROUNDS):
        event = await make_priced_event(stores)
        adult = ticket_type(event.id, price_minor=1_500)
        await sell(stores, event, adult)

        orders = [order(stores, event, (adult, 1)) for _ in range(4)]
        *made, _ = await asyncio.gather(*orders, change(stores, event.id, "JPY"), return_exceptions=True)

        current = (await stores.event_actions.find(event.id)).currency
        assert {type(each) for each in made if isinstance(each, Exception)} <= {NotOnSale, Unavailable}
        currencies = {f'"currency":"{current}"' in each.body for each in made if not isinstance(each, Exception)}
        assert currencies <= {True}
        booked += len(currencies)
    assert booked
