"""Brings the database to the version of this code, with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError

import migrations
from domain.store.postgres.database import BROKEN


class SchemaRefused(Exception):
    """The database cannot be brought to the version of this code; `str()` says why."""


def migrate(database_url: str, *, revision: str = "head") -> None:
    """Run every migration up to `revision` that the database has not seen; does nothing if there is none.

    Raises:
        SchemaRefused: newer code has migrated the database, or PostgreSQL cannot be asked or refuses a statement.
    """
    try:
        command.upgrade(config_of(database_url), revision)
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        version = error.__cause__.argument
        message = (
            f"the database is of version {version}, which this code does not know: use the newer code that made it"
        )
        raise SchemaRefused(message) from error
    except BROKEN as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        message = f"PostgreSQL could not be migrated: {reason or type(error).__name__}"
        raise SchemaRefused(message) from error


def config_of(database_url: str) -> Config:
    """Alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["database_url"] = database_url
    return config
