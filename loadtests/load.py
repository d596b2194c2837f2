"""The load from the command line: a stack of its own, the on-sale, its figures, and what `verify` says."""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, structs

from domain.identity import Role
from domain.settings import Settings, SettingsRefused, load_settings
from loadtests.answers import read_answers, read_closing
from loadtests.box_office import SetupRefused, create_event
from loadtests.buyers import mint
from loadtests.evidence import gather
from loadtests.figures import figures_of, table
from loadtests.profiles import PATIENT_BUYERS, PROFILES, SHMOOCON_2016
from loadtests.stack import Stack, StackFailed
from loadtests.target import TargetRefused, loopback_url
from loadtests.verify import verdict, verify

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from uuid import UUID

    from loadtests.box_office import Account
    from loadtests.profiles import Profile

HERE = Path(__file__).parent

REPORT = HERE / "report"
"""Where locust's pages and tables are left; not part of the repository."""

SECONDS_DEFAULT = 120
"""A run is cut short after so many; a rush that is served is over in 15 s."""

LOCUST_SECONDS_MAX = 120
"""What locust may take beside the run itself: bringing buyers to the door, writing its report."""

LOGINS = 20
"""Buyers who are given no token and sign in themselves, so that the real login is part of every run."""

RUNS_MAX = 50

EXIT_VIOLATED, EXIT_NOT_RUN = 1, 2


class LocustFailed(Exception):
    """Locust ended before the run did."""


class Place(Struct, frozen=True):
    """Where a run happens: the API, and the settings that lead to the servers behind it."""

    url: str
    settings: Settings


def main() -> None:
    """Run from the command line; exits with 1 when a check fails, with 2 when nothing could be measured."""
    options = _options()
    try:
        all_well = _all_runs(options)
    except (TargetRefused, SettingsRefused, SetupRefused, StackFailed, LocustFailed, ValueError) as error:
        _say(str(error))
        sys.exit(EXIT_NOT_RUN)
    sys.exit(0 if all_well else EXIT_VIOLATED)


def _options() -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.load", description=__doc__)
    option = parser.add_argument
    option("--profile", choices=list(PROFILES), default=SHMOOCON_2016.name, help="the on-sale to replay")
    option("--buyers", type=int, help="how many come, instead of as many as the profile says")
    option("--seconds", type=int, default=SECONDS_DEFAULT, help="a run is cut short after so many")
    option("--runs", type=int, choices=range(1, RUNS_MAX + 1), default=1, metavar="N", help="runs, one after the other")
    option("--url", help="a stack that runs already, on this machine; DATABASE_URL and the others lead to its servers")
    return parser.parse_args()


def _all_runs(options: Namespace) -> bool:
    """Whether every check of every run held."""
    profile = PROFILES[options.profile]
    if options.buyers is not None:
        profile = profile.scaled(options.buyers)
    all_well = True
    with tempfile.TemporaryDirectory(prefix="onsale-load-") as folder, _place(options.url, Path(folder)) as place:
        for number in range(1, options.runs + 1):
            name = profile.name if options.runs == 1 else f"{profile.name}-{number}"
            all_well &= _run(place, profile, Path(folder), name=name, seconds=options.seconds)
    return all_well


@contextmanager
def _place(url: str | None, folder: Path) -> Iterator[Place]:
    if url is not None:
        yield Place(loopback_url(url), load_settings())
        return
    # Each buyer has a connection, and the API inherits how many files this process may open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Stack(folder, _say) as stack:
        yield Place(stack.url, stack.settings())


def _run(place: Place, profile: Profile, folder: Path, *, name: str, seconds: int) -> bool:
    """One on-sale with buyers and an event of its own; whether every check held."""
    _say(f"{name}: making {profile.buyers + PATIENT_BUYERS} accounts and the event")
    accounts = asyncio.run(mint(place.settings, role=Role.ATTENDEE, count=profile.buyers + PATIENT_BUYERS))
    (organizer,) = asyncio.run(mint(place.settings, role=Role.ORGANIZER, count=1))
    event_id = create_event(place.url, token=organizer.token, profile=profile)
    answers_file = folder / f"{name}.jsonl"
    buyers_file = _write_buyers(folder, accounts)
    _say(f"{name}: {profile.buyers} buyers come to the door")
    _locust(place, profile, name=name, seconds=seconds, event_id=event_id, buyers=buyers_file, answers=answers_file)
    answers, closing = read_answers(answers_file), read_closing(answers_file)
    _say("\n" + table(figures_of(answers, closing, tickets=profile.tickets), profile, run=name) + "\n")
    _say(f"{name}: asking the API, Redis and PostgreSQL")
    evidence = asyncio.run(
        gather(
            place.settings,
            url=place.url,
            event_id=event_id,
            accounts=accounts,
            answers=answers,
            ended=closing.ended,
        )
    )
    found = verify(evidence)
    _say(verdict(found) + "\n")
    return not any(found.values())


def _write_buyers(folder: Path, accounts: list[Account]) -> Path:
    buyers = [structs.replace(account, token="") for account in accounts[:LOGINS]] + accounts[LOGINS:]
    path = folder / "buyers.json"
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(buyers))
    return path


def _locust(  # noqa: PLR0913  (what a run is of)
    place: Place, profile: Profile, *, name: str, seconds: int, event_id: UUID, buyers: Path, answers: Path
) -> None:
    """Run locust as a process of its own: it changes how sockets work in the one that imports it.

    Raises:
        LocustFailed: it did not reach the end of the run. Failed requests are not that: `verify` counts them.
    """
    REPORT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--loglevel", "WARNING"]
    command += ["-f", str(HERE / "locustfile.py"), "--host", place.url, "--exit-code-on-error", "0"]
    command += ["--html", str(REPORT / f"{name}.html"), "--csv", str(REPORT / name)]
    command += ["--on-sale", profile.name, "--buyers", str(profile.buyers), "--seconds", str(seconds)]
    command += ["--event", str(event_id), "--buyers-file", str(buyers), "--answers-file", str(answers)]
    log = answers.with_suffix(".log")
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                command, stdout=output, stderr=output, timeout=seconds + LOCUST_SECONDS_MAX, check=False
            ).returncode
        except subprocess.TimeoutExpired as error:
            message = f"locust did not end after {error.timeout:.0f} s:\n{log.read_text()}"
            raise LocustFailed(message) from error
    if code != 0:
        message = f"locust ended with {code}:\n{log.read_text()}"
        raise LocustFailed(message)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
