"""Lua scripts that are fenced: they run only in the epoch they were made for.

The epoch is baked into each script's text, so every epoch has scripts, and SHA-1s, of its own. They
are called by EVALSHA and never loaded on NOSCRIPT: a Redis that restarted or failed over has an empty
script cache, refuses them all, and so sells nothing until recovery has begun the next epoch and loaded
that one's scripts. A Redis that was wiped keeps its cache but lost the epoch key, which each script
compares first.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from domain.refusals import InventoryUnavailable
from domain.sabotage import Protection, protected, unguarded
from domain.store.pipeline import RETRY_AFTER_SECONDS, Pipeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

FENCED = b"fenced"
"""The word with which every script answers outside its epoch."""

UNKNOWN_EPOCH = 0
"""Below any epoch: what a process believes in before it has asked PostgreSQL."""

FENCED_SCRIPTS = (
    "reserve",
    "release",
    "settle",
    "restore",
    "look",
    "install",
    "count",
    "mend",
    "relist",
    "admit",
    "limit",
    "know",
    "pulse",
)
"""The scripts of an epoch, loaded in this order when its rebuild is complete.

`pulse` is the last: it tells whether an inventory is in order, so that a rebuild killed in between is
done again.
"""

REBUILD_SCRIPTS = ("open", "refill")
"""Run by their text while an epoch is being built; never loaded."""


@cache
def source(name: str, epoch: int) -> str:
    """The text of a script in one epoch."""
    text = files("domain.store").joinpath(f"{name}.lua").read_text()
    shebang, body = text.split("\n", 1)
    return unguarded(f"{shebang}\nlocal EPOCH = '{epoch}'\n{body}")


@cache
def sha1(name: str, epoch: int) -> str:
    """The name by which Redis knows a script."""
    return hashlib.sha1(source(name, epoch).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Calls scripts in the epoch this process believes in, and notices when it is over.

    `on_fenced` is awaited, at most once at a time, when Redis refused the epoch; it reads the current
    one from PostgreSQL, which is the truth of it. The refused call itself is not repeated.
    """

    def __init__(self, pipeline: Pipeline, read_epoch: Callable[[], Awaitable[int]]) -> None:
        self.pipeline = pipeline
        self._read_epoch = read_epoch
        self.epoch = UNKNOWN_EPOCH

    async def refresh(self) -> int:
        """Learn the current epoch from PostgreSQL."""
        self.epoch = max(self.epoch, await self._read_epoch())
        return self.epoch

    async def call(self, name: str, keys: Sequence[str], args: Sequence[Any], *, epoch: int | None = None) -> list[Any]:
        """Run a script; answers its words.

        With `epoch` in that one only: what its arguments say was read in it, and a rebuild may know better.

        Raises:
            InventoryUnavailable: Redis does not sell in this epoch; retry after the rebuild.
            Unavailable: Redis cannot be reached.
        """
        if self.epoch == UNKNOWN_EPOCH:
            await self.refresh()
        if epoch is not None and epoch != self.epoch:
            raise _unavailable()
        epoch = self.epoch
        try:
            answer: list[Any] = await self.pipeline.call("EVALSHA", sha1(name, epoch), len(keys), *keys, *args)
        except NoScriptError:
            answer = [FENCED]
            if not protected(Protection.EPOCH_IN_REDIS):
                await self.load(epoch)
        except ResponseError as error:
            raise _unavailable() from error
        if answer[0] == FENCED:
            if self.epoch == epoch:
                await self.refresh()
            raise _unavailable()
        return answer

    def begin(self, epoch: int) -> None:
        """Believe in a new epoch, as the rebuilder that began it."""
        self.epoch = epoch

    async def load(self, epoch: int, names: tuple[str, ...] = FENCED_SCRIPTS) -> None:
        """Make an epoch's scripts known to Redis: with all of them, it sells in it, unless a later one has begun."""
        for name in names:
            await self.pipeline.call("SCRIPT", "LOAD", source(name, epoch))

    async def run_text(self, name: str, epoch: int, keys: list[str], args: list[Any]) -> bool:
        """Run a script of a rebuild by its text; False when a later epoch has begun."""
        answer = await self.pipeline.call("EVAL", source(name, epoch), len(keys), *keys, *args)
        return bool(answer[0] != FENCED)


def _unavailable() -> InventoryUnavailable:
    return InventoryUnavailable("The inventory is being rebuilt.", retry_after_seconds=RETRY_AFTER_SECONDS)
