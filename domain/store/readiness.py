"""Readiness: whether everything that a booking needs is available."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from arq.constants import health_check_key_suffix
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import text

from domain.kernel.refusals import Unavailable
from domain.platform.clocks import OK
from domain.platform.settings import SettingsRefused
from domain.store.job_queue import QUEUE_NAME
from domain.store.redis.scripts import InventoryState
from domain.store.redis.server import PRIMARY

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from domain.engine import Stores
    from domain.platform.settings import Settings

ANSWER_S_MAX = 2.0
"""How long each server may take; a load balancer asks again soon."""

UNTOLD = "untold"
REPLICA = "is a replica: REDIS_URL has to lead to the primary"
UNNAMED = "does not tell its replication id (master_replid in INFO replication): nothing tells a fail-over"

KEYS_UNREADABLE = "JWT_KEYS_FILE cannot be read; the log says why"
"""Readiness is public, so it shows no path."""


class Readiness(Struct, frozen=True):
    """One word or sentence per dependency, `ok` when it is available.

    `clocks` also reports a server's clock that is off, or a clock that was set lately; both leave the process ready.
    """

    status: str
    postgresql: str
    redis: str
    inventory: str
    worker: str
    keys: str
    clocks: str

    @property
    def ready(self) -> bool:
        """Whether every dependency is available."""
        return self.status == "ready"


async def check(stores: Stores, *, keys_current: bool) -> Readiness:
    """Ask all servers at the same time; `keys_current` is whether the token keys are those of their file."""
    found = await asyncio.gather(
        _asked(_postgresql(stores)), _asked(_redis(stores)), _asked(_inventory(stores)), _asked(_worker(stores))
    )
    answers = (*found, OK if keys_current else KEYS_UNREADABLE)
    compared = await stores.clocks.compare_once()
    ready = set(answers) == {OK} and not compared.host_is_off
    return Readiness("ready" if ready else "not ready", *answers, stores.clocks.describe(compared))


async def refuse_forgetful_inventory(settings: Settings) -> None:
    """Refuse to start with a Redis that can lose acknowledged bookings.

    A Redis that does not answer may be back soon; readiness checks it again.

    Raises:
        SettingsRefused: names the setting, and each thing to change.
    """
    if settings.redis_url is None:
        return
    try:
        async with Redis.from_url(
            settings.redis_url.get_secret_value(), socket_timeout=ANSWER_S_MAX, socket_connect_timeout=ANSWER_S_MAX
        ) as redis:
            faults = await forgets(redis, durability=settings.durability, sync=settings.redis_sync)
    except (RedisError, OSError):
        return
    if faults:
        raise SettingsRefused("\n".join(f"REDIS_URL: this Redis {fault}" for fault in faults))


async def forgets(redis: Redis, *, durability: str, sync: str) -> list[str]:
    """The ways in which this Redis can lose acknowledged writes, and what to change; empty if there are none.

    With `durability` "postgres", Redis may lose everything at once, but not single keys.
    """
    faults = []
    policy = (await redis.info("memory")).get("maxmemory_policy")
    if policy != "noeviction":
        faults.append(f"evicts ({policy}): set maxmemory-policy to noeviction")
    if durability == "postgres":
        return faults
    if not (await redis.info("persistence")).get("aof_enabled"):
        faults.append("keeps no append-only file: set appendonly to yes, or DURABILITY to postgres")
    elif sync == "always" and (synced := await _synced(redis)) not in {"always", UNTOLD}:
        faults.append(f"syncs {synced}: set appendfsync to always, DURABILITY to postgres, or REDIS_SYNC to any")
    return faults


async def _synced(redis: Redis) -> str:
    """When the append-only file is synced; many hosted servers do not tell."""
    try:
        return str((await redis.config_get("appendfsync")).get("appendfsync", UNTOLD))
    except ResponseError:
        return UNTOLD


async def _asked(question: Awaitable[str]) -> str:
    try:
        return await asyncio.wait_for(question, ANSWER_S_MAX)
    except (Unavailable, RedisError, OSError, TimeoutError):
        return "does not answer"


async def _postgresql(stores: Stores) -> str:
    async with stores.database.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return OK


async def _redis(stores: Stores) -> str:
    redis = stores.pipeline.redis
    told = await redis.info("replication")
    faults = [] if told.get("role") == PRIMARY else [REPLICA]
    if "master_replid" not in told:
        faults.append(UNNAMED)
    faults += await forgets(redis, durability=stores.durability, sync=stores.redis_sync)
    return "; ".join(faults) or OK


async def _inventory(stores: Stores) -> str:
    """While a rebuild refills, the process is ready: events on sale come first, and sell one after the other."""
    state = await stores.scripts.look()
    return OK if state is InventoryState.REFILLING else state.value


async def _worker(stores: Stores) -> str:
    seen = await stores.queue.exists(QUEUE_NAME + health_check_key_suffix)
    return OK if seen else "no worker was seen lately"
