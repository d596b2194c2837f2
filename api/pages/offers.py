"""The ticket types on the page of an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar.params import QueryParameter

from api.access.promo_guesses import guesser_of
from api.context import process
from api.reads.availability import OfferView
from domain.kernel.refusals import PromoCodeInvalid
from domain.sales.refusals import promo_code_invalid
from domain.sales.ticket_types import code_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from litestar import Request

PromoCodeText = Annotated[str, QueryParameter(max_length=64)]

UNKNOWN_CODE = "This code is not valid for this event."


async def offered_tickets(request: Request[Any, Any, Any], event_id: UUID, code: str) -> tuple[bytes, str]:
    """The ticket types that everybody sees, and those that a promo code unlocks, as the API shows them.

    Returns:
        The types, and the message for a code that cannot be used.

    Raises:
        EventNotFound, RateLimited, Unavailable.
    """
    at, view = process(request), OfferView(promo_code=code_key(code) if code else None)

    async def with_code() -> bytes:
        reading = await at.offers.of(event_id)
        if reading.code_of(view) is None:
            raise promo_code_invalid()
        return reading.seen_by(view).content

    fault = ""
    if code:
        try:
            return await at.promo_guesses.tried(guesser_of(at, request.scope, request.scope["user"]), with_code), ""
        except PromoCodeInvalid:
            fault = UNKNOWN_CODE
    return (await at.offers.of(event_id)).seen_by(OfferView()).content, fault


def is_plain(event: Mapping[str, Any], offered: Mapping[str, Any]) -> bool:
    """Whether an event has one free ticket type, of which a booking needs to say only how many."""
    types = offered["items"]
    return len(types) == 1 and types[0]["ticket_type_id"] == event["id"] and not types[0]["price_minor"]
