"""The states of an event's sale."""

from __future__ import annotations

from enum import StrEnum


class EventStatus(StrEnum):
    """Where an event's sale stands, derived from its terms, the clock and what is left."""

    SCHEDULED = "scheduled"
    ON_SALE = "on_sale"
    PAUSED = "paused"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"
    CANCELLED = "cancelled"
