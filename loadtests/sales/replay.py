"""One sale from beginning to end: buyers, event, locust, and the evidence afterwards."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx
import msgspec
from msgspec import Struct, structs
from redis.exceptions import RedisError

from domain.accounts.accounts import Role
from domain.kernel.refusals import Unavailable
from domain.platform.settings import Settings, SettingsRefused
from loadtests.sales.figures import Closing, closing_path
from loadtests.sales.profiles import PATIENT_BUYERS, SaleProfile
from loadtests.sales.setup import SetupRefused, create_event
from loadtests.sales.target import TargetRefused
from ops.evidence.answers import first_acceptances, read_answers
from ops.evidence.books import wait_until_final
from ops.evidence.bulk import mint
from ops.evidence.evidence import Evidence, RunRecord, Scene, gather
from ops.supervision.process import ProcessFailed

if TYPE_CHECKING:
    from uuid import UUID

    from ops.evidence.bulk import Minted

LOCUSTFILE = Path(__file__).parent / "locustfile.py"

LOCUST_SECONDS_MAX = 240
"""The longest time of locust beside the sale itself: starting 20,000 buyers, and writing its report."""

FINAL_SECONDS_MAX = 10.0
"""How long accepted bookings may take to be persisted after the last request; the engine promises 5."""

LOGINS = 20
"""Buyers without a token. They sign in themselves, so that the real login is part of every run."""


class ReplayFailed(Exception):
    """Locust ended before the sale; `str()` ends with its output."""


FAILURES = (
    *(TargetRefused, SettingsRefused, SetupRefused, ProcessFailed, ReplayFailed, Unavailable, ValueError),
    *(httpx.HTTPError, RedisError, asyncpg.PostgresError, OSError),
)
"""A run could not be made, or its books could not be read: nothing is known of it."""


class SaleRun(Struct, frozen=True, kw_only=True):
    """A sale to replay at `url`; `settings` have the addresses of its servers.

    `folder` is for temporary files, tokens among them; `report` for locust's page and tables, whose names begin with
    `name`. The sale is cut short after `seconds`.
    """

    url: str
    settings: Settings
    profile: SaleProfile
    name: str
    seconds: int
    folder: Path
    report: Path


class Replayed(Struct, frozen=True):
    """The evidence of a sale, and what its generator measured of itself."""

    evidence: Evidence
    closing: Closing


async def replay(run: SaleRun) -> Replayed:
    """Hold the sale with its own accounts and event, and gather the evidence.

    Raises:
        ReplayFailed: locust did not reach the end. Failed requests do not raise it; they are in the evidence.
        SetupRefused: the event could not be made.
    """
    accounts = await mint(run.settings, role=Role.ATTENDEE, count=run.profile.buyers + PATIENT_BUYERS)
    (organizer,) = await mint(run.settings, role=Role.ORGANIZER, count=1)
    event_id = create_event(run.url, token=organizer.token, profile=run.profile)
    answers_file = run.folder / f"{run.name}.jsonl"
    buyers_file = _write_buyers(run.folder, accounts)
    await _locust(run, event_id=event_id, buyers=buyers_file, answers=answers_file)
    closing = msgspec.json.decode(closing_path(answers_file).read_bytes(), type=Closing)
    answers = read_answers(answers_file)
    record = RunRecord(
        answers=answers,
        final_s=await wait_until_final(
            run.settings, [event_id], first_acceptances(answers), seconds_max=FINAL_SECONDS_MAX
        ),
        final_s_max=FINAL_SECONDS_MAX,
        buyers=frozenset(account.id for account in accounts[:-PATIENT_BUYERS]),
        ended=closing.ended,
    )
    tokens = {account.id: account.token for account in accounts}
    scene = Scene(settings=run.settings, urls=[run.url], event_ids=[event_id], tokens=tokens)
    return Replayed(await gather(scene, record), closing)


def _write_buyers(folder: Path, accounts: list[Minted]) -> Path:
    buyers = [structs.replace(account, token="") for account in accounts[:LOGINS]] + accounts[LOGINS:]
    path = folder / "buyers.json"
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(buyers))
    return path


async def _locust(run: SaleRun, *, event_id: UUID, buyers: Path, answers: Path) -> None:
    """Run locust in its own process, because it changes sockets in the process that imports it."""
    run.report.mkdir(exist_ok=True)
    options = ["--headless", "--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"]
    options += ["-f", str(LOCUSTFILE), "--host", run.url]
    options += ["--html", str(run.report / f"{run.name}.html"), "--csv", str(run.report / run.name)]
    options += ["--on-sale", run.profile.name, "--buyers", str(run.profile.buyers), "--seconds", str(run.seconds)]
    options += ["--event", str(event_id), "--buyers-file", str(buyers), "--answers-file", str(answers)]
    log = answers.with_suffix(".log")
    with log.open("wb") as output:
        locust = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "locust", *options, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = await asyncio.wait_for(locust.wait(), run.seconds + LOCUST_SECONDS_MAX)
        except TimeoutError:
            code = None
        finally:
            if locust.returncode is None:
                locust.kill()
                await locust.wait()
    if code != 0:
        outcome = "took too long" if code is None else f"ended with {code}"
        message = f"locust {outcome}:\n{log.read_text(errors='replace')}"
        raise ReplayFailed(message)
