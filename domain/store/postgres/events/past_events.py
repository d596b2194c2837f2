"""Past events: their counts are only in PostgreSQL after they are closed, and in Redis again after a reopening.

An event is closed in PostgreSQL first, then its counters are removed from Redis. Counters without an owner are removed
too.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import Integer, Interval, and_, bindparam, func, or_, select, update

from domain.kernel.claims import gates_text
from domain.kernel.refusals import Unavailable
from domain.kernel.times import to_ms
from domain.store.postgres.epochs import hold_own_epoch, is_epoch_held_alone
from domain.store.postgres.events.reads import FIND_EVENT
from domain.store.postgres.events.rows import read_event
from domain.store.postgres.holdings import has_holds, is_all_persisted, read_holdings, read_taken, refill_fields
from domain.store.postgres.tables import EVENT_OVER_AT, events

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.sales.events import Event
    from domain.store.postgres.database import Database
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.scripts import Scripts
    from domain.store.redis.unpersisted_sets import UnpersistedSets

_PAST = and_(
    events.c.closed_at.is_(None),
    func.greatest(EVENT_OVER_AT, events.c.opened_at) < func.now() - bindparam("kept", type_=Interval),
    or_(events.c.cancelled_at.is_(None), events.c.cleared_at.is_not(None)),
)
"""Whether an event can be closed: nothing of it changes any more, and all bookings of a cancelled event are cleared."""

CLOSED_PREFIX = "closed-"
"""The prefix of the terms token of a closed event.

PostgreSQL refuses other tokens for a closed event. So no process can put terms in force without the counters, which
would then begin at 0.
"""

COUNTERS_PER_STEP = 1_000
"""Counters that one script call refills."""


class PastEvents:
    """Closes events that are over. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(
        self, database: Database, inventory: Inventory, unpersisted: UnpersistedSets, scripts: Scripts
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._unpersisted = unpersisted
        self._scripts = scripts

    async def past(self, *, kept: timedelta, after: UUID | None, limit: int) -> list[UUID]:
        """The next events to be closed, in order of id."""
        statement = select(events.c.id).where(_PAST).order_by(events.c.id).limit(bindparam("limit", type_=Integer))
        if after:
            statement = statement.where(events.c.id > after)
        async with self._database.connect() as connection:
            return list((await connection.execute(statement, {"kept": kept, "limit": limit})).scalars())

    async def mark_closed(self, event_id: UUID, *, kept: timedelta) -> Event | None:
        """Close an event that was over `kept` ago by PostgreSQL's and by Redis' clock.

        From then on, only PostgreSQL has its counts. Returns the event as it was; its counters may be removed after
        that. None when the event must stay open: it was changed, or the servers do not agree on its counts yet.

        Raises:
            InventoryUnavailable.
        """
        async with self._database.begin() as connection:
            await hold_own_epoch(connection, self._scripts)
            found = FIND_EVENT.where(_PAST).with_for_update(of=events)
            row = (await connection.execute(found, {"event_id": event_id, "kept": kept})).one_or_none()
            if row is None or not await self._is_at_rest(connection, event := read_event(row), kept=kept):
                return None
            closed = {"closed_at": func.now(), "terms_token": terms_token(closed=True)}
            await connection.execute(update(events).where(events.c.id == event_id).values(closed))
            return event

    async def remove_leftovers(self, event_id: UUID) -> bool:
        """Remove the counters of an event that is closed or does not exist; False for other events, or without any.

        Such counters are left by an interrupted pass or creation, or come back when Redis is restored from older data.

        Raises:
            InventoryUnavailable.
        """
        # Read first: if this process freezes and loses its locks, the event may open again, but with other terms.
        left = await self._inventory.installed(event_id)
        async with self._database.begin() as connection:
            await hold_own_epoch(connection, self._scripts)
            if not await _owns_no_counters(connection, event_id):
                return False
            return await self._inventory.remove_counters(event_id, terms=left.terms or "")

    async def _is_at_rest(self, connection: AsyncConnection, event: Event, *, kept: timedelta) -> bool:
        """Whether Redis has the same terms and counts as PostgreSQL, and its clock agrees that the time is up."""
        installed = await self._inventory.installed(event.id)
        stored = (await read_taken(connection, [event.id]))[event.id]
        taken = await self._inventory.taken_of(event.id, list(stored))
        return (
            installed.terms == event.terms_token
            and installed.now_ms > to_ms(event.over_at + kept)
            and all(taken.get(name) == found.counted == found.booked for name, found in stored.items())
            and await is_all_persisted(connection, event.id)
            and not await has_holds(connection, event.id)
            and await self._unpersisted.is_event_persisted(event.id)
        )


async def _owns_no_counters(connection: AsyncConnection, event_id: UUID) -> bool:
    """Whether an event is closed, and stays so until the transaction ends, or was never created.

    Counters are in Redis before the transaction that creates their event commits. Every such transaction, of every
    version, holds the epoch. So an event is known not to exist only while no other transaction holds it.
    """
    statement = select(events.c.closed_at).where(events.c.id == event_id).with_for_update()
    found = (await connection.execute(statement)).one_or_none()
    if found is None and await is_epoch_held_alone(connection):
        found = (await connection.execute(statement)).one_or_none()
        return found is None or found.closed_at is not None
    return found is not None and found.closed_at is not None


async def reopen_counters(
    connection: AsyncConnection, inventory: Inventory, unpersisted: UnpersistedSets, event: Event
) -> None:
    """Make the counters of an event that opens again from PostgreSQL, then put its terms in force.

    Until the terms are in force, Redis accepts no booking of the event, and PostgreSQL has all of its bookings.

    Raises:
        Unavailable: bookings of the event are not persisted yet.
    """
    persisted = await is_all_persisted(connection, event.id) and await unpersisted.is_event_persisted(event.id)
    if not persisted:
        detail = "Bookings of the event are still being stored. Try again."
        raise Unavailable(detail, retry_after_seconds=1)
    held = (await read_holdings(connection, [event.id], counters_max=COUNTERS_PER_STEP)).get(event.id, [])
    left = (await inventory.installed(event.id)).terms or ""
    await inventory.reopen("begin", event.terms, left=left)
    for chunk in refill_fields(held, event.sizes, gates=gates_text(event.gates)):
        await inventory.reopen("fill", event.terms, fields=chunk)
        # PostgreSQL ends a transaction that is idle for IDLE_MS_MAX, as if its process were frozen.
        await connection.execute(select(1))
    await inventory.reopen("finish", event.terms)


def terms_token(*, closed: bool = False) -> str:
    """A unique terms token. Terms with the token of a closed event are never in force."""
    return f"{CLOSED_PREFIX if closed else ''}{secrets.token_hex(8)}"
