"""Locks on accounts, for transactions that decide by an account's row and for a caller's own request.

The conditions under which a request was admitted (token epoch, role, live session) may have ended by the time it
writes, so they are checked again under the lock. Locks are taken in one order, so that there are no deadlocks: accounts
by id, then the caller's session, the epoch of the inventory, and the event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from domain.accounts.accounts import Account, AccountStatus, Role
from domain.accounts.tokens import unauthenticated
from domain.kernel.refusals import UserNotFound
from domain.store.postgres.tables import accounts, sessions

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller

ACCOUNT_FIELDS = [accounts.c[name] for name in Account.__struct_fields__]


class AccountChanged(Exception):
    """The account has changed since it was read; read it and decide again."""


async def hold_caller(
    connection: AsyncConnection, caller: Caller, *, changing: Collection[UUID] = (), reading: Collection[UUID] = ()
) -> dict[UUID, Account]:
    """Lock the accounts of the caller and others until the transaction ends; returns them by id.

    Accounts in `changing` are locked exclusively, the others and the caller's session against changes only.

    Raises:
        Unauthenticated: the caller's account, token epoch, role or session has changed since the request was
            admitted. It is raised before UserNotFound.
        UserNotFound: one of the accounts does not exist.
    """
    held = {
        account_id: await _lock(connection, account_id, shared=account_id not in changing)
        for account_id in sorted({caller.account_id, *changing, *reading})
    }
    if not _is_as_admitted(held[caller.account_id], caller) or not await _lives(connection, caller):
        raise unauthenticated()
    return {account_id: _found(account) for account_id, account in held.items()}


async def hold_account(connection: AsyncConnection, account_id: UUID, *, shared: bool = False) -> Account:
    """Lock an account's row until the transaction ends, and return the account; `shared` locks against changes only.

    Raises:
        UserNotFound: there is no such account.
    """
    return _found(await _lock(connection, account_id, shared=shared))


def read_account(row: Sequence[Any]) -> Account:
    """A row of `ACCOUNT_FIELDS`."""
    values = dict(zip(Account.__struct_fields__, row, strict=True))
    return Account(**values | {"role": Role(values["role"]), "status": AccountStatus(values["status"])})


async def _lock(connection: AsyncConnection, account_id: UUID, *, shared: bool) -> Account | None:
    statement = select(*ACCOUNT_FIELDS).where(accounts.c.id == account_id)
    row = (await connection.execute(statement.with_for_update(read=shared, key_share=not shared))).one_or_none()
    return None if row is None else read_account(row)


def _found(account: Account | None) -> Account:
    if account is None:
        detail = "There is no user with this id."
        raise UserNotFound(detail)
    return account


def _is_as_admitted(account: Account | None, caller: Caller) -> bool:
    """Whether the caller's account is still as its token says."""
    return account is not None and (account.status, account.token_epoch, account.role) == (
        AccountStatus.ACTIVE,
        caller.token_epoch,
        caller.role,
    )


async def _lives(connection: AsyncConnection, caller: Caller) -> bool:
    """Whether the session is alive; if so, it is locked too, so that a logout waits for this transaction.

    The account must be locked before it.
    """
    if caller.session_id is None:
        return True
    live = select(sessions.c.id).where(
        sessions.c.id == caller.session_id,
        sessions.c.account_id == caller.account_id,
        sessions.c.revoked_at.is_(None),
        sessions.c.expires_at > func.now(),
    )
    return (await connection.execute(live.with_for_update(read=True))).one_or_none() is not None
