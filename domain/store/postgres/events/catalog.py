"""The catalogue: changes of events in PostgreSQL, and the installation of their terms in Redis.

PostgreSQL is the truth of events and their sales terms. Terms are written to Redis only while the event's row and the
epoch are locked, so that neither two changes nor a change and a rebuild can overtake each other.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import UNSET, structs
from sqlalchemy import func, insert, update

from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import EventCancelled, EventOver
from domain.sales.catalogue_rules import broken_types
from domain.sales.events import TIMES, Event, EventChanges, NewEvent, broken_payment, broken_times
from domain.sales.starts import changed_start, start_of
from domain.sales.ticket_types import Catalogue, listed
from domain.store.postgres.accounts.holding import hold_caller
from domain.store.postgres.epochs import hold_own_epoch
from domain.store.postgres.events.changes import change_currency, check_series
from domain.store.postgres.events.past_events import reopen_counters, terms_token
from domain.store.postgres.events.rows import event_row, type_row
from domain.store.postgres.events.writes import check_rules, check_version, note_of_admin
from domain.store.postgres.tables import counters, events, ticket_types

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from domain.accounts.accounts import Caller
    from domain.store.postgres.database import Database
    from domain.store.postgres.events.writes import EventWrites
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.scripts import Scripts
    from domain.store.redis.unpersisted_sets import UnpersistedSets


class Catalog:
    """Events, and the only code that changes their terms. Actions of admins are written to the audit log."""

    def __init__(
        self,
        database: Database,
        inventory: Inventory,
        unpersisted: UnpersistedSets,
        scripts: Scripts,
        writes: EventWrites,
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._unpersisted = unpersisted
        self._scripts = scripts
        self._writes = writes

    async def create(self, new: NewEvent, *, caller: Caller, now: datetime) -> Event:
        """Create an event of the caller and put its terms in force.

        Raises:
            Invalid: its times contradict each other, or its series is another organizer's.
            Unauthenticated: the caller's token is dead.
            InventoryUnavailable: nothing was created.
        """
        event = _checked(_new_event(new, caller, now=now), now=now, changed=TIMES)
        check_rules(broken_types(event))
        async with self._database.begin() as connection:
            organizer = (await hold_caller(connection, caller))[caller.account_id]
            event = structs.replace(event, suspended=not organizer.sells, counters=event.sizes)
            await hold_own_epoch(connection, self._scripts)
            await check_series(connection, event)
            await connection.execute(insert(events).values(**event_row(event), partition=partition_of_event(event.id)))
            rows = [{"event_id": event.id, "counter": name, "size": size} for name, size in event.sizes.items()]
            await connection.execute(insert(counters).values(taken=0), rows)
            if event.catalogue is not None:
                await connection.execute(insert(ticket_types), [type_row(each) for each in event.catalogue.types])
            await note_of_admin(connection, now, caller, "event.created", event.id)
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
            event, suspended = await self._writes.hold_event(connection, event_id, caller=caller)
            if event.cancelled_at is not None:
                detail = "A cancelled event cannot be changed or opened again."
                raise EventCancelled(detail)
            check_version(event.version, expected_version)
            given = {name: value for name, value in structs.asdict(changes).items() if value is not UNSET}
            resolved = changed_start(given, event.start)
            changed = {name: value for name, value in resolved.items() if value != getattr(event, name)}
            if not changed and suspended is event.suspended:
                return event
            after = _checked(_next(event, **changed, suspended=suspended), now=now, changed=changed.keys())
            await note_of_admin(connection, now, caller, "event.changed", event_id, fields=sorted(changed))
            if "series_id" in changed:
                await check_series(connection, after)
            if "currency" in changed and event.currency is not None:
                await change_currency(connection, self._inventory, self._unpersisted, event, after)
            if after.closed_at is not None and after.over_at > now:
                after = structs.replace(after, closed_at=None, terms_token=terms_token())
                await self._writes.write_row(connection, after, **event_row(after), opened_at=func.now())
                await reopen_counters(connection, self._inventory, self._unpersisted, after)
            else:
                await self._writes.write(connection, after)
            return after

    async def cancel(self, event_id: UUID, *, caller: Caller, now: datetime) -> Event:
        """Stop an event's sales for good; a repeated call returns the same event. `clear_event` cancels its bookings.

        Raises:
            EventOver: the event is over.
            EventNotFound, InventoryUnavailable.
            Unauthenticated: the caller's token is dead.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._writes.hold_event(connection, event_id, caller=caller)
            if event.cancelled_at is not None:
                return event
            if event.over_at <= now or event.closed_at is not None:
                detail = "The event is over and cannot be cancelled any more."
                raise EventOver(detail)
            after = _next(event, cancelled_at=now, suspended=suspended)
            await note_of_admin(connection, now, caller, "event.cancelled", event_id)
            await self._writes.write(connection, after)
            return after

    async def follow_organizer(self, event_id: UUID) -> Event:
        """Suspend an event if its organizer may not sell, otherwise end its suspension; no effect if that is done.

        Raises:
            EventNotFound, InventoryUnavailable, CapacityBelowSold.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._writes.hold_event(connection, event_id)
            done = suspended is event.suspended
            if done or event.cancelled_at is not None or event.closed_at is not None:
                return event
            after = _next(event, suspended=suspended)
            await self._writes.write(connection, after)
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
            event, suspended = await self._writes.hold_event(connection, event_id)
            if instead_of not in {None, event.terms_token} or event.closed_at is not None:
                return event
            renewed = structs.replace(event, suspended=suspended, terms_token=terms_token())
            await self._writes.write(connection, renewed)
            return renewed

    async def mark_cleared(self, event_id: UUID, *, now: datetime) -> None:
        """Record that no booking of a cancelled event holds tickets any more."""
        async with self._database.statement() as connection:
            await connection.execute(update(events).where(events.c.id == event_id).values(cleared_at=now))


def _new_event(new: NewEvent, caller: Caller, *, now: datetime) -> Event:
    """An event of the caller with its ticket types."""
    fields, event_id = structs.asdict(new), uuid4()
    fields |= structs.asdict(start_of(time_zone=new.time_zone, starts_at=new.starts_at))
    types = [each.of_event(event_id, now=now, index=index) for index, each in enumerate(fields.pop("ticket_types"))]
    return Event(
        id=event_id,
        organizer_id=caller.account_id,
        paused=False,
        suspended=False,
        cancelled_at=None,
        version=1,
        terms_token=terms_token(),
        created_at=now,
        catalogue=Catalogue(listed(types)) if types else None,
        **fields,
    )


def _checked(event: Event, *, now: datetime, changed: Collection[str]) -> Event:
    """The event with its times in UTC; raises Invalid if the changed fields break a rule of time, or any of payment."""
    broken = [*broken_times(event, now=now, changed=changed), *broken_payment(event)]
    check_rules((f"/{name}", message) for name, message in broken)
    moments = {name: getattr(event, name) for name in TIMES}
    return structs.replace(event, **{name: moment.astimezone(UTC) for name, moment in moments.items() if moment})


def _next(event: Event, **changed: Any) -> Event:  # noqa: ANN401  (fields of an event)
    """The event's next version, with a new terms token."""
    token = terms_token(closed=event.closed_at is not None)
    return structs.replace(event, **changed, version=event.version + 1, terms_token=token)
