"""The bytes of requests, made before they are sent, so that sending costs the generator little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from uuid import UUID


def request(  # noqa: PLR0913  (the parts of a request)
    method: str, path: str, *, token: str = "", body: object = None, key: str = "", etag: str = ""
) -> bytes:
    """The bytes of a request."""
    sent = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if key:
        lines.append(f"Idempotency-Key: {key}")
    if etag:
        lines.append(f"If-None-Match: {etag}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
    return "\r\n".join([*lines, "", ""]).encode() + sent


def order(event_id: UUID, *, token: str, key: str, path: str = "/api/v1/bookings") -> bytes:
    """A booking of one ticket."""
    return request("POST", path, token=token, body={"event_id": event_id, "quantity": 1}, key=key)
