"""What PostgreSQL has of the money of bookings, read past the engine, and where it does not add up."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg


class BookingMoney(Struct, frozen=True, kw_only=True):
    """The money of a booking that has payments, in minor units.

    `refunds` is what went back and what is due, `returned` the same by the count of the payments. `confirmed` is the
    total of the booking while it is confirmed. `undecided`: a decision about it is still to be made.
    """

    booking_id: UUID
    paid: int
    refunds: int
    returned: int
    kept: int
    confirmed: int
    undecided: bool

    @property
    def adds_up(self) -> bool:
        """Whether every minor unit is in one place: paid = refunded + due + confirmed + kept."""
        return self.undecided or (self.paid, self.returned) == (
            self.refunds + self.confirmed + self.kept,
            self.refunds,
        )

    def __str__(self) -> str:
        """The figures as a sentence."""
        return (
            f"booking {self.booking_id}: {self.paid} paid, {self.refunds} refunded or due ({self.returned} by the "
            f"payments), {self.confirmed} confirmed, {self.kept} kept"
        )


async def read_money(postgres: asyncpg.Connection, event_ids: Collection[UUID]) -> list[BookingMoney]:
    """The money of the bookings of these events that have payments."""
    return [BookingMoney(**row) for row in await postgres.fetch(_MONEY, list(event_ids))]


_MONEY = """
    SELECT booking_id, paid, returned, kept, undecided,
           (SELECT coalesce(sum(amount_minor), 0) FROM refunds WHERE refunds.booking_id = money.booking_id)::bigint
               AS refunds,
           coalesce((SELECT amount_minor FROM bookings WHERE id = booking_id AND status = 'confirmed'), 0) AS confirmed
    FROM (
        SELECT booking_id, sum(amount_minor)::bigint AS paid, sum(returned_minor)::bigint AS returned,
               sum(kept_minor)::bigint AS kept,
               bool_or(state = 'received')
               OR EXISTS (SELECT FROM payment_checks WHERE payment_checks.booking_id = payments.booking_id)
                   AS undecided
        FROM payments WHERE event_id = ANY($1) GROUP BY booking_id
    ) AS money
"""
