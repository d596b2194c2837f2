"""Who calls: accounts, their roles and states."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


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


def email_key(email: str) -> str:
    """The form in which two spellings of one address are equal."""
    return unicodedata.normalize("NFC", email).strip().casefold()
