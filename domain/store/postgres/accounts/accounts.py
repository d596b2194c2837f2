"""Accounts in PostgreSQL: the truth of their roles and states.

Redis has a copy of the part that requests need (`domain.store.redis.admission`). Every method that ends a token commits
here first; its caller writes to Redis before it answers. Each change writes its audit entry in its own transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import UNSET, Struct, UnsetType, structs
from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from domain.accounts.accounts import Account, AccountStatus, Role, email_key, former_email_key
from domain.kernel.refusals import EmailTaken, LastAdmin, UserNotFound
from domain.store.postgres.accounts.holding import (
    ACCOUNT_FIELDS,
    AccountChanged,
    hold_account,
    hold_caller,
    read_account,
)
from domain.store.postgres.accounts.sessions import end_sessions, other_sessions
from domain.store.postgres.audit_log import note
from domain.store.postgres.tables import accounts, sessions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.store.postgres.database import Database

STEP_MAX = timedelta(minutes=5)
"""Longer than the longest delay of a follow-up. A follow-up that is due later was delayed before the clock was set
back."""

_ADMINS_LOCK = 7_301_977
"""The advisory lock for changes of the number of admins, so that two changes cannot together remove the last admin."""


class FollowUp(Struct, frozen=True):
    """An account with an unfinished follow-up of a change at `since`, which was `age` ago."""

    account: Account
    since: datetime
    age: timedelta


class Accounts:
    """The accounts. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, *, email: str, password_hash: str, role: Role, now: datetime) -> Account:
        """Create an account; raises EmailTaken, also for another spelling of an existing address."""
        account = Account(
            id=uuid4(),
            email=email,
            password_hash=password_hash,
            role=role,
            status=AccountStatus.ACTIVE,
            token_epoch=0,
            created_at=now,
        )
        try:
            async with self._database.begin() as connection:
                await _keep_apart(connection, email, account.id)
                await connection.execute(insert(accounts).values(**structs.asdict(account), email_key=email_key(email)))
                await note(connection, now, actor_id=account.id, action="account.created", role=role)
        except IntegrityError as error:
            raise _email_taken() from error
        return account

    async def find(self, account_id: UUID) -> Account:
        """An account in any state; raises UserNotFound."""
        async with self._database.connect() as connection:
            row = (await connection.execute(select(*ACCOUNT_FIELDS).where(accounts.c.id == account_id))).one_or_none()
        if row is None:
            raise _no_user()
        return read_account(row)

    async def find_by_email(self, email: str) -> Account | None:
        """The account with an address, or None."""
        if "\x00" in email:
            return None  # PostgreSQL's text cannot hold it, so no account has it, and the question would fail.
        key, former = email_key(email), former_email_key(email)
        statement = select(*ACCOUNT_FIELDS).where(accounts.c.email_key.in_({key, former}))
        async with self._database.connect() as connection:
            found = [read_account(row) for row in await connection.execute(statement)]
        # Two accounts made before addresses were compared by IDNA may match: each is found by its own spelling.
        same = [account for account in found if email_key(account.email) == key]
        alike = [account for account in same if former_email_key(account.email) == former]
        return next(iter(alike or same), None)

    async def change_credentials(
        self,
        account: Account,
        *,
        caller: Caller,
        email: str | UnsetType = UNSET,
        password_hash: str | UnsetType = UNSET,
        now: datetime,
    ) -> tuple[Account, list[UUID]]:
        """Change the caller's address or password; a new password ends every session but the caller's.

        Returns:
            The account, and the sessions that ended.

        Raises:
            EmailTaken: another account has the address.
            AccountChanged: the account has changed since its password was verified.
            Unauthenticated: the caller's token is dead.
        """
        changed: dict[str, Any] = {}
        if email is not UNSET:
            changed |= {"email": email, "email_key": email_key(email)}
        if password_hash is not UNSET:
            changed["password_hash"] = password_hash
        try:
            async with self._database.begin() as connection:
                if (await hold_caller(connection, caller, changing=[account.id]))[account.id] != account:
                    raise AccountChanged
                if not changed:
                    return account, []
                if email is not UNSET:
                    await _keep_apart(connection, email, account.id)
                after = await _change(connection, account.id, changed)
                ended = (
                    await end_sessions(connection, other_sessions(account.id, caller.session_id), now)
                    if ("password_hash" in changed)
                    else []
                )
                await note(connection, now, actor_id=account.id, action="account.changed", fields=sorted(changed))
        except IntegrityError as error:
            raise _email_taken() from error
        return after, ended

    async def set_password(self, account_id: UUID, *, password_hash: str, now: datetime) -> Account:
        """Set an account's password as the operator; all its tokens and sessions end.

        Raises:
            UserNotFound.
        """
        async with self._database.begin() as connection:
            before = await hold_account(connection, account_id)
            if before.status is AccountStatus.CLOSED:
                raise _no_user()
            after = await _change(
                connection, account_id, {"password_hash": password_hash, "token_epoch": before.token_epoch + 1}
            )
            await end_sessions(connection, [sessions.c.account_id == account_id], now)
            await note(connection, now, actor_id=None, action="account.password_set", target_id=account_id)
        return after

    async def switch_role(
        self, role: Role, *, caller: Caller, refresh_hash: bytes, expires_at: datetime, now: datetime
    ) -> tuple[Account, list[UUID]]:
        """Give the caller another role and its session another refresh token; every other session ends.

        Returns:
            The account, and the sessions that ended.

        Raises:
            LastAdmin.
            Unauthenticated: the caller's token is dead.
        """
        async with self._database.begin() as connection:
            held = await hold_caller(connection, caller, changing=[caller.account_id])
            before = held[caller.account_id]
            after = await _change_role(connection, before, role, actor_id=caller.account_id, now=now)
            ended = await end_sessions(connection, other_sessions(before.id, caller.session_id), now)
            kept = update(sessions).where(sessions.c.id == caller.session_id)
            await connection.execute(kept.values(refresh_hash=refresh_hash, expires_at=expires_at))
        return after, ended

    async def assign_role(self, account_id: UUID, role: Role, *, caller: Caller, now: datetime) -> Account:
        """Give an account another role; all its tokens and sessions end.

        Raises:
            UserNotFound, LastAdmin.
            Unauthenticated: the caller is not an admin any more.
        """
        async with self._database.begin() as connection:
            before = (await hold_caller(connection, caller, changing=[account_id]))[account_id]
            if before.role is role:
                return before
            after = await _change_role(connection, before, role, actor_id=caller.account_id, now=now)
            await end_sessions(connection, [sessions.c.account_id == account_id], now)
        return after

    async def ban(self, account_id: UUID, *, caller: Caller, now: datetime) -> Account:
        """Ban an account; all its tokens and sessions end, also in a repeated call. A closed account stays closed.

        Raises:
            UserNotFound, LastAdmin.
            Unauthenticated: the caller is not an admin any more.
        """
        async with self._database.begin() as connection:
            before = (await hold_caller(connection, caller, changing=[account_id]))[account_id]
            await _keep_an_admin(connection, before)
            changed: dict[str, Any] = {"token_epoch": before.token_epoch + 1}
            if before.status is AccountStatus.ACTIVE:
                changed["status"] = AccountStatus.BANNED
            await note(connection, now, actor_id=caller.account_id, action="account.banned", target_id=account_id)
            after = await _change(connection, account_id, changed)
            await end_sessions(connection, [sessions.c.account_id == account_id], now)
        return after

    async def unban(self, account_id: UUID, *, caller: Caller, now: datetime) -> Account:
        """Let a banned account log in again; its old tokens stay dead.

        Raises:
            UserNotFound.
            Unauthenticated: the caller is not an admin any more.
        """
        async with self._database.begin() as connection:
            before = (await hold_caller(connection, caller, changing=[account_id]))[account_id]
            if before.status is not AccountStatus.BANNED:
                return before
            after = await _change(connection, account_id, {"status": AccountStatus.ACTIVE})
            await note(connection, now, actor_id=caller.account_id, action="account.unbanned", target_id=account_id)
        return after

    async def close(self, account: Account, *, caller: Caller, now: datetime) -> Account:
        """Close the caller's account and erase its personal data; the records of its sales are kept.

        Raises:
            LastAdmin.
            AccountChanged: the account has changed since its password was verified.
            Unauthenticated: the caller's token is dead.
        """
        erased = {
            "email": f"closed-{account.id}@invalid",
            "email_key": f"closed-{account.id}@invalid",
            "password_hash": "",
            "status": AccountStatus.CLOSED,
        }
        async with self._database.begin() as connection:
            if (await hold_caller(connection, caller, changing=[account.id]))[account.id] != account:
                raise AccountChanged
            await _keep_an_admin(connection, account)
            after = await _change(connection, account.id, erased | {"token_epoch": account.token_epoch + 1})
            await end_sessions(connection, [sessions.c.account_id == account.id], now)
            await note(connection, now, actor_id=account.id, action="account.closed", target_id=account.id)
        return after

    async def note(
        self, *, actor_id: UUID, action: str, target_id: UUID | None, now: datetime, **detail: object
    ) -> None:
        """Write an audit entry for an action of an admin that changes no account."""
        async with self._database.begin() as connection:
            await note(connection, now, actor_id=actor_id, action=action, target_id=target_id, **detail)

    async def due_follow_ups(self, *, limit: int) -> list[FollowUp]:
        """Accounts with an unfinished follow-up that is due, those due the longest first.

        A trigger records each change of status, role, token epoch and password in the statement that makes it.
        """
        now, at, since = func.clock_timestamp(), accounts.c.follow_up_at, accounts.c.follow_up_since
        statement = (
            select(*ACCOUNT_FIELDS, since, func.abs(func.extract("epoch", now - since)))
            .where(at.is_not(None), or_(at <= now, at > now + STEP_MAX))
            .order_by(at)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(statement)).all()
        return [FollowUp(read_account(row[:-2]), row[-2], timedelta(seconds=float(row[-1]))) for row in rows]

    async def followed_up(self, done: FollowUp, *, again_after: timedelta | None) -> None:
        """Record that a follow-up is finished, or when to run it again; no effect if the account has changed since."""
        at = None if again_after is None else func.clock_timestamp() + again_after
        since = None if again_after is None else done.since
        statement = (
            update(accounts)
            .where(accounts.c.id == done.account.id, accounts.c.follow_up_since == done.since)
            .values(follow_up_since=since, follow_up_at=at)
        )
        async with self._database.statement() as connection:
            await connection.execute(statement)


async def _keep_apart(connection: AsyncConnection, email: str, account_id: UUID) -> None:
    """Raise EmailTaken if another account has the address by `former_email_key`; the constraint checks `email_key`."""
    former = former_email_key(email)
    if former == email_key(email):
        return
    statement = select(accounts.c.email).where(accounts.c.email_key == former, accounts.c.id != account_id)
    holder = (await connection.execute(statement)).scalar_one_or_none()
    if holder is not None and email_key(holder) == email_key(email):
        raise _email_taken()


async def _change(connection: AsyncConnection, account_id: UUID, changed: dict[str, Any]) -> Account:
    statement = update(accounts).where(accounts.c.id == account_id).values(**changed).returning(*ACCOUNT_FIELDS)
    return read_account((await connection.execute(statement)).one())


async def _change_role(
    connection: AsyncConnection, before: Account, role: Role, *, actor_id: UUID, now: datetime
) -> Account:
    await _keep_an_admin(connection, before)
    after = await _change(connection, before.id, {"role": role, "token_epoch": before.token_epoch + 1})
    detail = {"from": before.role, "to": role}
    await note(connection, now, actor_id=actor_id, action="account.role_changed", target_id=before.id, **detail)
    return after


async def _keep_an_admin(connection: AsyncConnection, account: Account) -> None:
    """Raise LastAdmin if `account` is the only admin."""
    if account.role is not Role.ADMIN or account.status is not AccountStatus.ACTIVE:
        return
    await connection.execute(select(func.pg_advisory_xact_lock(_ADMINS_LOCK)))
    others = (
        select(func.count())
        .select_from(accounts)
        .where(
            accounts.c.role == Role.ADMIN,
            accounts.c.status == AccountStatus.ACTIVE,
            accounts.c.id != account.id,
        )
    )
    if not (await connection.execute(others)).scalar_one():
        detail = "This account is the only admin. Make another account an admin first."
        raise LastAdmin(detail)


def _email_taken() -> EmailTaken:
    return EmailTaken("Another account has this e-mail address. Log in with it, or use another address.")


def _no_user() -> UserNotFound:
    return UserNotFound("There is no user with this id.")
