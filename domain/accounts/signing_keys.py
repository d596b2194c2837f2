"""The signing keys of tokens: the newest key signs; older keys are accepted until their tokens have expired.

The key ring is a file of the operator (`JWT_KEYS_FILE`), written by `onsale rotate-keys`. A process checks the file
once a second, and whenever it meets an unknown key, so that no restart is needed.
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
"""Characters of a hash that distinguish the few keys of a ring."""

KEYS_MAX = 16
"""Keys of a ring. A rotation every day during the week that a refresh token lives makes eight."""

LOOK_EVERY_S = 1.0
"""The time within which every process notices a rotation."""


FileState = tuple[int, int, int]
"""Inode, time of change (ctime) and size of a file. It differs after the file is replaced, written, or gets other
permissions."""


class Key(Struct, frozen=True, forbid_unknown_fields=True):
    """A secret, and the time in seconds since 1970 after which its signatures are not accepted any more."""

    secret: str
    retires_s: int | None = None

    @property
    def kid(self) -> str:
        """The key's name in a token; it reveals nothing of the key."""
        return hashlib.sha256(b"onsale kid\x00" + self.secret.encode()).hexdigest()[:KID_CHARS]


class KeyRing:
    """The keys at one time: the first signs, each verifies."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = tuple(keys)
        self.signing = self.keys[0]
        self._by_kid = {key.kid: key for key in keys}

    def find(self, kid: object, *, now_s: float) -> Key | None:
        """The key with this name; None if it is not on the ring or has retired."""
        key = self._by_kid.get(kid) if isinstance(kid, str) else None
        return None if key is None or (key.retires_s is not None and now_s >= key.retires_s) else key


class Keys:
    """The key ring of a process, updated from its file.

    `fault` is the reason why the file cannot be read, None while the ring matches the file. Meanwhile the known keys
    stay in use. Readiness reports the fault, because a rotation or a dropped key may be missed.
    """

    def __init__(self, ring: KeyRing, path: Path | None = None, *, seen: FileState | None = None) -> None:
        self.ring = ring
        self.fault: str | None = None
        self._path = path
        self._seen = seen
        self._had_file = seen is not None

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """The keys of the settings: those of the file if it exists, else JWT_SECRET.

        Raises:
            SettingsRefused: neither exists, or the file cannot be read; names the setting and shows no key.
        """
        path = settings.jwt_keys_file
        # The state is taken before the file is read, so that a rotation in between is noticed at the next check.
        seen = _state(path)
        if path is not None and seen is not None:
            return cls(KeyRing(read_keys(path)), path, seen=seen)
        if settings.jwt_secret is None:
            message = f"JWT_KEYS_FILE: there is no {path}; `onsale rotate-keys` makes it" if path else _NO_SECRET
            raise SettingsRefused(message)
        return cls(KeyRing([Key(settings.jwt_secret.get_secret_value())]), path)

    def look(self) -> bool:
        """Read the file again if it has changed or could not be read; returns whether the ring has changed.

        If the file is gone or cannot be read, the known keys stay in use and `fault` is set until the file is readable
        again.
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
        # The state is stored only after the read, so that an unreadable file is read again at the next check.
        self._seen, self.fault = state, None
        changed = tuple(keys) != self.ring.keys
        self.ring = KeyRing(keys)
        log.info("keys_read", signing=self.ring.signing.kid, accepted=len(keys), changed=changed)
        return changed


def read_keys(path: Path) -> list[Key]:
    """The keys of a file, the signing key first.

    Raises:
        SettingsRefused: other users may read the file, or it is broken.
    """
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
        SettingsRefused: it cannot be determined whether the file exists, e.g. in a folder that this user may not
            enter. If this counted as no file, keys that were dropped after a leak would be accepted again.
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
