"""Passwords: the rules for them, and their hashes."""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.accounts.accounts import email_key
from domain.kernel.refusals import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

CHARACTERS_MIN = 8
CHARACTERS_MAX = 128
"""NIST SP 800-63B: long enough for passphrases, short enough that hashing one costs nothing extra."""

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
"""OWASP's first choice for argon2id; about 20 ms of one core."""

THREADS_MAX = 2
"""Hashes computed at once: each holds a core and 19 MiB."""

WAITING_MAX = 40
"""Hashes that may wait for a thread: less than a second of work. Without a limit, a burst of logins stops the process
for all other requests."""

RETRY_AFTER_SECONDS = 2

Answer = TypeVar("Answer")


def broken_rule(password: str, *, email: str) -> str | None:
    """The rule that a password breaks, as a sentence; None if it breaks none."""
    password = normalized(password)
    if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX:
        return f"must have {CHARACTERS_MIN} to {CHARACTERS_MAX} characters"
    if email_key(password) == email_key(email):
        return "must not be the e-mail address"
    if password.casefold() in _common():
        return "is one of the passwords that are guessed first"
    return None


def normalized(password: str) -> str:
    """A password in Unicode normalization form C, in which it is the same from every keyboard."""
    return unicodedata.normalize("NFC", password)


class Passwords:
    """Hashes and verifies passwords outside the event loop, with a bounded number at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(max_workers=THREADS_MAX, thread_name_prefix="passwords")
        self._waiting = 0
        self._nobodys_hash = self._hasher.hash("the password of an account that does not exist")

    async def hash(self, password: str) -> str:
        """The hash to store. Raises Unavailable when too many calls are waiting."""
        return await self._run(lambda: self._hasher.hash(normalized(password)))

    async def verify(self, password: str, kept: str | None) -> bool:
        """Whether this is the password. Without a hash to compare, it takes the same time.

        Raises:
            Unavailable: too many calls are waiting.
        """
        return await self._run(lambda: self._matches(kept or self._nobodys_hash, password)) and kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether a hash was made with other parameters than the current ones."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, normalized(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        if self._waiting >= THREADS_MAX + WAITING_MAX:
            detail = "Too many logins are under way. Try again."
            raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


@cache
def _common() -> frozenset[str]:
    lines = files("domain.accounts").joinpath("common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line)
