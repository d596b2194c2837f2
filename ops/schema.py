"""Brings the database to the version of this code, with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations


def migrate(database_url: str) -> None:
    """Run every migration the database has not seen; does nothing if there is none."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")
