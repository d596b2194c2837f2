"""What events sell: changes of ticket types and pools in PostgreSQL, which is the truth of them.

Every change holds the event's row, as every other change of its terms does, and ends with new terms in Redis. The first
change of an event that had only the implicit ticket type makes a row of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from msgspec import structs
from sqlalchemy import delete, insert, select, update

from domain.kernel.counters import pool_counter
from domain.kernel.refusals import (
    CapacityBelowSold,
    EventCancelled,
    EventOver,
    InUse,
    Refusal,
)
from domain.sales.catalogue_rules import broken_pool, broken_type
from domain.sales.ticket_types import (
    Catalogue,
    TicketPool,
    TicketType,
    changed_fields,
    general_admission,
    next_version,
)
from domain.store.postgres.events.past_events import terms_token
from domain.store.postgres.events.reads import FIND_EVENT
from domain.store.postgres.events.rows import read_event, type_row
from domain.store.postgres.events.writes import check_rules, check_version, note_of_admin
from domain.store.postgres.holdings import has_tickets_of_type
from domain.store.postgres.tables import counters, ticket_pools, ticket_types

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.sales.events import Event
    from domain.sales.ticket_types import NewTicketType
    from domain.store.postgres.database import Database
    from domain.store.postgres.events.writes import EventWrites
    from domain.store.redis.holds import Holds
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.unpersisted_sets import UnpersistedSets

FIXED_IN_USE = frozenset({"pools", "weight", "takes_room"})
"""What a ticket type takes. It is fixed while bookings have tickets of the type."""


class Selling:
    """Ticket types and pools of events, and the only code that changes them.

    Each change returns the event as it is then. Actions of admins are written to the audit log. What every change may
    raise: EventNotFound, EventCancelled, EventOver, Unauthenticated, VersionMismatch, Invalid, InventoryUnavailable.
    """

    def __init__(
        self,
        database: Database,
        writes: EventWrites,
        inventory: Inventory,
        holds: Holds,
        unpersisted: UnpersistedSets,
    ) -> None:
        self._database = database
        self._writes = writes
        self._inventory = inventory
        self._holds = holds
        self._unpersisted = unpersisted

    async def add_type(
        self, event_id: UUID, new: NewTicketType, *, caller: Caller, now: datetime
    ) -> tuple[Event, TicketType]:
        """Add a ticket type to an event."""
        made = new.of_event(event_id, now=now)
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            event = structs.replace(event, catalogue=catalogue.with_type(made))
            check_rules(broken_type(made, event.full_catalogue, event))
            await connection.execute(insert(ticket_types), type_row(made))
            await note_of_admin(connection, now, caller, "ticket_type.created", made.id, event_id=str(event_id))
            await self._writes.write(connection, event)
        return event, made

    async def change_type(  # noqa: PLR0913  (always called by name)
        self,
        event_id: UUID,
        type_id: UUID,
        changes: dict[str, Any],
        *,
        caller: Caller,
        expected_version: int | None,
        now: datetime,
    ) -> tuple[Event, TicketType]:
        """Change a ticket type. Bookings and holds keep their prices.

        Raises:
            TicketTypeNotFound.
            InUse: bookings have tickets of it, so what a ticket takes is fixed.
        """
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            before = catalogue.ticket_type(type_id)
            check_version(before.version, expected_version, thing="ticket type")
            changed = changed_fields(before, changes)
            after = next_version(before, changed)
            event = structs.replace(event, catalogue=catalogue.with_type(after))
            check_rules(broken_type(after, event.full_catalogue, event))
            if FIXED_IN_USE & changed.keys():
                await self._check_unused(connection, event, type_id)
            await connection.execute(update(ticket_types).where(ticket_types.c.id == type_id).values(type_row(after)))
            await note_of_admin(connection, now, caller, "ticket_type.changed", type_id, fields=sorted(changed))
            await self._writes.write(connection, event)
        return event, after

    async def archive_type(
        self, event_id: UUID, type_id: UUID, *, caller: Caller, expected_version: int | None, now: datetime
    ) -> Event:
        """Take a ticket type off sale for good. Its row stays, because bookings name it.

        Raises:
            TicketTypeNotFound.
            InUse: another type requires it.
        """
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            before = catalogue.ticket_type(type_id)
            check_version(before.version, expected_version, thing="ticket type")
            if any(each.requires_type_id == type_id for each in catalogue.types):
                detail = "Another ticket type requires this one."
                raise InUse(detail)
            after = structs.replace(before, archived_at=now, version=before.version + 1)
            await connection.execute(update(ticket_types).where(ticket_types.c.id == type_id).values(type_row(after)))
            await note_of_admin(connection, now, caller, "ticket_type.archived", type_id, event_id=str(event_id))
            event = structs.replace(event, catalogue=catalogue.with_type(after))
            await self._writes.write(connection, event)
        return event

    async def add_pool(  # noqa: PLR0913  (the fields of a pool)
        self, event_id: UUID, *, name: str, size: int, parent_id: UUID | None, caller: Caller, now: datetime
    ) -> tuple[Event, TicketPool]:
        """Add a pool, with its counter."""
        made = TicketPool(id=uuid4(), event_id=event_id, name=name, parent_id=parent_id, created_at=now)
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            catalogue = catalogue.with_pool(made)
            check_rules(broken_pool(made, catalogue))
            await connection.execute(insert(ticket_pools), structs.asdict(made))
            event = await add_counters(connection, event, {pool_counter(made.id): size})
            await note_of_admin(connection, now, caller, "pool.created", made.id, event_id=str(event_id))
            event = structs.replace(event, catalogue=catalogue)
            await self._writes.write(connection, event)
        return event, made

    async def change_pool(  # noqa: PLR0913  (always called by name)
        self,
        event_id: UUID,
        pool_id: UUID,
        changes: dict[str, Any],
        *,
        caller: Caller,
        expected_version: int | None,
        now: datetime,
    ) -> tuple[Event, TicketPool]:
        """Change a pool; `size` is that of its counter.

        Raises:
            PoolNotFound.
            CapacityBelowSold: more of it is taken than the new size.
            InUse: tickets of it are taken, so its parent is fixed.
        """
        counter = pool_counter(pool_id)
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            before = catalogue.pool(pool_id)
            check_version(before.version, expected_version, thing="pool")
            size = changes.get("size", event.counters[counter])
            changed = changed_fields(before, {name: value for name, value in changes.items() if name != "size"})
            resized = {} if size == event.counters[counter] else {"size": size}
            after = next_version(before, changed)
            after = structs.replace(after, version=before.version + bool(changed or resized))
            catalogue = catalogue.with_pool(after)
            check_rules(broken_pool(after, catalogue))
            if "parent_id" in changed and (await self._inventory.taken_of(event_id, [counter])).get(counter):
                detail = "The parent of a pool is fixed while tickets of the pool are taken."
                raise InUse(detail)
            await connection.execute(
                update(ticket_pools).where(ticket_pools.c.id == pool_id).values(structs.asdict(after))
            )
            await note_of_admin(connection, now, caller, "pool.changed", pool_id, fields=sorted({*changed, *resized}))
            event = structs.replace(event, catalogue=catalogue, counters=event.counters | {counter: size})
            try:
                await self._writes.resize(connection, event, {counter: size} if resized else {})
                await self._writes.write(connection, event)
            except CapacityBelowSold as refusal:
                raise await self._below_sold(event_id, counter, refusal) from refusal
        return event, after

    async def remove_pool(
        self, event_id: UUID, pool_id: UUID, *, caller: Caller, expected_version: int | None, now: datetime
    ) -> Event:
        """Remove a pool. Its counter stays, because bookings of archived types may claim it.

        Raises:
            PoolNotFound.
            InUse: a ticket type uses it, or it contains another pool.
        """
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            check_version(catalogue.pool(pool_id).version, expected_version, thing="pool")
            if any(pool_id in each.pools for each in catalogue.types):
                detail = "A ticket type uses the pool."
                raise InUse(detail)
            if any(each.parent_id == pool_id for each in catalogue.pools):
                detail = "The pool contains another pool."
                raise InUse(detail)
            await connection.execute(delete(ticket_pools).where(ticket_pools.c.id == pool_id))
            await note_of_admin(connection, now, caller, "pool.removed", pool_id, event_id=str(event_id))
            event = structs.replace(event, catalogue=catalogue.without_pool(pool_id))
            await self._writes.write(connection, event)
        return event

    async def taken_of(self, event_id: UUID, names: Sequence[str]) -> dict[str, int]:
        """What is taken of counters as PostgreSQL has it: for events that are closed."""
        statement = select(counters.c.counter, counters.c.taken).where(
            counters.c.event_id == event_id, counters.c.counter.in_(names)
        )
        async with self._database.connect() as connection:
            return {row.counter: row.taken for row in await connection.execute(statement)}

    async def _check_unused(self, connection: AsyncConnection, after: Event, type_id: UUID) -> None:
        """Put the terms of `after` in force, if no booking has tickets of a type, pending ones included.

        From then on Redis refuses orders by older terms, so what it does not have now will not be booked by them. If a
        booking has tickets of the type, the terms of before are in force again. The row is not written yet.

        Raises:
            InUse, Unavailable, InventoryUnavailable.
        """
        before = read_event((await connection.execute(FIND_EVENT, {"event_id": after.id})).one())
        await self._inventory.install(after.terms)
        # Redis first: a booking leaves it only when it is in PostgreSQL.
        try:
            used = await self._unpersisted.has_tickets_of_type(after.id, type_id)
            if used or await has_tickets_of_type(connection, after.id, type_id):
                detail = "What a ticket type takes is fixed while bookings have tickets of it."
                raise InUse(detail)
        except Refusal:
            await self._inventory.install(before.terms)
            raise

    async def _below_sold(self, event_id: UUID, counter: str, refusal: CapacityBelowSold) -> CapacityBelowSold:
        """The refusal of a size, with what is held apart from what is sold."""
        taken = cast("int", refusal.facts["sold"])
        held = min(taken, await self._holds.held_of(event_id, counter))
        detail = f"{taken - held} of the pool are sold and {held} are held. Choose a size of {taken} or more."
        return CapacityBelowSold(detail, sold=taken - held, held=held)


async def hold_to_sell(
    writes: EventWrites, connection: AsyncConnection, event_id: UUID, *, caller: Caller, now: datetime
) -> tuple[Event, Catalogue]:
    """Lock an event that is to have another catalogue, with a new token of its terms; returns its catalogue, too.

    Raises:
        EventNotFound, EventCancelled, EventOver, Unauthenticated, InventoryUnavailable.
    """
    event, suspended = await writes.hold_event(connection, event_id, caller=caller)
    if event.cancelled_at is not None:
        detail = "What a cancelled event sells cannot be changed."
        raise EventCancelled(detail)
    if event.closed_at is not None or event.over_at <= now:
        detail = "The event is over, and what it sells cannot be changed any more."
        raise EventOver(detail)
    catalogue = event.catalogue
    if catalogue is None:
        only = general_admission(event.id, event.created_at)
        await connection.execute(insert(ticket_types), type_row(only))
        catalogue = Catalogue((only,))
    event = structs.replace(event, catalogue=catalogue, suspended=suspended, terms_token=terms_token())
    return event, catalogue


async def add_counters(connection: AsyncConnection, event: Event, sizes: Mapping[str, int]) -> Event:
    """Add counters of which nothing is taken; returns the event with them."""
    rows = [{"event_id": event.id, "counter": name, "size": size} for name, size in sizes.items()]
    await connection.execute(insert(counters).values(taken=0), rows)
    return structs.replace(event, counters={**event.counters, **sizes})
