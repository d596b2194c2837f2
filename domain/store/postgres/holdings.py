"""The tickets that bookings hold, as PostgreSQL has them: for rebuild, reconciliation and audit."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct
from sqlalchemy import and_, bindparam, exists, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Integer, Uuid

from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import POOL_MAIN, USER_PREFIX
from domain.store.postgres.tables import bookings, intents, pools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


class Taken(Struct, frozen=True):
    """The tickets taken of an event in PostgreSQL: the pool's count, and the sum of its bookings."""

    event_id: UUID
    pool: int
    booked: int


class Holdings(Struct):
    """The tickets that an event's bookings hold.

    `tickets` is their total. `chunks` have the accounts' counters as alternating names and values.
    """

    tickets: int = 0
    chunks: list[list[str]] = []


_HOLDINGS = text(
    """
    SELECT event_id, sum(tickets)::int,
           string_agg(CAST(:prefix AS text) || encode(uuid_send(user_id), 'hex') || ' ' || tickets, ' ')
    FROM (
        SELECT event_id, user_id, tickets, (row_number() OVER (PARTITION BY event_id) - 1) / :counters_max AS chunk
        FROM (
            SELECT event_id, user_id, coalesce(sum(quantity) FILTER (WHERE status = 'confirmed'), 0) AS tickets
            FROM bookings WHERE event_id = ANY(:event_ids) GROUP BY event_id, user_id
        ) AS held
    ) AS numbered
    GROUP BY event_id, chunk
    """
).bindparams(bindparam("event_ids", type_=ARRAY(Uuid)), bindparam("counters_max", type_=Integer), prefix=USER_PREFIX)
"""Sums up the accounts' counters in the format of Redis. One row and two Python objects for each of a million accounts
took ten times as long.

An account that held tickets and holds none now has a counter of 0, which marks that it has booked the event before.
"""


async def read_taken(connection: AsyncConnection, event_ids: Sequence[UUID]) -> dict[UUID, Taken]:
    """`Ledger.taken` on a connection."""
    booked = (
        select(func.coalesce(func.sum(bookings.c.quantity), 0))
        .where(bookings.c.event_id == pools.c.event_id, bookings.c.status == BookingStatus.CONFIRMED)
        .scalar_subquery()
    )
    statement = select(pools.c.event_id, pools.c.taken, booked).where(
        pools.c.event_id.in_(event_ids), pools.c.counter == POOL_MAIN
    )
    return {row[0]: Taken(*row) for row in await connection.execute(statement)}


async def is_all_persisted(connection: AsyncConnection, event_id: UUID) -> bool:
    """Whether every intent of the event has its change in `bookings`."""
    done = exists().where(and_(bookings.c.id == intents.c.id, bookings.c.version >= intents.c.version))
    lost = select(intents.c.id).where(intents.c.event_id == event_id, ~done).limit(1)
    return (await connection.execute(lost)).first() is None


async def read_holdings(
    connection: AsyncConnection, event_ids: Sequence[UUID], *, counters_max: int
) -> dict[UUID, Holdings]:
    """The tickets that each event's bookings hold, with `counters_max` counters per chunk.

    Events without any booking are left out.
    """
    found: dict[UUID, Holdings] = defaultdict(Holdings)
    values = {"event_ids": list(event_ids), "counters_max": counters_max}
    for event_id, tickets, counters in await connection.execute(_HOLDINGS, values):
        found[event_id].tickets += tickets
        found[event_id].chunks.append(counters.split(" "))
    return found
