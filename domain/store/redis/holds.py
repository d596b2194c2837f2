"""Changes of bookings in Redis: how holds are confirmed, extended and expired, and how bookings are reduced.

Until such a change is persisted, Redis is the truth of it. Fails closed, like the inventory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from domain.kernel.bookings import HOLDING, BookingStatus
from domain.kernel.claims import read_claims, returned_claims
from domain.kernel.times import from_ms
from domain.sales.refusals import hold_at_cap, hold_expired, not_on_sale, too_late
from domain.store.redis.inventory import (
    DOORBELL_MS,
    RecordChanged,
    RecordUnknown,
    Released,
    TermsStale,
    change_booking,
    not_installed,
)
from domain.store.redis.keys import counters_prefix, due_key, dues_key, epoch_key, unpersisted_key
from domain.store.redis.records import read_record, read_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.kernel.bookings import Booking, Reduction
    from domain.kernel.claims import Claim
    from domain.sales.events import Deadline, Terms
    from domain.store.redis.scripts import Scripts

EXPIRE_PER_SWEEP = 200
"""Holds that one call of a sweep expires: 0.6 ms of Redis' time."""

DUE_EVENTS_MAX = 64
"""Events that one call of a sweep looks at for holds whose deadline has passed."""


HOLDS_READ_MAX = 5_000
"""Holds that are read to tell what is held apart from what is sold."""


class Holds:
    """One typed method per script; the header of each script states its promise."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def confirm(  # noqa: PLR0913  (always called by name)
        self,
        hold: Booking,
        kept: Sequence[Claim],
        terms: Terms,
        *,
        window_ms: tuple[int, int],
        returned: str = "",
        gate_pass: str = "",
    ) -> Released:
        """Confirm a hold as it was read (confirm_hold.lua).

        `kept` are the claims of the booking from then on, `returned` those that end with the hold. After the deadline,
        `kept` is taken again if all of it is free and the time is in `window_ms`.

        Raises:
            RecordUnknown: the record has retired; restore it and try again.
            RecordChanged: the booking has another version.
            TermsStale: the terms are not in force any more.
            HoldExpired: too late: the event is not on sale any more, or a counter has too little.
            InventoryUnavailable.
        """
        opens_ms, closes_ms = window_ms
        args: list[Any] = [hold.version, returned, terms.token, opens_ms, closes_ms, gate_pass, DOORBELL_MS, len(kept)]
        for claim in kept:
            args += (claim.counter, claim.quantity, claim.size)
        answer, epoch = await change_booking(self._scripts, "confirm_hold", hold, args)
        match answer[0]:
            case b"confirmed" | b"known":
                return Released(read_record(hold.id, answer[2]), epoch, ring=answer[1] == 1)
            case b"closed":
                raise hold_expired(terms, now_ms=answer[1])
            case b"short":
                raise hold_expired(terms, claim=kept[answer[1]], remaining=answer[2])
            case b"gated":
                raise hold_expired(terms, claim=kept[answer[1]], remaining=0)
            case _:
                raise _not_changed(answer, epoch)

    async def extend(
        self, hold: Booking, terms: Terms, *, window_ms: tuple[int, int], hold_ms: int, cap_ms: int
    ) -> Released:
        """Move the deadline of a hold to `hold_ms` from now, at most `cap_ms` after its creation (extend_hold.lua).

        That is possible while the time is in `window_ms`.

        Raises:
            RecordUnknown, TermsStale: see `confirm`.
            HoldAtCap: the deadline is as late as it can be.
            HoldExpired: the deadline has passed.
            NotOnSale, InventoryUnavailable.
        """
        args = [terms.token, *window_ms, hold_ms, cap_ms, DOORBELL_MS]
        answer, epoch = await change_booking(self._scripts, "extend_hold", hold, args)
        match answer[0]:
            case b"extended" | b"known":
                return Released(read_record(hold.id, answer[2]), epoch, ring=answer[1] == 1)
            case b"closed":
                raise not_on_sale(terms, now_ms=answer[1])
            case b"capped":
                raise hold_at_cap(from_ms(answer[1]))
            case b"over":
                raise hold_expired(terms)
            case _:
                raise _not_changed(answer, epoch)

    async def reduce(self, booking: Booking, kept: Reduction, terms: Terms, *, deadline: Deadline) -> Released:
        """Give back the claims of a booking, as it was read, that are not kept (reduce_booking.lua).

        Raises:
            RecordUnknown, RecordChanged, TermsStale: see `confirm`.
            HoldExpired: the deadline of the hold has passed.
            EventStarted: it is too late for a booking that is no hold.
            Uninstalled: nothing was returned.
            InventoryUnavailable.
        """
        args = [
            booking.version,
            " ".join(sorted(HOLDING)),
            returned_claims(booking.known_claims, kept.claims),
            kept.claims,
            kept.quantity,
            kept.body,
            terms.token,
            terms.deadline_ms(deadline),
            DOORBELL_MS,
        ]
        answer, epoch = await change_booking(self._scripts, "reduce_booking", booking, args)
        match answer[0]:
            case b"reduced" | b"known":
                return Released(read_record(booking.id, answer[2]), epoch, ring=answer[1] == 1)
            case b"over":
                raise hold_expired(terms)
            case b"late":
                raise too_late(deadline)
            case _:
                raise _not_changed(answer, epoch)

    async def held_of(self, event_id: UUID, counter: str) -> int:
        """What the holds of an event claim of a counter; at most HOLDS_READ_MAX of them are read."""
        holds = await self.first_due(event_id, limit=HOLDS_READ_MAX)
        return sum(read_claims(hold.known_claims).get(counter, 0) for hold in holds)

    async def first_due(self, event_id: UUID, *, limit: int) -> list[Booking]:
        """The holds of an event whose deadlines are next."""
        ids = await self._scripts.pipeline.call("ZRANGE", due_key(event_id), 0, limit - 1)
        found = await read_records(self._scripts.pipeline, [UUID(booking_id.decode()) for booking_id in ids])
        return [booking for booking in found if booking.status is BookingStatus.HELD]

    async def expire(self, partition: int) -> int:
        """Expire holds of one event whose deadline has passed (expire_holds.lua); returns how many."""
        keys = [epoch_key(partition), dues_key(partition), unpersisted_key(partition)]
        args = [counters_prefix(partition), DUE_EVENTS_MAX, EXPIRE_PER_SWEEP]
        return int((await self._scripts.call("expire_holds", keys, args))[1])


def _not_changed(answer: list[Any], epoch: int) -> Exception:
    """The exception for an answer of a script that found a hold in another state than its caller thought."""
    match answer[0]:
        case b"unknown":
            return RecordUnknown(0, epoch)
        case b"changed":
            return RecordChanged()
        case b"uninstalled":
            return not_installed()
        case _:
            return TermsStale()
