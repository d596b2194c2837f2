"""Faults of Redis: a restart, a lost script cache, lost data."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError

from tests.waiting import eventually


async def restart(stores, valkey):
    """Kill Redis and start it on the file it kept."""
    valkey.kill()
    valkey.start()
    await eventually(lambda: reachable(stores))


async def forget_scripts(stores, _valkey):
    """What a fail-over to a replica looks like: the data is there, the script cache is not."""
    await stores.pipeline.redis.script_flush()


async def wipe(stores, _valkey):
    """Lose everything but the script cache."""
    await stores.pipeline.redis.flushall()


async def wipe_and_restart(stores, valkey):
    """Lose everything: what a new Redis on a new disk looks like."""
    await wipe(stores, valkey)
    await restart(stores, valkey)


FAULTS = [restart, forget_scripts, wipe, wipe_and_restart]


KEEPING = [restart, forget_scripts]


async def reachable(stores):
    """Whether a connection from before the restart was noticed to be dead."""
    try:
        return await stores.pipeline.redis.ping()
    except RedisConnectionError:
        return False
