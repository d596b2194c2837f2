"""The state of one sale in locust's process: its buyers, when they come, and their answers."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from gevent.event import Event

from loadtests.sales.figures import Closing, closing_path
from loadtests.sales.profiles import PATIENT_BUYERS, PROFILES, SaleProfile
from loadtests.sales.setup import create_event, sign_up
from ops.evidence.answers import EVERYBODY_LEFT, AnswerLog
from ops.evidence.bulk import Minted

if TYPE_CHECKING:
    from argparse import Namespace

REQUESTS_MAX = 400_000
"""Requests of one run: twenty for each of the largest number of buyers."""

SIGN_UP_BUYERS = 50
"""Buyers of a run without a buyers file. Each signs up and in, which takes two argon2 hashes of some 30 ms."""


class BuyerVisit(msgspec.Struct, frozen=True):
    """The account of one buyer, and the seconds from the opening until its first request.

    `arrival_seconds` is None for patient buyers, who come when all others have left.
    """

    account: Minted
    arrival_seconds: float | None


class Sale:
    """The buyers of one sale.

    `opening` is set when all buyers are ready, `returns` when all but the patient ones have left. `refused` is set when
    a buyer is told that no tickets are left.
    """

    def __init__(self, options: Namespace, *, url: str) -> None:
        self.options = options
        self.profile = PROFILES[options.on_sale].scaled(options.buyers or _buyers(options))
        self.people = self.profile.buyers + PATIENT_BUYERS
        self._accounts = _accounts(options, url=url, count=self.people)
        self.event_id: str = options.event or _event(self.profile, url=url)
        self.event = UUID(self.event_id)
        self.answers = AnswerLog(Path(options.answers_file))
        self.opening = Event()
        self.returns = Event()
        self.ready = 0
        self.refused = False
        self._arrivals = self.profile.arrival_seconds(random.Random(options.seed))
        self._opened_s = 0.0
        self._ended = "stopped"
        self._came = self._left = 0
        self._cpu_shares: list[float] = []
        self._cpu_s = self._cpu_read_s = 0.0

    def enter(self) -> BuyerVisit:
        """The visit of the next buyer; patient buyers come last."""
        index = self._came
        self._came += 1
        return BuyerVisit(self._accounts[index], self._arrivals[index] if index < self.profile.buyers else None)

    def leave(self) -> None:
        """Count a buyer who has left."""
        self._left += 1
        if self._left == self.profile.buyers:
            self.returns.set()

    def open(self) -> None:
        """Open the sale."""
        self._opened_s = time.time()
        self._cpu_s, self._cpu_read_s = time.process_time(), time.perf_counter()
        self.opening.set()

    def over(self) -> bool:
        """Whether the run has ended, by itself or at a maximum. It is called every second, and also measures CPU."""
        cpu_s, read_s = time.process_time(), time.perf_counter()
        self._cpu_shares.append((cpu_s - self._cpu_s) / (read_s - self._cpu_read_s))
        self._cpu_s, self._cpu_read_s = cpu_s, read_s
        if self._left == self.people:
            self._ended = EVERYBODY_LEFT
        elif time.time() - self._opened_s > self.options.seconds:
            self._ended = f"cut short after {self.options.seconds} s"
        elif self.answers.count > REQUESTS_MAX:
            self._ended = f"cut short after {REQUESTS_MAX} requests"
        else:
            return False
        return True

    def close(self) -> None:
        """Write the rest of the answers, and the closing."""
        self.answers.close()
        closing = Closing(opened_s=self._opened_s, ended=self._ended, cpu_shares=self._cpu_shares)
        closing_path(Path(self.options.answers_file)).write_bytes(msgspec.json.encode(closing))


def _buyers(options: Namespace) -> int:
    return PROFILES[options.on_sale].buyers if options.buyers_file else SIGN_UP_BUYERS


def _accounts(options: Namespace, *, url: str, count: int) -> list[Minted]:
    if not options.buyers_file:
        return [sign_up(url, role="attendee") for _ in range(count)]
    accounts = msgspec.json.decode(Path(options.buyers_file).read_bytes(), type=list[Minted])
    if len(accounts) < count:
        message = f"{options.buyers_file} has {len(accounts)} accounts for {count} buyers"
        raise ValueError(message)
    return accounts


def _event(profile: SaleProfile, *, url: str) -> str:
    organizer = sign_up(url, role="organizer")
    return str(create_event(url, token=organizer.token, profile=profile))
