"""Membership: actions of accounts (join, log in, change, leave) and of admins on accounts.

The end of a token is committed in PostgreSQL first, then written to Redis, then answered.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

from msgspec import UNSET, Struct, UnsetType, structs

from domain.accounts import passwords
from domain.accounts.accounts import Account, AccountSession, AccountStatus, Role
from domain.accounts.tokens import TokenKind, fingerprint, unauthenticated, utc_now
from domain.kernel.refusals import (
    Conflict,
    Invalid,
    InvalidCredentials,
    Unavailable,
    WrongPassword,
)
from domain.store.postgres.accounts.holding import AccountChanged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from domain.accounts.accounts import Caller
    from domain.accounts.passwords import Passwords
    from domain.accounts.tokens import Token, TokenPair, Tokens
    from domain.background.follow_ups import FollowUps
    from domain.store.postgres.accounts.accounts import Accounts
    from domain.store.postgres.accounts.sessions import Rotation, Sessions
    from domain.store.redis.admission import Admission

Answer = TypeVar("Answer")

ATTEMPTS_MAX = 3
"""How often one request is tried again because the account changed while its password was verified."""


class SelfBan(Conflict):
    """An admin asked to ban the account it acts with."""

    code = "own_account"
    title = "Admins cannot ban their own account"


class LoggedIn(Struct, frozen=True):
    """The two tokens of a session, and its account."""

    access_token: str
    refresh_token: str
    expires_s: int
    account: Account


class Membership:
    """The actions on accounts. One per API process."""

    def __init__(  # noqa: PLR0913  (one per store)
        self,
        *,
        accounts: Accounts,
        sessions: Sessions,
        admission: Admission,
        follow_ups: FollowUps,
        hashing: Passwords,
        tokens: Tokens,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._admission = admission
        self._follow_ups = follow_ups
        self._passwords = hashing
        self._tokens = tokens

    async def sign_up(self, *, email: str, password: str, role: Role) -> Account:
        """Create an account.

        Raises:
            Invalid: the password is not accepted.
            EmailTaken.
        """
        _accept(password, email=email)
        password_hash = await self._passwords.hash(password)
        return await self._accounts.create(email=email, password_hash=password_hash, role=role, now=utc_now())

    async def log_in(self, *, email: str, password: str, only: frozenset[Role] = frozenset(Role)) -> LoggedIn:
        """Open a session of the account with this address and password.

        Raises:
            InvalidCredentials: no such account, wrong password, banned, or its role is not in `only`. All of these
                take the same time.
        """
        for _ in range(ATTEMPTS_MAX):
            account = await self._accounts.find_by_email(email)
            matches = await self._passwords.verify(password, account.password_hash if account else None)
            if not account or not matches or account.status is not AccountStatus.ACTIVE or account.role not in only:
                detail = "The e-mail address or the password is wrong."
                raise InvalidCredentials(detail)
            outdated = self._passwords.outdated(account.password_hash)
            try:
                return await self._open_session(account, await self._passwords.hash(password) if outdated else None)
            except AccountChanged:
                continue
        raise _changing()

    async def refresh(self, token: Token, text: str) -> LoggedIn:
        """Exchange a refresh token for two new tokens. A refresh token works once.

        A second use within the grace period, while its successor is unused, returns the same two tokens: the client has
        two tabs, or lost the answer. A later second use ends the session.

        Raises:
            Unauthenticated: it was used before, or its session is over.
        """
        now = utc_now()
        account = await self._accounts.find(token.account_id)
        pair = next(self._tokens.successors(text, account, session_id=token.session_id, now=now))
        rotated = await self._sessions.rotate(
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
        """Handle the second use of a refresh token: within the grace period the same tokens, else its session ends.

        Raises:
            Unauthenticated: the grace period is over, or the successor was used.
        """
        now = utc_now()
        latest = await self._sessions.latest_rotation(token.session_id, token_epoch=token.epoch, now=now)
        age_s = (now - latest.rotated_at).total_seconds() if latest else math.inf
        if latest and abs(age_s) < self._tokens.refresh_grace_s:
            access_left_s = self._tokens.lifetime_s[TokenKind.ACCESS] - max(0, math.ceil(age_s))
            for pair in self._successors(token, text, latest):
                # The session stores the successor's fingerprint until the successor is used.
                if fingerprint(pair.refresh) == latest.refresh_hash:
                    return LoggedIn(pair.access, pair.refresh, access_left_s, latest.account)
        if (await self._accounts.find(token.account_id)).token_epoch == token.epoch:
            await self.log_out(token)
        # Otherwise the token ended with its epoch and was not used twice, so the session goes on with its newer tokens.
        raise unauthenticated()

    def _successors(self, token: Token, text: str, latest: Rotation) -> Iterator[TokenPair]:
        """The pairs for which a refresh token may have been exchanged, by `refresh` or by `_renew`."""
        for spent in (text, fingerprint(text).hex()):
            yield from self._tokens.successors(
                spent, latest.account, session_id=token.session_id, now=latest.rotated_at
            )

    async def _renew(self, token: Token) -> LoggedIn:
        """Refresh the tokens of an access token's session.

        The refresh token in use is known by its fingerprint only, so its successors are computed from that. Within the
        grace period, a refresh with that token returns the same pair.

        Raises:
            Unauthenticated: the token was ended meanwhile.
        """
        now = utc_now()
        account, pair = await self._sessions.renew(
            caller=token.caller,
            successor=lambda account, in_use: next(
                self._tokens.successors(in_use.hex(), account, session_id=token.session_id, now=now)
            ),
            expires_at=now + self._refresh_lifetime,
            now=now,
        )
        return LoggedIn(pair.access, pair.refresh, self._tokens.lifetime_s[TokenKind.ACCESS], account)

    async def log_out(self, token: Token) -> None:
        """End the token's session in PostgreSQL and in Redis before this returns."""
        await self._sessions.end(token.session_id, now=utc_now())
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
            Unauthenticated: the token was ended meanwhile.
        """
        password_hash = UNSET if password is UNSET else await self._passwords.hash(password)

        async def change(account: Account) -> tuple[Account, list[UUID]]:
            if password is not UNSET:
                _accept(password, email=account.email if email is UNSET else email)
            return await self._accounts.change_credentials(
                account, caller=token.caller, email=email, password_hash=password_hash, now=utc_now()
            )

        after, ended = await self._with_password(token, current_password, change)
        await self._admission.sessions_ended(after.id, ended)
        return after

    async def switch_role(self, token: Token, role: Role) -> LoggedIn:
        """Give the caller another role and new tokens; the old tokens end.

        The session id stays, so a logout with an old token ends the new tokens too. If the caller has the role already,
        the session's tokens are refreshed and nothing else changes.

        Raises:
            LastAdmin.
            Unauthenticated: the token was ended meanwhile.
        """
        if role is token.role:
            return await self._renew(token)
        now = utc_now()
        found = await self._accounts.find(token.account_id)
        # The account after the change, if it is still as the token says. The store verifies that under its lock.
        expected = structs.replace(found, role=role, token_epoch=token.epoch + 1)
        session = AccountSession(id=token.session_id, account_id=found.id, expires_at=now + self._refresh_lifetime)
        refresh = self._tokens.issue(TokenKind.REFRESH, expected, session_id=session.id, now=now)
        opened_in = self._admission.epoch
        account, ended = await self._accounts.switch_role(
            role, caller=token.caller, refresh_hash=fingerprint(refresh), expires_at=session.expires_at, now=now
        )
        await self._admission.session_opened(account, session, ended=ended, opened_in=opened_in)
        await self._follow_ups.begin(account)
        access = self._tokens.issue(TokenKind.ACCESS, account, session_id=session.id, now=now)
        return LoggedIn(access, refresh, self._tokens.lifetime_s[TokenKind.ACCESS], account)

    async def leave(self, token: Token, *, current_password: str) -> None:
        """Close the caller's account.

        First its personal data are erased and its tokens ended; then its bookings are cancelled and its events
        suspended. Bookings of events that have started are kept. A worker does what cannot be done now.

        Raises:
            WrongPassword, LastAdmin: nothing is changed.
            Unauthenticated: the token was ended meanwhile.
        """
        closed = await self._with_password(
            token,
            current_password,
            lambda account: self._accounts.close(account, caller=token.caller, now=utc_now()),
        )
        await self._admission.tokens_ended(closed)
        await self._follow_ups.begin(closed)

    async def assign_role(self, account_id: UUID, role: Role, *, caller: Caller) -> Account:
        """Give another account a role; raises UserNotFound, LastAdmin, Unauthenticated."""
        account = await self._accounts.assign_role(account_id, role, caller=caller, now=utc_now())
        await self._admission.tokens_ended(account)
        await self._follow_ups.events(account_id)
        return account

    async def ban(self, account_id: UUID, *, caller: Caller) -> Account:
        """Ban an account, end its tokens and suspend its events. A repeated call does the same again.

        Raises:
            UserNotFound, LastAdmin, SelfBan, Unauthenticated.
        """
        if account_id == caller.account_id:
            detail = "You cannot ban the account that you are logged in with. Another admin can."
            raise SelfBan(detail)
        account = await self._accounts.ban(account_id, caller=caller, now=utc_now())
        await self._admission.tokens_ended(account)
        await self._follow_ups.events(account_id)
        return account

    async def unban(self, account_id: UUID, *, caller: Caller) -> Account:
        """Let a banned account log in again, and end the suspension of its events.

        Raises:
            UserNotFound, Unauthenticated.
        """
        account = await self._accounts.unban(account_id, caller=caller, now=utc_now())
        await self._follow_ups.events(account_id)
        return account

    @property
    def _refresh_lifetime(self) -> timedelta:
        return timedelta(seconds=self._tokens.lifetime_s[TokenKind.REFRESH])

    async def _open_session(self, account: Account, password_hash: str | None) -> LoggedIn:
        now = utc_now()
        session = AccountSession(id=uuid4(), account_id=account.id, expires_at=now + self._refresh_lifetime)
        access = self._tokens.issue(TokenKind.ACCESS, account, session_id=session.id, now=now)
        refresh = self._tokens.issue(TokenKind.REFRESH, account, session_id=session.id, now=now)
        opened_in = self._admission.epoch
        ended = await self._sessions.open(
            account, session=session, refresh_hash=fingerprint(refresh), password_hash=password_hash, now=now
        )
        await self._admission.session_opened(account, session, ended=ended, opened_in=opened_in)
        return LoggedIn(access, refresh, self._tokens.lifetime_s[TokenKind.ACCESS], account)

    async def _verified(self, token: Token, current_password: str) -> Account:
        """The caller's account, after its current password was verified; raises WrongPassword."""
        account = await self._accounts.find(token.account_id)
        if not await self._passwords.verify(current_password, account.password_hash):
            detail = "`current_password` is not the password of this account."
            raise WrongPassword(detail)
        return account

    async def _with_password(
        self, token: Token, current_password: str, act: Callable[[Account], Awaitable[Answer]]
    ) -> Answer:
        """Act on the caller's account as it was when its password was verified; retry if it has changed since."""
        for _ in range(ATTEMPTS_MAX):
            account = await self._verified(token, current_password)
            try:
                return await act(account)
            except AccountChanged:
                continue
        raise _changing()


def _changing() -> Unavailable:
    detail = "The account is being changed by other requests. Try again."
    return Unavailable(detail, retry_after_seconds=1)


def _accept(password: str, *, email: str) -> None:
    broken = passwords.broken_rule(password, email=email)
    if broken:
        pointer = "/password"
        raise Invalid.at(pointer, broken)
