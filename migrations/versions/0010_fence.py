"""The deployment, the layout and the server to which the scripts of an epoch are bound."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE inventory_epoch
        ADD COLUMN deployment uuid NOT NULL DEFAULT gen_random_uuid(),
        ADD COLUMN layout integer NOT NULL DEFAULT 1,
        ADD COLUMN server text,
        ADD COLUMN server_epoch bigint,
        ADD CONSTRAINT ck_inventory_epoch_server CHECK ((server IS NULL) = (server_epoch IS NULL))
    """,
    "COMMENT ON COLUMN inventory_epoch.deployment IS 'Made once; in every script, so that no other stack finds it.'",
    "COMMENT ON COLUMN inventory_epoch.layout IS 'Layout of the keys of Redis; versions of a lower one do not sell.'",
    """
    COMMENT ON COLUMN inventory_epoch.server IS
        'Replication id of the Redis that server_epoch was built on; null until a version that records it has rebuilt.'
    """,
    """
    COMMENT ON COLUMN inventory_epoch.server_epoch IS
        'The epoch of server, null without one; when it is not epoch, an older version has begun that.'
    """,
)


def upgrade() -> None:
    """Add the columns. Versions that do not know them continue to work."""
    lock_tables(op.get_bind(), "inventory_epoch")
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the columns."""
    op.execute(
        "ALTER TABLE inventory_epoch DROP COLUMN deployment, DROP COLUMN layout, DROP COLUMN server,"
        " DROP COLUMN server_epoch"
    )
