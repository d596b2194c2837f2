"""Commands on accounts that only an operator has: make administrators, set passwords."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.accounts.accounts import Role, broken_email_rule
from domain.accounts.passwords import Passwords, broken_rule
from domain.background.rebuilding import ensure_in_order
from domain.kernel.refusals import Unavailable, UserNotFound

if TYPE_CHECKING:
    from domain.accounts.accounts import Account
    from domain.engine import Stores


class AdminRefused(Exception):
    """The address or the password breaks a rule; `str()` says which."""


class SessionsUntold(Exception):
    """The password is set, but Redis could not be told that the sessions have ended."""


async def create_admin(stores: Stores, *, email: str, password: str) -> Account:
    """Make an administrator.

    Raises:
        AdminRefused: the address or the password breaks a rule.
        EmailTaken: the address has an account.
    """
    _check("e-mail", broken_email_rule(email))
    _check("password", broken_rule(password, email=email))
    return await stores.accounts.create(
        email=email, password_hash=await _hash(password), role=Role.ADMIN, now=datetime.now(UTC)
    )


async def set_password(stores: Stores, *, email: str, password: str) -> Account:
    """Set the password of the account with this address, and end all its sessions. Safe to repeat.

    Raises:
        AdminRefused: the password breaks a rule.
        UserNotFound: no account has the address.
        SessionsUntold: Redis does not answer; unless this is repeated, its old sessions may work for minutes.
    """
    _check("password", broken_rule(password, email=email))
    account = await stores.accounts.find_by_email(email)
    if account is None:
        message = f"no account has the address {email}"
        raise UserNotFound(message)
    after = await stores.accounts.set_password(account.id, password_hash=await _hash(password), now=datetime.now(UTC))
    try:
        # Without a running worker, nothing else has made the inventory ready.
        await ensure_in_order(stores)
        await stores.admission.tokens_ended(after)
    except (Unavailable, TimeoutError) as error:
        message = "the password is set, but Redis cannot be told that the sessions have ended: run this again"
        raise SessionsUntold(message) from error
    return after


async def _hash(password: str) -> str:
    with closing(Passwords()) as passwords:
        return await passwords.hash(password)


def _check(what: str, broken: str | None) -> None:
    if broken is not None:
        message = f"the {what} {broken}"
        raise AdminRefused(message)
