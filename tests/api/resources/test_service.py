"""Health, readiness and metrics."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from domain.accounts.tokens import utc_now
from domain.background.rebuilding import rebuild
from domain.store.job_queue import QUEUE_NAME
from domain.store.redis.rebuild_progress import Progress, write_progress
from ops.commands.rotate_keys import rotate
from ops.supervision.process import ProcessFailed
from tests.api.conftest import serving
from tests.factories import make_event
from tests.waiting import eventually


@pytest.fixture
async def seen_worker(stores):
    """What a worker leaves while it hears its queue."""
    await stores.queue.set(QUEUE_NAME + ":health-check", "seen", ex=60)


async def test_ready_is_what_can_sell(client, seen_worker):  # noqa: ARG001
    answer = await client.get("/health/ready")

    assert (answer.status_code, set(answer.json().values())) == (200, {"ready", "ok"})


async def test_without_workers_nothing_is_ready(client):
    answer = await client.get("/health/ready")

    assert (answer.status_code, answer.json()["worker"]) == (503, "no worker was seen lately")


async def test_without_inventory_nothing_is_ready(client, seen_worker, valkey):  # noqa: ARG001
    """A look that was under way may load the scripts again that it found there."""

    async def ready_without_scripts():
        async with Redis.from_url(valkey.url()) as redis:
            await redis.script_flush()
        return await client.get("/health/ready")

    answer = await eventually(ready_without_scripts, is_so=lambda answer: answer.status_code == 503)

    assert (answer.status_code, answer.json()["inventory"]) == (503, "is being rebuilt")


async def test_a_key_file_that_cannot_be_read_is_not_ready_until_it_is_mended(seen_worker, unlimited, tmp_path):  # noqa: ARG001
    ring = tmp_path / "keys.json"
    rotate(ring, first_secret=None, lifetime_s=600, now_s=int(utc_now().timestamp()), drop_old=False)
    async with serving(unlimited.model_copy(update={"jwt_keys_file": ring})) as client:
        ring.chmod(0o644)
        unreadable = await client.get("/health/ready")
        ring.chmod(0o600)
        mended = await client.get("/health/ready")

    assert (unreadable.status_code, mended.status_code) == (503, 200)
    assert unreadable.json()["keys"] == "JWT_KEYS_FILE cannot be read; the log says why"
    assert str(tmp_path) not in unreadable.text


@pytest.mark.parametrize(
    ("setting", "wrong", "right"),
    [("maxmemory-policy", "allkeys-lru", "noeviction"), ("appendonly", "no", "yes")],
)
async def test_a_redis_that_forgets_is_not_ready_and_nothing_starts_on_it(  # noqa: PLR0913, PLR0917  (cases)
    client, processes, valkey, setting, wrong, right
):
    """S1: bookings are acknowledged when Redis has them."""
    async with Redis.from_url(valkey.url()) as redis:
        await redis.config_set(setting, wrong)
        try:
            answer = await client.get("/health/ready")
            with pytest.raises(ProcessFailed) as api:
                processes.api()
            with pytest.raises(ProcessFailed) as worker:
                processes.worker()
        finally:
            await redis.config_set(setting, right)

    assert (answer.status_code, setting in answer.json()["redis"]) == (503, True)
    for refused in (str(api.value), str(worker.value)):
        assert "is not ready: exit code 1\nREDIS_URL: this Redis " in refused
        assert f"set {setting} to {right}" in refused


async def test_metrics_tell_how_far_a_rebuild_has_come(client, stores):
    for _ in range(3):
        await make_event(stores)
    await rebuild(stores)
    done = (await client.get("/metrics")).text
    await write_progress(stores.pipeline, Progress(epoch=99, done=1, of=3))

    half_way = (await client.get("/metrics")).text

    assert 'onsale_rebuild_events{which="done"} 3.0' in done
    assert 'onsale_rebuild_events{which="done"} 1.0' in half_way
    assert 'onsale_rebuild_events{which="all"} 3.0' in half_way


async def test_metrics_count_answers_by_route_and_name_nobody(callers, client):
    buyer = await callers.attendee()
    await buyer.get("/api/v1/me")
    await client.get("/api/v1/events/0b0b0b0b-0000-4000-8000-000000000002")
    await client.get("/made/up/path")

    text = (await client.get("/metrics")).text

    assert 'onsale_requests_total{method="GET",route="/api/v1/me",status="200"}' in text
    assert 'route="/api/v1/events/{event_id}",status="404"' in text
    assert "onsale_inventory_up 1.0" in text
    assert "made/up" not in text
    assert "0b0b0b0b" not in text
    assert buyer.id not in text
    assert "example.org" not in text


async def test_the_reasons_of_503_are_counted(client, callers, clean):
    buyer = await callers.attendee()
    event = await (await callers.organizer()).make_event()
    await clean.pipeline.redis.script_flush()

    refused = await buyer.book(event["id"])
    metrics = (await client.get("/metrics")).text

    assert refused.status_code == 503
    counted = [line for line in metrics.splitlines() if line.startswith("onsale_unavailable_total{")]
    assert any(f'reason="{refused.json()["detail"]}"' in line for line in counted)
