"""The epoch of the inventory in PostgreSQL, which is the truth of it, and the lease of a rebuild.

Each write of bookings, intents or events locks the epoch's row and compares the epoch. Fails closed: in another epoch
nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.types import Uuid

from domain.kernel.refusals import InventoryUnavailable
from domain.store.postgres.tables import inventory_epoch
from domain.store.redis.fence import LAYOUT, EpochRecord

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.store.postgres.database import Database
    from domain.store.redis.fence import FencingToken
    from domain.store.redis.scripts import Scripts

IDLE_MS_MAX = 700
"""How long a transaction that holds the epoch or a pool may be idle.

An idle transaction means that its process is frozen; PostgreSQL ends it, so that it does not block the others.
"""

_EPOCH_FIELDS = (
    inventory_epoch.c.deployment,
    inventory_epoch.c.epoch,
    inventory_epoch.c.layout,
    inventory_epoch.c.server,
    inventory_epoch.c.server_epoch,
)

_FENCE = text(
    "SELECT epoch, set_config('idle_in_transaction_session_timeout', :idle_ms, true) FROM inventory_epoch FOR SHARE"
).bindparams(idle_ms=str(IDLE_MS_MAX))

_TAKE_REBUILD_LEASE = text(
    """
    INSERT INTO rebuild_lease AS lease (holder, until)
    VALUES (:holder, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE lease.holder = excluded.holder OR lease.until < clock_timestamp()
        -- A lease that ends later than any can: the clock was set back since.
        OR lease.until > clock_timestamp() + make_interval(secs => :seconds)
    RETURNING one
    """
).bindparams(bindparam("holder", type_=Uuid))

_LEAVE_REBUILD_LEASE = text("DELETE FROM rebuild_lease WHERE holder = :holder").bindparams(
    bindparam("holder", type_=Uuid)
)


class EpochOver(Exception):
    """PostgreSQL is in a later epoch than the caller's; nothing was written."""


class Epochs:
    """The epoch and the lease of a rebuild. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def current(self) -> int:
        """The current epoch of the inventory."""
        async with self._database.connect() as connection:
            return int((await connection.execute(select(inventory_epoch.c.epoch))).scalar_one())

    async def record(self) -> EpochRecord:
        """The current epoch, its key layout, and the server on which it was built."""
        async with self._database.connect() as connection:
            return _epoch_record((await connection.execute(select(*_EPOCH_FIELDS))).one())

    async def begin(self, *, above: int, server: str) -> FencingToken:
        """Begin the next epoch, higher than `above` too, on a server; older epochs cannot change anything from then on.

        Raises:
            EpochOver: the epoch has a later layout, which this version does not know.
        """
        begun = func.greatest(inventory_epoch.c.epoch, above) + 1
        statement = (
            update(inventory_epoch)
            .where(inventory_epoch.c.layout <= LAYOUT)
            .values(epoch=begun, layout=LAYOUT, server=server, server_epoch=begun)
            .returning(*_EPOCH_FIELDS)
        )
        async with self._database.statement() as connection:
            row = (await connection.execute(statement)).one_or_none()
        token = None if row is None else _epoch_record(row).token
        if token is None:
            raise EpochOver
        return token

    async def take_rebuild_lease(self, holder: UUID, *, seconds: float) -> bool:
        """Whether `holder` gets the lease to rebuild the inventory for `seconds` from now.

        The lease only saves work: two rebuilds are safe, and the later epoch wins.
        """
        async with self._database.statement() as connection:
            taken = await connection.execute(_TAKE_REBUILD_LEASE, {"holder": holder, "seconds": seconds})
            return taken.one_or_none() is not None

    async def leave_rebuild_lease(self, holder: UUID) -> None:
        """Give up the lease, so that another worker can rebuild at once."""
        async with self._database.statement() as connection:
            await connection.execute(_LEAVE_REBUILD_LEASE, {"holder": holder})


async def hold_epoch(connection: AsyncConnection, epoch: int) -> None:
    """Lock the epoch until this transaction ends; raises EpochOver if it is another one."""
    refuse_older(int((await connection.execute(_FENCE)).scalar_one()), epoch)


async def hold_own_epoch(connection: AsyncConnection, scripts: Scripts) -> None:
    """Lock the epoch in which this process runs its scripts until the transaction ends.

    Raises:
        InventoryUnavailable: another epoch has begun.
    """
    try:
        await hold_epoch(connection, scripts.epoch)
    except EpochOver:
        await scripts.refresh()
        raise InventoryUnavailable.rebuilding() from None


async def is_epoch_held_alone(connection: AsyncConnection) -> bool:
    """Whether no other transaction holds the epoch; if so, none can until this transaction ends. It never waits."""
    alone = select(inventory_epoch.c.epoch).with_for_update(skip_locked=True)
    return (await connection.execute(alone)).one_or_none() is not None


def refuse_older(current: int, epoch: int) -> None:
    """Raise EpochOver if `epoch` is not the current one."""
    if current != epoch:
        raise EpochOver


def _epoch_record(row: Any) -> EpochRecord:  # noqa: ANN401  (a row of _EPOCH_FIELDS)
    deployment, epoch, layout, server, server_epoch = row
    return EpochRecord(str(deployment), epoch, layout, server if server_epoch == epoch else None, server)
