"""Requests that are written to a file before they are sent, so that sending costs the generator little."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

SIZE_DIGITS = 8
"""Digits of the size that precedes each request, for prepared.lua to read it whole."""


class Prepared(Struct, frozen=True):
    """Requests in a file, sent once, or with `again` from the beginning when they are used up."""

    path: Path
    count: int
    again: bool


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


def write_requests(path: Path, requests: Iterable[bytes], *, again: bool) -> Prepared:
    """Write requests to a file that only its owner may read, because it holds tokens."""
    path.touch(mode=0o600)
    count = 0
    with path.open("wb") as file:
        for each in requests:
            file.write(f"{len(each):0{SIZE_DIGITS}}".encode())
            file.write(each)
            count += 1
    return Prepared(path, count, again)


def read_requests(prepared: Prepared) -> Iterable[bytes]:
    """Read the requests of a file in order; endlessly with `again`."""
    while True:
        with prepared.path.open("rb") as file:
            while size := file.read(SIZE_DIGITS):
                yield file.read(int(size))
        if not prepared.again:
            return
