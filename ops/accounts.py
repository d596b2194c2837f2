"""Administrators, made where only an operator can: on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.identity import Role, broken_email_rule
from domain.passwords import Passwords, broken_rule

if TYPE_CHECKING:
    from domain.identity import Account
    from domain.store.connect import Stores


class AdminRefused(Exception):
    """The e-mail or the password breaks a rule; `str()` says which."""


async def create_admin(stores: Stores, *, email: str, password: str) -> Account:
    """Make an administrator.

    Raises:
        AdminRefused: the address or the password breaks a rule.
        EmailTaken: the address has an account.
    """
    _check("e-mail", broken_email_rule(email))
    _check("password", broken_rule(password, email=email))
    passwords = Passwords()
    try:
        password_hash = await passwords.hash(password)
    finally:
        passwords.close()
    return await stores.accounts.create(
        email=email, password_hash=password_hash, role=Role.ADMIN, now=datetime.now(UTC)
    )


def _check(what: str, broken: str | None) -> None:
    if broken is not None:
        message = f"the {what} {broken}"
        raise AdminRefused(message)
