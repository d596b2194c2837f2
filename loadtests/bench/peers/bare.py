"""A bare Litestar application: decodes a body and answers, without token and Redis."""

from __future__ import annotations

from uuid import UUID

from litestar import Litestar, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from loadtests.bench.peers.serving import serve


class BareBooking(Struct, frozen=True, forbid_unknown_fields=True):
    """A body of the size of a booking."""

    event_id: UUID
    quantity: int = 1


@post("/bookings", status_code=202)
async def accept(data: JSONBody[BareBooking]) -> BareBooking:
    """Answer 202 with the body of the request."""
    return data


@get("/events/{event_id:uuid}")
async def show(event_id: FromPath[UUID]) -> BareBooking:
    """Answer 200 with a small body."""
    return BareBooking(event_id)


if __name__ == "__main__":
    serve(Litestar([accept, show], openapi_config=None, logging_config=None))
