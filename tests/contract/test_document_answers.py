"""Every success answer of the OpenAPI document is requested; header fields are compared in both directions."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from api.reads import availability
from domain.accounts.accounts import Role
from domain.platform.settings import Limit
from domain.store.job_queue import QUEUE_NAME
from tests.api.callers import PASSWORD, Callers, event_draft
from tests.api.conftest import started
from tests.contract.documented import TRANSPORT, faults_of, operation_of, operations, resolved
from tests.domain.payments.money import PRICE, hold_priced, settle
from tests.factories import as_organizer, new_event
from tests.stripe.account import provided, signed
from tests.waiting import keep_persisting, persist_all

API = "/api/v1"

LIMIT = Limit.parse("1000/min")

REPLAYS_MAX = 6
"""So many tickets of the event an account may still have then."""


class Seen:
    """The header fields of every answer by operation and status, and the faults of all answers."""

    def __init__(self):
        self.headers = defaultdict(set)
        self.faults = []

    async def note(self, answer):
        await answer.aread()
        self.faults += faults_of(answer)
        operation = operation_of(answer.request.method, answer.request.url.path)
        if operation:
            self.headers[operation["operationId"], str(answer.status_code)] |= set(answer.headers) - TRANSPORT


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
async def noted(clean, settings, seen):  # noqa: ARG001  (clean servers)
    """A client behind TLS of an API process with limits; `seen` notes its answers."""
    limits = {name: LIMIT for name in type(settings).model_fields if name.startswith("limit_")}
    app = create_app(provided(settings).model_copy(update=limits | {"test_payments": "on"}))
    async with (
        started(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="https://onsale.test",
            event_hooks={"response": [seen.note]},
        ) as client,
    ):
        yield client


async def test_every_success_has_the_header_fields_that_the_document_declares_for_it(noted, seen, stores, monkeypatch):
    # This client reads a stream to its end.
    monkeypatch.setattr(availability, "STREAM_S_MAX", 0.0)
    callers = Callers(noted, stores)
    organizer, admin = await callers.organizer(), await callers.admin()
    event = await organizer.make_event()

    await _ask_service(noted, stores)
    with monkeypatch.context() as full:
        full.setattr(availability, "STREAMS_MAX", 0)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "one"}
        await noted.get(f"{API}/events/{event['id']}/availability", headers=headers)
    await _ask_session(callers, noted)
    await _sell(organizer, noted, event["id"])
    await _book_and_follow(await callers.attendee(), event["id"], stores)
    await _say_what_is_sold(organizer, f"{API}/events/{event['id']}")
    await _hold(await callers.attendee(), event["id"])
    await _give(organizer, event["id"], stores)
    await _pay(organizer, await callers.attendee(), noted, stores)
    await _ask_guests(organizer, event["id"])
    await _administrate(admin, await callers.attendee(), event["id"], noted)
    await organizer.delete(f"{API}/events/{event['id']}")

    assert seen.faults == []
    declared = dict(_declared_successes())
    assert {each for each in declared if each not in seen.headers} == set(), "ask for these too"
    assert {each: declared[each] - seen.headers[each] for each in declared if declared[each] - seen.headers[each]} == {}


def _declared_successes():
    for name, operation in operations().items():
        for status, response in operation["responses"].items():
            if status < "400" or (name, status) == ("service_ready", "503"):
                yield (name, status), {header.lower() for header in resolved(response)["headers"]}


async def _ask_service(client, stores):
    await client.get("/health/live")
    await client.get("/health/ready")
    await stores.queue.set(QUEUE_NAME + ":health-check", "seen", ex=60)
    await client.get("/health/ready")
    await client.get("/metrics")


async def _ask_session(callers, client):
    caller = await callers.attendee()
    await caller.get(f"{API}/me")
    await caller.get(f"{API}/dashboard")
    await caller.patch(f"{API}/me", {"email": f"new.{caller.email}", "current_password": PASSWORD})
    await caller.patch(f"{API}/me/role", {"role": "organizer"})
    caller = await callers.log_in(f"new.{caller.email}")
    tokens = (await caller.get(f"{API}/auth/refresh_token", token=caller.refresh_token)).json()
    tokens = (await caller.post(f"{API}/auth/refresh_token", token=tokens["refresh_token"])).json()
    await caller.get(f"{API}/auth/logout", token=tokens["access_token"])
    caller = await callers.log_in(caller.email)
    await caller.post(f"{API}/auth/logout")
    await _ask_cookie_session(callers, client)
    caller = await callers.log_in(caller.email)
    await caller.call("DELETE", f"{API}/me", json={"current_password": PASSWORD})
    await client.get(f"{API}/me")


async def _ask_cookie_session(callers, client):
    for caller, login in ((await callers.attendee(), "auth/login"), (await callers.admin(), "admin/auth/login")):
        body = {"email": caller.email, "password": PASSWORD}
        await client.post(f"{API}/{login}", json=body, headers={"Onsale-Session": "cookie"})
    for method in ("GET", "POST"):
        await (await callers.attendee()).with_cookies().call(method, f"{API}/auth/refresh_token")
    await (await callers.attendee()).with_cookies().patch(f"{API}/me/role", {"role": "organizer"})
    await (await callers.attendee()).with_cookies().post(f"{API}/auth/logout")
    await (await callers.attendee()).with_cookies().get(f"{API}/auth/logout")
    await (await callers.attendee()).with_cookies().delete(f"{API}/me", json={"current_password": PASSWORD})


async def _sell(organizer, client, event_id):
    await client.get(f"{API}/events")
    shown = await client.get(f"{API}/events/{event_id}")
    await client.get(f"{API}/events/{event_id}", headers={"If-None-Match": shown.headers["ETag"]})
    left = f"{API}/events/{event_id}/availability"
    shown = await client.get(left)
    await client.get(left, headers={"If-None-Match": shown.headers["ETag"]})
    await client.get(left, headers={"Accept": "text/event-stream"})
    await organizer.patch(f"{API}/events/{event_id}", {"capacity": 120})
    await organizer.post(f"{API}/events", event_draft())


async def _say_what_is_sold(organizer, event):
    pool = (await organizer.post(f"{event}/pools", {"name": "Stalls", "size": 9})).json()["id"]
    ticket_type = (await organizer.post(f"{event}/ticket-types", {"name": "Child"})).json()["id"]
    code = (await organizer.post(f"{event}/promo-codes", {"code": "early"})).json()["items"][0]["id"]
    for path, change in (
        (f"{event}/pools/{pool}", {"size": 8}),
        (f"{event}/ticket-types/{ticket_type}", {"hidden": True}),
        (f"{event}/promo-codes/{code}", {"max_uses": 8}),
    ):
        await organizer.get(path.rpartition("/")[0])
        await organizer.patch(path, change)
        await organizer.delete(path)


async def _book_and_follow(buyer, event_id, stores):
    """Nobody persists at first, so that the booking stays pending."""
    path = (await buyer.book(event_id, key="one")).headers["Location"]
    await buyer.get(path.replace("/status", "/calendar"))
    await buyer.book(event_id, key="one", Prefer="wait=1")
    pending = await buyer.get(path, headers={"Prefer": "wait=1"})
    await buyer.get(path, headers={"Prefer": "wait=1", "If-None-Match": pending.headers["ETag"]})
    await persist_all(stores)
    streamed = await buyer.get(path, headers={"Accept": "text/event-stream"})
    last_id = streamed.text.partition("id: ")[2].partition("\n")[0]
    await buyer.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": last_id})
    await buyer.get(f"{API}/bookings/my-bookings")
    persisting = asyncio.create_task(keep_persisting(stores))
    await buyer.book(event_id, key="two", Prefer="wait=30")
    await buyer.book(event_id, key="two", Prefer="wait=30")
    persisting.cancel()
    await _replay_while_pending(buyer, event_id, stores)
    await buyer.delete(path.removesuffix("/status"))


async def _hold(buyer, event_id):
    order = {"event_id": event_id, "items": [{"ticket_type_id": event_id}], "hold": True}
    held = await buyer.post(f"{API}/bookings", order, headers={"Idempotency-Key": "held"})
    await buyer.post(f"{API}/bookings", order, headers={"Idempotency-Key": "held"})
    await buyer.post(f"{API}/bookings/{held.json()['id']}/extend")
    kept = {"items": [{"ticket_type_id": event_id, "quantity": 1}]}
    await buyer.patch(f"{API}/bookings/{held.json()['id']}", kept)


async def _give(organizer, event_id, stores):
    comp = {"email": "guest@example.org", "items": [{"ticket_type_id": event_id}]}
    path, key = f"{API}/events/{event_id}/comps", {"Idempotency-Key": "guest"}
    await organizer.post(path, comp, headers=key)
    await organizer.post(path, comp, headers=key)
    await persist_all(stores)
    await organizer.post(path, comp, headers=key)


async def _pay(organizer, buyer, client, stores):
    """One hold is confirmed and stored at once, one later, one is paid on the page and paid back."""
    event = await stores.event_actions.create(
        new_event(payment="test", currency="EUR"), caller=as_organizer(UUID(organizer.id))
    )
    quick, slow, paged = [await hold_priced(stores, event, user_id=UUID(buyer.id)) for _ in range(3)]
    paid = {"amount_minor": PRICE, "currency": "EUR"}
    persisting = asyncio.create_task(keep_persisting(stores))
    await organizer.post(
        f"{API}/bookings/{quick.id}/confirm", paid | {"payment_reference": "1"}, headers={"Prefer": "wait=30"}
    )
    persisting.cancel()
    for prefer in ("wait=1", "wait=1"):
        confirm = paid | {"payment_reference": "2"}
        await organizer.post(f"{API}/bookings/{slow.id}/confirm", confirm, headers={"Prefer": prefer})
    begun = (await buyer.post(f"{API}/bookings/{paged.id}/pay")).json()
    await client.post(f"{API}/payments/test/{begun['url'].rpartition('/')[2]}", json={"outcome": "decline"})
    await settle(stores)
    await organizer.delete(f"{API}/bookings/{quick.id}")
    await settle(stores)
    await organizer.post(f"{API}/bookings/{quick.id}/refund-paid", paid | {"refund_reference": "1"})
    message = b'{"type":"charge.updated","data":{"object":{}}}'
    await client.post(f"{API}/payments/stripe/webhook", content=message, headers=signed(message))


async def _replay_while_pending(buyer, event_id, stores):
    """The replay of a booking that is confirmed while the replay waits: 201. One that came too late is repeated."""
    for attempt in range(REPLAYS_MAX):
        path = (await buyer.book(event_id, key=f"three-{attempt}")).headers["Location"]
        replay = asyncio.create_task(buyer.book(event_id, key=f"three-{attempt}", Prefer="wait=30"))
        await buyer.get(path)
        await persist_all(stores)
        if (await replay).status_code == 201:
            return


async def _ask_guests(organizer, event_id):
    await organizer.get(f"{API}/bookings/{event_id}")
    await organizer.get(f"{API}/bookings/{event_id}", headers={"Accept": "text/csv"})


async def _administrate(admin, user, event_id, client):
    await client.post(f"{API}/admin/auth/login", json={"email": admin.email, "password": PASSWORD})
    for path in ("users/attendees", "users/organizers", f"users/details/{user.id}", "audit-log"):
        await admin.get(f"{API}/admin/{path}")
    await admin.get(f"{API}/admin/events/{event_id}/reconciliation")
    await admin.post(f"{API}/admin/events/{event_id}/reconciliation")
    await admin.patch(f"{API}/admin/users/role/{user.id}", {"role": Role.ORGANIZER})
    await admin.delete(f"{API}/admin/users/{user.id}")
    await admin.post(f"{API}/admin/users/{user.id}/unban")
