"""Rotates the keys that sign tokens: a new key signs, old keys are accepted until their tokens have expired."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins

from domain.accounts.signing_keys import KEYS_MAX, Key, read_keys
from domain.accounts.tokens import LEEWAY_S, utc_now
from domain.engine import open_stores
from domain.kernel.refusals import Unavailable
from domain.platform.settings import REFRESH_TOKEN_SECONDS_MAX, SettingsRefused
from ops.commands.servers import check_present, reached
from ops.embedded.folder_lock import holder_of
from ops.embedded.private_files import rewrite
from ops.embedded.stack import EmbeddedStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from domain.platform.settings import Settings

KEY_BYTES = 32
"""The length of the hash of HS256."""


DAY_S = 86_400


class RotationRefused(Exception):
    """The ring is full of keys with living tokens, or the signing key is unknown."""


def rotate_ring(settings: Settings, *, drop_old: bool, say: Callable[[str], None]) -> tuple[Path, list[Key]]:
    """Rotate the key ring of the deployment with these settings; returns its file and its keys.

    Raises:
        StackAbsent: there is no embedded stack in DATA_DIR.
        SettingsRefused: servers that are not embedded need JWT_KEYS_FILE, and at first JWT_SECRET.
        RotationRefused: too many keys are accepted already.
    """
    path, first_secret = _key_ring(settings)
    if not drop_old and first_secret is None and not path.exists():
        message = (
            f"JWT_SECRET: set it to the secret that signs until {path} exists, or end every session with --drop-old"
        )
        raise SettingsRefused(message)
    now_s = int(utc_now().timestamp())
    lifetime_s = 0 if drop_old else _lifetime_s(settings, now_s=now_s, say=say)
    return path, rotate(path, first_secret=first_secret, lifetime_s=lifetime_s, now_s=now_s, drop_old=drop_old)


def _key_ring(settings: Settings) -> tuple[Path, str | None]:
    """The file of the ring, and the secret that signs before the file exists."""
    if settings.embedded:
        check_present(settings.data_dir)
        environment = EmbeddedStack(settings.data_dir).environment()
        return Path(environment["JWT_KEYS_FILE"]), environment["JWT_SECRET"]
    if settings.jwt_keys_file is None:
        message = "JWT_KEYS_FILE: set it, for every process, to a file that all of them read"
        raise SettingsRefused(message)
    secret = settings.jwt_secret
    return settings.jwt_keys_file.absolute(), secret.get_secret_value() if secret else None


def _lifetime_s(settings: Settings, *, now_s: int, say: Callable[[str], None]) -> int:
    """Remaining lifetime of the longest-lived token of the deployment.

    Other processes may have other settings than this one. PostgreSQL knows the end of every session, and with it of
    every token until now; the running `onsale up` knows the lifetime of new ones.
    """
    own_s = max(settings.refresh_token_seconds, settings.access_token_seconds)
    holder = holder_of(settings.data_dir) if settings.embedded else None
    running_s = (holder.token_seconds if holder else None) or 0
    try:
        with reached(settings) as servers:
            last_end_s = asyncio.run(_last_session_end_s(servers))
    except Unavailable:
        days = REFRESH_TOKEN_SECONDS_MAX // DAY_S
        say(f"PostgreSQL does not answer how long sessions last: the old keys are accepted for {days} days")
        return REFRESH_TOKEN_SECONDS_MAX
    return max(own_s, running_s, last_end_s - now_s)


async def _last_session_end_s(settings: Settings) -> int:
    async with open_stores(settings) as stores:
        end = await stores.sessions.last_end()
    return math.ceil(end.timestamp()) if end else 0


def rotate(path: Path, *, first_secret: str | None, lifetime_s: int, now_s: int, drop_old: bool) -> list[Key]:
    """Write a ring whose first key is new; returns the ring.

    The other keys are accepted for `lifetime_s` more, or not at all with `drop_old`. `first_secret` signed before the
    file existed.

    Raises:
        RotationRefused: too many keys are accepted already.
        SettingsRefused: the file is invalid.
    """
    with _alone(path):
        before = read_keys(path) if path.exists() else [Key(first_secret)] if first_secret else []
        retires_s = now_s + lifetime_s + LEEWAY_S
        kept = [Key(key.secret, min(key.retires_s or retires_s, retires_s)) for key in before]
        kept = [] if drop_old else [key for key in kept if (key.retires_s or 0) > now_s]
        if len(kept) >= KEYS_MAX:
            message = (
                f"{KEYS_MAX} keys are accepted already; the oldest expires by itself, --drop-old ends all sessions"
            )
            raise RotationRefused(message)
        ring = [Key(secrets.token_hex(KEY_BYTES)), *kept]
        rewrite(path, {"keys": to_builtins(ring)})
    return ring


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the file's folder: of two concurrent rotations, the second reads the result of the first."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
