"""The fence: binds the text of each script, so that it runs in one epoch and on one server only.

A text contains the deployment's id, the epoch, and the replication id of the server on which the epoch was built. Redis
identifies a script by the SHA-1 of its text, and scripts are called by EVALSHA:

- A restarted server has an empty script cache and refuses every call.
- A promoted server has another replication id. It may still have scripts from an earlier time as primary, so each
  script compares the replication id first.
- A wiped server keeps the scripts and the id, but not the epoch key, which each script compares next.
- A stack in another database of the same server has another deployment's id, and finds no script of this one.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from msgspec import Struct

from domain.store.redis.script_clock import CLOCK

LAYOUT = 2
"""The version of the inventory's key layout: raise it when a key changes its name or its meaning.

PostgreSQL keeps it with the epoch. A process with a lower layout refuses to sell; a worker with a higher one rebuilds.
The names and meanings of the epoch keys never change: they fence the lower layout. A version that raises the layout
must also persist the bookings that the layout before it accepted.
"""

ANCHOR = "check_anchor"
"""The script that a rebuild loads last, after everything is refilled.

Its text is the same in every version. Whatever else differs between versions that run side by side, the anchor exists
as long as the server has not been restarted since the rebuild.
"""

FENCED_SCRIPTS = (
    "reserve_tickets",
    "release_tickets",
    "confirm_hold",
    "extend_hold",
    "reduce_booking",
    "expire_holds",
    "settle_bookings",
    "restore_booking",
    "read_booking",
    "install_terms",
    "remove_counters",
    "reopen_counters",
    "read_counters",
    "mend_counter",
    "relist_booking",
    "admit_request",
    "admit_anonymous_request",
    "store_account",
    "take_lease",
    "check_partition",
)
"""The scripts of an epoch, loaded when no event has terms of an earlier epoch any more."""

JOINED_SCRIPTS = {"reserve_tickets": "admit_request+reserve_tickets", "read_booking": "admit_request+read_booking"}
"""Two scripts in one call, keyed by the second. The second runs only if the first admits the request.

These are the most frequent requests. Each call waits until Redis has synced the writes of others, so one call instead
of two also halves that waiting time.
"""

OWN_SCRIPTS = (*JOINED_SCRIPTS.values(), *FENCED_SCRIPTS)
"""Every script that this version calls by its SHA-1."""

FRUGAL, NO_WRITES = "allow-oom", "no-writes"
"""Flags of a script: it also runs when Redis' memory is full; it writes nothing."""

REBUILD_SCRIPTS = ("begin_epoch", "withdraw_terms", "refill_counters", "refill_holds")
"""Scripts of a rebuild. They are run by their text, and never loaded."""


SHARED = ("give_back", "list_unpersisted", "hold_until", "end_hold", "expire_due", "choose_claims")
"""Functions of Lua that several scripts use, in `lua/shared/`; a function uses only those before it."""


class FencingToken(Struct, frozen=True):
    """The values that scripts are bound to. `server` is a replication id; it changes at every promotion and start."""

    deployment: str
    epoch: int
    server: str


class EpochRecord(Struct, frozen=True):
    """The current epoch as PostgreSQL has it.

    `server` is None when the epoch was begun by a version that does not record it. `last_server` is the one that was
    recorded last, for this epoch or for an earlier one.
    """

    deployment: str
    epoch: int
    layout: int
    server: str | None
    last_server: str | None

    @property
    def token(self) -> FencingToken | None:
        """The token of this version's scripts; None while this version may not sell."""
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
"""The beginning of the anchor. Never change it: versions that run side by side know the anchor by its SHA-1."""

_FENCE = """\
-- deployment {deployment}
local EPOCH = '{epoch}'
local info = redis.call('INFO', 'replication')
local same = string.find(info, 'role:master', 1, true) and string.find(info, 'master_replid:{server}', 1, true)
if not same then return {{'fenced'}} end
"""
"""The beginning of every other script. INFO is answered from memory and costs 1.5 µs of a call's 20 or more."""

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
"""ARGV has the number of keys and of arguments of the first script, then its arguments, then those of the second."""


def source(name: str, token: FencingToken) -> str:
    """The text of a script, bound to a token."""
    first, _, second = name.partition("+")
    shebang, body = _read(first)
    if second:
        shebang_of_second, body_of_second = _read(second)
        body = _JOINED.format(first=body, second=body_of_second)
        # A flag holds for the joined script. Both parts run when memory is full, or neither. The first part writes, so
        # `no-writes` is never a flag of the joined script.
        if FRUGAL not in shebang_of_second and NO_WRITES not in shebang_of_second:
            shebang = "#!lua"
    fence = (_ANCHOR if name == ANCHOR else _FENCE).format(
        deployment=token.deployment, epoch=token.epoch, server=token.server
    )
    body = _shared(body) + body
    clock = "".join(text for word, text in CLOCK.items() if word in body)
    return f"{shebang}\n{fence}{clock}{body}"


def sha1(name: str, token: FencingToken) -> str:
    """The SHA-1 by which Redis knows a script."""
    return sha1_of(source(name, token))


def sha1_of(text: str) -> str:
    """The SHA-1 by which Redis knows a text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _shared(body: str) -> str:
    """The functions that a script uses, and those that they use, each before it is used."""
    found = ""
    for name in reversed(SHARED):
        if f"{name}(" in body + found:
            _, function = _read(f"shared/{name}")
            found = f"{function}\n{found}"
    return found


@cache
def _read(name: str) -> tuple[str, str]:
    """The first line of a script, which has its flags, and the rest; of a shared function it is a comment."""
    shebang, body = files("domain.store.redis").joinpath("lua", f"{name}.lua").read_text().split("\n", 1)
    return shebang, body
