"""Accounts for a run, made in bulk: signing up and in takes two argon2 hashes, two minutes for 2,000 people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg

from domain.identity import Account as StoredAccount
from domain.identity import AccountStatus, Role, email_key
from domain.passwords import Passwords
from domain.tokens import KeyRing, TokenKind, Tokens, fingerprint, utc_now
from loadtests.box_office import Account

if TYPE_CHECKING:
    from datetime import datetime

    from domain.settings import Settings

PASSWORD = "a password that all buyers of a load test share"  # noqa: S105  (of throw-away accounts)


async def mint(settings: Settings, *, role: Role, count: int) -> list[Account]:
    """Write `count` accounts, each with a living session and an access token of it.

    The settings must name a database and a secret: those of the stack that the tokens are for.
    """
    now = utc_now()
    password_hash = await _hash(PASSWORD)
    accounts = [_account(role, password_hash=password_hash, now=now) for _ in range(count)]
    sessions = [uuid4() for _ in accounts]
    await _write(settings, accounts, sessions, now=now)
    tokens = Tokens(KeyRing([_secret(settings)]), {TokenKind.ACCESS: settings.access_token_seconds})
    return [
        Account(
            id=account.id,
            email=account.email,
            password=PASSWORD,
            token=tokens.issue(TokenKind.ACCESS, account, session_id=session_id, now=now),
        )
        for account, session_id in zip(accounts, sessions, strict=True)
    ]


def _account(role: Role, *, password_hash: str, now: datetime) -> StoredAccount:
    account_id = uuid4()
    return StoredAccount(
        id=account_id,
        email=f"load-{account_id.hex}@example.org",
        password_hash=password_hash,
        role=role,
        status=AccountStatus.ACTIVE,
        token_epoch=1,
        created_at=now,
    )


async def _write(settings: Settings, accounts: list[StoredAccount], sessions: list[UUID], *, now: datetime) -> None:
    connection = await asyncpg.connect(_database_url(settings))
    try:
        await connection.copy_records_to_table(
            "accounts",
            columns=("id", "email", "email_key", "password_hash", "role", "status", "token_epoch", "created_at"),
            records=[
                (a.id, a.email, email_key(a.email), a.password_hash, a.role.value, a.status.value, a.token_epoch, now)
                for a in accounts
            ],
        )
        expires_at = now + timedelta(seconds=settings.refresh_token_seconds)
        await connection.copy_records_to_table(
            "sessions",
            columns=("id", "account_id", "refresh_hash", "created_at", "expires_at"),
            # The hash of a token that was never made: nobody can refresh such a session.
            records=[
                (session_id, account.id, fingerprint(uuid4().hex), now, expires_at)
                for session_id, account in zip(sessions, accounts, strict=True)
            ],
        )
    finally:
        await connection.close()


async def _hash(password: str) -> str:
    passwords = Passwords()
    try:
        return await passwords.hash(password)
    finally:
        passwords.close()


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        message = "accounts are written to a database: set DATABASE_URL"
        raise ValueError(message)
    return settings.database_url.get_secret_value()


def _secret(settings: Settings) -> str:
    if settings.jwt_secret is None:
        message = "tokens are signed with the stack's secret: set JWT_SECRET"
        raise ValueError(message)
    return settings.jwt_secret.get_secret_value()
