"""A running shop: an API and a worker, with the accounts and events that a test needs."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import httpx

from tests.api.callers import PASSWORD, event_draft

if TYPE_CHECKING:
    from domain.sales.events import Event
    from tests.processes import Api

_numbers = count(1)


class Shop:
    """The address of the pages, and what is put into the shop over its API."""

    def __init__(self, api: Api) -> None:
        self.url = api.url
        self._client = httpx.Client(base_url=f"{api.url}/api/v1", timeout=30)
        self._organizer: dict[str, str] | None = None

    def close(self) -> None:
        self._client.close()

    def account(self, role: str = "attendee") -> str:
        """The e-mail address of a new account; its password is PASSWORD."""
        email = f"{role}{next(_numbers)}@example.org"
        self._send("POST", "/auth/signup", {"email": email, "password": PASSWORD, "role": role})
        return email

    def event(self, **fields: Any) -> dict[str, Any]:
        """An event on sale."""
        return self._send("POST", "/events", event_draft(**fields), headers=self._organizers())

    def change(self, event: dict[str, Any], **fields: Any) -> None:
        """Change an event as its organizer."""
        self._send("PATCH", f"/events/{event['id']}", fields, headers=self._organizers())

    def cancel(self, event: dict[str, Any]) -> None:
        """Cancel an event as its organizer."""
        self._send("DELETE", f"/events/{event['id']}", headers=self._organizers())

    def book(self, event: dict[str, Any], *, quantity: int = 1, email: str | None = None) -> dict[str, Any]:
        """Book as an account, or as a new one."""
        headers = self._log_in(email or self.account())
        return self._send("POST", "/bookings", {"event_id": event["id"], "quantity": quantity}, headers=headers)

    def hold(self, event: Event, *, email: str) -> dict[str, Any]:
        """Hold two tickets of each type that everybody sees."""
        types = self._send("GET", f"/events/{event.id}/ticket-types")["items"]
        items = [{"ticket_type_id": each["id"], "quantity": 2} for each in types]
        order = {"event_id": str(event.id), "items": items}
        return self._send("POST", "/bookings", order, headers=self._log_in(email))

    def bookings(self, email: str) -> list[dict[str, Any]]:
        """The bookings of an account."""
        found: list[dict[str, Any]] = self._send("GET", "/bookings/my-bookings", headers=self._log_in(email))["items"]
        return found

    def remaining(self, event: dict[str, Any]) -> int:
        """The tickets that are left of an event."""
        left: int = self._send("GET", f"/events/{event['id']}")["remaining"]
        return left

    def _organizers(self) -> dict[str, str]:
        if self._organizer is None:
            self._organizer = self._log_in(self.account("organizer"))
        return self._organizer

    def _log_in(self, email: str) -> dict[str, str]:
        session = self._send("POST", "/auth/login", {"email": email, "password": PASSWORD})
        return {"Authorization": f"Bearer {session['access_token']}"}

    def _send(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = self._client.request(method, path, json=body, **options)
        assert answer.is_success, answer.text
        return answer.json()
