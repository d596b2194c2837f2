"""The inventory: counters, claims and booking records in Redis.

Redis is the truth of the remaining tickets, of the current holders, and of accepted bookings until they are persisted.
Everything else in it is a copy that a rebuild makes again from PostgreSQL. Fails closed: without Redis, or outside the
inventory's epoch, nothing is reserved and nothing is released.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from msgspec import Struct, to_builtins

from domain.kernel.bookings import Booking, BookingStatus, NewBooking, Quote, as_of, may_become
from domain.kernel.claims import claims_text, gates_text, merge_claims
from domain.kernel.idempotency import key_reused, stored_fingerprint
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import (
    CapacityBelowSold,
    InventoryUnavailable,
    PersistenceLagging,
)
from domain.kernel.times import from_ms
from domain.platform.clocks import Moment
from domain.sales.events import ROOM, Deadline, Terms
from domain.sales.refusals import too_late
from domain.store.redis.keys import (
    booking_keys,
    counters_key,
    epoch_key,
    partition_named_by,
    record_key,
    record_prefix,
)
from domain.store.redis.pipeline import RETRY_AFTER_SECONDS
from domain.store.redis.records import (
    RETIRE_MS,
    deadline_ms,
    read_record,
    read_records,
    read_values,
    record_fields,
)
from domain.store.redis.script_clock import no_earlier
from domain.store.redis.scripts import Answered, Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.kernel.claims import Claim
    from domain.store.redis.admission import Admission, Ask
    from domain.store.redis.scripts import Scripts

LAG_MS_MAX = 5_000
"""The maximum age of the oldest unpersisted change while bookings are accepted; older means that workers are stuck."""

DOORBELL_MS = 1_000
"""How long a wake-up flag stays set. A worker that empties the set clears it sooner."""

RESTORE_AGE_MS_MAX = 10_000
"""The maximum age of a PostgreSQL row from which a record is restored.

Far below RETIRE_MS: if the booking changed after the row was read, its record is still in Redis and takes precedence.
"""


KEYS_PER_SCAN = 1_000

EXPIRING_ROUNDS_MAX = 400
"""Calls of one reservation of which each expires as many holds as one call may."""


class TermsStale(Exception):
    """The terms that a request was computed from are not in force any more; load the terms and try again."""


class RecordChanged(Exception):
    """The record has another version than the caller asked to release."""


class Uninstalled(InventoryUnavailable):
    """The event has no terms in Redis: PostgreSQL has closed it, or its counters are not refilled yet."""


class LookupNeeded(Exception):
    """The account has booked this event before, so only PostgreSQL can tell whether this booking exists.

    PostgreSQL's answer is valid in `epoch` only.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch


class RecordUnknown(Exception):
    """Redis has no record of this booking.

    `now_ms` is Redis' clock, and `epoch` the epoch, before PostgreSQL is read.
    """

    def __init__(self, now_ms: int, epoch: int) -> None:
        super().__init__()
        self.now_ms = now_ms
        self.epoch = epoch


class Reserved(Struct, frozen=True, gc=False):
    """A booking that holds its claims, and the epoch in which its script ran.

    `ring` says that no worker has been woken for the partition yet.
    """

    booking: Booking
    epoch: int
    replayed: bool
    ring: bool


class Released(Struct, frozen=True):
    """A booking that holds no claims any more."""

    booking: Booking
    epoch: int
    ring: bool


class Installed(Struct, frozen=True):
    """An event in Redis: the terms in force, None without any, the event's time, and what is taken of counters."""

    terms: str | None
    now_ms: int
    taken: dict[str, int]


class TakenTickets(Struct, frozen=True):
    """The tickets taken of an event, None without an inventory, and the time that decides about its sale."""

    taken: int | None
    now_ms: int


class Inventory:
    """One typed method per script; the header of each script states its promise."""

    def __init__(self, scripts: Scripts, admission: Admission, *, unpersisted_max: int) -> None:
        self._scripts = scripts
        self._admission = admission
        self._pipeline = scripts.pipeline
        self._unpersisted_max = unpersisted_max

    @property
    def epoch(self) -> int:
        """The epoch in which this process calls scripts."""
        return self._scripts.epoch

    async def reserve(  # noqa: PLR0913  (always called by name)
        self,
        new: NewBooking,
        terms: Terms,
        *,
        looked_up: bool,
        quoted: Quote | None = None,
        looked_up_in: int | None = None,
        ask: Ask | None = None,
    ) -> Reserved:
        """Take every claim of a booking or none, and promise to persist it (reserve_tickets.lua).

        `quoted` is the quote of the order by these terms, if the caller has it already.

        A request that is not admitted yet is admitted in the same call. Without `ask`, admission is not checked.

        `looked_up` says that no booking with this id exists outside Redis: PostgreSQL was asked in the epoch
        `looked_up_in` and had none, or the id is new. The answer is not valid in a later epoch, because a rebuild
        persists pending bookings.

        Raises:
            TermsStale, LookupNeeded: see there.
            SoldOut, PerUserLimit, NotOnSale, IdempotencyKeyReused, PersistenceLagging, InventoryUnavailable.
            Unauthenticated, RateLimited, Unavailable: the request is not admitted.
        """
        quote = new.order.quote(terms, account_id=new.user_id) if quoted is None else quoted
        lists = [merge_claims(each) for each in quote.alternatives]
        command = self._reservation_of(new, terms, quote, lists, looked_up=looked_up)
        for _ in range(EXPIRING_ROUNDS_MAX):
            answered = await self._run(command, ask=ask, new=new, epoch=looked_up_in)
            if answered.words[0] != b"again":
                return _reserved(new, terms, quote, lists, answered)
        detail = "Many holds are expiring. Try again."
        raise InventoryUnavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)

    def _reservation_of(
        self, new: NewBooking, terms: Terms, quote: Quote, lists: Sequence[Sequence[Claim]], *, looked_up: bool
    ) -> Command:
        order = new.order
        booking_id, event_id, user_id = to_builtins((new.id, order.event_id, new.user_id))
        keys = booking_keys(partition_of_event(order.event_id), booking_id, event_id, user_id)
        args: list[Any] = [
            terms.token,
            quote.opens_ms,
            quote.closes_ms,
            "checked" if looked_up else "fresh",
            booking_id,
            event_id,
            user_id,
            order.quantity,
            order.fingerprint,
            self._unpersisted_max,
            LAG_MS_MAX,
            DOORBELL_MS,
            quote.hold_ms,
            quote.gate_pass,
            quote.body,
            " ".join([str(len(claims)) for claims in lists]),
        ]
        for claims in lists:
            for claim in claims:
                args += (claim.counter, claim.quantity, claim.size)
        return Command("reserve_tickets", keys, args)

    async def _run(
        self, command: Command, *, ask: Ask | None, new: NewBooking | None = None, epoch: int | None = None
    ) -> Answered:
        """Run a command; if the request is not admitted yet, in one call with its admission."""
        if ask is not None and ask.admitted is None:
            answered = await self._admission.admit(ask, new, then=command)
            if answered is not None:
                return answered
        asked_in = self._scripts.epoch
        return Answered(await self._scripts.call(command.name, command.keys, command.args, epoch=epoch), asked_in)

    async def release(
        self,
        booking: Booking,
        *,
        status: BookingStatus,
        reason: str = "",
        version: int | None = None,
        deadline: tuple[Terms, Deadline] | None = None,
    ) -> Released:
        """Return a booking's claims, once (release_tickets.lua).

        With `version`, only if the record has that version. With `deadline`, only before that deadline of these terms.

        Raises:
            RecordUnknown: the record has retired; restore it and try again.
            RecordChanged: the record has another version.
            TermsStale: the terms are not in force any more.
            EventStarted: it is too late.
            Uninstalled: nothing was returned.
            InventoryUnavailable.
        """
        args = [
            status,
            may_become(status),
            reason,
            "" if version is None else version,
            deadline[0].token if deadline else "",
            deadline[0].deadline_ms(deadline[1]) if deadline else 0,
            DOORBELL_MS,
        ]
        answer, epoch = await change_booking(self._scripts, "release_tickets", booking, args)
        match answer[0]:
            case b"released" | b"known":
                return Released(read_record(booking.id, answer[2]), epoch, ring=answer[1] == 1)
            case b"unknown":
                raise RecordUnknown(0, epoch)
            case b"changed":
                raise RecordChanged
            case b"stale":
                raise TermsStale
            case b"uninstalled":
                raise not_installed()
            case _:
                raise too_late(deadline[1] if deadline else Deadline.OVER)

    async def look(self, booking_id: UUID, *, ask: Ask | None = None) -> Booking:
        """Read a booking from its record (read_booking.lua).

        A request that is not admitted yet is admitted in the same call. Without `ask`, admission is not checked.

        Raises:
            RecordUnknown, InventoryUnavailable.
            Unauthenticated, RateLimited, Unavailable: the request is not admitted.
        """
        partition = partition_named_by(booking_id)
        keys = [epoch_key(partition), record_prefix(partition) + to_builtins(booking_id)]
        answered = await self._run(Command("read_booking", keys, []), ask=ask)
        if answered.words[0] == b"unknown":
            raise RecordUnknown(answered.words[1], answered.epoch)
        return read_values(booking_id, answered.words[1][1:])

    async def restore(self, booking: Booking, *, read_ms: int, read_in: int) -> None:
        """Restore a retired record from its PostgreSQL row (restore_booking.lua).

        The row was read at `read_ms` on Redis' clock.
        It works only in `read_in`, the epoch in which the row was read: a later rebuild may have persisted a change.

        Raises:
            InventoryUnavailable: that epoch is over.
        """
        partition = partition_named_by(booking.id)
        due_ms = deadline_ms(booking)
        args = [read_ms, RESTORE_AGE_MS_MAX, RETIRE_MS, str(booking.id), due_ms, *record_fields(booking)]
        keys = [epoch_key(partition), record_key(booking.id), counters_key(booking.event_id)]
        await self._scripts.call("restore_booking", keys, args, epoch=read_in)

    async def record(self, booking_id: UUID) -> Booking | None:
        """A booking's record, of any epoch; None without one."""
        return next(iter(await read_records(self._pipeline, [booking_id])), None)

    async def install(self, terms: Terms, *, new: bool = False) -> int:
        """Put an event's terms in force (install_terms.lua); returns Redis' clock in milliseconds.

        The counters of a `new` event start at 0. The caller must hold the lock on the event's row in PostgreSQL, so
        that two changes cannot overtake each other.

        Raises:
            CapacityBelowSold: more tickets are taken than the new size; carries `sold`.
            Uninstalled: the event is not new, and its counters are not refilled yet.
            InventoryUnavailable.
        """
        partition = partition_of_event(terms.event_id)
        answer = await self._scripts.call(
            "install_terms",
            [epoch_key(partition), counters_key(terms.event_id)],
            [
                terms.token,
                "new" if new else "known",
                gates_text(terms.gates),
                *(part for pair in terms.sizes.items() for part in pair),
            ],
        )
        if answer[0] == b"uninstalled":
            raise not_installed()
        if answer[0] == b"short":
            sold = int(answer[2])
            raise CapacityBelowSold.of(sold)
        return int(answer[1])

    async def taken(self, event_ids: Sequence[UUID]) -> list[int | None]:
        """The tickets taken per event, pending ones included; None without an inventory."""
        return [found.taken for found in await self.taken_tickets(event_ids)]

    async def taken_of(self, event_id: UUID, counter_names: Sequence[str]) -> dict[str, int]:
        """What is taken of these counters; those that Redis does not have are left out."""
        values = await self._pipeline.call("HMGET", counters_key(event_id), *counter_names)
        found = zip(counter_names, values, strict=True)
        return {counter: int(taken) for counter, taken in found if taken is not None}

    async def taken_tickets(self, event_ids: Sequence[UUID]) -> list[TakenTickets]:
        """The tickets taken of each event, and its time.

        The time is Redis' clock, but never before the latest time that the event has recorded.
        """
        # Concurrent calls share one round trip; sequential calls would each have their own.
        asked = (self._pipeline.call("HMGET", counters_key(event_id), ROOM, "clock") for event_id in event_ids)
        now_ms, *answers = await asyncio.gather(self.now_ms(), *asked)
        return [
            TakenTickets(None if taken is None else int(taken), no_earlier(now_ms, int(clock or 0)))
            for taken, clock in answers
        ]

    async def installed(self, event_id: UUID, counters: Sequence[str] = ()) -> Installed:
        """The terms of an event in Redis, of any epoch, and what is taken of these counters, in one round trip.

        Counters that Redis does not have are left out.
        """
        asked = self._pipeline.call("HMGET", counters_key(event_id), "terms", "clock", *counters)
        now_ms, (terms, clock, *values) = await asyncio.gather(self.now_ms(), asked)
        taken = {name: int(value) for name, value in zip(counters, values, strict=True) if value is not None}
        return Installed(terms and terms.decode(), no_earlier(now_ms, int(clock or 0)), taken)

    async def uninstalled(self, event_ids: Sequence[UUID]) -> list[UUID]:
        """Those of the events that have no terms in Redis."""
        asked = (self._pipeline.call("HEXISTS", counters_key(event_id), "terms") for event_id in event_ids)
        answers = await asyncio.gather(*asked)
        return [event_id for event_id, there in zip(event_ids, answers, strict=True) if not there]

    async def remove_counters(self, event_id: UUID, *, terms: str) -> bool:
        """Remove the counters of a closed event (remove_counters.lua); False if there are none with these terms.

        Raises:
            InventoryUnavailable: nothing was removed.
        """
        keys = [epoch_key(partition_of_event(event_id)), counters_key(event_id)]
        answer = await self._scripts.call("remove_counters", keys, [terms])
        return bool(answer[0] == b"removed" and answer[1])

    async def reopen(
        self, step: Literal["begin", "fill", "finish"], terms: Terms, *, left: str = "", fields: Sequence[Any] = ()
    ) -> None:
        """Do one step of refilling a closed event's counters (reopen_counters.lua).

        `left` are terms that may be replaced. The caller must hold the lock on the event's row in PostgreSQL.

        Raises:
            InventoryUnavailable: a later opening has replaced this one, or Redis accepts no more data.
        """
        keys = [epoch_key(partition_of_event(terms.event_id)), counters_key(terms.event_id)]
        answer = await self._scripts.call("reopen_counters", keys, [step, terms.token, left, *fields])
        if answer[0] == b"stale":
            detail = "The event is being opened by another request."
            raise InventoryUnavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)

    async def with_counters(self, cursor: int) -> tuple[int, list[UUID]]:
        """Some of the events that have counters, and the next cursor; 0 at the end."""
        next_cursor, names = await self._pipeline.call(
            "SCAN", cursor, "MATCH", "{p*}:counters:*", "COUNT", KEYS_PER_SCAN
        )
        return int(next_cursor), [UUID(name.decode().rpartition(":")[2]) for name in names]

    async def now_ms(self) -> int:
        """Redis' clock in milliseconds since 1970. It may be set back; an event's time is not, see `taken_tickets`."""
        seconds, microseconds = await self._pipeline.call("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def moment(self) -> Moment:
        """Redis' clock, with this process' monotonic clock before and after the reading."""
        sent_s = time.monotonic()
        at_ms = await self.now_ms()
        return Moment(at_ms, sent_s, time.monotonic())


async def change_booking(scripts: Scripts, script: str, booking: Booking, args: Sequence[Any]) -> tuple[list[Any], int]:
    """Run a script that changes a booking; returns its answer and the epoch."""
    epoch = scripts.epoch
    keys = booking_keys(partition_named_by(booking.id), str(booking.id), str(booking.event_id), str(booking.user_id))
    return await scripts.call(script, keys, [str(booking.id), *args]), epoch


def _reserved(
    new: NewBooking, terms: Terms, quote: Quote, lists: Sequence[Sequence[Claim]], answered: Answered
) -> Reserved:
    """The result or the exception for an answer of reserve_tickets.lua."""
    answer, epoch = answered.words, answered.epoch
    if answer[0] == b"reserved":
        booking = _new_booking(new, quote, lists[answer[4]], created_ms=answer[1], due_ms=answer[3])
        return Reserved(booking, epoch, replayed=False, ring=answer[2] == 1)
    if answer[0] == b"known":
        return Reserved(as_of(read_record(new.id, answer[2]), answer[1]), epoch, replayed=True, ring=False)
    if answer[0] == b"lookup":
        raise LookupNeeded(epoch)
    if answer[0] in {b"short", b"gated"}:
        remaining = answer[2] if answer[0] == b"short" else 0
        raise new.order.shortage(terms, lists[0][answer[1]], remaining=remaining)
    raise _reserve_refusal(answer, new, terms)


def _new_booking(new: NewBooking, quote: Quote, claims: Sequence[Claim], *, created_ms: int, due_ms: int) -> Booking:
    order = new.order
    return Booking(
        id=new.id,
        event_id=order.event_id,
        user_id=new.user_id,
        quantity=order.quantity,
        status=BookingStatus.HELD if due_ms else BookingStatus.PENDING,
        version=1,
        created_at=from_ms(created_ms),
        claims=claims_text(claims),
        fingerprint=stored_fingerprint(order),
        due_at=from_ms(due_ms) if due_ms else None,
        body=quote.body or None,
    )


def _reserve_refusal(answer: list[Any], new: NewBooking, terms: Terms) -> Exception:
    """The exception for an answer of reserve_tickets.lua that took nothing."""
    match answer[0]:
        case b"stale":
            return TermsStale()
        case b"mismatch":
            return key_reused()
        case b"closed":
            return new.order.outside(terms, now_ms=answer[1])
        case b"lagging":
            return PersistenceLagging(
                "Too many bookings wait to be stored. Try again in a moment.", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        case _:
            return not_installed()


def not_installed() -> Uninstalled:
    """The refusal of a request for an event without counters."""
    return Uninstalled("The event's inventory is being rebuilt.", retry_after_seconds=RETRY_AFTER_SECONDS)
