"""The owner of each inventory key: a key that nothing removes is a leak."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from tests.books import unpersisted

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.engine import Stores

NO_EXPIRY = -1

OWNED: dict[str, Callable[[str, set[UUID], set[UUID]], bool]] = {
    r"\{p\d+\}:epoch": lambda _name, _events, _waiting: True,
    r"\{p\d+\}:unpersisted": lambda _name, _events, _waiting: True,
    r"\{p\d+\}:counters:(.+)": lambda name, events, _waiting: UUID(name) in events,
    r"\{p\d+\}:booking:(.+)": lambda name, _events, waiting: UUID(name) in waiting,
    r"\{p\d+\}:mine:(.+)": lambda _name, _events, waiting: bool(waiting),
    r"\{p\d+\}:due:(.+)": lambda name, events, _waiting: UUID(name) in events,
    r"\{p\d+\}:dues": lambda _name, _events, _waiting: True,
}
"""Keys that may live without an expiry, and what must exist for that.

The epoch: one for each partition. Counters: their event, until it is closed. A booking's record and the list of its
account's unpersisted ones: the entry in the unpersisted set, which persisting empties; or the entry of a hold in a due
set, which its deadline empties. An index of due sets is corrected at the latest when the deadlines in it have passed.
"""


async def orphans(stores: Stores) -> list[str]:
    """Keys that neither expire nor have an owner."""
    async with stores.database.connect() as connection:
        events = set((await connection.execute(text("SELECT id FROM events WHERE closed_at IS NULL"))).scalars())
    redis = stores.pipeline.redis
    names = [key.decode() async for key in redis.scan_iter(count=1_000)]
    waiting = set(await unpersisted(stores))
    for name in names:
        if ":due:" in name:
            waiting |= {UUID(booking_id.decode()) for booking_id in await redis.zrange(name, 0, -1)}
    return [name for name in names if await redis.pttl(name) == NO_EXPIRY and not _is_owned(name, events, waiting)]


def _is_owned(key: str, events: set[UUID], waiting: set[UUID]) -> bool:
    for pattern, owned in OWNED.items():
        match = re.fullmatch(pattern, key)
        if match:
            return owned(match[match.lastindex or 0], events, waiting)
    return False
