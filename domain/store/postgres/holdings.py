"""What bookings claim of counters, as PostgreSQL has it: for rebuild, reconciliation and audit."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct
from sqlalchemy import and_, bindparam, exists, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Integer, Uuid

from domain.kernel.bookings import HOLDING, BookingStatus
from domain.kernel.claims import OWN
from domain.store.postgres.tables import bookings, intents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


class Taken(Struct, frozen=True):
    """A counter of an event in PostgreSQL: its size, its count, and the sum of its bookings."""

    size: int
    counted: int
    booked: int


_HOLDING = sorted(HOLDING)

Fields = list[str | int]
"""Alternating names and values, as in the hash of an event's counters in Redis."""

Holdings = list[Fields]
"""What the bookings of an event hold of its counters, in chunks."""

SIZES_PER_CHUNK = 500
FIELDS_PER_CALL = 4_000
"""Names and values that one call of a script writes, well within Lua's limit for `unpack`."""


def refill_fields(held: Holdings, sizes: dict[str, int], *, gates: str) -> Iterator[Fields]:
    """The fields of an event's counters, in as few chunks as possible: counters that no booking claims are 0."""
    listed = list(sizes.items())
    pages = [listed[first : first + SIZES_PER_CHUNK] for first in range(0, len(listed), SIZES_PER_CHUNK)]
    empty: Holdings = [
        [field for counter, size in page for field in (counter, 0, f"size:{counter}", size)] for page in pages
    ]
    fields: Fields = ["gates", gates] if gates else []
    for chunk in (*empty, *held):
        if fields and len(fields) + len(chunk) > FIELDS_PER_CALL:
            yield fields
            fields = []
        fields = [*fields, *chunk]
    yield fields


_HOLDINGS = text(
    """
    WITH counted AS MATERIALIZED (
        SELECT event_id, claims, count(*) AS bookings,
               array_agg(user_id) FILTER (WHERE status IN ('held', 'confirmed')) AS holders,
               array_agg(user_id) FILTER (WHERE status NOT IN ('held', 'confirmed')) AS others
        FROM bookings WHERE event_id = ANY(:event_ids) GROUP BY event_id, claims
    ), own AS MATERIALIZED (
        SELECT event_id, split_part(claim, '=', 1) AS counter, split_part(claim, '=', 2)::integer AS quantity,
               holders, others,
               ceil(sum(bookings) OVER (PARTITION BY event_id) / (0.8 * :counters_max))::integer AS chunks
        FROM counted, unnest(string_to_array(claims, ' ')) AS claim WHERE strpos(claim, :own) > 0
    ), by_account AS (
        SELECT event_id, counter, chunks, quantity, unnest(holders) AS user_id FROM own
        UNION ALL
        SELECT event_id, counter, chunks, 0, unnest(others) FROM own
    )
    SELECT event_id, string_agg(counter || ' ' || units, ' ') FROM (
        SELECT event_id, split_part(claim, '=', 1) AS counter,
               sum(coalesce(cardinality(holders), 0) * split_part(claim, '=', 2)::integer) AS units
        FROM counted, unnest(string_to_array(claims, ' ')) AS claim WHERE strpos(claim, :own) = 0
        GROUP BY event_id, counter
    ) AS of_event GROUP BY event_id
    UNION ALL
    SELECT event_id, string_agg(replace(counter, :own, encode(uuid_send(user_id), 'hex')) || ' ' || units, ' ') FROM (
        SELECT (get_byte(uuid_send(user_id), 14) * 256 + get_byte(uuid_send(user_id), 15)) % chunks AS chunk,
               event_id, user_id, counter, sum(quantity) AS units
        FROM by_account GROUP BY chunk, event_id, user_id, counter
    ) AS of_accounts GROUP BY chunk, event_id
    """
).bindparams(bindparam("event_ids", type_=ARRAY(Uuid)), bindparam("counters_max", type_=Integer), own=OWN)
"""Sums up the counters in the format of Redis. One row and two Python objects for each of a million accounts took ten
times as long.

Bookings of an event are grouped by the text of their claims, so that each of the few texts is taken apart once. No text
is joined with bookings: right after a rush, PostgreSQL knows little of the table and would compare each with each. The
accounts' counters are put into chunks by the account's id, which is random at its end; so one sort serves both sums.

A counter that was claimed once and is not now has 0. That of an account marks that it has booked the event before.
"""

_TAKEN = text(
    """
    WITH counted AS (
        SELECT event_id, claims, count(*) FILTER (WHERE status IN ('held', 'confirmed')) AS holders
        FROM bookings WHERE event_id = ANY(:event_ids) GROUP BY event_id, claims
    ), held AS (
        SELECT event_id, split_part(claim, '=', 1) AS counter,
               sum(holders * split_part(claim, '=', 2)::integer)::bigint AS units
        FROM counted, unnest(string_to_array(claims, ' ')) AS claim WHERE strpos(claim, :own) = 0
        GROUP BY event_id, counter
    )
    SELECT event_id, counter, size, taken, coalesce(units, 0) FROM counters LEFT JOIN held USING (event_id, counter)
    WHERE event_id = ANY(:event_ids)
    """
).bindparams(bindparam("event_ids", type_=ARRAY(Uuid)), own=OWN)


async def read_taken(connection: AsyncConnection, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, Taken]]:
    """`Ledger.taken` on a connection."""
    found: dict[UUID, dict[str, Taken]] = {event_id: {} for event_id in event_ids}
    for event_id, counter, size, counted, booked in await connection.execute(_TAKEN, {"event_ids": list(event_ids)}):
        found[event_id][counter] = Taken(size, counted, booked)
    return found


async def is_all_persisted(connection: AsyncConnection, event_id: UUID) -> bool:
    """Whether every intent of the event has its change in `bookings`."""
    done = exists().where(and_(bookings.c.id == intents.c.id, bookings.c.version >= intents.c.version))
    lost = select(intents.c.id).where(intents.c.event_id == event_id, ~done).limit(1)
    return (await connection.execute(lost)).first() is None


async def has_tickets_of_type(connection: AsyncConnection, event_id: UUID, type_id: UUID) -> bool:
    """Whether a booking of an event holds tickets of a type. Bookings without a body are of the type with its id."""
    named = bookings.c.body.contains({"items": [{"ticket_type_id": str(type_id)}]})
    of_type = or_(bookings.c.body.is_(None), named) if type_id == event_id else named
    found = select(bookings.c.id).where(bookings.c.event_id == event_id, bookings.c.status.in_(_HOLDING), of_type)
    return (await connection.execute(found.limit(1))).first() is not None


async def has_holds(connection: AsyncConnection, event_id: UUID) -> bool:
    """Whether the event has a hold, which needs its counters to expire."""
    held = (
        select(bookings.c.id).where(bookings.c.event_id == event_id, bookings.c.status == BookingStatus.HELD).limit(1)
    )
    return (await connection.execute(held)).first() is not None


async def read_holdings(
    connection: AsyncConnection, event_ids: Sequence[UUID], *, counters_max: int
) -> dict[UUID, Holdings]:
    """What each event's bookings hold of counters, with at most `counters_max` counters per chunk.

    Events without any booking are left out.
    """
    found: dict[UUID, Holdings] = defaultdict(list)
    values = {"event_ids": list(event_ids), "counters_max": counters_max}
    for event_id, counters in await connection.execute(_HOLDINGS, values):
        fields = counters.split(" ")
        pages = range(0, len(fields), 2 * counters_max)
        found[event_id].extend(fields[first : first + 2 * counters_max] for first in pages)
    return found
