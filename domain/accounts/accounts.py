"""Accounts, their roles and states."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import idna
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from msgspec import Struct

EMAIL_CHARACTERS_MAX = 254
EMAIL_LOCAL_CHARACTERS_MAX = 64
"""RFC 5321, 4.5.3.1: the longest address that a mail server accepts, and the longest part before its @."""

PRIVATE_DOMAINS = {"local", "test"}
"""Top-level domains without name servers that private networks and test systems use."""

SPECIAL_USE_DOMAIN_NAMES[:] = [name for name in SPECIAL_USE_DOMAIN_NAMES if name not in PRIVATE_DOMAINS]


class Role(StrEnum):
    """The role of an account, which decides what it may do."""

    ATTENDEE = "attendee"
    ORGANIZER = "organizer"
    ADMIN = "admin"


SELLERS = frozenset({Role.ORGANIZER, Role.ADMIN})
"""Roles that may organize events."""


class AccountStatus(StrEnum):
    """The state of an account."""

    ACTIVE = "active"
    BANNED = "banned"
    CLOSED = "closed"


class Account(Struct, frozen=True, kw_only=True):
    """An account as PostgreSQL has it.

    `token_epoch` is incremented to end every token of the account at once. A token contains the number under which it
    was made.
    """

    id: UUID
    email: str
    password_hash: str
    role: Role
    status: AccountStatus
    token_epoch: int
    created_at: datetime

    @property
    def sells(self) -> bool:
        """Whether events of this account may be sold; otherwise they are suspended."""
        return self.status is AccountStatus.ACTIVE and self.role in SELLERS


class AccountSession(Struct, frozen=True, kw_only=True):
    """One login of an account, with all tokens that are derived from it."""

    id: UUID
    account_id: UUID
    expires_at: datetime


class Caller(Struct, frozen=True, kw_only=True):
    """The caller of a change, as its request was admitted: account, session, token epoch and role.

    `session_id` is None for the operator's commands, which need no token.
    """

    account_id: UUID
    session_id: UUID | None
    token_epoch: int
    role: Role


class Standing(Struct, frozen=True):
    """The state of a session in PostgreSQL at one instant: its account's `token_epoch`, and whether it is alive."""

    account_id: UUID
    token_epoch: int
    live: bool


def broken_email_rule(email: str) -> str | None:
    """The rule that an e-mail address breaks, or None.

    Only the form is checked, by the rules of RFC 5322 and 6532 that mail servers agree on. No name server is asked, so
    it is not known whether anybody reads mail at the address.
    """
    if len(email) > EMAIL_CHARACTERS_MAX or len(email.rpartition("@")[0]) > EMAIL_LOCAL_CHARACTERS_MAX:
        return "is longer than an e-mail address can be"
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        # The message of the library contains the input.
        return "must be an e-mail address"
    return None


def email_key(email: str) -> str:
    """The form in which two spellings of one address are equal: lower case, with the domain in IDNA encoding.

    Lower case, unlike case folding, keeps `ß` and `ss` apart, which are the names of two people.
    """
    local, at, domain = _lower(email).rpartition("@")
    return local + at + _ascii_domain(domain)


def former_email_key(email: str) -> str:
    """The form in which addresses were compared before `email_key`.

    An account keeps it if another account already had its `email_key`, so that both go on working.
    """
    return unicodedata.normalize("NFC", email).strip().casefold()


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().lower())


def _ascii_domain(domain: str) -> str:
    """A domain in the encoding of name servers; a domain that IDNA refuses stays as it is."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain
