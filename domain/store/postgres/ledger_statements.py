"""The statements of the ledger that the driver runs directly, with whole arrays as their parameters."""

from __future__ import annotations

from domain.kernel.claims import SINGLE

FENCE_AND_LOCK = """
    WITH fence AS MATERIALIZED (
        SELECT epoch, set_config('idle_in_transaction_session_timeout', $4::text, true) FROM inventory_epoch FOR SHARE
    ), locked AS (
        SELECT counters.event_id FROM fence, counters
        JOIN unnest($1::uuid[], $2::text[]) AS claimed(event_id, counter) USING (event_id, counter)
        WHERE fence.epoch = $3::bigint
        ORDER BY counters.event_id, counters.counter
        FOR UPDATE OF counters
    )
    SELECT epoch, (SELECT count(*) FROM locked) FROM fence
"""
"""The fence, followed by locks on the counters of a batch in order; in another epoch no counter is locked."""


def _naming_singles(statement: str) -> str:
    """A statement with the beginning of the names of singles."""
    return statement.replace("{SINGLE}", SINGLE)


PERSIST = _naming_singles("""
    WITH input AS (
        SELECT id, event_id, user_id, quantity, status, version,
               to_timestamp(created_ms / 1000::float8) AS created_at,
               to_timestamp(nullif(cancelled_ms, 0) / 1000::float8) AS cancelled_at,
               nullif(reason, '') AS reason, claims, nullif(fingerprint, '') AS fingerprint,
               to_timestamp(nullif(due_ms, 0) / 1000::float8) AS due_at,
               to_timestamp(nullif(taken_ms, 0) / 1000::float8) AS taken_at, nullif(body, '')::jsonb AS body
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::integer[],
            $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::text[]
        ) AS row(
            id, event_id, user_id, quantity, status, version, created_ms, cancelled_ms, reason, claims, fingerprint,
            due_ms, taken_ms, body
        )
    ), before AS (
        SELECT held.id, held.event_id, held.claims FROM bookings AS held JOIN input USING (id)
        WHERE input.version > 1 AND held.status IN ('held', 'confirmed')
    ), written AS (
        INSERT INTO bookings AS held (
            id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at, reason,
            claims, fingerprint, due_at, taken_at, body, amount_minor, currency
        )
        SELECT id, event_id, user_id, quantity, status, version, created_at,
               CASE WHEN status = 'confirmed'
                   THEN greatest(created_at, date_trunc('milliseconds', clock_timestamp())) END,
               cancelled_at, reason, claims, fingerprint, due_at, taken_at, body,
               (body ->> 'total_minor')::bigint, body ->> 'currency'
        FROM input
        ON CONFLICT (id) DO UPDATE SET
            status = excluded.status, version = excluded.version,
            quantity = excluded.quantity, fingerprint = excluded.fingerprint,
            cancelled_at = excluded.cancelled_at, reason = excluded.reason, claims = excluded.claims,
            due_at = excluded.due_at, taken_at = excluded.taken_at, body = excluded.body,
            amount_minor = excluded.amount_minor, currency = excluded.currency,
            confirmed_at = coalesce(held.confirmed_at, excluded.confirmed_at)
        WHERE held.version < excluded.version
        RETURNING id, event_id, status, version, confirmed_at, claims
    ), moves AS (
        SELECT event_id, claims, 1 AS holders FROM written WHERE status IN ('held', 'confirmed')
        UNION ALL
        SELECT before.event_id, before.claims, -1 FROM before JOIN written USING (id)
    ), change AS (
        SELECT event_id, split_part(claim, '=', 1) AS counter,
               sum(holders * split_part(claim, '=', 2)::integer) AS units
        FROM (SELECT event_id, claims, sum(holders) AS holders FROM moves GROUP BY event_id, claims) AS counted,
             unnest(string_to_array(claims, ' ')) AS claim
        WHERE strpos(claim, '@') = 0 AND strpos(claim, '{SINGLE}') <> 1
        GROUP BY event_id, counter
    ), moved AS (
        UPDATE counters SET taken = greatest(0, counters.taken + change.units)
        FROM change
        WHERE counters.event_id = change.event_id AND counters.counter = change.counter AND change.units <> 0
    ), placed AS (
        INSERT INTO seats (event_id, counter, booking_id)
        SELECT event_id, CASE right(claim, 2) WHEN '=1' THEN left(claim, -2) ELSE claim END, id
        FROM written, unnest(string_to_array(claims, ' ')) AS claim
        WHERE version = 1 AND status IN ('held', 'confirmed') AND strpos(claims, '{SINGLE}') > 0
              AND strpos(claim, '{SINGLE}') = 1 AND right(claim, 2) <> '=0'
        ORDER BY event_id, claim
    )
    SELECT coalesce(array_agg(id::text), '{}') AS ids,
           coalesce(array_agg(coalesce((extract(epoch FROM confirmed_at) * 1000)::bigint, 0)), '{}') AS moments
    FROM written
""")
"""Writes a batch. Only a newer version replaces a row, and the counters change by what was really changed.

The counters that the batch claims are locked before, by a separate statement. So two batches that claim the same never
overlap, and `before` sees the rows of the other batch. A first version replaced no row, so `before` does not look for
one. Bookings of an event with the same claims are counted first, so that few texts are taken apart. The counters of
accounts, with OWN in their names, have no row. PostgreSQL expects few rows of that condition, and looks counters up by
their index. A return never fails: a counter with a wrong count goes to 0 and is left to reconciliation.

A first version places its singles; `change_seats` follows for later ones. A claim of more than one unit of a single
violates the CHECK of its name.

The driver runs it directly with whole arrays, because SQLAlchemy would bind each of their 5,500 elements. It returns
two arrays with what the worker does not know: the bookings that were written, and their confirmation times.
"""

AS_WRITTEN = """
    SELECT id::text AS id, status, version,
           coalesce((extract(epoch FROM confirmed_at) * 1000)::bigint, 0) AS confirmed_ms
    FROM bookings WHERE id = ANY($1::uuid[])
"""

FORGET_INTENTS = """
    DELETE FROM intents USING unnest($1::uuid[], $2::integer[]) AS written(id, version)
    WHERE intents.id = written.id AND intents.version <= written.version
"""
