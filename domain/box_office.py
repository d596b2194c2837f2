"""The box office: what a caller can do with events and bookings, over the stores that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from domain.bookings import Booking, Reservation
    from domain.events import Event, EventChanges, EventStatus, NewEvent


class BoxOffice:
    """Sells, shows and takes back places. One per process."""

    async def reserve(
        self, *, event_id: UUID, user_id: UUID, quantity: int, idempotency_key: str | None
    ) -> Reservation:
        """Take places for a booking, and promise to persist it.

        Raises: EventNotFound, SoldOut, PerUserLimit, NotOnSale, IdempotencyKeyReused,
        InventoryUnavailable, PersistenceLagging.
        """
        raise NotImplementedError

    async def booking(self, booking_id: UUID) -> Booking:
        """The booking as it stands; raises BookingNotFound."""
        raise NotImplementedError

    async def wait_until_final(self, booking: Booking, *, seconds: float) -> Booking:
        """The booking once it is final, or as it stands when the time is over."""
        raise NotImplementedError

    async def wait_for_change(self, booking: Booking, *, seconds: float) -> Booking:
        """The booking once its version or status differ from `booking`, or as it stands when the time is over."""
        raise NotImplementedError

    async def cancel(self, booking: Booking) -> Booking:
        """Give the places back, once; answers the same when it was done before. Raises EventStarted."""
        raise NotImplementedError

    async def bookings_of(self, user_id: UUID, *, limit: int, before: tuple[datetime, UUID] | None) -> list[Booking]:
        """The account's bookings, newest first by (created_at, id), pending ones included."""
        raise NotImplementedError

    async def create_event(self, new: NewEvent, *, organizer_id: UUID) -> Event:
        """Put an event on sale."""
        raise NotImplementedError

    async def event(self, event_id: UUID) -> Event:
        """The event as PostgreSQL has it; raises EventNotFound."""
        raise NotImplementedError

    async def change_event(self, event_id: UUID, changes: EventChanges, *, expected_version: int | None) -> Event:
        """Change an event, sales included, at once. Raises EventNotFound, CapacityBelowSold, VersionMismatch, Invalid."""
        raise NotImplementedError

    async def cancel_event(self, event_id: UUID) -> Event:
        """Stop sales at once and cancel every booking in the background; again: the same event."""
        raise NotImplementedError

    async def on_show(self, events: list[Event]) -> list[tuple[Event, int, EventStatus]]:
        """Each event with the places remaining and its status, as of now (from the inventory)."""
        raise NotImplementedError
