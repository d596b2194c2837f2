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

from msgspec import Struct
from redis.exceptions import NoScriptError, ResponseError

from domain.refusals import InventoryUnavailable
from domain.sabotage import Protection, protected, unguarded
from domain.store.pipeline import RETRY_AFTER_SECONDS, Pipeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

FENCED = b"fenced"
"""The word with which every script answers outside its epoch."""

FRUGAL, NO_WRITES = "allow-oom", "no-writes"
"""Flags of a script: it also runs when Redis' memory is full, it writes nothing."""

APART = "CROSSSLOT"
"""How a node of a cluster begins its refusal of keys that need not be on one node."""

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
    "lease",
    "pulse",
)
"""The scripts of an epoch, loaded in this order when its rebuild is complete.

`pulse` is the last: it tells whether an inventory is in order, so that a rebuild killed in between is
done again.
"""

JOINED_SCRIPTS = {"reserve": "admit+reserve", "look": "admit+look"}
"""Two scripts in one call, by the second: what everybody asks for at once, run only for who is admitted to it.

Each call waits until Redis has synced what others wrote, so one call for two is half the time as well.
"""

REBUILD_SCRIPTS = ("open", "refill")
"""Run by their text while an epoch is being built; never loaded."""


HELD_MS_MAX = 7_200_000
"""How far the time an event has seen may be ahead of Redis' clock and still count.

A clock that is set back by less, such as one that ran ahead by an hour, lets no event's time go back. From further
ahead only a clock comes that was wrong by more: to wait for it would keep events closed for as long.
"""

_CLOCK = {
    "HELD_MS_MAX": f"local HELD_MS_MAX = {HELD_MS_MAX}\n",
    "redis_us": """
local function redis_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
""",
    "redis_ms": """
local function redis_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
""",
    "no_earlier": f"""
local function no_earlier(now_ms, seen_ms)
  seen_ms = tonumber(seen_ms)
  if seen_ms and seen_ms > now_ms and seen_ms - now_ms <= {HELD_MS_MAX} then return seen_ms end
  return now_ms
end
""",
}
"""How scripts tell the time; a script begins with those of these that it calls.

`no_earlier` is a time that does not go back when Redis' clock is set back: the later of the clock and the last time
that an event has seen, which stands in the field `clock` of its counters. reserve.lua has it in its own words: there
a call would be felt.
"""

_JOINED = """
local function first(KEYS, ARGV)
{first}
end

local function second(KEYS, ARGV)
{second}
end

local keys, args = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer = first({{unpack(KEYS, 1, keys)}}, {{unpack(ARGV, 3, args + 2)}})
if answer[1] ~= 'admitted' then return {{answer}} end
return {{answer, second({{unpack(KEYS, keys + 1)}}, {{unpack(ARGV, args + 3)}})}}
"""
"""How many keys and arguments are the first one's, then these, then the second one's."""


def no_earlier(now_ms: int, seen_ms: int) -> int:
    """`no_earlier` of the scripts, for who reads the field `clock` past them."""
    return seen_ms if 0 < seen_ms - now_ms <= HELD_MS_MAX else now_ms


class KeysApart(Exception):
    """The keys of one call are on several nodes of a cluster: nothing was run."""


class Command(Struct, frozen=True, gc=False):
    """A script with its keys and arguments, not yet run."""

    name: str
    keys: list[str]
    args: list[Any]


class Answered(Struct, frozen=True, gc=False):
    """What a script answered, and the epoch it ran in."""

    words: list[Any]
    epoch: int


@cache
def source(name: str, epoch: int) -> str:
    """The text of a script in one epoch."""
    first, _, second = name.partition("+")
    shebang, body = _read(first)
    if second:
        shebang_of_second, body_of_second = _read(second)
        body = _JOINED.format(first=body, second=body_of_second)
        # Both run with a full memory, or none: what goes first writes, so `no-writes` is no flag of both.
        if FRUGAL not in shebang_of_second and NO_WRITES not in shebang_of_second:
            shebang = "#!lua"
    clock = "".join(text for name, text in _CLOCK.items() if name in body)
    return unguarded(f"{shebang}\nlocal EPOCH = '{epoch}'\n{clock}{body}")


def _read(name: str) -> tuple[str, str]:
    """The first line of a script, which says what Redis may let it do, and the rest."""
    shebang, body = files("domain.store").joinpath(f"{name}.lua").read_text().split("\n", 1)
    return shebang, body


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
        self._apart = False
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
            if str(error).startswith(APART):
                raise KeysApart from error
            raise _unavailable() from error
        if FENCED in (answer[0], answer[0][0]):
            if self.epoch == epoch:
                await self.refresh()
            raise _unavailable()
        return answer

    async def call_joined(self, first: Command, second: Command) -> tuple[list[Any], Answered | None]:
        """Run admit.lua and, if that admits, another in the same call; answers both.

        The second answer is None when the second script was not run, or has to be run by itself: on a cluster
        account and event may be on different nodes, which refuse to run both.

        Raises:
            InventoryUnavailable, Unavailable: as `call`; neither was run, or that is not known.
        """
        if self._apart:
            return await self.call(first.name, first.keys, first.args), None
        args = [len(first.keys), len(first.args), *first.args, *second.args]
        epoch = self.epoch or await self.refresh()
        try:
            answers = await self.call(JOINED_SCRIPTS[second.name], [*first.keys, *second.keys], args)
        except KeysApart:
            self._apart = True
            return await self.call_joined(first, second)
        after = answers[1] if len(answers) > 1 and answers[1][0] != FENCED else None
        return answers[0], after and Answered(after, epoch)

    def begin(self, epoch: int) -> None:
        """Believe in a new epoch, as the rebuilder that began it."""
        self.epoch = epoch

    async def load(self, epoch: int, names: tuple[str, ...] = (*JOINED_SCRIPTS.values(), *FENCED_SCRIPTS)) -> None:
        """Make an epoch's scripts known to Redis: with all of them, it sells in it, unless a later one has begun."""
        for name in names:
            await self.pipeline.call("SCRIPT", "LOAD", source(name, epoch))

    async def run_text(self, name: str, epoch: int, keys: list[str], args: list[Any]) -> bool:
        """Run a script of a rebuild by its text; False when a later epoch has begun."""
        answer = await self.pipeline.call("EVAL", source(name, epoch), len(keys), *keys, *args)
        return bool(answer[0] != FENCED)


def _unavailable() -> InventoryUnavailable:
    return InventoryUnavailable("The inventory is being rebuilt.", retry_after_seconds=RETRY_AFTER_SECONDS)
