"""The fence: what each script's text is bound to, so that it runs for one epoch, on one server, and nowhere else.

A text carries the deployment's id, the epoch, and the replication id of the server that the epoch was built on.
Redis knows a script by the SHA-1 of its text, and calls go by EVALSHA:

- A server that was restarted has an empty script cache and refuses every call.
- A server that was promoted has another replication id, also when it keeps the scripts of a time when it was the
  primary before; each script compares it before anything else.
- A server that was wiped keeps both, but lost the epoch key, which each script compares next.
- A stack in another database of the same server has another deployment's id, and finds no script of this one.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from msgspec import Struct

from domain.platform.failpoints import unguarded
from domain.store.redis.script_clock import CLOCK

LAYOUT = 1
"""The layout of the inventory's keys: raise it when a key changes its name or its meaning.

PostgreSQL keeps it with the epoch. A process of a lower layout refuses to sell; a worker of a higher one rebuilds. The
names and meanings of the epoch keys never change: they fence the lower layout. A version that raises this also has
to persist what the layout before it accepted.
"""

ANCHOR = "anchor"
"""The script that a rebuild loads last. Its text is the same in every version: it is there for as long as the server
was not restarted since the rebuild, whatever else the versions beside each other disagree about."""

FENCED_SCRIPTS = (
    "reserve",
    "release",
    "settle",
    "restore",
    "look",
    "install",
    "close",
    "reopen",
    "count",
    "mend",
    "relist",
    "admit",
    "limit",
    "know",
    "lease",
    "pulse",
)
"""The scripts of an epoch, loaded when its rebuild is complete."""

JOINED_SCRIPTS = {"reserve": "admit+reserve", "look": "admit+look"}
"""Two scripts in one call, by the second: what everybody asks for at once, run only for who is admitted to it.

Each call waits until Redis has synced what others wrote, so one call for two is half the time as well.
"""

OWN_SCRIPTS = (*JOINED_SCRIPTS.values(), *FENCED_SCRIPTS)
"""Every text that this version calls by its SHA-1."""

FRUGAL, NO_WRITES = "allow-oom", "no-writes"
"""Flags of a script: it also runs when Redis' memory is full, it writes nothing."""

REBUILD_SCRIPTS = ("open", "refill")
"""Run by their text while an epoch is being built; never loaded."""


class FencingToken(Struct, frozen=True):
    """What scripts are bound to. `server` is a replication id: another one after every promotion and every start."""

    deployment: str
    epoch: int
    server: str


class EpochRecord(Struct, frozen=True):
    """What PostgreSQL keeps of the current epoch.

    `server` is None when the epoch was begun by a version that does not record it; `last_server` is the one that was
    recorded last, for this epoch or for an earlier one.
    """

    deployment: str
    epoch: int
    layout: int
    server: str | None
    last_server: str | None

    @property
    def token(self) -> FencingToken | None:
        """What this version's scripts are bound to now; None when it may not sell, or not yet."""
        if self.server is None or self.layout != LAYOUT:
            return None
        return FencingToken(self.deployment, self.epoch, self.server)


_ANCHOR = """\
-- deployment {deployment}
local EPOCH = '{epoch}'
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) or not string.find(info, 'master_replid:{server}', 1, true) then
  return {{'fenced'}}
end
"""
"""What the anchor begins with. Never change it: versions that run beside each other know the anchor by its SHA-1."""

_FENCE = """\
-- deployment {deployment}
local EPOCH = '{epoch}'
local info = redis.call('INFO', 'replication')
local same = string.find(info, 'role:master', 1, true) and string.find(info, 'master_replid:{server}', 1, true)
if not same then return {{'fenced'}} end -- protection: epoch_in_redis
"""
"""What every other script begins with. INFO is answered from memory and costs 1.5 µs of a call's 20 or more."""

_JOINED = """\
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


def source(name: str, token: FencingToken) -> str:
    """The text of a script, bound to a token."""
    first, _, second = name.partition("+")
    shebang, body = _read(first)
    if second:
        shebang_of_second, body_of_second = _read(second)
        body = _JOINED.format(first=body, second=body_of_second)
        # Both run with a full memory, or none: what goes first writes, so `no-writes` is no flag of both.
        if FRUGAL not in shebang_of_second and NO_WRITES not in shebang_of_second:
            shebang = "#!lua"
    fence = (_ANCHOR if name == ANCHOR else _FENCE).format(
        deployment=token.deployment, epoch=token.epoch, server=token.server
    )
    clock = "".join(text for word, text in CLOCK.items() if word in body)
    return unguarded(f"{shebang}\n{fence}{clock}{body}")


def sha1(name: str, token: FencingToken) -> str:
    """The name by which Redis knows a script."""
    return sha1_of(source(name, token))


def sha1_of(text: str) -> str:
    """The name by which Redis knows a text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@cache
def _read(name: str) -> tuple[str, str]:
    """The first line of a script, which says what Redis may let it do, and the rest."""
    shebang, body = files("domain.store.redis").joinpath("lua", f"{name}.lua").read_text().split("\n", 1)
    return shebang, body
