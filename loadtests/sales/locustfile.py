"""The on-sale as locust runs it: everybody waits at the door, it opens, and they all want tickets."""

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
from ops.evidence.http import AnswerFields, HttpRequest, answered, http_request, login_request, read_fields

if TYPE_CHECKING:
    import socket

    from locust.argument_parser import LocustArgumentParser

SECONDS_MAX = 120
"""How long a run may take after the opening; a rush that is served is over in 15 s."""

SPAWN_PER_SECOND = 200
"""Buyers who come to the door in one second; once 2,000 are there, they look at the event 400 times a second."""

SOLD_OUT_MEMORY_SECONDS = 1.5
"""Before the patient ask for what came back: an API process may believe for 1 s that nothing is left."""

REFUSED_AGAIN_SECONDS = (0.5, 1.0, 2.0)
"""When somebody who was refused tries again, each time give or take a half; then they leave."""

ATTEMPTS_MAX = 4
"""Requests with one key while no answer says whether tickets were taken."""

RETRY_SECONDS = 1.0
"""Before a request is repeated that got no answer, or one without `Retry-After`."""

POLLS_MAX = 60
"""Looks at one booking; nobody waits longer than some minutes."""

LONG_POLL_SECONDS = 10
"""For how long a long poll lets the server hold its answer back."""

EXIT_NOT_RUN = 2

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)


def _is_open(_: ConnectionPool, sock: socket.socket | None) -> bool:
    """Whether an idle connection can be used again: nothing has come from the other side, not its end either."""
    if sock is None or sock.fileno() < 0:
        return False
    poll = get_original("select", "poll")()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


# The pool's own way, select(), cannot look at files above number 1,023 and takes their connections for
# closed: every buyer after the first thousand would connect anew for each request.
ConnectionPool._is_socket_alive = _is_open  # type: ignore[method-assign,assignment]  # noqa: SLF001


def _never_again(method: str) -> bool:
    """Whether the client may send a request again by itself: no."""
    del method
    return False


# locust's client sends a GET or DELETE whose answer was lost up to twelve times (once more than its pool has
# connections, twice with a pool of one) and counts one request; buyers repeat what they repeat themselves.
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
    """Somebody who wants one or two tickets, tries a few times, waits for the confirmation and leaves."""

    host = DEFAULT_URL
    network_timeout = ANSWER_SECONDS_MAX
    connection_timeout = ANSWER_SECONDS_MAX
    sale: Sale

    def on_start(self) -> None:
        """Come to the door, signed in."""
        # Tokens travel in the header; to look for cookies twice in each request costs a twentieth of it.
        self.client.client.cookiejar = None
        self.visit = self.sale.enter()
        self.token = self.visit.account.token or self._login()
        self.wanted = random.choices(list(TICKETS_PER_BUYER), weights=list(TICKETS_PER_BUYER.values()))[0]
        self._look()
        self.sale.ready += 1

    @task
    def attend(self) -> None:
        """Wait for the opening, shop, and never come back."""
        while not self.sale.doors.wait(POLL_SECONDS_MAX):
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
        """Look at the event. So people who wait have a connection when the sale begins, as a browser has."""
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
        """Take single tickets until none is left or the account has its share, if anybody missed one."""
        while self.sale.refused:
            reply = self._book(1)
            if not reply.accepted:
                return
            self._until_final(reply)

    def _have(self, accepted: BuyerReply) -> None:
        """What people do with tickets: wait for them, want more, give them back."""
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
        """Ask for tickets with a new key, and with the same one as long as it is not known what came of it."""
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
        """Poll a booking as its `Retry-After` says, ever more slowly."""
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

    def _login(self) -> str:
        http = login_request(email=self.visit.account.email, password=self.visit.account.password)
        return self._send(self._request(Kind.LOGIN), http).fields.access_token

    def _ask(self, kind: Kind, *, key: str | None = None, quantity: int = 0, booking: UUID | None = None) -> BuyerReply:
        request = self._request(kind, key=key, quantity=quantity, booking=booking)
        return self._send(request, http_request(request, token=self.token, wait_seconds=LONG_POLL_SECONDS))

    def _request(self, kind: Kind, *, key: str | None = None, quantity: int = 0, booking: UUID | None = None) -> Answer:
        account, event = self.visit.account.id, self.sale.event
        return Answer(
            kind=kind, buyer=account, event=event, key=key, quantity=quantity, booking=booking, sent_s=time.time()
        )

    def _send(self, request: Answer, http: HttpRequest) -> BuyerReply:
        """Send one request, count its answer under its outcome, and keep it."""
        kind = request.kind
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
    """Everybody to the door, then open it; over when all have left, or a maximum is reached."""

    sale: Sale | None = None

    def reset_time(self) -> None:
        """Forget the run before; locust calls this before each."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self.sale = None

    def tick(self) -> tuple[int, float] | None:
        """Say how many buyers there should be, or that the run is over. Asked by locust every second."""
        if self.sale is None:
            self.sale = self._prepare()
        if self.sale is None or (self.sale.doors.is_set() and self.sale.over()):
            return None
        if self.sale.ready == self.sale.people and not self.sale.doors.is_set():
            self.runner.stats.reset_all()  # type: ignore[union-attr]
            # Thousands of buyers are there for the whole rush: to go through them again and again held it up.
            spare_what_stays()
            self.sale.open()
        return self.sale.people, float(SPAWN_PER_SECOND)

    def _prepare(self) -> Sale | None:
        """The run's buyers and event, or None when there cannot be any."""
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
    option("--buyers", type=int, default=0, help="How many come; 0: as the profile says; 50 without --buyers-file.")
    option("--seconds", type=int, default=SECONDS_MAX, help="The run is cut short after so many.")
    option("--event", default="", help="The event to book; without it, one is put on sale.")
    option("--buyers-file", default="", help="Accounts with their tokens as JSON; without it, buyers sign up.")
    option("--answers-file", default=_answers_file(), help="Where every answer is written to.")
    option("--cancel-share", type=float, default=0.03, help="Of those with a confirmed booking, who cancel it.")
    option("--replay-share", type=float, default=0.05, help="Of those accepted, who send the same key again.")
    option("--greedy-share", type=float, default=0.05, help="Of those with a confirmed booking, who want more.")
    option("--long-poll-share", type=float, default=0.2, help="Of those accepted, who let the server hold polls back.")
    option("--seed", type=int, default=1, help="Of the arrivals.")


def _answers_file() -> str:
    return str(Path(tempfile.gettempdir()) / "onsale-answers.jsonl")
