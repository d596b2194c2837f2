"""Singles in PostgreSQL: `seats` has a row for each that a booking holds.

The primary key is the final check: it refuses a second booking of a single. It is checked when a transaction commits,
so that a batch may return a single and sell it again. The rows are a copy that can be made again from the claims of
bookings, like the counts in `counters`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, func, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text, Uuid

from domain.kernel.bookings import HOLDING, STORED
from domain.kernel.claims import SINGLE, SINGLE_SIZE
from domain.store.postgres.holdings import Taken
from domain.store.postgres.tables import bookings, seats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

SEAT_KEY = "pk_seats"

_CHANGE = """
    WITH named AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::boolean[])
            AS named(event_id, counter, booking_id, held)
    ), returned AS (
        DELETE FROM seats USING named
        WHERE NOT held AND (seats.event_id, seats.counter) = (named.event_id, named.counter)
              AND seats.booking_id = named.booking_id
    )
    INSERT INTO seats (event_id, counter, booking_id)
    SELECT event_id, counter, booking_id FROM named
    WHERE held AND NOT EXISTS (
        SELECT FROM seats WHERE (seats.event_id, seats.counter) = (named.event_id, named.counter)
                                AND seats.booking_id = named.booking_id
    )
    ORDER BY event_id, counter
"""
"""The order keeps two batches from waiting crosswise."""

_MISPLACED = text(
    """
    WITH claimed AS (
        SELECT bookings.event_id, split_part(claim, '=', 1) AS counter, bookings.id AS booking_id
        FROM bookings, unnest(string_to_array(claims, ' ')) AS claim
        WHERE bookings.event_id = ANY(:event_ids) AND status IN ('held', 'confirmed') AND strpos(claims, :single) > 0
              AND starts_with(claim, :single) AND split_part(claim, '=', 2) <> '0'
    ), placed AS (
        SELECT * FROM seats WHERE event_id = ANY(:event_ids)
    )
    SELECT event_id, counter, count(claimed.booking_id) AS missing
    FROM claimed FULL JOIN placed USING (event_id, counter, booking_id)
    WHERE claimed.booking_id IS NULL OR placed.booking_id IS NULL
    GROUP BY event_id, counter
    """
).bindparams(bindparam("event_ids", type_=ARRAY(Uuid)), single=SINGLE)

_SINGLE = bindparam("single", type_=Text)
_NAMED = and_(seats.c.event_id == bindparam("event"), seats.c.counter == _SINGLE)
_HOLDS = and_(
    bookings.c.event_id == bindparam("event"),
    bookings.c.status.in_(sorted(HOLDING & STORED)),
    func.strpos(func.concat(" ", bookings.c.claims, " "), func.concat(" ", _SINGLE, "=1 ")) > 0,
)

_LOCK_HOLDERS = select(bookings.c.id).where(_HOLDS).with_for_update(key_share=True)

_TAKE_AWAY = delete(seats).where(_NAMED, ~exists().where(_HOLDS, bookings.c.id == seats.c.booking_id))

_GIVE = insert(seats).from_select(
    list(seats.c),
    select(bookings.c.event_id, _SINGLE, bookings.c.id).where(
        _HOLDS, ~exists().where(_NAMED, seats.c.booking_id == bookings.c.id)
    ),
)


class NamedSingle(NamedTuple):
    """A single that a booking names in its claims, and whether it holds it."""

    event_id: str
    counter: str
    booking_id: str
    held: bool


async def change_seats(connection: AsyncConnection, named: Sequence[NamedSingle]) -> None:
    """Make the rows of these singles what the bookings hold.

    The transaction has written the bookings, so it sees the rows that another batch has written of them before.
    """
    await connection.exec_driver_sql(_CHANGE, tuple(map(list, zip(*named, strict=True))))


async def read_misplaced(connection: AsyncConnection, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, Taken]]:
    """The singles of events whose rows are not what the bookings claim.

    `booked` is the number of bookings that claim it and have no row. If there is none, a booking has a row that it does
    not claim, and `counted` is 1.
    """
    found: dict[UUID, dict[str, Taken]] = defaultdict(dict)
    for event_id, counter, missing in await connection.execute(_MISPLACED, {"event_ids": list(event_ids)}):
        found[event_id][counter] = Taken(SINGLE_SIZE, 0 if missing else 1, missing)
    return found


async def place_single(connection: AsyncConnection, event_id: UUID, counter: str) -> None:
    """Make the row of a single what the bookings claim.

    The bookings are locked first: one that returns the single at the same time finds the row and removes it.

    The commit raises IntegrityError if two bookings claim it.
    """
    values = {"event": event_id, "single": counter}
    for statement in (_LOCK_HOLDERS, _TAKE_AWAY, _GIVE):
        await connection.execute(statement, values)
