"""The tables of the migrations are the tables of the code; constraints have names, and tables comments."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from domain.kernel.bookings import STORED
from domain.store.postgres.tables import metadata
from tests.processes import ROOT


async def rows(stores, statement):
    async with stores.database.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def test_the_code_knows_every_table_and_column_there_is(stores):
    there = await rows(
        stores,
        """
        SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns
        JOIN information_schema.tables USING (table_schema, table_name)
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version'
        """,
    )

    assert set(there) == {
        (table.name, column.name, bool(column.nullable)) for table in metadata.sorted_tables for column in table.columns
    }


async def test_every_column_that_may_be_null_says_when(stores):
    unexplained = await rows(
        stores,
        """
        SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
        AND NOT attnotnull AND col_description(attrelid, attnum) IS NULL
        """,
    )

    assert unexplained == []


@pytest.mark.parametrize("kind", ["p", "u", "f", "c"])
async def test_every_constraint_has_a_name_of_ours(stores, kind):
    prefixes = {"p": "pk_", "u": "uq_", "f": "fk_", "c": "ck_"}
    names = await rows(
        stores,
        f"""
        SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = '{kind}'
        AND conrelid <> 'alembic_version'::regclass
        """,
    )

    assert [name for (name,) in names if not name.startswith(prefixes[kind])] == []


async def test_postgresql_accepts_the_states_that_bookings_are_stored_in_and_no_others(stores):
    ((check,),) = await rows(
        stores, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_bookings_status'"
    )

    assert set(re.findall(r"'(\w+)'", check)) == STORED


FROM_0_1_0 = "0003"
"""The last migration of the release that was made before there was a version to upgrade from."""


@pytest.mark.parametrize("path", sorted((ROOT / "migrations" / "versions").glob("0*.py")), ids=lambda path: path.stem)
def test_a_migration_gives_up_a_lock_that_it_does_not_get(path):
    """It would wait behind a long transaction, and everything that sells behind it."""
    assert path.stem[:4] <= FROM_0_1_0 or "SET LOCAL lock_timeout" in path.read_text()
