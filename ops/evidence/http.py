"""How a request of a client is sent over HTTP, and what is read of its response."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from ops.evidence.answers import Kind

if TYPE_CHECKING:
    from ops.evidence.answers import Answer

TARGETS: dict[Kind, tuple[str, str]] = {
    Kind.LOGIN: ("POST", "/auth/login"),
    Kind.LOOK: ("GET", "/events/{0.event}"),
    Kind.BOOK: ("POST", "/bookings"),
    Kind.REPLAY: ("POST", "/bookings"),
    Kind.POLL: ("GET", "/bookings/{0.booking}/status"),
    Kind.LONG_POLL: ("GET", "/bookings/{0.booking}/status"),
    Kind.CANCEL: ("DELETE", "/bookings/{0.booking}"),
}
"""Method and path of each kind of request."""

JSON = {"Content-Type": "application/json"}


class HttpRequest(Struct, frozen=True):
    """A request as a client library takes it."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None = None


def http_request(request: Answer, *, token: str, wait_seconds: int) -> HttpRequest:
    """The request of an account that is signed in. A long poll lets the server wait for `wait_seconds`."""
    method, path = TARGETS[request.kind]
    headers, body = {"Authorization": f"Bearer {token}"}, None
    if request.ordered:
        headers |= JSON | {"Idempotency-Key": request.key or ""}
        body = msgspec.json.encode({"event_id": request.event, "quantity": request.quantity}).decode()
    elif request.kind is Kind.LONG_POLL:
        headers["Prefer"] = f"wait={wait_seconds}"
    return HttpRequest(method, f"/api/v1{path.format(request)}", headers, body)


def login_request(*, email: str, password: str) -> HttpRequest:
    """The request to sign in."""
    method, path = TARGETS[Kind.LOGIN]
    return HttpRequest(
        method, f"/api/v1{path}", JSON, msgspec.json.encode({"email": email, "password": password}).decode()
    )


class AnswerFields(Struct, frozen=True):
    """What is read of a response: of a booking, a login or a refusal."""

    id: UUID | None = None
    status: str | int | None = None
    reason: str | None = None
    created_at: datetime | None = None
    confirmed_at: datetime | None = None
    code: str | None = None
    remaining: int = 0
    access_token: str = ""

    @property
    def state(self) -> str | None:
        """The status of a booking; the status of a refusal is a number."""
        return self.status if isinstance(self.status, str) else None

    @property
    def confirm_ms(self) -> float | None:
        """Milliseconds from the booking to its confirmation, by the server's clocks."""
        if self.created_at is None or self.confirmed_at is None:
            return None
        return (self.confirmed_at - self.created_at).total_seconds() * 1000


def read_fields(content: bytes) -> AnswerFields:
    """The fields of a response; all are empty if it is not JSON."""
    try:
        return msgspec.json.decode(content, type=AnswerFields)
    except msgspec.DecodeError:
        return AnswerFields()


def answered(request: Answer, fields: AnswerFields, *, status: int, took_ms: float) -> Answer:
    """`request` with its response."""
    if request.kind in {Kind.LOGIN, Kind.LOOK}:
        return structs.replace(request, status=status, took_ms=took_ms, code=fields.code)
    return structs.replace(
        request,
        status=status,
        took_ms=took_ms,
        booking=fields.id or request.booking,
        state=fields.state,
        reason=fields.reason,
        code=fields.code,
        confirm_ms=fields.confirm_ms,
    )
