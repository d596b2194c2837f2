"""The states of an event's sale."""

from __future__ import annotations

from enum import StrEnum


class EventStatus(StrEnum):
    """The state of an event's sale, derived from its terms, the time and the remaining tickets."""

    SCHEDULED = "scheduled"
    ON_SALE = "on_sale"
    PAUSED = "paused"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"
    CANCELLED = "cancelled"
