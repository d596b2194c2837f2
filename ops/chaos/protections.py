"""The protections of the engine that a negative control removes, to prove that the checker notices.

The engine cannot switch them off: this module changes the engine from outside, in the memory of one process. It cuts
lines out of Lua scripts and replaces functions. A line or a function that is not there any more is an error, so that no
control runs with its protection in place.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from domain.background import persisting
from domain.kernel import partitions
from domain.store.postgres import epochs
from domain.store.postgres.write_ahead import Intents
from domain.store.redis import fence
from domain.store.redis.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from uuid import UUID

    from domain.engine import Stores
    from domain.kernel.unpersisted import Unpersisted


class Protection(StrEnum):
    """A protection that can be removed."""

    SIZE_CHECK = "size_check"
    """reserve_tickets.lua compares the claimed quantity with the remaining one."""
    CAPACITY_CHECK = "capacity_check"
    """PostgreSQL's CHECK on tickets taken; the trial drops it from the schema."""
    RELEASE_ONCE = "release_once"
    """release_tickets.lua checks whether the booking still holds its claims."""
    SETTLE_VERSION = "settle_version"
    """settle_bookings.lua compares the version that was written with the record's version."""
    EPOCH_IN_REDIS = "epoch_in_redis"
    """Scripts are reloaded only with the anchor, compare server and epoch key, and are checked for existence."""
    EPOCH_IN_POSTGRES = "epoch_in_postgres"
    """PostgreSQL refuses writes of an older epoch."""
    STABLE_ID = "stable_id"
    """The id of a booking is derived from account and idempotency key."""
    LOOKUP = "lookup"
    """PostgreSQL is asked for the booking of an account that has booked the event before."""
    SWEEP = "sweep"
    """Workers search for unpersisted bookings without a wake-up."""
    INTENT = "intent"
    """With DURABILITY=postgres, a change is in PostgreSQL before it is acknowledged."""
    LATE_CLAIMS = "late_claims"
    """confirm_hold.lua takes the claims of a hold again that is confirmed after its deadline."""
    DEADLINE = "deadline"
    """confirm_hold.lua compares the deadline of a hold that nothing has expired yet."""
    EXPIRY = "expiry"
    """Workers expire holds whose deadline has passed."""
    RETURNS_FIRST = "returns_first"
    """What came back is persisted before what took it: list_unpersisted.lua lists a change behind all others, and a
    booking that PostgreSQL refuses is put off while a return of its event is unpersisted."""
    BATCHES = "batches"
    """Workers write many bookings at once. With one at a time, their order alone decides what PostgreSQL refuses."""


CONDITIONS = frozenset({Protection.BATCHES})
"""Removed to make another protection necessary; no check fails without them alone."""

REMOVED_PROTECTIONS = "REMOVED_PROTECTIONS"
"""The environment variable that tells a process of the chaos runner which protections it must remove."""


class NotFound(Exception):
    """The engine has no such line or function any more."""


UNFENCED = frozenset({"admit_request", "admit_anonymous_request", "store_account"})
"""Scripts that do not compare the epoch key of a partition, because they have none."""

EPOCH_LINE = "if redis.call('GET', KEYS[1]) ~= EPOCH then return {'fenced'} end\n"
EPOCH_LINE_OF_EACH = EPOCH_LINE.replace("[1]", "[i]")

LINES: dict[Protection, dict[str, tuple[str, str]]] = {
    Protection.SIZE_CHECK: {
        "shared/choose_claims": (
            "      fits = not shut and (claimed == 0 or remaining >= claimed)\n",
            "      fits = not shut\n",
        ),
    },
    Protection.LOOKUP: {
        "reserve_tickets": ("if ARGV[4] == 'fresh' and taken[4] then return {'lookup'} end\n", ""),
    },
    Protection.RELEASE_ONCE: {
        "release_tickets": ("if not holds then return {'known', 0, redis.call('HGETALL', KEYS[3])} end\n", ""),
    },
    Protection.SETTLE_VERSION: {
        "settle_bookings": ("  local same = (version or '') == ARGV[i + 1]\n", "  local same = true\n"),
    },
    Protection.LATE_CLAIMS: {
        "confirm_hold": (
            "local late, version = not held or now_ms >= tonumber(record[6]), tonumber(record[3])\n",
            "local late, version = false, tonumber(record[3])\n",
        ),
    },
    Protection.DEADLINE: {
        "confirm_hold": (
            "local late, version = not held or now_ms >= tonumber(record[6]), tonumber(record[3])\n",
            "local late, version = not held, tonumber(record[3])\n",
        ),
    },
    Protection.RETURNS_FIRST: {
        "shared/list_unpersisted": (
            "  if last[2] and tonumber(last[2]) >= now_ms then score = last[2] + 1 / 1024 end\n",
            "",
        ),
    },
    Protection.EPOCH_IN_REDIS: {
        name: (EPOCH_LINE_OF_EACH if name == "check_partition" else EPOCH_LINE, "")
        for name in fence.FENCED_SCRIPTS
        if name not in UNFENCED
    },
}
"""The lines of each script that are a protection, and what replaces them."""

SERVER_LINE = "if not same then return {{'fenced'}} end\n"
"""The line of the fence that compares the server; it belongs to EPOCH_IN_REDIS."""


async def _nothing(*_: object, **__: object) -> int:
    return 0


async def _yes(*_: object) -> bool:
    return True


def _random_id(*, event_id: UUID, **_: object) -> UUID:
    return partitions.random_booking_id(event_id)


async def _none_put_off(_: Stores, refused: Sequence[tuple[Unpersisted, str]], *__: object) -> object:
    return refused


def _accept(*_: object) -> None:
    return


METHODS: dict[Protection, tuple[tuple[Any, str, Any], ...]] = {
    Protection.BATCHES: ((persisting, "BATCH_MAX", 1),),
    Protection.INTENT: ((Intents, "append", _nothing),),
    Protection.EPOCH_IN_REDIS: ((Scripts, "_is_rebuilt", _yes), (Scripts, "_is_anchored", _yes)),
}
"""The methods and constants that are a protection, and what replaces them."""

FUNCTIONS: dict[Protection, tuple[tuple[Callable[..., Any], Callable[..., Any]], ...]] = {
    Protection.SWEEP: ((persisting.sweep_once, _nothing),),
    Protection.EXPIRY: ((persisting.expire, _nothing),),
    Protection.RETURNS_FIRST: ((persisting._without_put_off, _none_put_off),),  # noqa: SLF001
    Protection.EPOCH_IN_POSTGRES: ((epochs.refuse_older, _accept),),
    Protection.STABLE_ID: ((partitions.booking_id_for_key, _random_id),),
}
"""The functions that are a protection, and what replaces them."""

ENGINE = ("domain.", "api.", "worker.")
"""The modules in which a function is replaced."""


def remove(protections: Iterable[Protection]) -> None:
    """Remove protections from this process for ever."""
    for place, name, replacement in _changes(frozenset(protections)):
        setattr(place, name, replacement)


@contextmanager
def without(*protections: Protection) -> Iterator[None]:
    """Remove protections from this process during the block."""
    changes = _changes(frozenset(protections))
    before = [(place, name, getattr(place, name)) for place, name, _ in changes]
    remove(protections)
    try:
        yield
    finally:
        for place, name, original in before:
            setattr(place, name, original)


def _changes(protections: frozenset[Protection]) -> list[tuple[Any, str, Any]]:
    """The attributes that change: their owner, their name and their new value."""
    changes: list[tuple[Any, str, Any]] = []
    for protection in protections:
        changes += METHODS.get(protection, ())
        for function, replacement in FUNCTIONS.get(protection, ()):
            changes += [(module, name, replacement) for module, name in _uses(function)]
    if lines := [LINES[protection] for protection in protections if protection in LINES]:
        changes.append((fence, "_read", _reader(lines)))
    if Protection.EPOCH_IN_REDIS in protections:
        changes.append((fence, "_FENCE", _replaced(fence._FENCE, SERVER_LINE, "")))  # noqa: SLF001
    for place, name, _ in changes:
        if not hasattr(place, name):
            raise NotFound(name)
    return changes


def _uses(function: Callable[..., Any]) -> list[tuple[Any, str]]:
    """Every module of the engine that has a function, and its name there."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(ENGINE)]
    return [(module, name) for module in modules for name, value in vars(module).items() if value is function]


def _reader(lines: list[dict[str, tuple[str, str]]]) -> Callable[[str], tuple[str, str]]:
    """A function that reads scripts as `fence` does, but without these lines."""
    read = fence._read  # noqa: SLF001

    def read_without(name: str) -> tuple[str, str]:
        shebang, body = read(name)
        for each in lines:
            if name in each:
                body = _replaced(body, *each[name])
        return shebang, body

    return read_without


def _replaced(text: str, line: str, instead: str) -> str:
    if text.count(line) != 1:
        raise NotFound(line)
    return text.replace(line, instead)
