"""The clocks of a host and of PostgreSQL: deviations are reported, and a step back locks nobody out."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from domain.platform.clocks import ClockComparison, HostClock, Moment, apart_ms, step_ms
from domain.store.job_queue import QUEUE_NAME
from ops.chaos.stack.clocks import Clock
from tests.api.callers import Callers
from tests.api.conftest import serving
from tests.waiting import eventually

HOUR_S = 3_600
STEP_S = 600


@pytest.fixture
async def seen_worker(stores):
    """What a worker leaves while it hears its queue."""
    await stores.queue.set(QUEUE_NAME + ":health-check", "seen", ex=10 * HOUR_S)


@pytest.fixture
async def client(clean, settings):  # noqa: ARG001  (clean servers)
    """A client of an API process in this one."""
    async with serving(settings.model_copy(update={"rate_limits": "off"})) as client:
        yield client


@pytest.fixture
async def api(seen_worker, processes, tmp_path):  # noqa: ARG001
    """A client of an API process whose host's clock can be set."""
    clock = Clock(tmp_path / "clock")
    process = processes.api(RATE_LIMITS="off", **clock.variables)
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        yield client, clock


@pytest.mark.parametrize(("seconds", "word"), [(HOUR_S, "ahead of"), (-HOUR_S, "behind")])
async def test_a_host_whose_clock_is_off_is_not_ready_and_says_so(api, seconds, word):
    client, clock = api
    assert (await client.get("/health/ready")).status_code == 200
    clock.set(seconds)

    answer = await client.get("/health/ready")

    assert answer.status_code == 503
    # At least so much: the way to a server takes time, on a busy machine a second.
    assert re.match(rf"this host's clock is 3[56]\d\d s {word} Redis' and PostgreSQL's", answer.json()["clocks"])
    clock.set(0)
    assert (await client.get("/health/ready")).status_code == 200


async def test_a_step_of_redis_is_told_by_readiness_and_metrics(client, seen_worker, set_redis_clock):  # noqa: ARG001
    assert (await client.get("/health/ready")).json()["clocks"] == "ok"
    await set_redis_clock(STEP_S)

    answer, metrics = await client.get("/health/ready"), (await client.get("/metrics")).text

    assert answer.status_code == 200
    told = r"Redis' clock is (5\d\d|600) s ahead of this host's; Redis' clock was set forward"
    assert re.match(told, answer.json()["clocks"])
    assert 'onsale_clock_steps_total{clock="redis",direction="forward"} 1.0' in metrics
    assert float(metrics.split('onsale_clock_ahead_seconds{server="redis"} ')[1].split()[0]) > STEP_S - 60


async def test_a_token_from_before_a_step_back_of_the_host_is_good_after_it(api, stores):
    client, clock = api
    callers = Callers(client, stores)
    buyer = await callers.attendee()
    clock.set(-STEP_S)

    answer = await buyer.get("/api/v1/me")
    refreshed = await buyer.post("/api/v1/auth/refresh_token", token=buyer.refresh_token)

    assert (answer.status_code, refreshed.status_code) == (200, 200)


async def test_a_host_that_starts_with_a_clock_that_is_behind_refuses_no_token_of_others(
    client, clean, processes, tmp_path
):
    buyer = await Callers(client, clean).attendee()
    clock = Clock(tmp_path / "clock")
    clock.set(-STEP_S)
    process = processes.api(RATE_LIMITS="off", **clock.variables)

    async with httpx.AsyncClient(base_url=process.url, timeout=30) as behind:
        answer = await buyer.through(behind).get("/api/v1/me")

    assert answer.status_code == 200


async def test_a_host_whose_clock_is_set_forward_goes_on_with_tokens_and_sales(api, stores):
    client, clock = api
    callers = Callers(client, stores)
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    clock.set(STEP_S)

    assert (await buyer.get("/api/v1/me")).status_code == 200
    assert (await buyer.book(event["id"])).status_code == 202


@pytest.mark.parametrize("seconds", [-STEP_S, STEP_S], ids=["back", "forward"])
async def test_a_worker_whose_clock_is_set_goes_on_saying_that_it_lives_and_reconciling(
    clean, processes, settings, tmp_path, seconds
):
    assert clean.scripts.epoch
    clock = Clock(tmp_path / "clock")
    processes.worker(**clock.variables)
    clock.set(seconds)
    async with Redis.from_url(settings.queue_url.get_secret_value()) as queue:
        await queue.delete(QUEUE_NAME + ":health-check", "onsale:reconciled")

        await eventually(lambda: queue.exists(QUEUE_NAME + ":health-check"))
        await eventually(lambda: queue.exists("onsale:reconciled"))


async def test_a_rebuild_lease_from_before_postgresqls_clock_was_set_back_keeps_nobody_away(stores):
    async with stores.database.begin() as connection:
        statement = text("INSERT INTO rebuild_lease (holder, until) VALUES (:holder, now() + interval '10 minutes')")
        await connection.execute(statement, {"holder": uuid4()})

    assert await stores.epochs.take_rebuild_lease(uuid4(), seconds=1)


def test_what_a_host_has_shown_once_is_none_of_the_future():
    times = {"wall": 1_000.0, "monotonic": 5.0}
    clock = HostClock(lambda: times["wall"], lambda: times["monotonic"])
    times |= {"wall": 1_010.0, "monotonic": 15.0}
    clock.read()
    times |= {"wall": 420.0, "monotonic": 25.0}

    assert clock.read() == (420.0, 1_020.0)


@pytest.mark.parametrize(
    ("compared", "told", "host_is_off"),
    [
        (ClockComparison(0, 4_999), "ok", False),
        (ClockComparison(None, None), "ok", False),
        (ClockComparison(600_000, 600_100), "this host's clock is 600 s behind Redis' and PostgreSQL's", True),
        (ClockComparison(-600_000, 0), "Redis' clock is 600 s behind this host's", False),
        (ClockComparison(0, 600_000), "PostgreSQL's clock is 600 s ahead of this host's", False),
        (
            ClockComparison(-600_000, 600_000),
            "Redis' clock is 600 s behind this host's; PostgreSQL's clock is 600 s ahead of this host's",
            False,
        ),
    ],
)
def test_two_clocks_outvote_the_third(compared, told, host_is_off):
    assert (compared.describe(), compared.host_is_off) == (told, host_is_off)


@pytest.mark.parametrize(("server_ms", "apart"), [(999, -1), (1_000, 0), (1_500, 0), (2_000, 0), (2_001, 1)])
def test_a_round_trip_leaves_open_how_far_clocks_are_apart(server_ms, apart):
    assert apart_ms(server_ms, before_ms=1_000, after_ms=2_000) == apart


@pytest.mark.parametrize(
    ("later", "step"),
    [
        (Moment(110_000, 10.0, 10.1), 0),
        (Moment(111_000, 10.0, 11.5), 0),
        (Moment(710_000, 10.0, 10.1), 599_900),
        (Moment(-490_000, 10.0, 10.1), -599_900),
    ],
)
def test_a_step_is_what_a_monotonic_clock_and_round_trips_do_not_explain(later, step):
    assert step_ms(Moment(100_000, 0.0, 0.1), later) == step
