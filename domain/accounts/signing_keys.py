"""The keys of tokens: the newest signs, the others are accepted until what they signed has expired.

The ring is a file of the operator's (`JWT_KEYS_FILE`), written by `onsale rotate-keys`. A process looks at it
once a second, and whenever it meets a key that it does not know, so none has to be started again.
"""

from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec import Struct

from domain.platform.settings import SettingsRefused, broken_secret_rule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from domain.platform.settings import Settings

log = structlog.get_logger()

KID_CHARS = 16
"""Enough of a hash to tell the few keys of a ring apart."""

KEYS_MAX = 16
"""Keys of a ring; a rotation every day of a refresh token's week makes eight."""

LOOK_EVERY_S = 1.0
"""How soon every process has noticed a rotation."""


FileState = tuple[int, int, int]
"""Inode, time of change (ctime) and size of a file: another one when it is replaced, written, or given other rights."""


class Key(Struct, frozen=True, forbid_unknown_fields=True):
    """A secret, and from when on, in seconds since 1970, what it signed is not accepted any more."""

    secret: str
    retires_s: int | None = None

    @property
    def kid(self) -> str:
        """The key's name in a token: tells nothing of the key."""
        return hashlib.sha256(b"onsale kid\x00" + self.secret.encode()).hexdigest()[:KID_CHARS]


class KeyRing:
    """The keys at one moment: the first signs, each verifies."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = tuple(keys)
        self.signing = self.keys[0]
        self._by_kid = {key.kid: key for key in keys}

    def find(self, kid: object, *, now_s: float) -> Key | None:
        """The key of this name, None for one that is not on the ring or has retired."""
        key = self._by_kid.get(kid) if isinstance(kid, str) else None
        return None if key is None or (key.retires_s is not None and now_s >= key.retires_s) else key


class Keys:
    """The ring of a process, as new as its file.

    `fault` says why the file cannot be read now, None while the ring is the file's. The keys that were known go on
    meanwhile; readiness tells the fault, since a rotation or a dropped key may be missed.
    """

    def __init__(self, ring: KeyRing, path: Path | None = None, *, seen: FileState | None = None) -> None:
        self.ring = ring
        self.fault: str | None = None
        self._path = path
        self._seen = seen
        self._had_file = seen is not None

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """The keys that settings name: those of the file once there is one, else JWT_SECRET.

        Raises:
            SettingsRefused: neither is there, or the file cannot be read; names the setting and shows no key.
        """
        path = settings.jwt_keys_file
        # Before it is read: a rotation in between is noticed at the next look.
        seen = _state(path)
        if path is not None and seen is not None:
            return cls(KeyRing(read_keys(path)), path, seen=seen)
        if settings.jwt_secret is None:
            message = f"JWT_KEYS_FILE: there is no {path}; `onsale rotate-keys` makes it" if path else _NO_SECRET
            raise SettingsRefused(message)
        return cls(KeyRing([Key(settings.jwt_secret.get_secret_value())]), path)

    def look(self) -> bool:
        """Read the file again if it has changed or could not be read; answers whether the ring is another one.

        A file that vanished or cannot be read leaves the keys that were known, and sets `fault` until it is mended.
        """
        if self._path is None:
            return False
        try:
            return self._read(self._path)
        except SettingsRefused as refused:
            reason = str(refused)
            if reason != self.fault:
                log.warning("keys_unreadable", reason=reason)
            self.fault = reason
            return False

    def _read(self, path: Path) -> bool:
        state = _state(path)
        if state is None:
            if self._had_file:
                message = f"JWT_KEYS_FILE: {path} is gone; put it back, or restart every process with another one"
                raise SettingsRefused(message)
            return False
        if state == self._seen and self.fault is None:
            return False
        self._had_file = True
        keys = read_keys(path)
        # Only now: what could not be read is read again at the next look.
        self._seen, self.fault = state, None
        changed = tuple(keys) != self.ring.keys
        self.ring = KeyRing(keys)
        log.info("keys_read", signing=self.ring.signing.kid, accepted=len(keys), changed=changed)
        return changed


def read_keys(path: Path) -> list[Key]:
    """The keys of a file, the signing one first; raises SettingsRefused for one that others may read or is broken."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
            message = f"JWT_KEYS_FILE: everybody on this machine may read {path}; chmod 600 it"
            raise SettingsRefused(message)
        keys = msgspec.json.decode(path.read_bytes(), type=dict[str, list[Key]]).get("keys", [])
    except OSError as error:
        raise SettingsRefused(_unreadable(path, error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        keys = []
    if not 1 <= len(keys) <= KEYS_MAX or any(broken_secret_rule(key.secret) for key in keys):
        message = f'JWT_KEYS_FILE: {path} is not {{"keys": [{{"secret": "…"}}, …]}} with 1 to {KEYS_MAX} long secrets'
        raise SettingsRefused(message)
    return keys


_NO_SECRET = "JWT_SECRET: the embedded stack hands it to its processes"  # noqa: S105  (a message)


def _state(path: Path | None) -> FileState | None:
    """The state of a file, None when there is none.

    Raises:
        SettingsRefused: whether there is one cannot be seen, e.g. in a folder that this user may not enter. Taken
            for none, keys that were dropped after a leak would be accepted again.
    """
    try:
        found = path.stat() if path else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsRefused(_unreadable(path, error)) from error
    return found and (found.st_ino, found.st_ctime_ns, found.st_size)


def _unreadable(path: Path | None, error: OSError) -> str:
    return f"JWT_KEYS_FILE: {path} cannot be read: {error.strerror or error}"
