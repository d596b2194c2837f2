"""A client generated from the OpenAPI document signs up, books, polls and cancels."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.api.callers import PASSWORD
from tests.factories import make_event
from tests.waiting import eventually

PACKAGE = "onsale_made_client"


@pytest.fixture
def made(clean, processes, tmp_path, monkeypatch):  # noqa: ARG001  (clean servers)
    """The client package, and the address of the API whose document it was made from."""
    api, _ = processes.api(RATE_LIMITS="off"), processes.worker()
    config = tmp_path / "config.yaml"
    config.write_text("post_hooks: []\n")  # Formatting what is thrown away would need its programs on the path.
    subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--url", f"{api.url}/api/v1/openapi.json"),
            *("--config", str(config), "--meta", "none", "--output-path", str(tmp_path / PACKAGE)),
            "--fail-on-warning",
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield api.url
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


EVENT = {
    "title": "Harvest concert",
    "location": "Tempodrom, Berlin",
    "starts_at": "2099-10-01T19:00:00+02:00",
    "capacity": 100,
    "currency": "EUR",
    "payment": "external",
    "ticket_types": [{"name": "Adult", "price_minor": 2_000}],
}


async def _token(anybody, models, role):
    """The access token of a new account."""
    email = f"{role}@example.org"
    await _operation("authentication", "auth_sign_up")(
        client=anybody, body=models.Signup.from_dict({"email": email, "password": PASSWORD, "role": role})
    )
    session = await _operation("authentication", "auth_log_in")(
        client=anybody, body=models.Credentials(email=email, password=PASSWORD)
    )
    return session.access_token


def _operation(tag, name):
    return importlib.import_module(f"{PACKAGE}.api.{tag}.{name}").asyncio


async def test_a_made_client_signs_up_books_polls_and_cancels(made, clean):
    event = await make_event(clean, capacity=10)
    client = importlib.import_module(f"{PACKAGE}.client")
    models = importlib.import_module(f"{PACKAGE}.models")

    async with client.Client(base_url=made) as anybody:
        signup = models.Signup(email="ada@example.org", password=PASSWORD)
        profile = await _operation("authentication", "auth_sign_up")(client=anybody, body=signup)
        credentials = models.Credentials(email="ada@example.org", password=PASSWORD)
        session = await _operation("authentication", "auth_log_in")(client=anybody, body=credentials)
        page = await _operation("events", "events_page")(client=anybody)
    async with client.AuthenticatedClient(base_url=made, token=session.access_token) as caller:
        order = models.BookingOrder(event_id=page.items[0].id, quantity=2)
        accepted = await _operation("bookings", "bookings_create")(client=caller, body=order, idempotency_key="one")
        confirmed = await eventually(
            lambda: _operation("bookings", "bookings_status")(accepted.id, client=caller),
            is_so=lambda booking: booking.status == "confirmed",
        )
        cancelled = await _operation("bookings", "bookings_cancel")(accepted.id, client=caller)
        shown = await _operation("events", "events_show")(event.id, client=caller)

    assert (profile.role, session.user.id) == ("attendee", profile.id)
    assert (accepted.status, accepted.quantity) == ("pending", 2)
    assert (confirmed.id, confirmed.event_id) == (accepted.id, event.id)
    assert cancelled.status == "cancelled"
    assert (shown.remaining, shown.booked) == (10, 0)


async def test_a_made_client_knows_a_refusal_when_it_gets_one(made):
    client = importlib.import_module(f"{PACKAGE}.client")
    models = importlib.import_module(f"{PACKAGE}.models")
    credentials = models.Credentials(email="nobody@example.org", password=PASSWORD)

    async with client.Client(base_url=made) as anybody:
        refused = await _operation("authentication", "auth_log_in")(client=anybody, body=credentials)

    assert isinstance(refused, models.InvalidCredentialsProblem)
    assert (refused.status, refused.code) == (401, "invalid_credentials")


async def test_a_made_client_reads_the_facts_of_a_refusal(made, clean):
    event = await make_event(clean, capacity=3)
    client = importlib.import_module(f"{PACKAGE}.client")
    models = importlib.import_module(f"{PACKAGE}.models")

    async with client.Client(base_url=made) as anybody:
        await _operation("authentication", "auth_sign_up")(
            client=anybody, body=models.Signup(email="ada@example.org", password=PASSWORD)
        )
        session = await _operation("authentication", "auth_log_in")(
            client=anybody, body=models.Credentials(email="ada@example.org", password=PASSWORD)
        )
    async with client.AuthenticatedClient(base_url=made, token=session.access_token) as caller:
        order = models.BookingOrder(event_id=event.id, quantity=4)
        refused = await _operation("bookings", "bookings_create")(client=caller, body=order)

    assert isinstance(refused, models.SoldOutProblem)
    assert (refused.code, refused.remaining) == ("sold_out", 3)


async def test_a_made_client_sells_ticket_types_and_buys_with_a_code(made):
    client, models = importlib.import_module(f"{PACKAGE}.client"), importlib.import_module(f"{PACKAGE}.models")

    async with client.Client(base_url=made) as anybody:
        tokens = [await _token(anybody, models, role) for role in ("organizer", "attendee")]
    async with client.AuthenticatedClient(base_url=made, token=tokens[0]) as seller:
        draft = models.EventDraft.from_dict(EVENT)
        event = await _operation("events", "events_create")(client=seller, body=draft)
        code = models.PromoCodeDraft(code="FRIENDS", percent_off=100, max_uses=1)
        await _operation("ticket_types", "promo_codes_create")(event.id, client=seller, body=code)
        types = await _operation("ticket_types", "ticket_types_page")(event.id, client=seller)
    async with client.AuthenticatedClient(base_url=made, token=tokens[1]) as buyer:
        order = models.BookingOrder(
            event_id=event.id,
            items=[models.OrderItem(ticket_type_id=types.items[0].id, quantity=2)],
            promo_code="friends",
            expect_total_minor=0,
        )
        accepted = await _operation("bookings", "bookings_create")(client=buyer, body=order)
        confirmed = await eventually(
            lambda: _operation("bookings", "bookings_status")(accepted.id, client=buyer),
            is_so=lambda booking: booking.status == "confirmed",
        )
        used_up = await _operation("bookings", "bookings_create")(client=buyer, body=order)

    assert (confirmed.promo_code, confirmed.total_minor, confirmed.items[0].discount_minor) == ("FRIENDS", 0, 4_000)
    assert isinstance(used_up, models.PromoCodeUsedUpProblem)
