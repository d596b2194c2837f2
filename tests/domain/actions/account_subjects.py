"""Accounts that act while something ends them, and the processes that they call."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from msgspec import structs
from sqlalchemy import insert

from domain.accounts.accounts import Account, AccountSession, AccountStatus, Role, email_key
from domain.accounts.passwords import Passwords
from domain.accounts.signing_keys import Keys
from domain.accounts.tokens import TokenKind, Tokens, fingerprint
from domain.actions.membership import LoggedIn, Membership
from domain.background.follow_ups import FollowUps
from domain.sales.events import EventChanges
from domain.store.postgres.tables import accounts, sessions
from tests.factories import new_event

if TYPE_CHECKING:
    from domain.accounts.tokens import Token
    from domain.engine import Stores
    from domain.sales.events import Event


PASSWORD = "the password of before"


@dataclass
class Engine:
    """A process, as far as accounts go."""

    stores: Stores
    membership: Membership
    tokens: Tokens

    def read(self, logged_in: LoggedIn) -> Token:
        return self.tokens.read(logged_in.access_token, TokenKind.ACCESS, now_s=datetime.now(UTC).timestamp())

    def open(self, account: Account) -> Opened:
        """A session as a login opens it, not yet stored."""
        now = datetime.now(UTC)
        session = AccountSession(id=uuid4(), account_id=account.id, expires_at=now + timedelta(days=7))
        access, refresh = (self.tokens.issue(kind, account, session_id=session.id, now=now) for kind in TokenKind)
        row = structs.asdict(session) | {"refresh_hash": fingerprint(refresh), "created_at": now}
        return Opened(account, session, row, LoggedIn(access, refresh, 1800, account))

    async def tell(self, opened: Opened) -> None:
        """Write to Redis that the session began, as a login does."""
        await self.stores.admission.session_opened(
            opened.account, opened.session, ended=[], opened_in=self.stores.admission.epoch
        )


class Opened(NamedTuple):
    """A session, its row, and what its login was answered."""

    account: Account
    session: AccountSession
    row: dict[str, Any]
    logged_in: LoggedIn


@dataclass
class Subject:
    """Somebody with two sessions and an event on sale, an admin who has an eye on it, and a victim of its own."""

    account: Account
    here: LoggedIn
    there: LoggedIn
    admin: LoggedIn
    victim: Account
    selling: Event | None = None
    paused: Event | None = None
    handed_out: list[LoggedIn] = field(default_factory=list)


@asynccontextmanager
async def engine(stores, settings):
    passwords = Passwords()
    tokens = Tokens(Keys.of(settings), {TokenKind.ACCESS: 1800, TokenKind.REFRESH: 604_800})
    follow_ups = FollowUps(stores)
    membership = Membership(
        accounts=stores.accounts,
        sessions=stores.sessions,
        admission=stores.admission,
        follow_ups=follow_ups,
        hashing=passwords,
        tokens=tokens,
    )
    yield Engine(stores, membership, tokens)
    passwords.close()


async def make_subjects(first, number, *, role, paused=False):
    """So many subjects that call as `role`, with `paused` each with a paused event as well.

    Accounts and sessions are inserted by one statement each, as signing up and logging in leave them.
    """
    password_hash = await first.membership._passwords.hash(PASSWORD)
    made = [[new_account(each, password_hash) for each in (role, Role.ADMIN, Role.ATTENDEE)] for _ in range(number)]
    opened = [[first.open(account), first.open(account), first.open(admin)] for account, admin, _ in made]
    async with first.stores.database.begin() as connection:
        await connection.execute(insert(accounts), [account_row(each) for three in made for each in three])
        await connection.execute(insert(sessions), [session.row for three in opened for session in three])
    await asyncio.gather(*(first.tell(session) for three in opened for session in three))
    return [
        await put_on_sale(first, Subject(account, *(session.logged_in for session in three), victim), paused=paused)
        for (account, _, victim), three in zip(made, opened, strict=True)
    ]


def new_account(role, password_hash):
    return Account(
        id=uuid4(),
        email=f"{uuid4().hex}@example.org",
        password_hash=password_hash,
        role=role,
        status=AccountStatus.ACTIVE,
        token_epoch=0,
        created_at=datetime.now(UTC),
    )


def account_row(account):
    return structs.asdict(account) | {"email_key": email_key(account.email)}


async def put_on_sale(first, subject, *, paused):
    caller = first.read(subject.there).caller
    subject.selling = await first.stores.event_actions.create(new_event(), caller=caller)
    if paused:
        made = await first.stores.event_actions.create(new_event(), caller=caller)
        subject.paused = await first.stores.event_actions.change(
            made.id, EventChanges(paused=True), caller=caller, expected_version=None
        )
    return subject
