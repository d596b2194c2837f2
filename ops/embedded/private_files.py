"""Small files that only their owner may read, made once and then kept."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


class FileBroken(Exception):
    """A file of Onsale is damaged; `str()` names it."""


def keep_once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the content of `path`; the first call writes what `make` returns, with mode 0600.

    Of several concurrent processes, one writes the file and all return its content.

    Raises:
        FileBroken: the file lacks a name that `make` returns.
    """
    new = make()
    if not path.exists():
        draft = _draft(path, new)
        try:
            # Linking is atomic and never overwrites.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return read(path, names=new)


def read(path: Path, *, names: Iterable[str]) -> dict[str, Any]:
    """Return the content of `path`.

    Raises:
        FileBroken: it is no JSON object with these names.
    """
    try:
        kept = json.loads(path.read_text())
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or not kept.keys() >= set(names):
        message = f"{path} is damaged: restore it from a backup, or move it away to have a new one made"
        raise FileBroken(message)
    return kept


def rewrite(path: Path, content: dict[str, Any]) -> None:
    """Replace `path` by `content` atomically, mode 0600."""
    _draft(path, content).replace(path)


def _draft(path: Path, content: dict[str, Any]) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    return draft
