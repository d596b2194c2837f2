"""Payments over HTTP: who may confirm, pay and report refunds, and what a booking tells of its money."""

from __future__ import annotations

from uuid import UUID

import pytest

from domain.kernel.refusals import Unavailable
from tests.domain.payments.money import PRICE, hold_priced, priced, settle, unbalanced
from tests.factories import as_organizer, book, hold, make_due, new_event
from tests.selling import sell, ticket_type
from tests.waiting import persist_all

API = "/api/v1/bookings"
PAID = {"payment_reference": "transfer 1", "amount_minor": PRICE, "currency": "EUR"}
REFUNDED = {"refund_reference": "payout 1", "amount_minor": PRICE, "currency": "EUR"}


class Sale:
    """An organizer's event, a buyer, and the buyer's hold with a price."""

    def __init__(self, callers, stores):
        self._callers = callers
        self._stores = stores

    async def make(self, **fields):
        self.organizer, self.buyer = await self._callers.organizer(), await self._callers.attendee()
        self.event = await self._stores.event_actions.create(
            new_event(**fields), caller=as_organizer(UUID(self.organizer.id))
        )
        self.hold = await hold_priced(self._stores, self.event, user_id=UUID(self.buyer.id))
        return self

    async def confirm(self, caller=None, *, hold=None, headers=None, **changed):
        path = f"{API}/{(hold or self.hold).id}/confirm"
        return await (caller or self.organizer).post(path, PAID | changed, headers=headers or {})

    async def shown(self):
        return (await self.buyer.get(f"{API}/{self.hold.id}/status")).json()

    async def money(self):
        told = await self.shown()
        return tuple(told.get(name) for name in ("paid_minor", "refunded_minor", "refund_due_minor"))


@pytest.fixture
async def sale(callers, stores):
    return await Sale(callers, stores).make()


async def test_an_organizer_confirms_a_hold_with_a_payment(sale, stores):
    before = await sale.shown()

    first = await sale.confirm()
    again = await sale.confirm()
    await settle(stores)
    later = await sale.confirm()

    assert "paid_minor" not in before
    assert [answer.status_code for answer in (first, again, later)] == [202, 200, 200]
    assert [answer.json()["status"] for answer in (first, again, later)] == ["pending", "pending", "confirmed"]
    assert await sale.money() == (PRICE, 0, 0)


async def test_a_confirmation_waits_for_the_booking_to_be_stored(sale, worker):  # noqa: ARG001  (runs beside)
    answer = await sale.confirm(headers={"Prefer": "wait=30"})

    assert (answer.status_code, answer.json()["status"]) == (201, "confirmed")
    assert answer.headers["Preference-Applied"] == "wait=30"


async def test_an_owner_confirms_what_costs_nothing_and_nothing_else(sale, stores):
    owner = UUID(sale.buyer.id)
    free = await hold(stores, sale.event, user_id=owner, body=priced(0))
    booked = await book(stores, sale.event, user_id=owner)
    gone = await hold(stores, sale.event, user_id=owner)
    await stores.box_office.cancel(gone)

    answers = [await sale.buyer.post(f"{API}/{each.id}/confirm", {}) for each in (free, free, booked, gone, sale.hold)]

    assert [answer.status_code for answer in answers] == [202, 200, 200, 409, 403]
    assert answers[3].json()["code"] == "not_payable"
    assert (await sale.confirm(sale.buyer)).status_code == 403
    assert (await sale.shown())["status"] == "held"


async def test_an_admin_confirms_and_a_stranger_does_not_learn_of_the_booking(sale, callers):
    strangers = [await callers.attendee(), await callers.organizer()]

    refused = [await sale.confirm(each) for each in strangers]
    admins = await sale.confirm(await callers.admin())

    assert [answer.status_code for answer in refused] == [404, 404]
    assert admins.status_code == 202


@pytest.mark.parametrize(
    ("changed", "pointers"),
    [
        ({"payment_reference": None, "amount_minor": None, "currency": None}, ["/payment_reference"]),
        ({"amount_minor": None}, ["/amount_minor"]),
        ({"payment_reference": None, "currency": None}, ["/payment_reference", "/currency"]),
        ({"amount_minor": 0}, ["/amount_minor"]),
        ({"currency": "eur"}, ["/currency"]),
        ({"payment_reference": "\n"}, ["/payment_reference"]),
    ],
)
async def test_a_payment_is_reported_whole(sale, changed, pointers):
    answer = await sale.confirm(**changed)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


async def test_refusals_say_why_and_money_that_came_is_owed(sale, stores):
    wrong = await sale.confirm(amount_minor=PRICE + 1)
    await sale.confirm()
    second = await sale.confirm(payment_reference="transfer 2")
    other = await hold_priced(stores, sale.event)
    used = await sale.confirm(hold=other)

    assert [(answer.status_code, answer.json()["code"]) for answer in (wrong, second, used)] == [
        (409, "amount_mismatch"),
        (409, "already_paid"),
        (409, "payment_reference_used"),
    ]
    assert (wrong.json()["amount_minor"], wrong.json()["currency"]) == (PRICE, "EUR")
    assert await sale.money() == (2 * PRICE, 0, PRICE)


async def test_a_payment_that_comes_too_late_is_owed_until_its_refund_is_reported(callers, stores):
    sale = await Sale(callers, stores).make(capacity=1)
    await make_due(stores, sale.hold)
    await book(stores, sale.event)

    late = await sale.confirm()
    owed = await sale.money()
    reports = [
        await sale.organizer.post(f"{API}/{sale.hold.id}/refund-paid", REFUNDED | changed)
        for changed in ({"amount_minor": 1}, {}, {}, {"refund_reference": "payout 2"})
    ]

    assert (late.status_code, late.json()["code"]) == (409, "hold_expired")
    assert owed == (PRICE, 0, PRICE)
    assert [answer.status_code for answer in reports] == [409, 200, 200, 409]
    assert reports[1].json()["refunded_minor"] == PRICE
    assert await sale.money() == (PRICE, PRICE, 0)


async def test_a_refund_is_reported_by_the_organizer_of_the_event(sale, callers):
    path = f"{API}/{sale.hold.id}/refund-paid"
    others = [sale.buyer, await callers.organizer()]

    refused = [await each.post(path, REFUNDED) for each in others]

    assert [answer.status_code for answer in refused] == [403, 404]


async def test_an_organizers_cancellation_owes_the_price(sale, stores):
    await sale.confirm()
    await settle(stores)

    cancelled = await sale.organizer.delete(f"{API}/{sale.hold.id}")
    await settle(stores)

    assert cancelled.json()["paid_minor"] == PRICE
    assert await sale.money() == (PRICE, 0, PRICE)


async def test_the_version_of_a_booking_changes_with_its_money(callers, stores):
    sale = await Sale(callers, stores).make(capacity=1)
    await sale.confirm()
    await settle(stores)
    path = f"{API}/{sale.hold.id}/status"
    known = (await sale.buyer.get(path)).headers["ETag"]

    unchanged = await sale.buyer.get(path, headers={"If-None-Match": known})
    await sale.confirm(payment_reference="transfer 2")
    changed = await sale.buyer.get(path, headers={"If-None-Match": known})

    assert (unchanged.status_code, changed.status_code) == (304, 200)


async def test_own_bookings_are_listed_with_their_money(sale, stores):
    await book(stores, sale.event, user_id=UUID(sale.buyer.id))
    await sale.confirm()
    await persist_all(stores)

    listed = (await sale.buyer.get(f"{API}/my-bookings")).json()["items"]

    assert [each.get("paid_minor") for each in listed] == [None, PRICE]


async def test_an_event_that_is_paid_in_another_way_has_no_payment_to_begin(sale, callers):
    path = f"{API}/{sale.hold.id}/pay"

    answers = [await each.post(path) for each in (sale.buyer, sale.organizer, await callers.attendee())]

    assert [answer.status_code for answer in answers] == [409, 404, 404]
    assert answers[0].json()["code"] == "not_payable"


async def test_a_payment_stands_though_its_booking_cannot_be_confirmed_now(sale, stores, client, monkeypatch):
    """PostgreSQL answers, Redis does not: the caller repeats the request, or a worker applies the payment."""
    actions = client._transport.app.app.app.state["process"].stores.payment_actions

    async def unavailable(*_: object) -> None:
        message = "no"
        raise Unavailable(message, retry_after_seconds=1)

    with monkeypatch.context() as patched:
        patched.setattr(actions, "_confirm", unavailable)
        refused = await sale.confirm()
    await settle(stores)

    assert refused.status_code == 503
    assert await sale.money() == (PRICE, 0, 0)
    assert (await sale.confirm()).status_code == 200


async def _paid(callers, stores, *, quantity, **fields):
    """An organizer, and a buyer with its paid booking of tickets at 1,001 cents."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    made = await organizer.make_event(currency="EUR", payment="external", **fields)
    event = await stores.event_actions.find(UUID(made["id"]))
    adult = ticket_type(event.id, price_minor=1_001)
    await sell(stores, event, adult)
    kept = [{"ticket_type_id": str(adult.id), "quantity": quantity}]
    held = (await buyer.post(API, {"event_id": str(event.id), "items": kept})).json()
    paid = {"payment_reference": "1", "amount_minor": held["total_minor"], "currency": "EUR"}
    answer = await organizer.post(f"{API}/{held['id']}/confirm", paid)
    assert answer.status_code == 202, answer.text
    await settle(stores)
    return buyer, f"{API}/{held['id']}", kept


@pytest.mark.parametrize(
    ("who", "policy", "due"), [("owner", "none", 0), ("owner", "full", 2_002), ("admin", "none", 2_002)]
)
async def test_of_a_reduced_booking_comes_back_what_its_tickets_cost(callers, stores, who, policy, due):
    buyer, path, kept = await _paid(callers, stores, quantity=3, refund_on_owner_cancel=policy)
    caller = buyer if who == "owner" else await callers.admin()

    reduced = await caller.patch(path, {"items": [kept[0] | {"quantity": 1}]})
    await settle(stores)
    shown = (await buyer.get(f"{path}/status")).json()

    assert reduced.status_code == 200
    assert (shown["total_minor"], shown["paid_minor"], shown["refund_due_minor"]) == (1_001, 3_003, due)
    assert await unbalanced(stores) == []


async def test_a_booking_that_is_reduced_step_by_step_and_cancelled_comes_back_in_parts(callers, stores):
    buyer, path, kept = await _paid(callers, stores, quantity=4)
    admin = await callers.admin()

    for caller, quantity in ((buyer, 3), (admin, 2), (buyer, 1)):
        await caller.patch(path, {"items": [kept[0] | {"quantity": quantity}]})
        await settle(stores)
    await admin.delete(path)
    await settle(stores)
    shown = (await buyer.get(f"{path}/status")).json()

    assert (shown["paid_minor"], shown["refund_due_minor"]) == (4_004, 2_002)
    assert await unbalanced(stores) == []
