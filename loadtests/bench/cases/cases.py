"""The cases that are measured side by side, each for some seconds in every round."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx

from loadtests.bench.load.generator import Unexpected, check_all, fire
from loadtests.bench.load.locust_ceiling import fire_locust
from loadtests.bench.load.requests import order, request
from loadtests.bench.stack import BASELINE_DATABASE, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from uuid import UUID

    from loadtests.bench.cases.crowd import SignedInBuyers
    from loadtests.bench.load.generator import LoadResult
    from loadtests.bench.report.results import Figures
    from loadtests.bench.stack import BenchStack, Served

LIST_EVENTS = 20
"""Events on sale before the first round: a full first page, however many rounds there are."""

POLLED_PER_SECOND = 500
"""Bookings polled in one second of a case: each is polled so rarely that its account stays within its limit."""

POLLED_MAX = 2_000

IDLE_S = 2.0

BASELINE_PER_SECOND_MAX = 1_500
"""Requests prepared for each second of the baseline, several times what it answers."""


@dataclass(frozen=True)
class Case:
    """One kind of request, sent over and over.

    `prepare` makes the requests of a round; with `by_locust`, locust sends its own. `during` is entered around the
    requests; `afterwards` is given the answers, and returns when their consequences are done.
    """

    name: str
    title: str
    expected: int
    program: Served
    prepare: Callable[[], Iterable[bytes]]
    by_locust: bool = False
    during: Callable[[], AbstractContextManager[None]] = nullcontext
    afterwards: Callable[[LoadResult], None] = lambda _: None

    @property
    def letter(self) -> str:
        """The letter at the beginning of its title, by which `--only` chooses cases."""
        return self.title[1]


class OwnBench:
    """The engine's own cases over one stack and one crowd, whichever build runs the stack."""

    def __init__(
        self,
        stack: BenchStack,
        crowd: SignedInBuyers,
        *,
        seconds: float,
        connections: int,
        listed: int = LIST_EVENTS,
    ) -> None:
        """Measure cases of `seconds` each; `listed` events are put on sale for the cases that read them."""
        self.stack = stack
        self.crowd = crowd
        self.seconds = seconds
        self.connections = connections
        self._listed = listed
        self._idle = self._measure_idle()
        self._event = uuid4()
        self._booked: list[UUID] = []
        polled = min(POLLED_MAX, len(crowd.buyers), max(1, round(seconds * POLLED_PER_SECOND)))
        self._pollers = crowd.buyers[:polled]

    def measure(self, case: Case) -> Figures:
        """Run a case once.

        `cpu_ms` is what each part used for one request and its consequences, less what it uses while idle.

        Raises:
            Unexpected: an answer was not the case's.
        """
        requests = case.prepare()
        with case.during():
            before = self._cpu(case)
            answered = self.fire(case.program.url, requests) if not case.by_locust else self._fire_locust(case)
            check_all(answered, expected=case.expected, what=case.title)
            case.afterwards(answered)
            after = self._cpu(case)
        took_s = after.pop("at") - before.pop("at")
        used_s = {part: after[part] - before[part] - self._idle.get(part, 0.0) * took_s for part in after}
        used_s["generator"] = answered.generator_cpu_s
        return {
            "per_second": answered.per_second,
            "p50_ms": answered.p50_ms,
            "p99_ms": answered.p99_ms,
            "count": answered.count,
        } | {f"cpu_ms.{part}": max(0.0, used) * 1000 / answered.count for part, used in used_s.items()}

    def fire(self, url: str, requests: Iterable[bytes], *, seconds: float | None = None) -> LoadResult:
        """Send requests for as long as a case lasts, or for `seconds`."""
        return fire(url, requests, connections=self.connections, seconds=seconds or self.seconds)

    def _fire_locust(self, case: Case) -> LoadResult:
        return fire_locust(case.program.url, connections=self.connections, seconds=self.seconds)

    def measure_rest(self) -> Figures:
        """Share of a core that each part uses while nothing is asked, and resident memory."""
        rss = {f"rss_mib.{part}": size / 2**20 for part, size in self.stack.rss_bytes().items()}
        return rss | {f"idle_percent.{part}": share * 100 for part, share in self._measure_idle().items()}

    def _measure_idle(self) -> dict[str, float]:
        before = self.stack.cpu_seconds()
        time.sleep(IDLE_S)
        after = self.stack.cpu_seconds()
        return {part: (after[part] - before[part]) / IDLE_S for part in ("valkey", "worker", "postgres")}

    def _cpu(self, case: Case) -> dict[str, float]:
        parts = {"at": time.perf_counter()} | self.stack.cpu_seconds()
        api = parts.pop("api")
        return parts | {"program": api if case.program is self.stack.api else cpu_seconds(case.program.pid)}

    def own_cases(self) -> list[Case]:
        """The engine's own cases. The bookings of `poll_pending` are those that the cases after it poll."""
        api = self.stack.api
        return [
            Case(
                "book", "(b) POST /bookings, accepted", 202, api, self._prepare_booking, afterwards=self._check_booked
            ),
            Case("sold_out", "(c) POST /bookings, sold out", 409, api, self._prepare_sold_out),
            Case("poll_pending", "(d) status, pending", 200, api, self._prepare_pending, during=self._pending),
            Case("poll_final", "(d) status, confirmed", 200, api, self._polls, during=lambda: self._all("confirmed")),
            Case("poll_unchanged", "(d) status, unchanged (304)", 304, api, self._prepare_unchanged),
            *self._reading(),
        ]

    def _prepare_booking(self) -> list[bytes]:
        self._event = self.crowd.event()
        return self.crowd.orders([self._event], key=uuid4().hex)

    def _check_booked(self, answered: LoadResult) -> None:
        """Wait until PostgreSQL has what was accepted, and count it there: those cut off at the end may be in it."""
        self.stack.wait_until_drained()
        ((rows,),) = self.stack.fetch("SELECT count(*) FROM bookings WHERE event_id = $1", self._event)
        if not answered.count <= rows <= answered.count + self.connections:
            message = f"{answered.count} bookings were accepted and {rows} are in PostgreSQL"
            raise Unexpected(message)

    def _prepare_sold_out(self) -> list[bytes]:
        event_id = self.crowd.sold_out_event()
        look = order(event_id, token=self.crowd.buyers[1].token, key=uuid4().hex)
        (reply,) = self.crowd.ask([look], expected=409)
        if b'"sold_out"' not in reply.body:
            message = f"expected sold_out, got {reply.body.decode()}"
            raise Unexpected(message)
        self.stack.wait_until_drained()
        return self.crowd.orders([event_id], key=uuid4().hex)

    def _prepare_pending(self) -> Iterable[bytes]:
        event_id = self.crowd.event()
        self.stack.pause_workers()
        self._booked = self.crowd.book(event_id, self._pollers)
        return self._polls()

    @contextmanager
    def _pending(self) -> Iterator[None]:
        """The workers are paused meanwhile, so that the polled bookings stay pending."""
        try:
            with self._all("pending"):
                yield
            with self._all("pending"):
                pass
        finally:
            self.stack.resume_workers()
        self.stack.wait_until_drained()

    @contextmanager
    def _all(self, status: str) -> Iterator[None]:
        """Check that the first and the last of the polled bookings have this status."""
        for booking, buyer in ((self._booked[0], self._pollers[0]), (self._booked[-1], self._pollers[-1])):
            (reply,) = self.crowd.ask([_poll(booking, buyer.token)], expected=200)
            if f'"{status}"'.encode() not in reply.body:
                message = f"expected {status}, got {reply.body.decode()}"
                raise Unexpected(message)
        yield

    def _polls(self) -> Iterable[bytes]:
        return cycle(self._poll_requests())

    def _prepare_unchanged(self) -> Iterable[bytes]:
        replies = self.crowd.ask(self._poll_requests(), expected=200)
        return cycle(self._poll_requests([reply.field(b"etag") for reply in replies]))

    def _poll_requests(self, etags: list[str] | None = None) -> list[bytes]:
        polls = zip(self._booked, self._pollers, etags or [""] * len(self._booked), strict=True)
        return [_poll(booking, buyer.token, etag=etag) for booking, buyer, etag in polls]

    def _reading(self) -> Iterator[Case]:
        events = [self.crowd.event() for _ in range(self._listed)]
        yield self._read("events", "(e) GET /events", f"/api/v1/events?limit={min(self._listed, LIST_EVENTS)}")
        yield self._read("event", "(e) GET /events/{id}", f"/api/v1/events/{events[0]}")

    def _read(self, name: str, title: str, path: str) -> Case:
        requests = [request("GET", path, token=buyer.token) for buyer in self._pollers]
        return Case(name, title, 200, self.stack.api, lambda: cycle(requests))


class Bench(OwnBench):
    """Every case over one stack and one crowd: the engine's own, and those they are compared with."""

    def cases(self) -> list[Case]:
        """Every case, in the order of a round."""
        bare = self.stack.peer("bare")
        return [*self._bare(bare), *self.own_cases(), *self._selling(), self._baseline(), *self._ceilings(bare)]

    def _selling(self) -> Iterator[Case]:
        """Cases of ticket types, which a build to compare with may not have."""
        title = "(b) POST /bookings, two lines and a code"
        api = self.stack.api
        yield Case("hold_by_type", title, 201, api, self._prepare_holds, afterwards=self._check_booked)
        event_id = self.crowd.event()
        yield self._read("availability", "(e) GET …/availability", f"/api/v1/events/{event_id}/availability")

    def _prepare_holds(self) -> list[bytes]:
        self._event, orders = self.crowd.priced_orders(key=uuid4().hex)
        return orders

    def _bare(self, bare: Served) -> Iterator[Case]:
        event_id = uuid4()
        post, get = order(event_id, token="", key="", path="/bookings"), request("GET", f"/events/{event_id}")
        yield Case("bare_post", "(a) bare Litestar, POST", 202, bare, lambda: repeat(post))
        yield Case("bare_get", "(a) bare Litestar, GET", 200, bare, lambda: repeat(get))

    def _baseline(self) -> Case:
        self.stack.fetch(f"CREATE DATABASE {BASELINE_DATABASE}")
        baseline = self.stack.peer("baseline")
        title = "(f) FastAPI, SELECT … FOR UPDATE"
        return Case("baseline", title, 201, baseline, lambda: self._prepare_baseline(baseline))

    def _prepare_baseline(self, baseline: Served) -> list[bytes]:
        event_id = uuid4()
        event = {"id": str(event_id), "capacity": 1_000_000, "max_per_user": 100}
        httpx.post(f"{baseline.url}/events", json=event).raise_for_status()
        buyers = self.crowd.buyers[: round(self.seconds * BASELINE_PER_SECOND_MAX)]
        return [order(event_id, token=buyer.token, key=uuid4().hex, path="/bookings") for buyer in buyers]

    def _ceilings(self, bare: Served) -> Iterator[Case]:
        """The limits of the load generators, so that they are not taken for limits of a server."""
        orders = [order(uuid4(), token=buyer.token, key=uuid4().hex) for buyer in self._pollers]
        yield Case("generator", "(z) ceiling of the generator", 200, self.stack.peer("echo"), lambda: cycle(orders))
        yield Case("locust", "(z) ceiling of locust", 202, bare, list, by_locust=True)


def _poll(booking: UUID, token: str, *, etag: str = "") -> bytes:
    return request("GET", f"/api/v1/bookings/{booking}/status", token=token, etag=etag)
