"""The actions of callers on bookings: reserve, look, wait, list, cancel."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.actions.quotes import NotQuoted, Quotes
from domain.actions.releases import Releases
from domain.actions.waiting import LookTimes, longest_pause_s, until_deadline_s
from domain.kernel.bookings import HOLDING, Booking, BookingStatus, Reservation, all_of, as_of
from domain.kernel.idempotency import is_same, key_reused, new_booking
from domain.kernel.partitions import partition_of_booking, partition_of_event
from domain.kernel.refusals import BookingNotFound, Conflict, InventoryUnavailable, SoldOut
from domain.kernel.times import to_ms
from domain.platform.failpoints import Failpoint, reach
from domain.sales.events import Deadline
from domain.sales.orders import TicketOrder, confirmed_claims, late_window_ms
from domain.sales.refusals import not_on_sale, too_late
from domain.store.postgres.epochs import EpochOver
from domain.store.redis.inventory import LookupNeeded, RecordChanged, RecordUnknown, TermsStale, Uninstalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from domain.actions.terms import TermsCache
    from domain.kernel.bookings import NewBooking, Order, Reduction
    from domain.sales.events import Terms
    from domain.store.job_queue import Doorbell
    from domain.store.postgres.ledger import Ledger
    from domain.store.postgres.write_ahead import Intents
    from domain.store.redis.admission import Admission, Ask
    from domain.store.redis.holds import Holds
    from domain.store.redis.inventory import Inventory, Released, Reserved
    from domain.store.redis.refusal_counts import RefusalCounts
    from domain.store.redis.unpersisted_sets import UnpersistedSets

ATTEMPTS_MAX = 4
"""How often one request is tried again because the terms changed or the record retired meanwhile."""

CLEAR_BATCH_MAX = 200
"""Bookings of a cancelled event that are cancelled in one batch."""


class BoxOffice:
    """Reserves tickets, shows bookings and cancels them. One per process."""

    def __init__(  # noqa: PLR0913  (one per store)
        self,
        *,
        terms: TermsCache,
        admission: Admission,
        inventory: Inventory,
        holds: Holds,
        unpersisted: UnpersistedSets,
        ledger: Ledger,
        doorbell: Doorbell,
        intents: Intents | None,
        refusal_counts: RefusalCounts,
        test_hold_ms: int | None = None,
    ) -> None:
        self._quotes = Quotes(terms=terms, ledger=ledger, unpersisted=unpersisted, test_hold_ms=test_hold_ms)
        self._terms = terms
        self._admission = admission
        self._inventory = inventory
        self._holds = holds
        self._unpersisted = unpersisted
        self._ledger = ledger
        self._doorbell = doorbell
        self._intents = intents
        self._refusal_counts = refusal_counts
        self._look_times = LookTimes()
        self._releases = Releases(holds)

    async def reserve(self, ask: Ask, order: Order) -> Reservation:
        """Admit the caller, take the tickets of an order, and promise to persist the booking.

        Raises:
            Unauthenticated, RateLimited: the caller is not admitted.
            EventNotFound, SoldOut, PerUserLimit, NotOnSale, IdempotencyKeyReused: nothing was taken.
            Unavailable, InventoryUnavailable, PersistenceLagging: try again.
        """
        try:
            return await self._book(ask, order)
        except Conflict as refusal:
            self._refusal_counts.count(order.event_id, refusal.code)
            if isinstance(refusal, SoldOut) and refusal.missing is not None:
                counter, units = refusal.missing
                released_at = await self._releases.earliest(order.event_id, counter, units)
                refusal.facts["earliest_release_at"] = released_at
            raise

    async def _book(self, ask: Ask, order: Order) -> Reservation:
        new = new_booking(order, account_id=ask.account_id)
        try:
            reserved = await self._take(ask, new, looked_up=order.idempotency_key is None)
        except LookupNeeded as needed:
            earlier = await self._ledger.find_by_key(new.id)
            if earlier is not None:
                return _replay(earlier, new)
            reserved = await self._take(ask, new, looked_up=True, looked_up_in=needed.epoch)
        except NotQuoted as refused:
            earlier = await self._earlier(ask, new)
            if earlier is None:
                raise refused.refusal from None
            return _replay(earlier, new)
        reach(Failpoint.RESERVED)
        await self._acknowledge(reserved)
        return Reservation(reserved.booking, reserved.replayed)

    async def look(self, ask: Ask, booking_id: UUID) -> Booking:
        """Admit the caller, and read the current state of a booking.

        Raises:
            Unauthenticated, RateLimited: the caller is not admitted.
            BookingNotFound: no booking has this id.
            Unavailable, InventoryUnavailable: it may be in Redis, which cannot be asked now.
        """
        return _as_told(*await self._find(booking_id, ask))

    async def booking(self, booking_id: UUID) -> Booking:
        """The current state of a booking: from its record, or from PostgreSQL once the record has retired.

        Raises:
            BookingNotFound: no booking has this id.
            InventoryUnavailable: it may be in Redis, which cannot be asked now.
        """
        return _as_told(*await self._find(booking_id))

    async def wait_until_final(self, booking: Booking, *, seconds: float) -> Booking:
        """Wait until the booking is final; returns its current state when the time is over."""
        return await self._wait(booking, until_final=True, seconds=seconds)

    async def wait_for_change(self, booking: Booking, *, seconds: float) -> Booking:
        """Wait until the booking differs from `booking`; returns its current state when the time is over."""
        return await self._wait(booking, until_final=False, seconds=seconds)

    async def cancel(self, booking: Booking, *, deadline: Deadline = Deadline.ATTENDANCE, reason: str = "") -> Booking:
        """Cancel a booking and return its tickets, once; a repeated call gives the same answer.

        `reason` is given when the canceller is not the owner.

        Raises:
            EventStarted: it is too late.
            InventoryUnavailable: try again.
        """
        terms = await self._terms.find(booking.event_id)
        return await self._release(booking.id, terms, deadline=deadline, reason=reason)

    async def confirm(self, booking_id: UUID, *, gate_pass: str = "") -> Booking:
        """Confirm a hold. After its deadline, its claims are taken again if all of them are free.

        A repeated call returns the same booking. A booking that is no hold any more is returned as it is.

        Raises:
            BookingNotFound, HoldExpired, InventoryUnavailable.
        """

        async def confirm(hold: Booking, terms: Terms) -> Released:
            kept, returned = confirmed_claims(hold.known_claims, terms)
            window_ms = late_window_ms(hold, terms)
            return await self._holds.confirm(
                hold, kept, terms, window_ms=window_ms, returned=returned, gate_pass=gate_pass
            )

        return await self._change(booking_id, confirm)

    async def extend(self, booking_id: UUID, *, hold_ms: int | None = None, cap_ms: int | None = None) -> Booking:
        """Move the deadline of a hold to `hold_ms` from now, at most `cap_ms` after its creation.

        Without them, the terms of the event say how long.
        A booking that is no hold any more is returned as it is.

        Raises:
            BookingNotFound, HoldExpired, HoldAtCap, NotOnSale, InventoryUnavailable.
        """

        async def extend(hold: Booking, terms: Terms) -> Released:
            return await self._holds.extend(
                hold,
                terms,
                window_ms=late_window_ms(hold, terms),
                hold_ms=hold_ms or terms.hold_seconds * 1000,
                cap_ms=cap_ms or terms.hold_cap_seconds * 1000,
            )

        return await self._change(booking_id, extend)

    async def reduce(
        self, booking_id: UUID, keep: Callable[[Booking], Reduction], *, deadline: Deadline = Deadline.ATTENDANCE
    ) -> Booking:
        """Give back some claims of a booking, once: those that `keep` does not keep of it.

        A booking that holds nothing any more is returned as it is, and so is one of which everything is kept. `keep`
        may refuse; it is asked again if the booking has changed meanwhile.

        Raises:
            BookingNotFound, HoldExpired.
            EventStarted: it is too late for a booking that is no hold.
            InventoryUnavailable: try again.
        """

        async def reduce(booking: Booking, terms: Terms) -> Released:
            kept = keep(booking) if booking.status in HOLDING else all_of(booking)
            try:
                return await self._holds.reduce(booking, kept, terms, deadline=deadline)
            except Uninstalled:
                if (await self._terms.load(booking.event_id)).closed:
                    raise too_late(deadline) from None
                raise

        return await self._change(booking_id, reduce)

    async def clear_event(self, event_id: UUID, *, after: UUID | None) -> tuple[UUID | None, int]:
        """Cancel the next bookings of a cancelled event, in order of id.

        A pending booking is skipped; a later round cancels it once it is confirmed.

        Returns:
            The last booking's id, None at the end of the round, and the tickets still taken: 0 when done.
        """
        terms = await self._terms.load(event_id)
        if terms.closed:
            return None, 0
        read_in, read_ms = self._inventory.epoch, await self._inventory.now_ms()
        batch = await self._ledger.holding(event_id, after=after, limit=CLEAR_BATCH_MAX)
        await asyncio.gather(*(self._clear(each, read_ms=read_ms, read_in=read_in) for each in batch))
        (taken,) = await self._inventory.taken([event_id])
        if taken is None:
            raise InventoryUnavailable.rebuilding()
        return (batch[-1].id if batch else None), taken

    async def _clear(self, booking: Booking, *, read_ms: int, read_in: int) -> None:
        """Cancel a booking of a cancelled event, given its row from PostgreSQL."""
        await self._inventory.restore(booking, read_ms=read_ms, read_in=read_in)
        try:
            released = await self._inventory.release(booking, status=BookingStatus.CANCELLED, reason="event_cancelled")
        except RecordUnknown:
            # The row is too old to restore the record; the next round reads it again.
            return
        await self._acknowledge(released)

    async def bookings_of(self, user_id: UUID, *, limit: int, before: tuple[datetime, UUID] | None) -> list[Booking]:
        """The account's bookings, newest first by (created_at, id), pending ones included.

        Redis is read before PostgreSQL: a booking that is persisted in between is seen twice, never missed.
        """
        now_ms, fresh = await asyncio.gather(self._inventory.now_ms(), self._unpersisted.of_account(user_id))
        stored = await self._ledger.of_user(user_id, limit=limit, before=before)
        found = {booking.id: booking for booking in stored}
        for booking in fresh:
            if before is None or (booking.created_at, booking.id) < before:
                found[booking.id] = max(booking, found.get(booking.id, booking), key=lambda each: each.version)
        newest = sorted(found.values(), key=lambda booking: (booking.created_at, booking.id), reverse=True)
        return [as_of(booking, now_ms) for booking in newest[:limit]]

    async def held_by(self, user_id: UUID, *, after: UUID | None, limit: int) -> list[Booking]:
        """The account's bookings that hold tickets of events that may not have begun, in order of id.

        Redis is read before PostgreSQL: a booking that is persisted in between is seen twice, never missed.
        """
        fresh = await self._unpersisted.of_account(user_id)
        stored = await self._ledger.held_by(user_id, after=after, limit=limit)
        found = {booking.id: booking for booking in [*stored, *fresh] if after is None or booking.id > after}
        return sorted(found.values(), key=lambda booking: booking.id)[:limit]

    async def _take(self, ask: Ask, new: NewBooking, *, looked_up: bool, looked_up_in: int | None = None) -> Reserved:
        terms = self._terms.cached(new.event_id)
        if terms is None:
            # PostgreSQL is read only for a request that is admitted.
            await self._admission.admit(ask, new)
            terms = await self._terms.load(new.event_id)
        for _ in range(ATTEMPTS_MAX):
            quoted = None
            if terms.catalogue is not None or not isinstance(new.order, TicketOrder):
                quoted, terms = await self._quotes.of(new, terms)
            try:
                return await self._inventory.reserve(
                    new, terms, looked_up=looked_up, quoted=quoted, looked_up_in=looked_up_in, ask=ask
                )
            except TermsStale:
                terms = await self._terms.follow(terms)
            except Uninstalled:
                # Concurrent callers share one read: until an event is refilled, all of its callers come here.
                terms = await self._terms.load(new.event_id)
                if not terms.closed:
                    raise
            if terms.closed:
                terms = await self._unless_closed(new, looked_up=looked_up)
        detail = "The event's terms are changing."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    async def _earlier(self, ask: Ask, new: NewBooking) -> Booking | None:
        """The booking that an earlier request with the key of an order made, whatever the terms are now.

        Raises:
            Unauthenticated, RateLimited, IdempotencyKeyReused: the caller is not admitted.
        """
        await self._admission.admit(ask, new)
        if new.order.idempotency_key is None:
            return None
        try:
            return await self.booking(new.id)
        except BookingNotFound:
            return await self._ledger.find_by_key(new.id)

    async def _unless_closed(self, new: NewBooking, *, looked_up: bool) -> Terms:
        """The current terms of an event that was closed before, if it is open again.

        Raises:
            LookupNeeded: the event is closed, and PostgreSQL may know the booking.
            NotOnSale: it is closed.
        """
        terms = await self._terms.read(new.event_id)
        if not terms.closed:
            return terms
        if not looked_up:
            raise LookupNeeded(self._inventory.epoch)
        raise not_on_sale(terms, now_ms=terms.closes_ms)

    async def _acknowledge(self, change: Reserved | Released) -> None:
        """Do the work that must precede the acknowledgement of a change, and wake a worker to persist it."""
        if change.ring:
            self._doorbell.ring(partition_of_event(change.booking.event_id))
        # PostgreSQL has a confirmed booking, unless claims of it were given back since.
        if self._intents and (change.booking.status is not BookingStatus.CONFIRMED or change.booking.taken_at):
            try:
                await self._intents.append(change.booking, epoch=change.epoch)
            except EpochOver:
                raise InventoryUnavailable.rebuilding() from None

    async def _release(self, booking_id: UUID, terms: Terms, *, deadline: Deadline, reason: str) -> Booking:
        """Cancel a booking by its record; if the record has retired, restore it from PostgreSQL first."""
        for _ in range(ATTEMPTS_MAX):
            booking, unknown = await self._find(booking_id)
            reach(Failpoint.CANCEL_FOUND)
            if unknown:
                await self._inventory.restore(booking, read_ms=unknown.now_ms, read_in=unknown.epoch)
                reach(Failpoint.CANCEL_RESTORED)
            try:
                released = await self._inventory.release(
                    booking,
                    status=BookingStatus.CANCELLED,
                    reason=reason,
                    deadline=(terms, deadline),
                )
            except RecordUnknown:
                continue
            except TermsStale:
                terms = await self._terms.follow(terms)
                if terms.closed and (await self._terms.read(booking.event_id)).closed:
                    raise too_late(deadline) from None
                continue
            except Uninstalled:
                if (await self._terms.load(booking.event_id)).closed:
                    raise too_late(deadline) from None
                raise
            reach(Failpoint.CANCEL_RELEASED)
            await self._acknowledge(released)
            return released.booking
        detail = "The booking is changing."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    async def _change(self, booking_id: UUID, change: Callable[[Booking, Terms], Awaitable[Released]]) -> Booking:
        """Change a booking by its record; if the record has retired, restore it from PostgreSQL first."""
        booking, unknown = await self._find(booking_id)
        terms = await self._terms.find(booking.event_id)
        for _ in range(ATTEMPTS_MAX):
            if unknown:
                await self._inventory.restore(booking, read_ms=unknown.now_ms, read_in=unknown.epoch)
            hold = await self._inventory.record(booking_id)
            try:
                released = None if hold is None else await change(hold, terms)
            except TermsStale:
                terms = await self._terms.follow(terms)
                continue
            except (RecordUnknown, RecordChanged):
                released = None
            if released:
                reach(Failpoint.HOLD_CHANGED)
                await self._acknowledge(released)
                return released.booking
            booking, unknown = await self._find(booking_id)
        detail = "The booking is changing."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    async def _find(self, booking_id: UUID, ask: Ask | None = None) -> tuple[Booking, RecordUnknown | None]:
        """The booking, and Redis' answer if it had no record of the booking. The caller of `ask` is admitted first."""
        if partition_of_booking(booking_id) is None:
            if ask is not None:
                await self._admission.admit(ask)
            raise _no_booking()
        try:
            return await self._inventory.look(booking_id, ask=ask), None
        except RecordUnknown as unknown:
            booking = await self._ledger.find(booking_id)
            if booking is None:
                raise _no_booking() from None
            return booking, unknown
        except InventoryUnavailable:
            changed_to = await self._latest_version(booking_id)
            booking = await self._ledger.find(booking_id)
            if booking is None or booking.version < changed_to:
                # A caller that was told that the booking is cancelled must not be told later that it is confirmed.
                raise
            return as_of(booking, to_ms(datetime.now(UTC))), None

    async def _latest_version(self, booking_id: UUID) -> int:
        """The newest version of a booking that is known outside the ledger, of any epoch; 0 for none."""
        record = await self._inventory.record(booking_id)
        intended = await self._intents.latest_version(booking_id) if self._intents else 0
        return max(record.version if record else 0, intended)

    async def _wait(self, booking: Booking, *, until_final: bool, seconds: float) -> Booking:
        now_s = asyncio.get_running_loop().time
        deadline_s, latest, first = now_s() + seconds, booking, booking.status is BookingStatus.PENDING
        for pause_s in self._look_times.pauses_s(longest_s=longest_pause_s(booking)):
            left_s = deadline_s - now_s()
            if left_s <= 0 or (latest.final if until_final else _differs(latest, booking)):
                break
            await asyncio.sleep(min(pause_s, left_s, until_deadline_s(latest)))
            latest = await self.booking(booking.id)
            if first:
                self._look_times.note_first_look(changed=_differs(latest, booking))
                first = False
        return latest


def _as_told(booking: Booking, unknown: RecordUnknown | None) -> Booking:
    """A booking for its caller: a hold that was read from PostgreSQL may be past its deadline."""
    return as_of(booking, unknown.now_ms) if unknown else booking


def _replay(earlier: Booking, new: NewBooking) -> Reservation:
    if not is_same(earlier, new):
        raise key_reused()
    return Reservation(earlier, replayed=True)


def _differs(one: Booking, other: Booking) -> bool:
    return (one.version, one.status) != (other.version, other.status)


def _no_booking() -> BookingNotFound:
    return BookingNotFound("There is no booking with this id.")
