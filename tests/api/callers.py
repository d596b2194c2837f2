"""Callers of the API: accounts with their tokens and the most common requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from api.context import STATE
from domain.accounts.accounts import Role
from domain.accounts.passwords import Passwords

if TYPE_CHECKING:
    import httpx

    from api.context import Process
    from domain.engine import Stores

PASSWORD = "a fine long password"

_numbers = count(1)


class Caller:
    """A client with an account's token."""

    def __init__(self, client: httpx.AsyncClient, session: dict[str, Any]) -> None:
        self._client = client
        self.access_token = session["access_token"]
        self.refresh_token = session["refresh_token"]
        self.id = session["user"]["id"]
        self.email = session["user"]["email"]

    def through(self, client: httpx.AsyncClient) -> Caller:
        """The same caller at another process."""
        other = Caller.__new__(Caller)
        other.__dict__ = self.__dict__ | {"_client": client}
        return other

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        """Send a request with the access token, or another one."""
        headers = {"Authorization": f"Bearer {token or self.access_token}"} | options.pop("headers", {})
        return await self._client.request(method, path, headers=headers, **options)

    def with_cookies(self, **fields: str) -> CookieCaller:
        """The same session as a page of this origin uses it; `fields` replace header fields of its requests."""
        return CookieCaller(self, fields)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return await self.call("POST", path, json=json, **options)

    async def patch(self, path: str, json: Any, **options: Any) -> httpx.Response:
        return await self.call("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("DELETE", path, **options)

    async def make_event(self, **fields: Any) -> dict[str, Any]:
        """An event on sale."""
        made = await self.post("/api/v1/events", event_draft(**fields))
        assert made.status_code == 201, made.text
        return made.json()

    async def book(self, event_id: str, *, quantity: int = 1, key: str | None = None, **headers: str) -> httpx.Response:
        """Ask for tickets."""
        if key:
            headers["Idempotency-Key"] = key
        return await self.post("/api/v1/bookings", {"event_id": event_id, "quantity": quantity}, headers=headers)


class CookieCaller(Caller):
    """A session whose tokens are in cookies. Every request sends both, as browsers do."""

    def __init__(self, caller: Caller, fields: dict[str, str]) -> None:
        self.__dict__ = caller.__dict__ | {"fields": {"Onsale-Session": "cookie", "Sec-Fetch-Site": "same-origin"}}
        self.fields |= fields

    def through(self, client: httpx.AsyncClient) -> Caller:
        return super().through(client).with_cookies(**self.fields)

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        """Send a request with the cookies; a `token` is put into both of them."""
        access, refresh = token or self.access_token, token or self.refresh_token
        prefix = "__Host-" if self.fields["Onsale-Session"] == "secure-cookie" else ""
        cookies = {"Cookie": f"{prefix}onsale_access={access}; {prefix}onsale_refresh={refresh}"}
        headers = cookies | self.fields | options.pop("headers", {})
        return await self._client.request(method, path, headers=headers, **options)


class Callers:
    """Makes accounts over HTTP; admins, who cannot be made so, in the store."""

    def __init__(self, client: httpx.AsyncClient, stores: Stores) -> None:
        self._client = client
        self._stores = stores

    async def attendee(self) -> Caller:
        return await self._sign_up("attendee")

    async def organizer(self) -> Caller:
        return await self._sign_up("organizer")

    async def admin(self) -> Caller:
        email, passwords = f"admin{next(_numbers)}@example.org", Passwords()
        await self._stores.accounts.create(
            email=email, password_hash=await passwords.hash(PASSWORD), role=Role.ADMIN, now=datetime.now(UTC)
        )
        passwords.close()
        return await self.log_in(email)

    async def log_in(self, email: str) -> Caller:
        answer = await self._client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return Caller(self._client, answer.json())

    async def _sign_up(self, role: str) -> Caller:
        email = f"{role}{next(_numbers)}@example.org"
        body = {"email": email, "password": PASSWORD, "role": role}
        answer = await self._client.post("/api/v1/auth/signup", json=body)
        assert answer.status_code == 201, answer.text
        return await self.log_in(email)


def event_draft(**fields: Any) -> dict[str, Any]:
    """What an organizer sends to put an event on sale."""
    starts_at = datetime.now(UTC) + timedelta(days=30)
    defaults = {
        "title": f"Concert {next(_numbers)}",
        "location": "Tempodrom, Berlin",
        "starts_at": starts_at.isoformat(),
        "capacity": 100,
    }
    return defaults | fields


def process_of(client: httpx.AsyncClient) -> Process:
    """The process behind a client of this process."""
    return client._transport.app.app.app.state[STATE]
