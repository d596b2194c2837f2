"""The folders of an embedded stack: data, logs and sockets, each open to its owner alone."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from domain.platform.settings import SettingsRefused

SOCKET_FOLDER_BYTES_MAX = 107 - len("/.s.PGSQL.5432")
"""`sun_path` has 107 bytes and a NUL; PostgreSQL's socket has the longest name in the folder."""

PRIVATE_MODE = 0o700
"""Every right for the owner, none for others."""

PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+", re.ASCII)
"""A path that needs no escaping in a URL, a PostgreSQL setting or a command line."""


class FolderRefused(Exception):
    """A folder is not private to this user; `str()` says which and why."""


@dataclass(frozen=True)
class Folders:
    """The folders of the embedded servers of one data folder."""

    data: Path
    logs: Path
    sockets: Path


def folders_of(data_dir: Path) -> Folders:
    """Return the folders of the stack in `data_dir`, without touching the disk."""
    data = data_dir.resolve()
    return Folders(data=data, logs=data / "log", sockets=_socket_folder(data))


def make_data_folder(data_dir: Path) -> None:
    """Make the data folder, mode 0700, if it is missing.

    Raises:
        SettingsRefused: it is no folder, or cannot be made or written to; `str()` says why.
    """
    try:
        data_dir.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        what = "is a broken link" if data_dir.is_symlink() else "is no folder"
        raise SettingsRefused(_data_dir_line(data_dir, what)) from None
    except OSError as error:
        raise SettingsRefused(_data_dir_line(data_dir, f"cannot be made: {error.strerror}")) from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise SettingsRefused(_data_dir_line(data_dir, "cannot be written to by this user"))


def _data_dir_line(data_dir: Path, what: str) -> str:
    return f"DATA_DIR: {data_dir.absolute()} {what}; set it to a folder of yours"


def make_folders(folders: Folders) -> None:
    """Make the missing folders, mode 0700.

    Raises:
        FolderRefused: the socket folder belongs to somebody else or is open to others.
    """
    for folder in (folders.data, folders.logs, folders.sockets):
        folder.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
    # Connecting needs no password, so that only the owner of the stack may enter this folder.
    found = folders.sockets.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != PRIVATE_MODE:
        message = f"{folders.sockets} must be a folder of yours with mode 0700; remove it, or set another DATA_DIR"
        raise FolderRefused(message)


def _socket_folder(data: Path) -> Path:
    inside = data / "run"
    if _fits(inside):
        return inside
    name = f"onsale-{os.geteuid()}-{hashlib.sha256(bytes(data)).hexdigest()[:16]}"
    outside = Path(tempfile.gettempdir()) / name
    # Made with mode 0700, and its owner is checked.
    return outside if _fits(outside) else Path("/tmp") / name  # noqa: S108  # nosec B108


def _fits(folder: Path) -> bool:
    return len(bytes(folder)) <= SOCKET_FOLDER_BYTES_MAX and PLAIN_PATH.fullmatch(str(folder)) is not None
