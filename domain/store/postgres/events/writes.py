"""How events are written: the locks that a write holds, the event's row and counters, and its terms in Redis.

Terms are written to Redis only while the event's row and the epoch are locked, so that neither two changes nor a change
and a rebuild can overtake each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from domain.accounts.accounts import Role
from domain.kernel.refusals import CapacityBelowSold, Invalid, Refusal, Unavailable, VersionMismatch
from domain.store.postgres.accounts.holding import hold_account, hold_caller
from domain.store.postgres.audit_log import note
from domain.store.postgres.epochs import hold_own_epoch
from domain.store.postgres.events.reads import FIND_EVENT, event_not_found
from domain.store.postgres.events.rows import event_row, read_event
from domain.store.postgres.holdings import read_taken
from domain.store.postgres.tables import counters, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.sales.events import Event
    from domain.store.postgres.database import Database
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.scripts import Scripts


class EventWrites:
    """Holds and writes events, for the stores that change them."""

    def __init__(self, database: Database, inventory: Inventory, scripts: Scripts) -> None:
        self._database = database
        self._inventory = inventory
        self._scripts = scripts

    async def hold_event(
        self, connection: AsyncConnection, event_id: UUID, *, caller: Caller | None = None
    ) -> tuple[Event, bool]:
        """Lock the event's row until the transaction ends; returns the event and whether it must be suspended.

        The accounts of its organizer and of the caller are locked before it. The caller is None for the engine itself.

        Raises:
            EventNotFound, InventoryUnavailable.
            Unauthenticated: the caller's token is dead.
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

    async def write(self, connection: AsyncConnection, event: Event) -> None:
        """Write the row and the counters first, Redis last: a failure before the commit leaves PostgreSQL unchanged.

        Raises:
            CapacityBelowSold, InventoryUnavailable.
        """
        await self.write_row(connection, event, **event_row(event))
        if event.closed_at is None:
            await self._inventory.install(event.terms)

    async def write_row(self, connection: AsyncConnection, event: Event, **values: object) -> None:
        """Write columns of the event's row, and the sizes of its counters that differ from those in `event.counters`.

        Raises:
            CapacityBelowSold, Unavailable.
        """
        await connection.execute(update(events).where(events.c.id == event.id).values(**values))
        resized = {name: size for name, size in event.sizes.items() if size != event.counters.get(name)}
        await self.resize(connection, event, resized)

    async def resize(self, connection: AsyncConnection, event: Event, sizes: Mapping[str, int]) -> None:
        """Give counters of an event other sizes.

        Raises:
            CapacityBelowSold: more is taken of one of them.
            Unavailable: what was taken of it is still being returned.
        """
        try:
            for name, size in sizes.items():
                key = counters.c.event_id == event.id, counters.c.counter == name
                await connection.execute(update(counters).where(*key).values(size=size))
        except IntegrityError as error:
            raise await self._below_sold(event, sizes) from error

    async def _below_sold(self, event: Event, sizes: Mapping[str, int]) -> Refusal:
        """The reason why a counter refused its new size: more is taken, or returned units are not yet persisted."""
        taken = await self._inventory.taken_of(event.id, list(sizes))
        if len(taken) < len(sizes):
            # Redis has no counters of a closed event.
            async with self._database.connect() as connection:
                stored = (await read_taken(connection, [event.id]))[event.id]
            taken = {name: stored[name].counted for name in sizes}
        over = [taken[name] for name, size in sizes.items() if taken[name] > size]
        if not over:
            return Unavailable("Cancelled tickets are still being returned. Try again.", retry_after_seconds=1)
        return CapacityBelowSold.of(over[0])


async def note_of_admin(
    connection: AsyncConnection, now: datetime, caller: Caller, action: str, target_id: UUID, **detail: object
) -> None:
    """Add an audit entry if the caller is an admin; organizers manage their own events without one.

    It is called before the terms are written to Redis, like everything else that may fail.
    """
    if caller.role is Role.ADMIN:
        await note(connection, now, actor_id=caller.account_id, action=action, target_id=target_id, **detail)


def check_version(current: int, expected: int | None, *, thing: str = "event") -> None:
    """Raise VersionMismatch if the caller expects another version than the current one."""
    if expected is not None and current != expected:
        detail = f"The {thing} has changed; it is at version {current}. Read it again."
        raise VersionMismatch(detail, version=current)


def check_rules(broken: Iterable[tuple[str, str]]) -> None:
    """Raise Invalid with every broken rule."""
    errors = [{"pointer": pointer, "message": message} for pointer, message in broken]
    if errors:
        raise Invalid(f"{errors[0]['pointer']}: {errors[0]['message']}".removeprefix(": "), errors=errors)
