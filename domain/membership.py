"""Membership: how accounts join, log in, change and leave, and how admins act on them.

Whatever ends a token is committed in PostgreSQL, then told to Redis, then answered.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from msgspec import UNSET, Struct, UnsetType

from domain import passwords
from domain.bookings import HOLDING
from domain.events import Deadline, EventChanges
from domain.identity import Account, AccountStatus, Role, Session
from domain.refusals import (
    Conflict,
    EventCancelled,
    EventStarted,
    Invalid,
    InvalidCredentials,
    Unavailable,
    WrongPassword,
)
from domain.store.accounts import AccountChanged
from domain.tokens import TokenKind, fingerprint, unauthenticated, utc_now

if TYPE_CHECKING:
    from domain.bookings import Booking
    from domain.box_office import BoxOffice
    from domain.passwords import Passwords
    from domain.store.accounts import Accounts
    from domain.store.admission import Admission
    from domain.tokens import Token, Tokens

LOGIN_ATTEMPTS_MAX = 2
"""How often a login follows an account that changes while its password is verified."""

PAGE_SIZE = 100
"""Bookings or events of one account that are dealt with between two reads."""


class SelfBan(Conflict):
    """An admin asked to ban the account it acts with."""

    code = "own_account"
    title = "Not your own account"


class LoggedIn(Struct, frozen=True):
    """The two tokens of a session, and whose it is."""

    access_token: str
    refresh_token: str
    expires_s: int
    account: Account


class Membership:
    """What happens to accounts. One per API process."""

    def __init__(
        self, accounts: Accounts, admission: Admission, box_office: BoxOffice, hashing: Passwords, tokens: Tokens
    ) -> None:
        self._accounts = accounts
        self._admission = admission
        self._box_office = box_office
        self._passwords = hashing
        self._tokens = tokens

    async def sign_up(self, *, email: str, password: str, role: Role) -> Account:
        """A new account; raises Invalid for a password that is not accepted, EmailTaken."""
        _accept(password, email=email)
        password_hash = await self._passwords.hash(password)
        return await self._accounts.create(email=email, password_hash=password_hash, role=role, now=utc_now())

    async def log_in(self, *, email: str, password: str, only: frozenset[Role] = frozenset(Role)) -> LoggedIn:
        """A new session of the account with this address and password.

        Raises:
            InvalidCredentials: no such account, another password, banned, or of another role than `only`;
                in the same time.
        """
        for _ in range(LOGIN_ATTEMPTS_MAX):
            account = await self._accounts.find_by_email(email)
            matches = await self._passwords.verify(password, account.password_hash if account else None)
            if not account or not matches or account.status is not AccountStatus.ACTIVE or account.role not in only:
                detail = "E-mail or password is wrong."
                raise InvalidCredentials(detail)
            outdated = self._passwords.outdated(account.password_hash)
            try:
                return await self._open_session(account, await self._passwords.hash(password) if outdated else None)
            except AccountChanged:
                continue
        detail = "The account is changing."
        raise Unavailable(detail, retry_after_seconds=1)

    async def refresh(self, token: Token, text: str) -> LoggedIn:
        """Two new tokens for a refresh token, which works once.

        Used again within the grace, while its successor is unused, it gets the same two tokens: its bearer has
        two tabs, or lost the answer. Used again later, it ends its session.

        Raises:
            Unauthenticated: it was used before, or its session is over.
        """
        now = utc_now()
        account = await self._accounts.find(token.account_id)
        pair = next(self._tokens.successors(text, account, session_id=token.session_id, now=now))
        rotated = await self._accounts.rotate_session(
            token.session_id,
            token_epoch=token.epoch,
            old_hash=fingerprint(text),
            new_hash=fingerprint(pair.refresh),
            expires_at=now + self._refresh_lifetime,
            now=now,
        )
        if rotated is None:
            return await self._refresh_again(token, text)
        if rotated.token_epoch != account.token_epoch:
            await self.log_out(token)
            raise unauthenticated()
        return LoggedIn(pair.access, pair.refresh, self._tokens.lifetime_s[TokenKind.ACCESS], rotated)

    async def _refresh_again(self, token: Token, text: str) -> LoggedIn:
        """What the token was exchanged for just now; else its session ends. Raises Unauthenticated."""
        now = utc_now()
        latest = await self._accounts.latest_rotation(token.session_id, token_epoch=token.epoch, now=now)
        age_s = (now - latest.rotated_at).total_seconds() if latest else math.inf
        if latest and abs(age_s) < self._tokens.refresh_grace_s:
            access_left_s = self._tokens.lifetime_s[TokenKind.ACCESS] - max(0, math.ceil(age_s))
            for pair in self._tokens.successors(
                text, latest.account, session_id=token.session_id, now=latest.rotated_at
            ):
                # The fingerprint in force is that of the successor until it is used.
                if fingerprint(pair.refresh) == latest.refresh_hash:
                    return LoggedIn(pair.access, pair.refresh, access_left_s, latest.account)
        await self.log_out(token)
        raise unauthenticated()

    async def log_out(self, token: Token) -> None:
        """End the token's session, everywhere, before this returns."""
        await self._accounts.end_session(token.session_id, now=utc_now())
        await self._admission.sessions_ended(token.account_id, [token.session_id])

    async def change(
        self,
        token: Token,
        *,
        current_password: str,
        email: str | UnsetType = UNSET,
        password: str | UnsetType = UNSET,
    ) -> Account:
        """Change the caller's address or password; a new password ends every other session.

        Raises:
            WrongPassword, EmailTaken.
            Invalid: the new password is not accepted.
        """
        account = await self._verified(token, current_password)
        password_hash: str | UnsetType = UNSET
        if password is not UNSET:
            _accept(password, email=account.email if email is UNSET else email)
            password_hash = await self._passwords.hash(password)
        after, ended = await self._accounts.change_credentials(
            account, email=email, password_hash=password_hash, kept_session_id=token.session_id, now=utc_now()
        )
        await self._admission.sessions_ended(account.id, ended)
        return after

    async def switch_role(self, token: Token, role: Role) -> LoggedIn:
        """Give the caller another role, and the tokens that go with it: the old ones are dead.

        Raises:
            LastAdmin.
        """
        account = await self._accounts.change_role(
            token.account_id, role=role, actor_id=token.account_id, now=utc_now()
        )
        await self._admission.tokens_ended(account)
        try:
            return await self._open_session(account, None)
        except AccountChanged as error:
            raise unauthenticated() from error

    async def leave(self, token: Token, *, current_password: str) -> None:
        """Close the caller's account: bookings cancelled, personal data erased, tokens dead.

        Bookings of events that have started stay as they are.

        Raises:
            WrongPassword, LastAdmin.
        """
        account = await self._verified(token, current_password)
        await self._cancel_bookings(account.id)
        closed = await self._accounts.close(account, now=utc_now())
        await self._admission.tokens_ended(closed)
        # Those that were made while the first were being cancelled.
        await self._cancel_bookings(account.id)

    async def assign_role(self, account_id: UUID, role: Role, *, actor_id: UUID) -> Account:
        """Give somebody another role; raises UserNotFound, LastAdmin."""
        account = await self._accounts.change_role(account_id, role=role, actor_id=actor_id, now=utc_now())
        await self._admission.tokens_ended(account)
        return account

    async def ban(self, account_id: UUID, *, actor_id: UUID) -> Account:
        """Ban an account and pause its events. Again: the same answer.

        Raises:
            UserNotFound, LastAdmin, SelfBan.
        """
        if account_id == actor_id:
            detail = "An admin cannot ban itself."
            raise SelfBan(detail)
        account = await self._accounts.ban(account_id, actor_id=actor_id, now=utc_now())
        await self._admission.tokens_ended(account)
        await self._pause_events(account_id)
        return account

    async def unban(self, account_id: UUID, *, actor_id: UUID) -> Account:
        """Let a banned account log in again; its events stay paused. Raises UserNotFound."""
        return await self._accounts.unban(account_id, actor_id=actor_id, now=utc_now())

    @property
    def _refresh_lifetime(self) -> timedelta:
        return timedelta(seconds=self._tokens.lifetime_s[TokenKind.REFRESH])

    async def _open_session(self, account: Account, password_hash: str | None) -> LoggedIn:
        now = utc_now()
        session = Session(id=uuid4(), account_id=account.id, expires_at=now + self._refresh_lifetime)
        access = self._tokens.issue(TokenKind.ACCESS, account, session_id=session.id, now=now)
        refresh = self._tokens.issue(TokenKind.REFRESH, account, session_id=session.id, now=now)
        ended = await self._accounts.open_session(
            account, session=session, refresh_hash=fingerprint(refresh), password_hash=password_hash, now=now
        )
        await self._admission.session_opened(account, session, ended=ended)
        return LoggedIn(access, refresh, self._tokens.lifetime_s[TokenKind.ACCESS], account)

    async def _verified(self, token: Token, current_password: str) -> Account:
        """The caller's account, if it knows its password."""
        account = await self._accounts.find(token.account_id)
        if not await self._passwords.verify(current_password, account.password_hash):
            detail = "The current password is wrong."
            raise WrongPassword(detail)
        return account

    async def _cancel_bookings(self, account_id: UUID) -> None:
        page = await self._box_office.bookings_of(account_id, limit=PAGE_SIZE, before=None)
        while page:
            for booking in page:
                if booking.status in HOLDING:
                    await self._cancel(booking)
            last = page[-1]
            page = await self._box_office.bookings_of(account_id, limit=PAGE_SIZE, before=(last.created_at, last.id))

    async def _cancel(self, booking: Booking) -> None:
        try:
            await self._box_office.cancel(booking, deadline=Deadline.BEGIN)
        except EventStarted:
            # What took place is a record, not a reservation.
            return

    async def _pause_events(self, organizer_id: UUID) -> None:
        selling = await self._accounts.events_to_pause(organizer_id, after=None, limit=PAGE_SIZE)
        while selling:
            for event_id in selling:
                await self._pause(event_id)
            selling = await self._accounts.events_to_pause(organizer_id, after=selling[-1], limit=PAGE_SIZE)

    async def _pause(self, event_id: UUID) -> None:
        try:
            await self._box_office.change_event(event_id, EventChanges(paused=True), expected_version=None)
        except EventCancelled:
            # Cancelled in between: it sells nothing either.
            return


def _accept(password: str, *, email: str) -> None:
    broken = passwords.broken_rule(password, email=email)
    if broken:
        pointer = "/password"
        raise Invalid.at(pointer, broken)
