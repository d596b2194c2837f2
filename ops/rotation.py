"""Rotating the keys that sign tokens: a new one from now on, the old ones until what they signed has expired."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING

from msgspec import to_builtins

from domain.keys import KEYS_MAX, Key, read_keys
from domain.tokens import LEEWAY_S
from ops.private import rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY_BYTES = 32
"""As long as the hash it keys, HS256."""


class RotationRefused(Exception):
    """The ring is full of keys whose tokens live."""


def rotate(path: Path, *, first_secret: str | None, lifetime_s: int, now_s: int, drop_old: bool) -> list[Key]:
    """Write a ring whose first key is new; answers it.

    The others are accepted for `lifetime_s` more, the life of the longest token, or not at all with `drop_old`.
    `first_secret` signed until there was a file.

    Raises:
        RotationRefused: too many keys are accepted already.
        SettingsRefused: the file is none.
    """
    with _alone(path):
        before = read_keys(path) if path.exists() else [Key(first_secret)] if first_secret else []
        retires_s = now_s + lifetime_s + LEEWAY_S
        kept = [Key(key.secret, min(key.retires_s or retires_s, retires_s)) for key in before]
        kept = [] if drop_old else [key for key in kept if (key.retires_s or 0) > now_s]
        if len(kept) >= KEYS_MAX:
            message = (
                f"{KEYS_MAX} keys are accepted already; the oldest retires by itself, --drop-old ends all sessions"
            )
            raise RotationRefused(message)
        ring = [Key(secrets.token_hex(KEY_BYTES)), *kept]
        rewrite(path, {"keys": to_builtins(ring)})
    return ring


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the file's folder: of two rotations at once, the second sees what the first wrote."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
