"""The demo's accounts and their passwords, in a file of the data folder that only its owner may read."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from ops.embedded.private_files import keep_once, read, rewrite

if TYPE_CHECKING:
    from pathlib import Path

DEMO_FILE = "demo.json"

PASSWORD_BYTES = 12
"""16 characters of base64: hard to guess, and still possible to type."""

ROLES = {
    "admin@demo.example": "admin",
    "organizer@demo.example": "organizer",
    "attendee-1@demo.example": "attendee",
    "attendee-2@demo.example": "attendee",
    "attendee-3@demo.example": "attendee",
}
"""The demo's accounts with their roles."""


def demo_passwords(path: Path) -> dict[str, str]:
    """Return the password of each demo account; the first call makes them."""
    kept = keep_once(path, lambda: {"passwords": {email: _password() for email in ROLES}, "complete": False})
    passwords: dict[str, str] = kept["passwords"]
    return passwords


def demo_is_complete(path: Path) -> bool:
    """Tell whether the demo data is complete."""
    return path.exists() and bool(_read(path)["complete"])


def set_demo_complete(path: Path) -> None:
    """Note that the demo data is complete, so that later starts do not make it again."""
    rewrite(path, _read(path) | {"complete": True})


def _read(path: Path) -> dict[str, Any]:
    return read(path, names=("passwords", "complete"))


def _password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)
