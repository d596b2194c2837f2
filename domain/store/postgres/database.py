"""Connections to PostgreSQL, whose failures are raised as refusals of the engine."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from domain.kernel.refusals import Invalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.sql.selectable import TypedReturnsRows

Connected = TypeVar("Connected")

CONNECTIONS_MAX = 8
"""Connections of one process; ten processes stay below PostgreSQL's default of 100."""

CONNECTION_WAIT_S = 2.0
"""How long a request waits for a free connection before it is refused."""

CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 10.0
"""No statement of the engine takes a second; one that takes ten is blocked."""

LOCK_TIMEOUT_MS = 4_000
"""How long a statement waits for a lock before its request is answered with 503."""

RETRY_AFTER_SECONDS = 1

DATA_EXCEPTIONS = "22"
"""The SQLSTATE class of values that no column can store and no statement can compute with (PostgreSQL, appendix A)."""

BROKEN = (
    *(DBAPIError, AsyncAdapt_asyncpg_dbapi.Error, PoolTimeoutError),
    *(InterfaceError, PostgresError, OSError, TimeoutError),
)
"""The exceptions of a database that cannot be asked.

SQLAlchemy does not translate the driver's own errors while it prepares a new connection. For a raw connection, it does
not make its own of its dialect's errors either.
"""


class Database:
    """A pool of connections. Fails closed: raises `Unavailable` when PostgreSQL cannot be asked.

    A violated constraint (`IntegrityError`) is not a failure of the server and is raised unchanged. A value that no
    column can store came from a caller and passed every check of the API; it is raised as `Invalid`.
    """

    def __init__(self, url: str, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self.engine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=CONNECTION_WAIT_S,
            pool_use_lifo=True,
            # The text of an error is logged, but the parameters of its statement are not.
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": STATEMENT_TIMEOUT_S,
                "server_settings": {
                    "application_name": "onsale",
                    "timezone": "UTC",
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                },
            },
        )
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection for a read of one statement; a transaction around it would cost two more round trips.

        Several statements do not see the same data; for that, use `snapshot`.
        """
        async with self._translated(self._single.connect()) as connection:
            yield connection

    async def rows(self, statement: TypedReturnsRows[*tuple[Any, ...]]) -> list[Any]:
        """The rows of one statement that only reads."""
        async with self.connect() as connection:
            return list((await connection.execute(statement)).all())

    async def row(self, statement: str, *values: object) -> Mapping[str, Any] | None:
        """The row of one statement that only reads, or None.

        The driver runs it, which takes a third of the processor time that SQLAlchemy takes.
        """
        async with self._translated(self._driver()) as driver:
            found: Mapping[str, Any] | None = await driver.fetchrow(statement, *values)
            return found

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which every statement sees the data of the first one."""
        async with self._translated(self.engine.connect()) as connection:
            yield await connection.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block."""
        async with self._translated(self.engine.begin()) as connection:
            yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which each statement is a transaction of its own.

        Use it for locks on rows that every process needs: PostgreSQL commits by itself, so a process that freezes
        before it gets the answer holds no lock.
        """
        async with self._translated(self._single.connect()) as connection:
            yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[Any]:
        """The driver's own connection, outside a transaction. It is ended if the block fails or is cancelled."""
        pooled = await self.engine.raw_connection()
        try:
            yield pooled.driver_connection
        except BaseException:
            pooled.invalidate()
            raise
        finally:
            pooled.close()

    @staticmethod
    @asynccontextmanager
    async def _translated(connecting: AbstractAsyncContextManager[Connected]) -> AsyncIterator[Connected]:
        try:
            async with connecting as connection:
                yield connection
        except IntegrityError:
            raise
        except BROKEN as error:
            if _sqlstate(error).startswith(DATA_EXCEPTIONS):
                detail = "A value cannot be stored or searched for."
                raise Invalid(detail, errors=[]) from error
            detail = "The database cannot be reached."
            raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS) from error


def _sqlstate(error: Exception) -> str:
    """The SQLSTATE of an error, empty if it is not from PostgreSQL."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""
