"""A small sale on a real API and worker: every check holds, and then finds what was tampered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from redis.asyncio import Redis
from sqlalchemy import text

from domain.store.redis.keys import counters_key
from loadtests.sales.__main__ import summary
from loadtests.sales.figures import figures_of
from loadtests.sales.profiles import SHMOOCON_2016
from loadtests.sales.replay import SaleRun, replay
from ops.evidence.answers import EVERYBODY_LEFT, Outcome
from ops.evidence.checks import check
from ops.evidence.evidence import RunRecord, Scene, gather

TICKETS = 30
BUYERS = 60


@pytest.fixture
def run(settings, clean, processes, tmp_path):  # noqa: ARG001  (the API finds clean servers)
    processes.worker()
    profile = structs.replace(SHMOOCON_2016.scaled(BUYERS), tickets=TICKETS)
    return SaleRun(
        url=processes.api(RATE_LIMITS="off").url,
        settings=settings,
        profile=profile,
        name="small",
        seconds=30,
        folder=tmp_path,
        report=tmp_path / "report",
    )


@pytest.mark.unbalanced
async def test_a_small_sale_is_in_order_and_tampering_is_found(run, clean) -> None:
    replayed = await replay(run)
    evidence = replayed.evidence

    figures = figures_of(evidence.answers, replayed.closing, tickets=TICKETS)
    assert check(evidence) == {name: [] for name in check(evidence)}
    assert evidence.snapshot.sold(evidence.snapshot.events[0]) == TICKETS
    assert replayed.closing.ended == EVERYBODY_LEFT
    assert figures.held_seconds is not None
    assert {Outcome.ACCEPTED, Outcome.REFUSED, Outcome.LOGIN, Outcome.LOOK} <= figures.rates.keys()
    told = summary(run, replayed, check(evidence))
    named = [Path(word) for word in told.split() if word.endswith((".html", ".md"))]
    assert [path.name for path in named] == ["small.html", "README.md"]
    assert all(path.is_file() for path in named)

    tampered = await _tamper(run, clean, evidence)

    found = {name for name, violations in check(tampered).items() if violations}
    assert found >= {"redis_and_rows_agree", "no_confirmed_booking_is_lost", "the_api_and_rows_agree"}
    assert found >= {"the_audit_agrees", "the_books_never_drifted"}


async def _tamper(run, stores, evidence):
    """Lose a booking in PostgreSQL and count a ticket too many in Redis, then gather anew."""
    lost = next(row for row in evidence.snapshot.rows.values() if row.status == "confirmed")
    async with stores.database.begin() as connection:
        await connection.execute(text("DELETE FROM bookings WHERE id = :id"), {"id": lost.id})
    async with Redis.from_url(run.settings.redis_url.get_secret_value()) as redis:
        await redis.hincrby(counters_key(lost.event_id), "pool:main", 1)
    scene = Scene(settings=run.settings, urls=[run.url], event_ids=[lost.event_id], tokens={})
    answers = [answer for answer in evidence.answers if not answer.accepted]
    return await gather(scene, RunRecord(answers=answers, final_s=0.0, final_s_max=1.0))
