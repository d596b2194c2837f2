"""The cases that are measured side by side, each for some seconds in every round."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
from msgspec import Struct

from loadtests.bench.load.generator import Unexpected, check_all
from loadtests.bench.load.locust_ceiling import Locust
from loadtests.bench.load.prepared import order, request
from loadtests.bench.machine import cpu_seconds
from loadtests.bench.stack import BASELINE_DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from loadtests.bench.cases.crowd import SignedInBuyers
    from loadtests.bench.load.generator import LoadResult, Generator
    from loadtests.bench.load.prepared import Prepared
    from loadtests.bench.stack import Peer, Served, Stack

LIST_EVENTS = 20
"""Events on sale before the first round: a full first page, however many rounds there are."""

POLLED_PER_SECOND = 500
"""Bookings that are polled in one second of a case: few enough polls of each to stay within an account's limit."""

POLLED_MAX = 2_000

IDLE_S = 2.0

BARE_REQUESTS = 1_000
"""Different requests of a bare case; it does not look at them."""

BASELINE_PER_SECOND_MAX = 1_500
"""Requests made ready for each second of the baseline, several times what it takes."""


class Measured(Struct, frozen=True):
    """One case in one round.

    `cpu_ms` is what each part used for one request, what follows from it included, what it uses anyway left out.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    count: int
    cpu_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something to ask over and over.

    `prepare` makes the requests of a round, `generator` is another one than that of all cases. `during` is
    entered around the asking, `afterwards` is given what was answered, and returns when what follows is done.
    """

    name: str
    letter: str
    title: str
    expected: int
    program: Served
    prepare: Callable[[], Prepared]
    generator: Generator | None = None
    during: Callable[[], AbstractContextManager[None]] = nullcontext
    afterwards: Callable[[LoadResult], None] = lambda _: None


class OwnBench:
    """The engine's own cases over one stack and one crowd, whichever build runs the stack."""

    def __init__(
        self, stack: Stack, crowd: SignedInBuyers, generator: Generator, *, seconds: float, listed: int = LIST_EVENTS
    ) -> None:
        """Measure cases of so many seconds; `listed` events are put on sale to be looked at, on one page."""
        self.stack = stack
        self.crowd = crowd
        self.generator = generator
        self.seconds = seconds
        self._listed = listed
        self.idle = self.measure_idle()
        self._event = self._sold_out = uuid4()
        self._booked: list[UUID] = []
        polled = min(POLLED_MAX, len(crowd.buyers), max(1, round(seconds * POLLED_PER_SECOND)))
        self._pollers = crowd.buyers[:polled]

    def measure_idle(self) -> dict[str, float]:
        """What each part uses in a second in which nothing is asked, in seconds; it is no request's doing."""
        before = self.stack.cpu_seconds()
        time.sleep(IDLE_S)
        after = self.stack.cpu_seconds()
        return {part: (after[part] - before[part]) / IDLE_S for part in ("valkey", "worker", "postgres")}

    def measure(self, case: Case) -> Measured:
        """Run a case once.

        Raises:
            Unexpected: an answer was not the case's.
        """
        prepared = case.prepare()
        with case.during():
            before = self._cpu(case)
            answered = (case.generator or self.generator).fire(case.program.url, prepared, seconds=self.seconds)
            check_all(answered, expected=case.expected, what=f"({case.letter}) {case.title}")
            case.afterwards(answered)
            after = self._cpu(case)
        prepared.path.unlink()
        took_s = after.pop("at") - before.pop("at")
        before["generator"], after["generator"] = 0.0, answered.generator_cpu_s or 0.0
        used_ms = {
            part: max(0.0, after[part] - before[part] - self.idle.get(part, 0.0) * took_s) * 1000 / answered.count
            for part in after
        }
        return Measured(
            per_second=answered.per_second,
            p50_ms=answered.p50_ms,
            p99_ms=answered.p99_ms,
            count=answered.count,
            cpu_ms=used_ms,
        )

    def _cpu(self, case: Case) -> dict[str, float]:
        parts = {"at": time.perf_counter()} | self.stack.cpu_seconds()
        api = parts.pop("api")
        return parts | {"program": api if case.program is self.stack.api else cpu_seconds(case.program.pid)}

    def own_cases(self) -> list[Case]:
        """The cases of the engine's own."""
        return [*self._booking(), *self._polling(), *self._looking()]

    def _booking(self) -> Iterator[Case]:
        api = self.stack.api
        yield Case(
            name="book",
            letter="b",
            title="POST /bookings, accepted",
            expected=202,
            program=api,
            prepare=self._prepare_booking,
            afterwards=self._check_booked,
        )
        yield Case(
            name="sold_out",
            letter="c",
            title="POST /bookings, sold out",
            expected=409,
            program=api,
            prepare=self._prepare_sold_out,
        )

    def _prepare_booking(self) -> Prepared:
        self._event = self.crowd.event()
        return self.crowd.orders([self._event], key=uuid4().hex)

    def _check_booked(self, answered: LoadResult) -> None:
        """Wait until PostgreSQL has what was accepted, and count it there: those cut off at the end may be in it."""
        self.stack.wait_until_drained()
        ((rows,),) = self.stack.fetch("SELECT count(*) FROM bookings WHERE event_id = $1", self._event)
        if not answered.count <= rows <= answered.count + self.generator.connections:
            message = f"{answered.count} bookings were accepted and {rows} are in PostgreSQL"
            raise Unexpected(message)

    def _prepare_sold_out(self) -> Prepared:
        self._sold_out = self.crowd.sold_out_event()
        look = order(self._sold_out, token=self.crowd.buyers[1].token, key=uuid4().hex)
        (reply,) = self.crowd.ask([look], expected=409)
        if b'"sold_out"' not in reply.body:
            message = f"expected sold_out, got {reply.body.decode()}"
            raise Unexpected(message)
        self.stack.wait_until_drained()
        return self.crowd.orders([self._sold_out], key=uuid4().hex)

    def _polling(self) -> Iterator[Case]:
        api = self.stack.api
        yield Case(
            name="poll_pending",
            letter="d",
            title="status, pending",
            expected=200,
            program=api,
            prepare=self._prepare_pending,
            during=self._pending,
        )
        yield Case(
            name="poll_final",
            letter="d",
            title="status, confirmed",
            expected=200,
            program=api,
            prepare=lambda: self._polls([""] * len(self._booked)),
            during=lambda: self._all("confirmed"),
        )
        yield Case(
            name="poll_unchanged",
            letter="d",
            title="status, unchanged (304)",
            expected=304,
            program=api,
            prepare=lambda: self._polls(self._etags()),
        )

    def _prepare_pending(self) -> Prepared:
        event_id = self.crowd.event()
        self.stack.pause_workers()
        self._booked = self.crowd.book(event_id, self._pollers)
        return self._polls([""] * len(self._booked))

    @contextmanager
    def _pending(self) -> Iterator[None]:
        """The workers stand still around it, so what is polled stays pending."""
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
        """A look at the first and the last of the polled: both must have this status."""
        for booking, buyer in ((self._booked[0], self._pollers[0]), (self._booked[-1], self._pollers[-1])):
            (reply,) = self.crowd.ask([self._poll(booking, buyer.token)], expected=200)
            if f'"{status}"'.encode() not in reply.body:
                message = f"expected {status}, got {reply.body.decode()}"
                raise Unexpected(message)
        yield

    def _polls(self, etags: list[str]) -> Prepared:
        return self.crowd.write(
            [
                self._poll(booking, buyer.token, etag=etag)
                for booking, buyer, etag in zip(self._booked, self._pollers, etags, strict=True)
            ],
            again=True,
        )

    def _etags(self) -> list[str]:
        polls = [self._poll(booking, buyer.token) for booking, buyer in zip(self._booked, self._pollers, strict=True)]
        return [reply.field(b"etag") for reply in self.crowd.ask(polls, expected=200)]

    @staticmethod
    def _poll(booking: UUID, token: str, *, etag: str = "") -> bytes:
        return request("GET", f"/api/v1/bookings/{booking}/status", token=token, etag=etag)

    def _looking(self) -> Iterator[Case]:
        events = [self.crowd.event() for _ in range(self._listed)]
        for name, title, path in (
            ("events", "GET /events", f"/api/v1/events?limit={min(self._listed, LIST_EVENTS)}"),
            ("event", "GET /events/{id}", f"/api/v1/events/{events[0]}"),
        ):
            requests = [request("GET", path, token=buyer.token) for buyer in self._pollers]
            yield Case(
                name=name,
                letter="e",
                title=title,
                expected=200,
                program=self.stack.api,
                prepare=lambda requests=requests: self.crowd.write(requests, again=True),  # type: ignore[misc]
            )


class Bench(OwnBench):
    """Every case over one stack and one crowd: the engine's own beside what they are compared with."""

    stack: Stack

    def __init__(
        self, stack: Stack, crowd: SignedInBuyers, generator: Generator, *, seconds: float, listed: int = LIST_EVENTS
    ) -> None:
        """As for the engine's own cases; the stack can start other programs."""
        super().__init__(stack, crowd, generator, seconds=seconds, listed=listed)
        self.stack = stack

    def cases(self) -> list[Case]:
        """Every case, in the order of a round."""
        bare = self.stack.peer("bare")
        return [*self._bare(bare), *self.own_cases(), self._baseline(), *self._ceilings(bare)]

    def _bare(self, bare: Peer) -> Iterator[Case]:
        event_id = uuid4()
        posts = [order(event_id, token="", key="", path="/bookings")] * BARE_REQUESTS
        gets = [request("GET", f"/events/{event_id}")] * BARE_REQUESTS
        yield Case(
            name="bare_post",
            letter="a",
            title="bare Litestar, POST",
            expected=202,
            program=bare,
            prepare=lambda: self.crowd.write(posts, again=True),
        )
        yield Case(
            name="bare_get",
            letter="a",
            title="bare Litestar, GET",
            expected=200,
            program=bare,
            prepare=lambda: self.crowd.write(gets, again=True),
        )

    def _baseline(self) -> Case:
        self.stack.fetch(f"CREATE DATABASE {BASELINE_DATABASE}")
        baseline = self.stack.peer("baseline")
        return Case(
            name="baseline",
            letter="f",
            title="FastAPI, SELECT … FOR UPDATE",
            expected=201,
            program=baseline,
            prepare=lambda: self._prepare_baseline(baseline),
        )

    def _prepare_baseline(self, baseline: Peer) -> Prepared:
        event = {"id": str(uuid4()), "capacity": 1_000_000, "max_per_user": 100}
        httpx.post(f"{baseline.url}/events", json=event).raise_for_status()
        buyers = self.crowd.buyers[: round(self.seconds * BASELINE_PER_SECOND_MAX)]
        return self.crowd.write(
            [order(event["id"], token=buyer.token, key=uuid4().hex, path="/bookings") for buyer in buyers],  # type: ignore[arg-type]
            again=False,
        )

    def _ceilings(self, bare: Peer) -> Iterator[Case]:
        """What the generators could ask, so that nobody takes it for what a server can answer."""
        orders = [order(uuid4(), token=buyer.token, key=uuid4().hex) for buyer in self._pollers]
        yield Case(
            name="generator",
            letter="z",
            title=f"ceiling of {self.generator.name}",
            expected=200,
            program=self.stack.peer("echo"),
            prepare=lambda: self.crowd.write(orders, again=True),
        )
        yield Case(
            name="locust",
            letter="z",
            title="ceiling of locust",
            expected=202,
            program=bare,
            generator=Locust(connections=self.generator.connections),
            prepare=lambda: self.crowd.write([], again=False),
        )
