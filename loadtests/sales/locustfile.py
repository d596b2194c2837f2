"""The on-sale for locust: all buyers wait for the opening, and then ask for tickets."""

from __future__ import annotations

import logging
import random
import select
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import gevent
import geventhttpclient.client
import httpx
import msgspec
from gevent.monkey import get_original
from geventhttpclient.connectionpool import ConnectionPool
from locust import FastHttpUser, LoadTestShape, events, task
from locust.exception import StopUser

from domain.platform.garbage_collection import spare_what_stays
from loadtests.sales.profiles import POLL_SECONDS_MAX, PROFILES, SHMOOCON_2016, TICKETS_PER_BUYER
from loadtests.sales.sale import Sale
from loadtests.sales.setup import ANSWER_SECONDS_MAX, SetupRefused
from loadtests.sales.target import DEFAULT_URL, TargetRefused, loopback_url
from ops.evidence.answers import Answer, Kind, Outcome, outcome_of
from ops.evidence.http import AnswerFields, answered, http_request, login_request, read_fields

if TYPE_CHECKING:
    import socket

    from locust.argument_parser import LocustArgumentParser

SECONDS_MAX = 120
"""The longest run after the opening; a rush that is served is over in 15 s."""

SPAWN_PER_SECOND = 200
"""Buyers that are started per second. 2,000 waiting buyers look at the event 400 times a second."""

SOLD_OUT_MEMORY_SECONDS = 1.5
"""The pause before patient buyers ask for returned tickets: an API process remembers `sold_out` for 1 s."""

REFUSED_AGAIN_SECONDS = (0.5, 1.0, 2.0)
"""The pauses before a refused buyer tries again, each times 0.5 to 1.5; then the buyer leaves."""

ATTEMPTS_MAX = 4
"""Requests with one key until an answer says whether tickets were taken."""

RETRY_SECONDS = 1.0
"""The pause before a retry without `Retry-After`."""

POLLS_MAX = 60
"""Polls of one booking, which take some minutes."""

LONG_POLL_SECONDS = 10
"""For how long a long poll lets the server hold its answer back."""

EXIT_NOT_RUN = 2

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)


def _is_open(_: ConnectionPool, sock: socket.socket | None) -> bool:
    """Whether an idle connection can be used again: the server has neither sent anything nor closed it."""
    if sock is None or sock.fileno() < 0:
        return False
    poll = get_original("select", "poll")()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


# The pool uses select(), which fails for file numbers above 1,023. The pool then takes the connection for closed, so
# every buyer after the first thousand would connect anew for each request.
ConnectionPool._is_socket_alive = _is_open  # type: ignore[method-assign,assignment]  # noqa: SLF001


def _never_again(method: str) -> bool:
    """Whether the client may repeat a request by itself: no."""
    del method
    return False


# locust's client sends a GET or DELETE again if the answer was lost, up to twelve times (once more than its pool has
# connections), and counts one request. Here buyers themselves repeat requests.
geventhttpclient.client._may_retry_after_send_error = _never_again  # noqa: SLF001


class BuyerReply(msgspec.Struct, frozen=True):
    """An answer as its buyer understands it."""

    answer: Answer
    fields: AnswerFields
    retry_after_seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the buyer has tickets now."""
        return self.answer.outcome is Outcome.ACCEPTED


class Buyer(FastHttpUser):
    """A buyer who wants one or two tickets, tries a few times, waits for the confirmation and leaves."""

    host = DEFAULT_URL
    network_timeout = ANSWER_SECONDS_MAX
    connection_timeout = ANSWER_SECONDS_MAX
    sale: Sale

    def on_start(self) -> None:
        """Sign in and look at the event."""
        # Tokens are sent in a header. Looking for cookies twice would add a twentieth to the cost of each request.
        self.client.client.cookiejar = None
        self.visit = self.sale.enter()
        self.token = self.visit.account.token or self._ask(Kind.LOGIN).fields.access_token
        self.wanted = random.choices(list(TICKETS_PER_BUYER), weights=list(TICKETS_PER_BUYER.values()))[0]
        self._look()
        self.sale.ready += 1

    @task
    def attend(self) -> None:
        """Wait for the opening, shop, and leave."""
        while not self.sale.opening.wait(POLL_SECONDS_MAX):
            self._look()
        if self.visit.arrival_seconds is None:
            self.sale.returns.wait()
            visit, come_seconds = self._take_returns, SOLD_OUT_MEMORY_SECONDS
        else:
            visit, come_seconds = self._shop, self.visit.arrival_seconds
        gevent.sleep(come_seconds)
        try:
            visit()
        finally:
            self.sale.leave()
        raise StopUser

    def _look(self) -> None:
        """Look at the event, so that a waiting buyer has a connection when the sale begins, as a browser has."""
        self._ask(Kind.LOOK)

    def _shop(self) -> None:
        for again_seconds in (*REFUSED_AGAIN_SECONDS, None):
            reply = self._book(self.wanted)
            if reply.accepted:
                self._have(reply)
                return
            if reply.answer.code != "sold_out" or again_seconds is None:
                return
            self.sale.refused = True
            if reply.fields.remaining > 0:
                # A buyer who reads that one is left takes it.
                self.wanted = min(self.wanted, reply.fields.remaining)
            else:
                gevent.sleep(again_seconds * random.uniform(0.5, 1.5))

    def _take_returns(self) -> None:
        """Take single tickets until none is left or the account's limit is reached, if any buyer was refused."""
        while self.sale.refused:
            reply = self._book(1)
            if not reply.accepted:
                return
            self._until_final(reply)

    def _have(self, accepted: BuyerReply) -> None:
        """Wait for the confirmation; a share of buyers then asks for more, or cancels."""
        final = self._until_final(accepted).answer
        if final.state != "confirmed":
            return
        if random.random() < self.sale.options.greedy_share:
            more = self._book(self.wanted)
            if more.accepted:
                self._until_final(more)
        if random.random() < self.sale.options.cancel_share:
            self._ask(Kind.CANCEL, booking=final.booking)

    def _book(self, quantity: int) -> BuyerReply:
        """Ask for tickets with a new key, and repeat the request until its outcome is known."""
        key = uuid4().hex
        for _ in range(ATTEMPTS_MAX):
            reply = self._ask(Kind.BOOK, key=key, quantity=quantity)
            if reply.answer.conclusive:
                break
            gevent.sleep(reply.retry_after_seconds)
        if reply.accepted and random.random() < self.sale.options.replay_share:
            self._ask(Kind.REPLAY, key=key, quantity=quantity)
        return reply

    def _until_final(self, accepted: BuyerReply) -> BuyerReply:
        """Poll a booking as its `Retry-After` says, more slowly each time."""
        accepted_s, reply = time.time(), accepted
        kind = Kind.LONG_POLL if random.random() < self.sale.options.long_poll_share else Kind.POLL
        pause_seconds = 0.0 if kind is Kind.LONG_POLL else accepted.retry_after_seconds
        for _ in range(POLLS_MAX):
            gevent.sleep(pause_seconds)
            reply = self._ask(kind, booking=accepted.answer.booking)
            if reply.answer.state not in {"pending", None}:
                break
            pause_seconds = min(max(pause_seconds * 1.5, reply.retry_after_seconds), POLL_SECONDS_MAX)
        if reply.answer.state == "confirmed":
            self._report_confirmed((time.time() - accepted_s) * 1000)
        return reply

    def _report_confirmed(self, took_ms: float) -> None:
        self.environment.events.request.fire(
            request_type="",
            name="202 to confirmed",
            response_time=took_ms,
            response_length=0,
            exception=None,
            context={},
        )

    def _ask(self, kind: Kind, *, key: str | None = None, quantity: int = 0, booking: UUID | None = None) -> BuyerReply:
        """Send one request, count its answer under its outcome, and keep it."""
        account, event = self.visit.account, self.sale.event
        request = Answer(
            kind=kind, buyer=account.id, event=event, key=key, quantity=quantity, booking=booking, sent_s=time.time()
        )
        http = (
            login_request(email=account.email, password=account.password)
            if kind is Kind.LOGIN
            else http_request(request, token=self.token, wait_seconds=LONG_POLL_SECONDS)
        )
        with self.client.request(
            http.method, http.path, data=http.body, headers=http.headers, name=kind, catch_response=True
        ) as response:
            fields = read_fields(response.content or b"")
            outcome = outcome_of(kind, status=response.status_code, code=fields.code)
            if outcome is Outcome.FAILED:
                response.request_meta["name"] = f"{kind}: failed"
                reason = fields.code or getattr(response, "error", None) or ""
                response.failure(f"{response.status_code} {reason}")
            else:
                response.request_meta["name"] = str(outcome)
                response.success()
        took_ms = response.request_meta["response_time"]
        answer = answered(request, fields, status=response.status_code, took_ms=took_ms)
        self.sale.answers.append(answer)
        retry_after_seconds = float((response.headers or {}).get("Retry-After") or RETRY_SECONDS)
        return BuyerReply(answer, fields, retry_after_seconds)


class RushShape(LoadTestShape):
    """Starts all buyers, then opens the sale; ends when all have left or a maximum is reached."""

    sale: Sale | None = None

    def reset_time(self) -> None:
        """Forget the previous run; locust calls this before each run."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self.sale = None

    def tick(self) -> tuple[int, float] | None:
        """The number of buyers and how many to start per second, None at the end. Locust calls this every second."""
        if self.sale is None:
            self.sale = self._prepare()
        if self.sale is None or (self.sale.opening.is_set() and self.sale.over()):
            return None
        if self.sale.ready == self.sale.people and not self.sale.opening.is_set():
            self.runner.stats.reset_all()  # type: ignore[union-attr]
            # Thousands of buyers stay for the whole rush; garbage collections that visit them all delayed it.
            spare_what_stays()
            self.sale.open()
        return self.sale.people, float(SPAWN_PER_SECOND)

    def _prepare(self) -> Sale | None:
        """The sale, or None if it cannot be prepared."""
        environment = self.runner.environment  # type: ignore[union-attr]
        try:
            url = loopback_url(environment.host or DEFAULT_URL)
            Buyer.sale = Sale(environment.parsed_options or Namespace(), url=url)
        except (TargetRefused, SetupRefused, ValueError, OSError, httpx.TransportError) as error:
            log.error("No load: %s", error)  # noqa: TRY400  (the refusal says what to do)
            environment.process_exit_code = EXIT_NOT_RUN
            return None
        return Buyer.sale


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def _close(**_: object) -> None:
    if hasattr(Buyer, "sale"):
        Buyer.sale.close()
        del Buyer.sale


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Onsale")
    option = group.add_argument
    option("--on-sale", choices=list(PROFILES), default=SHMOOCON_2016.name, help="The on-sale to replay.")
    option(
        "--buyers",
        type=int,
        default=0,
        help="The number of buyers; 0: that of the profile, or 50 without --buyers-file.",
    )
    option("--seconds", type=int, default=SECONDS_MAX, help="The longest run, in seconds.")
    option("--event", default="", help="The event to book; without it, a new one is put on sale.")
    option("--buyers-file", default="", help="Accounts with their tokens as JSON; without it, buyers sign up.")
    option("--answers-file", default=_answers_file(), help="The file for all answers.")
    option("--cancel-share", type=float, default=0.03, help="Share of confirmed bookings that are cancelled.")
    option("--replay-share", type=float, default=0.05, help="Share of accepted requests that are sent again.")
    option("--greedy-share", type=float, default=0.05, help="Share of confirmed buyers who ask for more.")
    option("--long-poll-share", type=float, default=0.2, help="Share of accepted buyers who use long polls.")
    option("--seed", type=int, default=1, help="Seed of the arrivals.")


def _answers_file() -> str:
    return str(Path(tempfile.gettempdir()) / "onsale-answers.jsonl")
