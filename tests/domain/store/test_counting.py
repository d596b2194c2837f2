"""Counts of rate limits are not written to Redis' file, so they do not wait for the disk."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain.store.redis.pipeline import Pipeline
from ops.embedded.valkey import EmbeddedValkey
from tests.epochs import first_epoch

MINUTE_US = 60_000_000
TWICE_A_MINUTE = (MINUTE_US // 2, MINUTE_US)


@pytest.fixture
def server(tmp_path):
    """A Redis of this test's own, with a file."""
    server = EmbeddedValkey(tmp_path, durable=False)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def scripts(server):
    """The scripts of an epoch, and an account whose session lives."""
    pipeline = Pipeline(server.url())
    scripts = await first_epoch(pipeline)
    await scripts.call("store_account", ["{a:1}:account"], [1, MINUTE_US, 0, MINUTE_US, "session", "lives"])
    yield scripts
    await pipeline.close()


async def _admit(scripts, *, key=None):
    keys = ["{a:1}:account", "{a:1}:limit:default", *([f"{{a:1}}:key:{key}"] if key else [])]
    return (await scripts.call("admit_request", keys, ["session", 1, *TWICE_A_MINUTE, "body", MINUTE_US]))[0]


async def _written(scripts):
    """Bytes of the file, what waits to be written included."""
    return (await scripts.pipeline.redis.info("persistence"))["aof_current_size"]


async def test_a_request_is_counted_without_a_word_in_the_file(scripts):
    before = await _written(scripts)

    words = [await _admit(scripts) for _ in range(3)]

    assert words == [b"admitted", b"admitted", b"limited"]
    assert await _written(scripts) == before


async def test_what_a_key_stands_for_is_in_the_file_though_the_count_is_not(scripts):
    key = uuid4().hex
    before = await _written(scripts)

    assert await _admit(scripts, key=key) == b"admitted"

    assert await _written(scripts) > before


async def test_a_redis_that_starts_again_knows_keys_and_sessions_and_begins_to_count_anew(scripts, server):
    key = uuid4().hex
    counted = [await _admit(scripts, key=key) for _ in range(3)]
    await scripts.pipeline.close()
    server.kill()
    server.start()

    pipeline = Pipeline(server.url())
    again = await first_epoch(pipeline)
    admitted = await _admit(again, key=key)
    known = await pipeline.call("EXISTS", f"{{a:1}}:key:{key}")
    await pipeline.close()

    assert (counted[-1], admitted, known) == (b"limited", b"admitted", 1)
