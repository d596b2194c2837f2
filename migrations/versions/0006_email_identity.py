"""Addresses are compared by lower case and IDNA, no longer by case folding.

Only accounts with a letter beyond ASCII in their address are concerned. Where two of them, of which one spells its
domain in Unicode and the other in Punycode, turn out to have the same address, both stay and keep what they are
compared by until now: each still logs in by its own spelling. They are told on standard error, and in the audit log.

A process of an older version does not find the accounts that were changed here: until the last one has ended,
logins with such addresses may be refused there.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING

import idna
import sqlalchemy as sa
from alembic import op

if TYPE_CHECKING:
    from uuid import UUID

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CONCERNED = sa.text(
    """
    SELECT id, email, email_key FROM accounts
    WHERE status <> 'closed' AND octet_length(email) <> char_length(email) ORDER BY created_at, id
    """
)
HOLDER = sa.text("SELECT id FROM accounts WHERE email_key = :key")
CHANGE = sa.text("UPDATE accounts SET email_key = :key WHERE id = :id AND email = :email")
NOTE = sa.text(
    """
    INSERT INTO audit_log (at, action, target_id, detail)
    VALUES (now(), 'account.address_shared', :id, jsonb_build_object('with', CAST(:holder AS text)))
    """
)


def key_of(email: str) -> str:
    """The form in which addresses are compared from now on."""
    lower = unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).strip().lower())
    local, at, domain = lower.rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return lower
    return local + at + domain


def upgrade() -> None:
    """Change all keys that can be changed. It takes several rounds, because a change may free the key of another."""
    connection = op.get_bind()
    connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
    # Nobody signs up in between; bookings, logins and everything that reads go on.
    connection.execute(sa.text("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE"))
    waiting = [(row.id, row.email) for row in connection.execute(CONCERNED) if row.email_key != key_of(row.email)]
    blocked: list[tuple[UUID, str, UUID]] = []
    while waiting:
        blocked = []
        for account_id, email in waiting:
            holder = connection.execute(HOLDER, {"key": key_of(email)}).scalar_one_or_none()
            if holder is None:
                connection.execute(CHANGE, {"id": account_id, "email": email, "key": key_of(email)})
            else:
                blocked.append((account_id, email, holder))
        if len(blocked) == len(waiting):
            break
        waiting = [(account_id, email) for account_id, email, _ in blocked]
    for account_id, _, holder in blocked:
        connection.execute(NOTE, {"id": account_id, "holder": str(holder)})
        sys.stderr.write(f"onsale: accounts {account_id} and {holder} have one e-mail address; both stay as they are\n")


def downgrade() -> None:
    """Restore the former keys, unless another account has them by now."""
    connection = op.get_bind()
    for row in connection.execute(CONCERNED).all():
        key = unicodedata.normalize("NFC", row.email).strip().casefold()
        if connection.execute(HOLDER, {"key": key}).scalar_one_or_none() is None:
            connection.execute(CHANGE, {"id": row.id, "email": row.email, "key": key})
