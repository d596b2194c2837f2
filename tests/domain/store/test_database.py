"""A value that PostgreSQL cannot store is an error of the request, not of the server."""

from __future__ import annotations

import asyncio
import struct
from uuid import uuid4

import pytest
from asyncpg import ConnectionDoesNotExistError, InterfaceError
from sqlalchemy import event as events
from sqlalchemy import text

from domain.kernel.refusals import Invalid, Unavailable
from domain.store.postgres.database import CONNECTIONS_MAX, Database
from tests.factories import book, make_accounts, make_event
from tests.waiting import persist_all

UNSTORABLE = {
    "a NUL in text": ("SELECT CAST(:value AS text)", "nul\x00"),
    "a lone surrogate": ("SELECT CAST(:value AS text)", "\ud800"),
    "a number beyond its column": ("SELECT CAST(:value AS integer)", 2**31),
    "a number beyond every column": ("SELECT CAST(:value AS bigint)", 2**63),
    "a division by nothing": ("SELECT 1 / CAST(:value AS integer)", 0),
}


@pytest.mark.parametrize("what", UNSTORABLE)
async def test_a_value_that_postgres_cannot_hold_is_refused_as_the_callers_fault(stores, what):
    """S18: SQLSTATE class 22 is a 422, never a 503."""
    statement, value = UNSTORABLE[what]

    with pytest.raises(Invalid) as refused:
        await _ask(stores, statement, value)

    assert str(value) not in refused.value.detail


async def test_a_server_that_takes_too_long_for_a_lock_is_unavailable(stores):
    """S18: a lock timeout is a 503."""
    async with stores.database.begin() as holding:
        await holding.execute(text("SELECT pg_advisory_xact_lock(7)"))

        with pytest.raises(Unavailable):
            await _take_the_lock_at_once(stores)


@pytest.mark.parametrize("error", [InterfaceError("connection is closed"), ConnectionDoesNotExistError("closed")])
async def test_a_connection_that_breaks_while_it_is_prepared_is_unavailable(stores, error):
    """The driver's own error would end a worker that only had to come back later."""

    def break_off(*_):
        raise error

    events.listen(stores.database.engine.sync_engine, "connect", break_off)
    try:
        await stores.database.engine.dispose()
        with pytest.raises(Unavailable):
            await _ask(stores, "SELECT :value", "1")
    finally:
        events.remove(stores.database.engine.sync_engine, "connect", break_off)
    await _ask(stores, "SELECT CAST(:value AS text)", "back")


@pytest.mark.parametrize("read", [Database.row, lambda database, statement: database.rows(text(statement))])
async def test_a_server_that_is_starting_is_unavailable(read):
    async with await asyncio.start_server(_starting_server, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        database = Database(f"postgresql://nobody@127.0.0.1:{port}/nothing")
        try:
            with pytest.raises(Unavailable):
                await read(database, "SELECT 1")
        finally:
            await database.close()


async def _starting_server(reader, writer):
    """Answer as PostgreSQL does: no TLS, and then an error to every connection."""
    message = await reader.readexactly(8)
    if message == struct.pack("!ii", 8, 80877103):
        writer.write(b"N")
        message = await reader.readexactly(4)
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    writer.write(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
    await reader.read()
    writer.close()


async def test_a_reading_opens_no_transaction(stores):
    """One statement is one round trip, and a process that freezes in between leaves nothing open."""
    async with stores.database.connect() as reading:
        asking = await reading.scalar(text("SELECT pg_backend_pid()"))
        async with stores.database.connect() as beside:
            state = await beside.scalar(text("SELECT state FROM pg_stat_activity WHERE pid = :pid"), {"pid": asking})

    assert state == "idle"


async def test_a_snapshot_does_not_see_what_is_committed_after_its_first_statement(stores):
    async with stores.database.snapshot() as snapshot:
        before = await snapshot.scalar(text("SELECT count(*) FROM accounts"))
        await make_accounts(stores, 1)

        assert await snapshot.scalar(text("SELECT count(*) FROM accounts")) == before

    async with stores.database.connect() as reading:
        assert await reading.scalar(text("SELECT count(*) FROM accounts")) == before + 1


async def test_a_row_is_read_without_a_transaction(stores):
    async with stores.database._driver() as driver:
        await driver.fetchrow("SELECT 1 AS one")
        in_transaction = driver.is_in_transaction()

    assert not in_transaction
    assert await stores.database.row("SELECT 1 WHERE false") is None


async def test_a_row_that_cannot_be_read_for_its_value_is_the_callers_fault(stores):
    with pytest.raises(Invalid):
        await stores.database.row("SELECT 1 / $1::integer", 0)


async def test_a_connection_that_breaks_under_the_driver_is_not_used_again(stores):
    with pytest.raises(Unavailable):
        await stores.database.row("SELECT pg_terminate_backend(pg_backend_pid())")

    for _ in range(CONNECTIONS_MAX + 1):
        assert await stores.database.row("SELECT 1 AS one")


async def test_reads_that_are_given_up_use_up_no_connections(stores):
    for _ in range(CONNECTIONS_MAX + 1):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stores.database.row("SELECT pg_sleep(60)"), 0.05)

    assert await stores.database.row("SELECT 1 AS one")


async def test_a_booking_is_read_by_the_driver_as_by_sqlalchemy(stores):
    event = await make_event(stores)
    booking = await book(stores, event, key="order-1", quantity=2)
    await persist_all(stores)
    await stores.box_office.cancel(booking, reason="the hall is closed")
    await persist_all(stores)

    found = await stores.ledger.find(booking.id)

    assert found == (await stores.ledger.find_all([booking.id]))[booking.id]
    assert found.reason == "the hall is closed"
    assert await stores.ledger.find(uuid4()) is None


async def _take_the_lock_at_once(stores):
    async with stores.database.begin() as waiting:
        await waiting.execute(text("SET LOCAL lock_timeout = '10ms'"))
        await waiting.execute(text("SELECT pg_advisory_xact_lock(7)"))


async def _ask(stores, statement, value):
    async with stores.database.begin() as connection:
        await connection.execute(text(statement), {"value": value})
