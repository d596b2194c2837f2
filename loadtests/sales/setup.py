"""What is made over HTTP before a run: accounts that sign up, and their event."""

from __future__ import annotations

import secrets
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from ops.evidence.bulk import Minted

if TYPE_CHECKING:
    from loadtests.sales.profiles import SaleProfile

ANSWER_SECONDS_MAX = 30.0
"""The longest wait for an answer."""

EVENT_DAYS_AHEAD = 90
"""The event starts long after the run, so that no request is refused because of its date."""


class SetupRefused(Exception):
    """The API refused a request that a run needs; `str()` has the request and its answer."""


def create_event(url: str, *, token: str, profile: SaleProfile, **fields: object) -> UUID:
    """Put a profile's event on sale at once; `token` is an organizer's. `fields` are further ones of the event.

    Raises:
        SetupRefused: the API did not answer 201.
    """
    starts_at = datetime.now(tz=UTC) + timedelta(days=EVENT_DAYS_AHEAD)
    event: dict[str, object] = {
        "title": profile.title,
        "location": "At the box office",
        "starts_at": starts_at.isoformat().replace("+00:00", "Z"),
        "capacity": profile.tickets,
        "max_per_user": profile.max_per_user,
    }
    return UUID(_post(url, "/events", event | fields, token=token)["id"])


def create_ticket_type(url: str, event_id: UUID, *, token: str, name: str, **fields: object) -> UUID:
    """Sell tickets of a type of an event; raises SetupRefused."""
    return UUID(_post(url, f"/events/{event_id}/ticket-types", {"name": name, **fields}, token=token)["id"])


def create_pool(url: str, event_id: UUID, *, token: str, name: str, size: int) -> UUID:
    """Make a pool of an event; raises SetupRefused."""
    return UUID(_post(url, f"/events/{event_id}/pools", {"name": name, "size": size}, token=token)["id"])


def create_promo_code(url: str, event_id: UUID, *, token: str, code: str, percent_off: int) -> None:
    """Make a promo code of an event; raises SetupRefused."""
    _post(url, f"/events/{event_id}/promo-codes", {"code": code, "percent_off": percent_off}, token=token)


def sign_up(url: str, *, role: str) -> Minted:
    """Make a new account and sign it in.

    Raises:
        SetupRefused: the API refused; with 429 if its limits are on.
    """
    email, password = f"load-{secrets.token_hex(8)}@example.org", secrets.token_urlsafe(16)
    made = _post(url, "/auth/signup", {"email": email, "password": password, "role": role})
    login = _post(url, "/auth/login", {"email": email, "password": password})
    return Minted(id=UUID(made["id"]), email=email, password=password, token=login["access_token"])


def _post(url: str, path: str, body: dict[str, object], *, token: str = "") -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # Loading certificates takes longer than the request, so none is trusted; the environment's proxies are ignored.
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with httpx.Client(verify=nobody, trust_env=False, timeout=ANSWER_SECONDS_MAX) as client:
        answer = client.post(f"{url}/api/v1{path}", json=body, headers=headers)
    if not answer.is_success:
        message = f"POST {path} answered {answer.status_code}: {answer.text}"
        raise SetupRefused(message)
    return dict(answer.json())
