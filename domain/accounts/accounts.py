"""Who calls: accounts, their roles and states."""

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
"""RFC 5321, 4.5.3.1: the longest address a mail server accepts, and the part before its @."""

PRIVATE_DOMAINS = {"local", "test"}
"""Top-level domains that no name server knows, but private networks and test systems use."""

SPECIAL_USE_DOMAIN_NAMES[:] = [name for name in SPECIAL_USE_DOMAIN_NAMES if name not in PRIVATE_DOMAINS]


class Role(StrEnum):
    """What an account may do."""

    ATTENDEE = "attendee"
    ORGANIZER = "organizer"
    ADMIN = "admin"


SELLERS = frozenset({Role.ORGANIZER, Role.ADMIN})
"""Who may organize events."""


class AccountStatus(StrEnum):
    """Whether an account may be used."""

    ACTIVE = "active"
    BANNED = "banned"
    CLOSED = "closed"


class Account(Struct, frozen=True, kw_only=True):
    """An account as PostgreSQL has it.

    `token_epoch` grows whenever every token of the account must stop working at once; a token carries
    the number it was made under.
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
        """Whether events that this account organizes may be sold; the others are suspended."""
        return self.status is AccountStatus.ACTIVE and self.role in SELLERS


class Session(Struct, frozen=True, kw_only=True):
    """One login of an account, and all the tokens that follow from it."""

    id: UUID
    account_id: UUID
    expires_at: datetime


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks for a change, as its request was admitted: with a token of this session, epoch and role.

    `session_id` is None for a command of the operator's, which needs no token.
    """

    account_id: UUID
    session_id: UUID | None
    token_epoch: int
    role: Role


class Standing(Struct, frozen=True):
    """What PostgreSQL says of a session at one instant: its account's `token_epoch`, and whether it lives."""

    account_id: UUID
    token_epoch: int
    live: bool


def broken_email_rule(email: str) -> str | None:
    """Why an address is not one that mail can be sent to, or None.

    Only the shape, by the rules of RFC 5322 and 6532 that mail servers agree on; no name server is asked, so
    whether somebody reads it is not known.
    """
    if len(email) > EMAIL_CHARACTERS_MAX or len(email.rpartition("@")[0]) > EMAIL_LOCAL_CHARACTERS_MAX:
        return "is longer than an e-mail address can be"
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        # The library's message repeats what was sent.
        return "must be an e-mail address"
    return None


def email_key(email: str) -> str:
    """The form in which two spellings of one address are equal: in lower case, the domain as IDNA encodes it.

    Lower case keeps letters apart that case folding makes one: `ß` and `ss` are two people's names.
    """
    local, at, domain = _lower(email).rpartition("@")
    return local + at + _ascii_domain(domain)


def former_email_key(email: str) -> str:
    """The form in which addresses were compared before `email_key`.

    Accounts still have it whose `email_key` another account had already, so that both go on working.
    """
    return unicodedata.normalize("NFC", email).strip().casefold()


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().lower())


def _ascii_domain(domain: str) -> str:
    """A domain as name servers know it; one that IDNA refuses stays as it is."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain
