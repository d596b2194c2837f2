"""What bookings claim of counters, as PostgreSQL has it: for rebuild, reconciliation and audit."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct
from sqlalchemy import and_, bindparam, exists, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Integer, Uuid

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


Fields = list[str | int]
"""Alternating names and values, as in the hash of an event's counters in Redis."""

Holdings = list[Fields]
"""What the bookings of an event hold of its counters, in chunks."""

SIZES_PER_CHUNK = 500
FIELDS_PER_CALL = 4_000
"""Names and values that one call of a script writes, well within Lua's limit for `unpack`."""


def refill_fields(held: Holdings, sizes: dict[str, int]) -> Iterator[Fields]:
    """The fields of an event's counters, in as few chunks as possible: counters that no booking claims are 0."""
    listed = list(sizes.items())
    pages = [listed[first : first + SIZES_PER_CHUNK] for first in range(0, len(listed), SIZES_PER_CHUNK)]
    empty: Holdings = [
        [field for counter, size in page for field in (counter, 0, f"size:{counter}", size)] for page in pages
    ]
    fields: Fields = []
    for chunk in (*empty, *held):
        if fields and len(fields) + len(chunk) > FIELDS_PER_CALL:
            yield fields
            fields = []
        fields = [*fields, *chunk]
    yield fields


_CLAIMED = """
    booked AS (
        SELECT event_id, user_id, claims, count(*) FILTER (WHERE status = 'confirmed') AS number
        FROM bookings WHERE event_id = ANY(:event_ids) GROUP BY event_id, user_id, claims
    ), forms AS MATERIALIZED (
        SELECT claims, split_part(claim, '=', 1) AS counter, split_part(claim, '=', 2)::integer AS quantity
        FROM (SELECT DISTINCT claims FROM booked) AS each, unnest(string_to_array(claims, ' ')) AS claim
    )
"""
"""Bookings by event, account and claims, and each text of claims taken apart once: few texts differ."""

_HOLDINGS = text(
    f"""
    WITH {_CLAIMED}, held AS (
        SELECT event_id, owner, counter, sum(number * quantity) AS units
        FROM (
            SELECT event_id, CASE WHEN strpos(counter, :own) > 0 THEN user_id END AS owner, counter, number, quantity
            FROM booked JOIN forms USING (claims)
        ) AS claimed
        GROUP BY event_id, owner, counter
    )
    SELECT event_id, string_agg(
        CASE WHEN owner IS NULL THEN counter ELSE replace(counter, :own, encode(uuid_send(owner), 'hex')) END
        || ' ' || units, ' '
    )
    FROM (
        SELECT *, (row_number() OVER (PARTITION BY event_id) - 1) / :counters_max AS chunk FROM held
    ) AS numbered
    GROUP BY event_id, chunk
    """  # noqa: S608  (constants of this module)
).bindparams(bindparam("event_ids", type_=ARRAY(Uuid)), bindparam("counters_max", type_=Integer), own=OWN)
"""Sums up the counters in the format of Redis. One row and two Python objects for each of a million accounts took ten
times as long.

A counter that was claimed once and is not now has 0. That of an account marks that it has booked the event before.
"""

_TAKEN = text(
    f"""
    WITH {_CLAIMED}, held AS (
        SELECT event_id, counter, sum(number * quantity)::bigint AS units
        FROM booked JOIN forms USING (claims) WHERE strpos(counter, :own) = 0 GROUP BY event_id, counter
    )
    SELECT event_id, counter, size, taken, coalesce(units, 0) FROM counters LEFT JOIN held USING (event_id, counter)
    WHERE event_id = ANY(:event_ids)
    """  # noqa: S608  (constants of this module)
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


async def read_holdings(
    connection: AsyncConnection, event_ids: Sequence[UUID], *, counters_max: int
) -> dict[UUID, Holdings]:
    """What each event's bookings hold of counters, with `counters_max` counters per chunk.

    Events without any booking are left out.
    """
    found: dict[UUID, Holdings] = defaultdict(list)
    values = {"event_ids": list(event_ids), "counters_max": counters_max}
    for event_id, counters in await connection.execute(_HOLDINGS, values):
        found[event_id].append(counters.split(" "))
    return found
