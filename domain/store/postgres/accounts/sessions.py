"""Sessions in PostgreSQL: the truth of which sessions are alive, and of their refresh tokens.

Every method that ends a session commits here first; its caller writes to Redis before it answers.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from sqlalchemy import and_, delete, exists, func, insert, select, update

from domain.accounts.accounts import Account, AccountSession, AccountStatus, Role, Standing
from domain.accounts.tokens import fingerprint
from domain.store.postgres.accounts.holding import (
    ACCOUNT_FIELDS,
    AccountChanged,
    hold_account,
    hold_caller,
    read_account,
)
from domain.store.postgres.audit_log import note
from domain.store.postgres.tables import accounts, sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy import ColumnElement, Delete
    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.accounts.tokens import TokenPair
    from domain.store.postgres.database import Database

SESSIONS_MAX = 20
"""Live sessions of an account; when one more is opened, the oldest ends."""


class Rotation(Struct, frozen=True):
    """The latest exchange of a session's refresh token: the account, the time, and the successor's fingerprint."""

    account: Account
    rotated_at: datetime
    refresh_hash: bytes


def deletion_of_ended(*, kept: timedelta, limit: int) -> Delete:
    """Deletes sessions that ended or expired more than `kept` ago, at most `limit` of them.

    They are chosen in a materialized CTE. In some plans, PostgreSQL runs a subquery of IN again for each row, and one
    that locks chooses other rows each time.
    """
    ended = (
        select(sessions.c.id)
        .where(func.least(sessions.c.expires_at, sessions.c.revoked_at) < func.now() - kept)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("ended")
        .prefix_with("MATERIALIZED")
    )
    return delete(sessions).where(sessions.c.id.in_(select(ended.c.id)))


class Sessions:
    """The sessions of all accounts. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standings(self, session_ids: Sequence[UUID]) -> dict[UUID, Standing]:
        """The present state of these sessions, in one statement; sessions without a row are left out."""
        live = and_(
            sessions.c.revoked_at.is_(None),
            sessions.c.expires_at > func.now(),
            accounts.c.status == AccountStatus.ACTIVE,
        )
        statement = (
            select(sessions.c.id, accounts.c.id, accounts.c.token_epoch, live)
            .join(accounts, accounts.c.id == sessions.c.account_id)
            .where(sessions.c.id.in_(session_ids))
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(statement)).all()
        return {row[0]: Standing(row[1], row[2], row[3]) for row in rows}

    async def open(
        self,
        account: Account,
        *,
        session: AccountSession,
        refresh_hash: bytes,
        password_hash: str | None,
        now: datetime,
    ) -> list[UUID]:
        """Open a session, and store `password_hash` if it is given. An admin's login is written to the audit log.

        It deletes the account's ended sessions that Redis was told of, because a session without a row is over.

        Returns:
            The sessions that ended because the account had `SESSIONS_MAX` of them.

        Raises:
            AccountChanged: the account has changed since its password was verified.
        """
        async with self._database.begin() as connection:
            if await hold_account(connection, account.id) != account or account.status is not AccountStatus.ACTIVE:
                raise AccountChanged
            await connection.execute(
                insert(sessions).values(
                    id=session.id,
                    account_id=account.id,
                    refresh_hash=refresh_hash,
                    created_at=now,
                    expires_at=session.expires_at,
                )
            )
            if password_hash:
                await connection.execute(
                    update(accounts).where(accounts.c.id == account.id).values(password_hash=password_hash)
                )
            if account.role is Role.ADMIN:
                await note(connection, now, actor_id=account.id, action="admin.logged_in", target_id=account.id)
            ended = await _end_oldest(connection, account.id, now)
            await connection.execute(
                delete(sessions).where(
                    sessions.c.account_id == account.id, sessions.c.revoked_at.is_not(None), _followed_up(account.id)
                )
            )
            return ended

    async def rotate(  # noqa: PLR0913  (what a single use is conditional on)
        self,
        session_id: UUID,
        *,
        token_epoch: int,
        old_hash: bytes,
        new_hash: bytes,
        expires_at: datetime,
        now: datetime,
    ) -> Account | None:
        """Exchange a session's refresh token for the next (compare-and-set on `old_hash`).

        Returns:
            The account as it is now; None if the token was used before or its session is over.
        """
        statement = (
            update(sessions)
            .where(
                sessions.c.id == session_id,
                sessions.c.refresh_hash == old_hash,
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > now,
                accounts.c.id == sessions.c.account_id,
                accounts.c.status == AccountStatus.ACTIVE,
                accounts.c.token_epoch == token_epoch,
            )
            .values(refresh_hash=new_hash, expires_at=expires_at, rotated_at=now)
            .returning(*ACCOUNT_FIELDS)
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else read_account(row)

    async def renew(
        self, *, caller: Caller, successor: Callable[[Account, bytes], TokenPair], expires_at: datetime, now: datetime
    ) -> tuple[Account, TokenPair]:
        """Exchange the refresh token in use of the caller's session, whichever it is; concurrent calls wait in turn.

        `successor` makes the next tokens, given the account and the fingerprint of the refresh token in use.

        Returns:
            The account as it is now, and the next tokens.

        Raises:
            Unauthenticated: the caller's token is dead.
        """
        async with self._database.begin() as connection:
            account = (await hold_caller(connection, caller, changing=[caller.account_id]))[caller.account_id]
            own = sessions.c.id == caller.session_id
            pair = successor(
                account, (await connection.execute(select(sessions.c.refresh_hash).where(own))).scalar_one()
            )
            renewed = {"refresh_hash": fingerprint(pair.refresh), "expires_at": expires_at, "rotated_at": now}
            await connection.execute(update(sessions).where(own).values(renewed))
        return account, pair

    async def last_end(self) -> datetime | None:
        """The time at which the last live session will have expired if none is used again; None without one."""
        statement = select(func.max(sessions.c.expires_at)).where(sessions.c.revoked_at.is_(None))
        async with self._database.connect() as connection:
            end: datetime | None = (await connection.execute(statement)).scalar_one()
        return end

    async def latest_rotation(self, session_id: UUID, *, token_epoch: int, now: datetime) -> Rotation | None:
        """The latest exchange of a session's refresh token; None if there is none or the session is over."""
        statement = (
            select(*ACCOUNT_FIELDS, sessions.c.rotated_at, sessions.c.refresh_hash)
            .join(sessions, accounts.c.id == sessions.c.account_id)
            .where(
                sessions.c.id == session_id,
                sessions.c.rotated_at.is_not(None),
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > now,
                accounts.c.status == AccountStatus.ACTIVE,
                accounts.c.token_epoch == token_epoch,
            )
        )
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            return None
        *fields, rotated_at, refresh_hash = row
        return Rotation(read_account(fields), rotated_at, refresh_hash)

    async def delete_ended(self, *, kept: timedelta, limit: int) -> int:
        """Delete sessions that ended or expired more than `kept` ago, at most `limit` of them; returns how many."""
        async with self._database.statement() as connection:
            return (await connection.execute(deletion_of_ended(kept=kept, limit=limit))).rowcount

    async def end(self, session_id: UUID, *, now: datetime) -> None:
        """End a session; a repeated call changes nothing."""
        async with self._database.begin() as connection:
            await end_sessions(connection, [sessions.c.id == session_id], now)

    async def ended_of(self, account_id: UUID, *, limit: int) -> list[UUID]:
        """An account's sessions that were ended before they expired, the latest first."""
        statement = (
            select(sessions.c.id)
            .where(
                sessions.c.account_id == account_id,
                sessions.c.revoked_at.is_not(None),
                sessions.c.expires_at > func.now(),
            )
            .order_by(sessions.c.revoked_at.desc())
            .limit(limit)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())


async def end_sessions(connection: AsyncConnection, which: list[Any], now: datetime) -> list[UUID]:
    """End the live sessions that meet all conditions of `which`, and return them."""
    statement = (
        update(sessions).where(*which, sessions.c.revoked_at.is_(None)).values(revoked_at=now).returning(sessions.c.id)
    )
    return list((await connection.execute(statement)).scalars())


async def _end_oldest(connection: AsyncConnection, account_id: UUID, now: datetime) -> list[UUID]:
    newest = (
        select(sessions.c.id)
        .where(sessions.c.account_id == account_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
        .order_by(sessions.c.created_at.desc(), sessions.c.id)
        .limit(SESSIONS_MAX)
    )
    which = [sessions.c.account_id == account_id, sessions.c.expires_at > now, sessions.c.id.not_in(newest)]
    return await end_sessions(connection, which, now)


def _followed_up(account_id: UUID) -> ColumnElement[bool]:
    return exists().where(accounts.c.id == account_id, accounts.c.follow_up_at.is_(None))


def other_sessions(account_id: UUID, kept_session_id: UUID | None) -> list[Any]:
    """Conditions for every session of an account but one."""
    return [sessions.c.account_id == account_id, sessions.c.id.is_distinct_from(kept_session_id)]
