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
