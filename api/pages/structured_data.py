"""What programs read of an event's page: schema.org, and a summary for previews of links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.pages.rendering import amount, instant, zone_of
from domain.sales.zones import local_time

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTEXT = "https://schema.org"

SUMMARY_CHARS_MAX = 160

_AVAILABILITY = {"on_sale": "InStock", "sold_out": "SoldOut", "scheduled": "PreOrder", "not_yet": "PreOrder"}
"""The availability of an offer by the state of the sale; of any other sale it is `Discontinued`."""

UNPRICED_CURRENCY = "EUR"
"""An offer must name a currency, also if it costs nothing."""


def linked_data(event: Mapping[str, Any], offered: Mapping[str, Any], url: str) -> dict[str, Any]:
    """An event as `Event` of schema.org, for search engines and calendars."""
    cancelled = event["status"] == "cancelled"
    found = {
        "@context": CONTEXT,
        "@type": "Event",
        "name": event["title"],
        "description": event["description"],
        "startDate": event["starts_at"],
        "endDate": event["ends_at"],
        "eventStatus": f"{CONTEXT}/{'EventCancelled' if cancelled else 'EventScheduled'}",
        "eventAttendanceMode": f"{CONTEXT}/OfflineEventAttendanceMode",
        "location": {"@type": "Place", "name": event["location"], "address": event["location"]},
        "maximumAttendeeCapacity": event["capacity"],
        "remainingAttendeeCapacity": event["remaining"],
        "url": url,
        "offers": [_offer(event, offered, each, url) for each in offered["items"]],
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _offer(
    event: Mapping[str, Any], offered: Mapping[str, Any], ticket_type: Mapping[str, Any], url: str
) -> dict[str, Any]:
    state = ticket_type["status"] if event["status"] in {"on_sale", "scheduled"} else event["status"]
    return {
        "@type": "Offer",
        "name": ticket_type["name"],
        "price": amount(ticket_type["price_minor"], offered["currency_decimals"]),
        "priceCurrency": offered["currency"] or UNPRICED_CURRENCY,
        "availability": f"{CONTEXT}/{_AVAILABILITY.get(state, 'Discontinued')}",
        "validFrom": ticket_type["sales_open_at"] or event["sales_open_at"] or event["created_at"],
        "url": url,
    }


def summary(event: Mapping[str, Any]) -> str:
    """A line for previews: when, where, and the begin of the description."""
    local = local_time(instant(event["starts_at"]), zone_of(event))
    line = " · ".join(
        part for part in (f"{local.day} {local:%B %Y, %H:%M}", event["location"], event["description"]) if part
    )
    flat = " ".join(line.split())
    return flat if len(flat) <= SUMMARY_CHARS_MAX else flat[: SUMMARY_CHARS_MAX - 1].rstrip() + "…"
