"""The catalogue: changes of events in PostgreSQL, and the installation of their terms in Redis.

PostgreSQL is the truth of events and their sales terms. Terms are written to Redis only while the event's row and the
epoch are locked, so that neither two changes nor a change and a rebuild can overtake each other.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import UNSET, structs
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from domain.accounts.accounts import Role
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import (
    CapacityBelowSold,
    EventCancelled,
    EventOver,
    Invalid,
    Refusal,
    Unavailable,
    VersionMismatch,
)
from domain.sales.events import TIMES, Event, EventChanges, NewEvent, broken_payment, broken_times
from domain.sales.starts import changed_start, start_of
from domain.store.postgres.accounts.holding import hold_account, hold_caller
from domain.store.postgres.audit_log import note
from domain.store.postgres.epochs import hold_own_epoch
from domain.store.postgres.events.changes import change_currency, check_series
from domain.store.postgres.events.past_events import reopen_counters, terms_token
from domain.store.postgres.events.reads import FIND_EVENT, event_not_found
from domain.store.postgres.events.rows import event_row, read_event
from domain.store.postgres.holdings import read_taken
from domain.store.postgres.tables import counters, events

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.store.postgres.database import Database
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.scripts import Scripts
    from domain.store.redis.unpersisted_sets import UnpersistedSets


class Catalog:
    """Events, and the only code that changes their terms. Actions of admins are written to the audit log."""

    def __init__(
        self, database: Database, inventory: Inventory, unpersisted: UnpersistedSets, scripts: Scripts
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._unpersisted = unpersisted
        self._scripts = scripts

    async def create(self, new: NewEvent, *, caller: Caller, now: datetime) -> Event:
        """Create an event of the caller and put its terms in force.

        Raises:
            Invalid: its times contradict each other, or its series is another organizer's.
            Unauthenticated: the caller's token is dead.
            InventoryUnavailable: nothing was created.
        """
        event = Event(
            id=uuid4(),
            organizer_id=caller.account_id,
            paused=False,
            suspended=False,
            cancelled_at=None,
            version=1,
            terms_token=terms_token(),
            created_at=now,
            **structs.asdict(new) | structs.asdict(start_of(time_zone=new.time_zone, starts_at=new.starts_at)),
        )
        event = _checked(event, now=now, changed=TIMES)
        async with self._database.begin() as connection:
            organizer = (await hold_caller(connection, caller))[caller.account_id]
            event = structs.replace(event, suspended=not organizer.sells, counters=event.sizes)
            await hold_own_epoch(connection, self._scripts)
            await check_series(connection, event)
            await connection.execute(insert(events).values(**event_row(event), partition=partition_of_event(event.id)))
            rows = [{"event_id": event.id, "counter": name, "size": size} for name, size in event.sizes.items()]
            await connection.execute(insert(counters).values(taken=0), rows)
            await _note(connection, now, caller, "event.created", event.id)
            await self._inventory.install(event.terms, new=True)
        return event

    async def change(
        self,
        event_id: UUID,
        changes: EventChanges,
        *,
        caller: Caller,
        expected_version: int | None,
        now: datetime,
    ) -> Event:
        """Change an event; its terms are in force when this returns.

        Raises:
            EventNotFound, EventCancelled, VersionMismatch, Invalid, InventoryUnavailable.
            Unauthenticated: the caller's token is dead.
            CapacityBelowSold: carries `sold`.
            CurrencyFixed: tickets were booked.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id, caller=caller)
            if event.cancelled_at is not None:
                detail = "A cancelled event cannot be changed or opened again."
                raise EventCancelled(detail)
            if expected_version is not None and event.version != expected_version:
                detail = f"The event has changed; it is at version {event.version}. Read it again."
                raise VersionMismatch(detail, version=event.version)
            given = {name: value for name, value in structs.asdict(changes).items() if value is not UNSET}
            resolved = changed_start(given, event.start)
            changed = {name: value for name, value in resolved.items() if value != getattr(event, name)}
            if not changed and suspended is event.suspended:
                return event
            after = _checked(_next(event, **changed, suspended=suspended), now=now, changed=changed.keys())
            await _note(connection, now, caller, "event.changed", event_id, fields=sorted(changed))
            if "series_id" in changed:
                await check_series(connection, after)
            if "currency" in changed and event.currency is not None:
                await change_currency(connection, self._inventory, self._unpersisted, event, after)
            if after.closed_at is not None and after.over_at > now:
                after = structs.replace(after, closed_at=None, terms_token=terms_token())
                await self._write_row(connection, after, **event_row(after), opened_at=func.now())
                await reopen_counters(connection, self._inventory, self._unpersisted, after)
            else:
                await self._write(connection, after)
            return after

    async def cancel(self, event_id: UUID, *, caller: Caller, now: datetime) -> Event:
        """Stop an event's sales for good; a repeated call returns the same event. `clear_event` cancels its bookings.

        Raises:
            EventOver: the event is over.
            EventNotFound, InventoryUnavailable.
            Unauthenticated: the caller's token is dead.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id, caller=caller)
            if event.cancelled_at is not None:
                return event
            if event.over_at <= now or event.closed_at is not None:
                detail = "The event is over and cannot be cancelled any more."
                raise EventOver(detail)
            after = _next(event, cancelled_at=now, suspended=suspended)
            await _note(connection, now, caller, "event.cancelled", event_id)
            await self._write(connection, after)
            return after

    async def follow_organizer(self, event_id: UUID) -> Event:
        """Suspend an event if its organizer may not sell, otherwise end its suspension; no effect if that is done.

        Raises:
            EventNotFound, InventoryUnavailable, CapacityBelowSold.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id)
            done = suspended is event.suspended
            if done or event.cancelled_at is not None or event.closed_at is not None:
                return event
            after = _next(event, suspended=suspended)
            await self._write(connection, after)
            return after

    async def renew_terms(self, event_id: UUID, *, instead_of: str | None = None) -> Event:
        """Put PostgreSQL's terms in force with a new token.

        It is used when Redis and PostgreSQL differ: after a change that was interrupted, or a manual one. A closed
        event is left as it is, because none of its terms are in force. With `instead_of`, only if the terms still have
        that token: a change under way holds the row until both servers agree, and many processes that find a difference
        renew the terms once.

        Raises:
            EventNotFound, InventoryUnavailable.
            CapacityBelowSold: more is taken than the capacity that PostgreSQL has.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id)
            if instead_of not in {None, event.terms_token} or event.closed_at is not None:
                return event
            renewed = structs.replace(event, suspended=suspended, terms_token=terms_token())
            await self._write(connection, renewed)
            return renewed

    async def mark_cleared(self, event_id: UUID, *, now: datetime) -> None:
        """Record that no booking of a cancelled event holds tickets any more."""
        async with self._database.statement() as connection:
            await connection.execute(update(events).where(events.c.id == event_id).values(cleared_at=now))

    async def _hold(
        self, connection: AsyncConnection, event_id: UUID, *, caller: Caller | None = None
    ) -> tuple[Event, bool]:
        """Lock the event's row until the transaction ends; returns the event and whether it must be suspended.

        The accounts of its organizer and of the caller are locked before it. The caller is None for the engine itself.
        """
        found = select(events.c.organizer_id).where(events.c.id == event_id)
        organizer_id = (await connection.execute(found)).scalar_one_or_none()
        if organizer_id is None:
            if caller is not None:
                await hold_caller(connection, caller)
            raise event_not_found()
        if caller is None:
            organizer = await hold_account(connection, organizer_id, shared=True)
        else:
            organizer = (await hold_caller(connection, caller, reading=[organizer_id]))[organizer_id]
        await hold_own_epoch(connection, self._scripts)
        # FOR NO KEY UPDATE: a worker that persists bookings refers to the event while it holds a counter.
        found_row = FIND_EVENT.with_for_update(of=events, key_share=True)
        row = (await connection.execute(found_row, {"event_id": event_id})).one()
        return read_event(row), not organizer.sells

    async def _write(self, connection: AsyncConnection, event: Event) -> None:
        """Write the row and the counters first, Redis last: a failure before the commit leaves PostgreSQL unchanged."""
        await self._write_row(connection, event, **event_row(event))
        if event.closed_at is None:
            await self._inventory.install(event.terms)

    async def _write_row(self, connection: AsyncConnection, event: Event, **values: object) -> None:
        await connection.execute(update(events).where(events.c.id == event.id).values(**values))
        resized = {name: size for name, size in event.sizes.items() if size != event.counters.get(name)}
        try:
            for name, size in resized.items():
                key = counters.c.event_id == event.id, counters.c.counter == name
                await connection.execute(update(counters).where(*key).values(size=size))
        except IntegrityError as error:
            raise await self._below_sold(event, resized) from error

    async def _below_sold(self, event: Event, resized: dict[str, int]) -> Refusal:
        """The reason why a counter refused its new size: more is taken, or returned units are not yet persisted."""
        taken = await self._inventory.taken_of(event.id, list(resized))
        if len(taken) < len(resized):
            # Redis has no counters of a closed event.
            async with self._database.connect() as connection:
                stored = (await read_taken(connection, [event.id]))[event.id]
            taken = {name: stored[name].counted for name in resized}
        over = [taken[name] for name, size in resized.items() if taken[name] > size]
        if not over:
            return Unavailable("Cancelled tickets are still being returned. Try again.", retry_after_seconds=1)
        return CapacityBelowSold.of(over[0])


def _checked(event: Event, *, now: datetime, changed: Collection[str]) -> Event:
    """The event with its times in UTC; raises Invalid if the changed fields break a rule of time, or any of payment."""
    broken = [*broken_times(event, now=now, changed=changed), *broken_payment(event)]
    errors = [{"pointer": f"/{name}", "message": message} for name, message in broken]
    if errors:
        detail = f"{errors[0]['pointer']}: {errors[0]['message']}"
        raise Invalid(detail, errors=errors)
    moments = {name: getattr(event, name) for name in TIMES}
    return structs.replace(event, **{name: moment.astimezone(UTC) for name, moment in moments.items() if moment})


def _next(event: Event, **changed: Any) -> Event:  # noqa: ANN401  (fields of an event)
    """The event's next version, with a new terms token."""
    token = terms_token(closed=event.closed_at is not None)
    return structs.replace(event, **changed, version=event.version + 1, terms_token=token)


async def _note(
    connection: AsyncConnection, now: datetime, caller: Caller, action: str, event_id: UUID, **detail: object
) -> None:
    """Add an audit entry if the caller is an admin; organizers manage their own events without one.

    It is called before the terms are written to Redis, like everything else that may fail.
    """
    if caller.role is Role.ADMIN:
        await note(connection, now, actor_id=caller.account_id, action=action, target_id=event_id, **detail)
