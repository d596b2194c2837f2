"""A Redis whose settings would lose data is refused: readiness names the setting, and no process starts."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from domain.store.readiness import forgets
from ops.supervision.process import ProcessFailed

EVICTS = "evicts (allkeys-lru): set maxmemory-policy to noeviction"
NO_FILE = "keeps no append-only file: set appendonly to yes, or DURABILITY to postgres"
SYNCS_LATE = "syncs everysec: set appendfsync to always, DURABILITY to postgres, or REDIS_SYNC to any"


@pytest.fixture
async def configure(clean, valkey):  # noqa: ARG001  (on clean servers)
    """Sets one of Valkey's settings, for one test."""
    before = {}
    async with Redis.from_url(valkey.url()) as redis:

        async def configure(name, value):
            before.update(await redis.config_get(name))
            await redis.config_set(name, value)

        yield configure
        for name, value in before.items():
            await redis.config_set(name, value)


@pytest.fixture
async def faults(clean):
    """What is wrong with Valkey, for a durability that is promised."""

    async def faults(durability="redis"):
        return await forgets(clean.pipeline.redis, durability=durability, sync="always")

    return faults


async def test_a_redis_that_syncs_every_write_and_never_evicts_is_fine(configure, faults):
    await configure("appendfsync", "always")

    assert await faults() == []


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("maxmemory-policy", "allkeys-lru", EVICTS),
        ("appendonly", "no", NO_FILE),
        ("appendfsync", "everysec", SYNCS_LATE),
    ],
)
async def test_readiness_says_what_is_wrong_with_redis(configure, faults, name, value, fault):
    await configure("appendfsync", "always")
    await configure(name, value)

    assert await faults() == [fault]


async def test_every_fault_is_told(client, configure):
    await configure("maxmemory-policy", "allkeys-lru")
    await configure("appendonly", "no")

    answer = await client.get("/health/ready")

    assert (answer.status_code, answer.json()["redis"]) == (503, f"{EVICTS}; {NO_FILE}")


async def test_with_intents_in_postgresql_redis_needs_no_file(configure, faults):
    await configure("appendonly", "no")

    assert await faults("postgres") == []


async def test_intents_in_postgresql_do_not_excuse_a_redis_that_evicts(configure, faults):
    await configure("maxmemory-policy", "allkeys-lru")

    assert await faults("postgres") == [EVICTS]


@pytest.mark.parametrize("kind", ["api", "worker"])
async def test_nothing_starts_on_a_redis_that_evicts(configure, processes, kind):
    await configure("maxmemory-policy", "allkeys-lru")

    with pytest.raises(ProcessFailed) as ended:
        getattr(processes, kind)()

    assert "exit code 1" in str(ended.value)
    assert f"REDIS_URL: this Redis {EVICTS}" in str(ended.value)
    assert "unix://" not in str(ended.value)


@pytest.mark.parametrize("kind", ["api", "worker"])
async def test_nothing_starts_on_a_redis_that_keeps_less_than_was_promised(configure, processes, kind):
    await configure("appendfsync", "everysec")

    with pytest.raises(ProcessFailed) as ended:
        getattr(processes, kind)(REDIS_SYNC="always")

    assert f"REDIS_URL: this Redis {SYNCS_LATE}" in str(ended.value)
