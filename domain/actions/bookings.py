"""The actions of callers on events and bookings, over the stores."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from domain.kernel.bookings import Booking, BookingStatus, NewBooking, Reservation
from domain.kernel.partitions import booking_id_for_key, partition_of_booking, partition_of_event, random_booking_id
from domain.kernel.refusals import (
    BookingNotFound,
    IdempotencyKeyReused,
    InventoryUnavailable,
    NotOnSale,
    PerUserLimit,
    SoldOut,
    Unavailable,
)
from domain.kernel.times import from_ms
from domain.platform.coalescing import Coalesced
from domain.platform.failpoints import Failpoint, Protection, protected, reach
from domain.sales.events import Deadline
from domain.store.postgres.epochs import EpochOver
from domain.store.redis.inventory import LookupNeeded, RecordUnknown, TermsStale, Uninstalled, too_late

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from domain.accounts.accounts import Caller
    from domain.kernel.event_status import EventStatus
    from domain.sales.events import Event, EventChanges, NewEvent, Terms
    from domain.store.job_queue import Doorbell
    from domain.store.postgres.events.catalog import Catalog
    from domain.store.postgres.events.reads import EventReads
    from domain.store.postgres.ledger import Ledger
    from domain.store.postgres.write_ahead import Intents
    from domain.store.redis.inventory import Inventory, Places, Released, Reserved
    from domain.store.redis.refusal_counts import Turnstile
    from domain.store.redis.scripts import Answered, Command

TERMS_CACHED_MAX = 10_000
"""Events whose terms a process caches. The script verifies the terms, so an evicted entry costs one read."""

ATTEMPTS_MAX = 4
"""How often one request is tried again because the terms changed or the record retired meanwhile."""

POLL_INTERVAL_S = 0.02
POLL_INTERVAL_S_MAX = 0.25
"""The interval between two reads of a long poll: the first one, and the longest.

Most bookings are confirmed within 50 ms.
"""

CLEAR_BATCH_MAX = 200
"""Bookings of a cancelled event that are cancelled in one batch."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A requested booking and, when the event's terms are cached, the command that takes its tickets.

    `looked_up` says that PostgreSQL need not be asked whether it has the booking already.
    """

    new: NewBooking
    looked_up: bool
    terms: Terms | None
    command: Command | None


class BoxOffice:
    """Sells, shows and takes back tickets. One per process."""

    def __init__(  # noqa: PLR0913  (one per store)
        self,
        *,
        events: EventReads,
        catalog: Catalog,
        inventory: Inventory,
        ledger: Ledger,
        doorbell: Doorbell,
        intents: Intents | None,
        turnstile: Turnstile,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._inventory = inventory
        self._ledger = ledger
        self._doorbell = doorbell
        self._intents = intents
        self._turnstile = turnstile
        self._terms: OrderedDict[UUID, Terms] = OrderedDict()
        self._loads = Coalesced(self._read_terms, too_many=_too_many)

    async def reserve(
        self, *, event_id: UUID, user_id: UUID, quantity: int, idempotency_key: str | None
    ) -> Reservation:
        """Take the tickets of a booking, and promise to persist it.

        Raises:
            EventNotFound, SoldOut, PerUserLimit, NotOnSale, IdempotencyKeyReused: nothing was taken.
            InventoryUnavailable, PersistenceLagging: try again.
        """
        plan = self.plan(event_id=event_id, user_id=user_id, quantity=quantity, idempotency_key=idempotency_key)
        return await self.take(plan)

    def plan(self, *, event_id: UUID, user_id: UUID, quantity: int, idempotency_key: str | None) -> Plan:
        """Prepare a `reserve` without calling a server."""
        if idempotency_key is None or not protected(Protection.STABLE_ID):
            booking_id, looked_up = random_booking_id(event_id), True
        else:
            booking_id = booking_id_for_key(account_id=user_id, idempotency_key=idempotency_key, event_id=event_id)
            looked_up = False
        new = NewBooking(booking_id, event_id, user_id, quantity)
        terms = self._terms.get(event_id)
        command = self._inventory.reserving(new, terms, looked_up=looked_up) if terms else None
        return Plan(new, looked_up, terms, command)

    async def take(self, plan: Plan, answered: Answered | None = None) -> Reservation:
        """Carry out a plan; raises as `reserve` does. `answered` is Redis' answer if its command was already run."""
        try:
            return await self._book(plan, answered)
        except (SoldOut, PerUserLimit, NotOnSale) as refusal:
            self._turnstile.count(plan.new.event_id, refusal.code)
            raise

    async def _book(self, plan: Plan, answered: Answered | None) -> Reservation:
        new = plan.new
        try:
            reserved = await self._reserve(plan, answered)
        except LookupNeeded as needed:
            earlier = await self._ledger.find_by_key(new.id)
            if earlier is not None:
                return _replay(earlier, new)
            reserved = await self._reserve(replace(plan, looked_up=True), looked_up_in=needed.epoch)
        reach(Failpoint.RESERVED)
        await self._acknowledge(reserved)
        return Reservation(reserved.booking, reserved.replayed)

    async def booking(self, booking_id: UUID, answered: Answered | None = None) -> Booking:
        """The current state of a booking: from its record, or from PostgreSQL once the record has retired.

        `answered` is Redis' answer if the command of `looking` was already run.

        Raises:
            BookingNotFound: no booking has this id.
            InventoryUnavailable: it may be in Redis, which cannot be asked now.
        """
        booking, _ = await self._find(booking_id, answered)
        return booking

    def looking(self, booking_id: UUID) -> Command | None:
        """The command that reads a booking from Redis, None for an id that no booking can have."""
        return None if partition_of_booking(booking_id) is None else self._inventory.looking(booking_id)

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
        terms = await self._cached_terms(booking.event_id)
        return await self._release(booking.id, terms, deadline=deadline, reason=reason)

    async def clear_event(self, event_id: UUID, *, after: UUID | None) -> tuple[UUID | None, int]:
        """Cancel the next bookings of a cancelled event, in order of id.

        A pending booking is skipped; a later round cancels it once it is confirmed.

        Returns:
            The last booking's id, None at the end of the round, and the tickets still taken: 0 when done.
        """
        terms = await self._loads.of(event_id)
        if terms.closed:
            return None, 0
        read_in, read_ms = self._inventory.epoch, await self._inventory.now_ms()
        batch = await self._ledger.holding(event_id, after=after, limit=CLEAR_BATCH_MAX)
        await asyncio.gather(*(self._clear(each, terms, read_ms=read_ms, read_in=read_in) for each in batch))
        (taken,) = await self._inventory.taken([event_id])
        if taken is None:
            detail = "The inventory is being rebuilt."
            raise InventoryUnavailable(detail, retry_after_seconds=1)
        return (batch[-1].id if batch else None), taken

    async def _clear(self, booking: Booking, terms: Terms, *, read_ms: int, read_in: int) -> None:
        """Cancel a booking of a cancelled event, given its row from PostgreSQL."""
        await self._inventory.restore(booking, terms, read_ms=read_ms, read_in=read_in)
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
        fresh = await self._inventory.unpersisted_of(user_id)
        stored = await self._ledger.of_user(user_id, limit=limit, before=before)
        found = {booking.id: booking for booking in stored}
        for booking in fresh:
            if before is None or (booking.created_at, booking.id) < before:
                found[booking.id] = max(booking, found.get(booking.id, booking), key=lambda each: each.version)
        newest = sorted(found.values(), key=lambda booking: (booking.created_at, booking.id), reverse=True)
        return newest[:limit]

    async def held_by(self, user_id: UUID, *, after: UUID | None, limit: int) -> list[Booking]:
        """The account's bookings that hold tickets of events that may not have begun, in order of id.

        Redis is read before PostgreSQL: a booking that is persisted in between is seen twice, never missed.
        """
        fresh = await self._inventory.unpersisted_of(user_id)
        stored = await self._ledger.held_by(user_id, after=after, limit=limit)
        found = {booking.id: booking for booking in [*stored, *fresh] if after is None or booking.id > after}
        return sorted(found.values(), key=lambda booking: booking.id)[:limit]

    async def create_event(self, new: NewEvent, *, caller: Caller) -> Event:
        """Create an event of the caller and put it on sale; raises Invalid, InventoryUnavailable.

        `caller`, here and below, is the account that acts. Raises Unauthenticated if its token was ended meanwhile.
        """
        event = await self._catalog.create(new, caller=caller, now=await self._now())
        self._remember(event.terms)
        return event

    async def event(self, event_id: UUID) -> Event:
        """The event as PostgreSQL has it; raises EventNotFound."""
        return await self._events.find(event_id)

    async def change_event(
        self, event_id: UUID, changes: EventChanges, *, caller: Caller, expected_version: int | None
    ) -> Event:
        """Change an event. Changes of its sale take effect at once.

        Raises:
            EventNotFound, EventCancelled, CapacityBelowSold, VersionMismatch, Invalid, InventoryUnavailable.
        """
        event = await self._catalog.change(
            event_id, changes, caller=caller, expected_version=expected_version, now=await self._now(event_id)
        )
        self._remember(event.terms)
        return event

    async def cancel_event(self, event_id: UUID, *, caller: Caller) -> Event:
        """Stop sales at once and have every booking cancelled in the background.

        A repeated call returns the same event.

        Raises:
            EventNotFound, EventOver, InventoryUnavailable.
        """
        event = await self._catalog.cancel(event_id, caller=caller, now=await self._now(event_id))
        self._remember(event.terms)
        self._doorbell.ring_to_clear(event_id)
        return event

    async def events_behind_organizer(self, organizer_id: UUID, *, after: UUID | None, limit: int) -> list[UUID]:
        """The organizer's events whose suspension does not match the organizer's right to sell, in order of id."""
        return await self._events.behind_organizer(organizer_id, after=after, limit=limit)

    async def follow_organizer(self, event_id: UUID) -> None:
        """Suspend an event if its organizer may not sell, otherwise end its suspension.

        Raises:
            EventNotFound, InventoryUnavailable.
        """
        self._remember((await self._catalog.follow_organizer(event_id)).terms)

    async def go_on_clearing(self, *, limit: int) -> UUID | None:
        """Queue the clearing of cancelled events whose job was lost or is not done.

        Returns one event whose job the queue did not accept, None if it accepted all.
        """
        for event_id in await self._events.uncleared(limit=limit):
            if not await self._doorbell.rang_to_clear(event_id):
                return event_id
        return None

    async def on_show(self, events: Sequence[Event]) -> list[tuple[Event, int, EventStatus]]:
        """Each event with its remaining tickets and its status, as the inventory has them now.

        Raises:
            InventoryUnavailable: an event has no inventory because it is being rebuilt.
        """
        known = {event.id: event for event in events}
        asked = [event.id for event in events if event.closed_at is None]
        places = dict(zip(asked, await self._inventory.places(asked) if asked else [], strict=True))
        if gone := [event_id for event_id in asked if places[event_id].taken is None]:
            # These events were closed after they were read, or the inventory is being rebuilt.
            known |= await self._events.find_all(gone)
        closed = [event.id for event in known.values() if event.closed_at is not None]
        stored = await self._ledger.pools_taken(closed) if closed else {}
        return [_on_show(known[event.id], places.get(event.id), stored.get(event.id)) for event in events]

    async def _reserve(
        self, plan: Plan, answered: Answered | None = None, *, looked_up_in: int | None = None
    ) -> Reserved:
        new, terms = plan.new, plan.terms or await self._cached_terms(plan.new.event_id)
        for _ in range(ATTEMPTS_MAX):
            try:
                if answered:
                    return self._inventory.reserved(new, terms, answered)
                return await self._inventory.reserve(new, terms, looked_up=plan.looked_up, looked_up_in=looked_up_in)
            except TermsStale:
                terms, answered = await self._follow(terms), None
            except Uninstalled:
                terms, answered = await self._read_terms(new.event_id), None
                if not terms.closed:
                    raise
            if terms.closed:
                terms = await self._unless_closed(plan)
        detail = "The event's terms are changing."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    async def _unless_closed(self, plan: Plan) -> Terms:
        """The current terms of an event that was closed before, if it is open again.

        Raises:
            LookupNeeded: the event is closed, and PostgreSQL may know the booking.
            NotOnSale: it is closed.
        """
        terms = await self._read_terms(plan.new.event_id)
        if not terms.closed:
            return terms
        if not plan.looked_up:
            raise LookupNeeded(self._inventory.epoch)
        status = terms.status(now_ms=terms.closes_ms, remaining=1)
        detail = "Bookings are not taken now."
        raise NotOnSale(detail, event_status=status, sales_open_at=terms.sales_open_at)

    async def _acknowledge(self, change: Reserved | Released) -> None:
        """Do the work that must precede the acknowledgement of a change, and wake a worker to persist it."""
        if change.ring:
            self._doorbell.ring(partition_of_event(change.booking.event_id))
        if self._intents and protected(Protection.INTENT) and change.booking.status is not BookingStatus.CONFIRMED:
            try:
                await self._intents.append(change.booking, epoch=change.epoch)
            except EpochOver:
                detail = "The inventory is being rebuilt."
                raise InventoryUnavailable(detail, retry_after_seconds=1) from None

    async def _release(self, booking_id: UUID, terms: Terms, *, deadline: Deadline, reason: str) -> Booking:
        """Cancel a booking by its record; if the record has retired, restore it from PostgreSQL first."""
        for _ in range(ATTEMPTS_MAX):
            booking, unknown = await self._find(booking_id)
            reach(Failpoint.CANCEL_FOUND)
            if unknown:
                await self._inventory.restore(booking, terms, read_ms=unknown.now_ms, read_in=unknown.epoch)
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
                terms = await self._follow(terms)
                if terms.closed and (await self._read_terms(booking.event_id)).closed:
                    raise too_late(deadline) from None
                continue
            reach(Failpoint.CANCEL_RELEASED)
            await self._acknowledge(released)
            return released.booking
        detail = "The booking is changing."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    async def _find(self, booking_id: UUID, answered: Answered | None = None) -> tuple[Booking, RecordUnknown | None]:
        """The booking, and Redis' answer if it had no record of the booking."""
        if partition_of_booking(booking_id) is None:
            raise _no_booking()
        try:
            if answered:
                return self._inventory.looked(booking_id, answered), None
            return await self._inventory.look(booking_id), None
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
            return booking, None

    async def _latest_version(self, booking_id: UUID) -> int:
        """The newest version of a booking that is known outside the ledger, of any epoch; 0 for none."""
        record = await self._inventory.record(booking_id)
        intended = await self._intents.latest_version(booking_id) if self._intents else 0
        return max(record.version if record else 0, intended)

    async def _wait(self, booking: Booking, *, until_final: bool, seconds: float) -> Booking:
        deadline = asyncio.get_running_loop().time() + seconds
        interval_s = POLL_INTERVAL_S
        latest = booking
        while not (latest.final if until_final else _differs(latest, booking)):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.sleep(min(interval_s, left_s))
            interval_s = min(interval_s * 1.5, POLL_INTERVAL_S_MAX)
            latest = await self.booking(booking.id)
        return latest

    async def _cached_terms(self, event_id: UUID) -> Terms:
        return self._terms.get(event_id) or await self._loads.of(event_id)

    async def _read_terms(self, event_id: UUID) -> Terms:
        terms = (await self._events.find(event_id)).terms
        self._remember(terms)
        return terms

    async def _follow(self, stale: Terms) -> Terms:
        """Newer terms than `stale`.

        If PostgreSQL has the same terms, Redis is outdated: the terms are renewed in both.
        """
        terms = await self._loads.of(stale.event_id)
        if terms.token == stale.token:
            terms = (await self._catalog.renew_terms(stale.event_id, instead_of=stale.token)).terms
            self._remember(terms)
        return terms

    def _remember(self, terms: Terms) -> None:
        self._terms[terms.event_id] = terms
        self._terms.move_to_end(terms.event_id)
        if len(self._terms) > TERMS_CACHED_MAX:
            self._terms.popitem(last=False)

    async def _now(self, event_id: UUID | None = None) -> datetime:
        """The time of an event: Redis' clock, but it never goes back when that clock is set back.

        Without an event, Redis' clock.
        """
        if event_id is None:
            return from_ms(await self._inventory.now_ms())
        (places,) = await self._inventory.places([event_id])
        return from_ms(places.now_ms)


def _on_show(event: Event, places: Places | None, stored: int | None) -> tuple[Event, int, EventStatus]:
    """An event for `on_show`. A closed event is counted by `stored` from PostgreSQL, others by their counters."""
    taken = stored if event.closed_at is not None or places is None else places.taken
    if taken is None and event.cancelled_at is None:
        detail = "The inventory is being rebuilt."
        raise InventoryUnavailable(detail, retry_after_seconds=1)
    remaining = max(0, event.capacity - (taken or 0))
    return event, remaining, event.terms.status(now_ms=places.now_ms if places else 0, remaining=remaining)


def _too_many() -> Unavailable:
    detail = "Too many events are being looked up."
    return Unavailable(detail, retry_after_seconds=1)


def _replay(earlier: Booking, new: NewBooking) -> Reservation:
    if (earlier.event_id, earlier.quantity) != (new.event_id, new.quantity):
        detail = "This idempotency key made another booking."
        raise IdempotencyKeyReused(detail)
    return Reservation(earlier, replayed=True)


def _differs(one: Booking, other: Booking) -> bool:
    return (one.version, one.status) != (other.version, other.status)


def _no_booking() -> BookingNotFound:
    return BookingNotFound("There is no booking with this id.")
