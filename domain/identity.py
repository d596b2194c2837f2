"""Who calls: accounts, their roles and states."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

EMAIL_CHARACTERS_MAX = 254
EMAIL_LOCAL_CHARACTERS_MAX = 64
"""RFC 5321, 4.5.3.1: the longest address a mail server accepts, and the part before its @."""

DOMAIN_LABELS_MIN = 2
"""No top-level domain takes mail from strangers."""


class Role(StrEnum):
    """What an account may do."""

    ATTENDEE = "attendee"
    ORGANIZER = "organizer"
    ADMIN = "admin"


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


class Session(Struct, frozen=True, kw_only=True):
    """One login of an account, and all the tokens that follow from it."""

    id: UUID
    account_id: UUID
    expires_at: datetime


class Standing(Struct, frozen=True):
    """What PostgreSQL says of a session at one instant: its account's `token_epoch`, and whether it lives."""

    account_id: UUID
    token_epoch: int
    live: bool


def broken_email_rule(email: str) -> str | None:
    """Why an address is not one that mail can be sent to, or None.

    Only the shape: whether somebody reads it, a regular expression cannot know.
    """
    local, at, domain = email.rpartition("@")
    labels = domain.split(".")
    plain = all(character.isprintable() and not character.isspace() for character in email)
    if not at or not local or not plain or "@" in local or len(labels) < DOMAIN_LABELS_MIN or not all(labels):
        return "must be an e-mail address"
    if len(email) > EMAIL_CHARACTERS_MAX or len(local) > EMAIL_LOCAL_CHARACTERS_MAX:
        return "is longer than an e-mail address can be"
    return None


def email_key(email: str) -> str:
    """The form in which two spellings of one address are equal."""
    return unicodedata.normalize("NFC", email).strip().casefold()
