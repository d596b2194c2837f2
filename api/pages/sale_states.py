"""The words for the state of a sale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

FEW = 10
"""Tickets are few when at most one of so many is left."""


class SaleState(Struct, frozen=True, kw_only=True):
    """How a page shows the state of a sale. `label` is for lists; `tone` is a class of the stylesheet."""

    label: str
    tone: str
    word: str
    left: str = ""
    headline: str = ""
    advice: str = ""


_STATES = {
    "sold_out": SaleState(
        label="Sold out",
        word="Sold out",
        tone="bad",
        left="No tickets are left",
        headline="Sold out",
        advice="When somebody cancels, the tickets can be booked at once, and this page shows them.",
    ),
    "scheduled": SaleState(label="On sale soon", word="On sale soon", tone="warn", headline="Not on sale yet"),
    "paused": SaleState(
        label="Paused",
        word="Paused",
        tone="warn",
        headline="Sales are paused",
        advice="The organizer has paused the sale. This page shows it when sales go on.",
    ),
    "closed": SaleState(
        label="Sales closed",
        word="Sales closed",
        tone="",
        headline="Sales are closed",
        advice="Tickets can no longer be booked here.",
    ),
    "cancelled": SaleState(
        label="Cancelled",
        word="Cancelled",
        tone="bad",
        headline="This event is cancelled",
        advice="All bookings of it are cancelled as well.",
    ),
}


_TYPES = {"sold_out": "Sold out", "not_yet": "Not on sale yet", "over": "No longer on sale", "paused": "Paused"}


def left_of_type(offered: Mapping[str, Any]) -> str:
    """What a buyer must know beside the price of a ticket type."""
    if offered["status"] != "on_sale":
        return _TYPES[offered["status"]]
    least = offered["min_per_booking"]
    parts = [f"{offered['remaining']:,} left"] if offered["remaining"] is not None else []
    parts += [f"at least {least}"] if least > 1 else []
    return " · ".join(parts)


def sale_state(event: Mapping[str, Any]) -> SaleState:
    """How to show the sale of an event, as the API shows the event."""
    if event["status"] != "on_sale":
        return _STATES[event["status"]]
    remaining, capacity = event["remaining"], event["capacity"]
    left = f"{remaining:,} of {capacity:,} tickets left"
    if remaining * FEW > capacity:
        return SaleState(label=f"{remaining:,} left", word="On sale", tone="good", left=left)
    return SaleState(label=f"Only {remaining:,} left", word="Few tickets left", tone="warn", left=left)
