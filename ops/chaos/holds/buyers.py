"""The buyers of holds, who let them expire, confirm them in time, late or at the deadline, or give some or all back."""

from __future__ import annotations

import asyncio
import random
import time
from enum import Enum, auto
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import structs

from domain.kernel.refusals import AmountMismatch, Conflict, Missing, NotPayable, Refusal, Unavailable
from domain.sales.events import Payment
from domain.sales.payments import Paid, price_of
from domain.store.redis.admission import Ask
from ops.chaos.holds.files import HoldsFiles, unanswered
from ops.chaos.holds.orders import ALTERNATIVE, COUNTERS, GATES, CountersOrder, reduced_to
from ops.evidence.answers import NO_ANSWER, Answer, Kind, about

if TYPE_CHECKING:
    from uuid import UUID

    from domain.actions.bookings import BoxOffice
    from domain.actions.payments import PaymentActions
    from domain.kernel.bookings import Booking
    from ops.chaos.holds.files import HoldsPlan

PATIENCE_SECONDS = 3.0
"""After so long without an answer a buyer retries with the same key."""

RETRY_SECONDS = (0.1, 1.0)
"""The pause between two attempts: longer than that of buyers over HTTP, who are a nuisance enough."""

GIVE_UP_SECONDS = 20.0
"""For how long buyers retry after the faults."""

ORDERS_MAX = 3
"""Orders of one buyer that are under way, with the fates of their holds."""

LOOK_SECONDS = 0.02
"""How late buyers notice that it is time to leave."""

EDGE_SECONDS = 0.004
"""How far from the deadline a confirmation is sent that races it, before or after."""

RIVAL_SECONDS = 0.03
"""How soon after the deadline a rival orders the same."""

LATE_SECONDS = 0.5
CAP_MS = 4_000
"""How long after its creation an extended hold ends at the latest."""

NOT_HELD = 0.25
HAS_ALTERNATIVE = 0.3
CANCELLED_AFTER = 0.4
WITHOUT_PASS = 0.3
REDUCED = 0.4
"""Shares of orders: booked without a hold, with a second list of claims, cancelled once they are confirmed, without a
pass, and of those with several tickets, reduced to one. WITHOUT_PASS is also a share of confirmations."""

CODE_UNKNOWN_ERROR = "unknown_error"


class Fate(Enum):
    """What its buyer does with a hold."""

    LEFT = auto()
    """Nothing: it expires."""
    LEFT_TO_RIVAL = auto()
    """It expires, and another buyer takes the same at its deadline."""
    IN_TIME = auto()
    RACED = auto()
    """It is confirmed at its deadline, at which another buyer wants the same."""
    LATE = auto()
    EXTENDED = auto()
    GIVEN_BACK = auto()


SHARES = {
    Fate.LEFT: 0.2,
    Fate.LEFT_TO_RIVAL: 0.2,
    Fate.IN_TIME: 0.15,
    Fate.RACED: 0.15,
    Fate.LATE: 0.12,
    Fate.EXTENDED: 0.1,
    Fate.GIVEN_BACK: 0.08,
}
"""The shares of 1 of the fates of holds."""


class HoldCrowd:
    """The buyers of one process, who log each request before it is sent and again when it is answered."""

    def __init__(self, plan: HoldsPlan, files: HoldsFiles, box_office: BoxOffice, payments: PaymentActions) -> None:
        self.plan = plan
        self.leaving = asyncio.Event()
        self._files = files
        self._log = files.log()
        self._box_office = box_office
        self._payments = payments
        self._gone_s = float("inf")

    async def shop(self) -> None:
        """Repeat what an earlier process was not answered, buy until it is time to leave, and note that all is done."""
        left = unanswered(self._files.answers())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for request in left:
                group.create_task(self.insist(request))
            for number, account in enumerate(self.plan.accounts):
                buyer = HoldBuyer(self, account, random.Random(f"{self.plan.seed} {number} {uuid4()}"))  # noqa: S311  (no secret)
                group.create_task(buyer.shop())
        self._files.finish()

    async def insist(self, request: Answer) -> Answer | None:
        """Ask until there is a conclusive answer; None if there is none when the run is over."""
        while time.monotonic() < self._gone_s:
            sent = structs.replace(request, sent_s=time.monotonic(), took_ms=0.0, status=NO_ANSWER, code=None)
            self._log.append(sent)
            answer = await self._ask(sent)
            self._log.append(answer)
            if answer.conclusive:
                return answer
            await asyncio.sleep(random.uniform(*RETRY_SECONDS))  # noqa: S311  (no secret)
        return None

    async def pause(self, seconds: float) -> None:
        """Wait, at most until it is time to leave."""
        await asyncio.wait([asyncio.create_task(self.leaving.wait())], timeout=max(0.0, seconds))

    async def _watch(self) -> None:
        while self._files.open:  # noqa: ASYNC110  (another process removes the file)
            await asyncio.sleep(LOOK_SECONDS)
        self._gone_s = time.monotonic() + GIVE_UP_SECONDS
        self.leaving.set()

    async def _ask(self, sent: Answer) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                booking = await self._call(sent)
        except TimeoutError:
            return _answered(sent)
        except Refusal as refusal:
            return _answered(sent, status=_status(refusal), code=refusal.code)
        except Exception as error:  # noqa: BLE001  (an API process answers 500)
            return _answered(sent, status=500, code=f"{CODE_UNKNOWN_ERROR}: {error!r}")
        status = 202 if sent.ordered else 200
        return _answered(sent, status=status, booking=booking.id, state=str(booking.status), reason=booking.reason)

    async def _call(self, sent: Answer) -> Booking:
        if sent.ordered:
            return (await self._box_office.reserve(Ask.trusted(sent.buyer), CountersOrder.of(sent))).booking
        booking_id = _subject(sent)
        match sent.kind:
            case Kind.CONFIRM:
                return await self._confirm(booking_id, gate_pass=sent.gate_pass)
            case Kind.EXTEND:
                return await self._box_office.extend(booking_id, hold_ms=sent.hold_ms, cap_ms=CAP_MS)
            case Kind.REDUCE:
                return await self._box_office.reduce(booking_id, lambda booking: reduced_to(booking, sent.kept))
            case Kind.CANCEL:
                return await self._box_office.cancel(await self._box_office.booking(booking_id))
            case _:
                return await self._box_office.booking(booking_id)

    async def _confirm(self, booking_id: UUID, *, gate_pass: str) -> Booking:
        """Confirm a hold: with a payment, if it has a price. A booking that takes no payment is as it is."""
        booking = await self._box_office.booking(booking_id)
        price = price_of(booking.body)
        if price.total_minor == 0:
            return await self._box_office.confirm(booking_id, gate_pass=gate_pass)
        try:
            return await self._pay(booking, price.total_minor)
        except AmountMismatch as wrong:
            # It was reduced after it was paid, or before.
            return await self._pay(booking, int(str(wrong.facts["amount_minor"])))
        except NotPayable:
            return await self._box_office.booking(booking_id)

    async def _pay(self, booking: Booking, amount_minor: int) -> Booking:
        paid = Paid(
            provider=Payment.TEST,
            reference=booking.id.hex,
            booking_id=booking.id,
            event_id=booking.event_id,
            amount_minor=amount_minor,
            currency="EUR",
        )
        return (await self._payments.confirm(booking, paid)).booking


class HoldBuyer:
    """One buyer, who places an order, decides its fate, and pauses."""

    def __init__(self, crowd: HoldCrowd, account: UUID, dice: random.Random) -> None:
        self._crowd = crowd
        self._account = account
        self._dice = dice

    async def shop(self) -> None:
        """Order until it is time to leave, some orders beside each other."""
        await asyncio.gather(*(self._trade_often() for _ in range(ORDERS_MAX)))

    async def _trade_often(self) -> None:
        while not self._crowd.leaving.is_set():
            await self._crowd.pause(self._dice.expovariate(1 / self._crowd.plan.think_s))
            await self._trade(self._order())

    def _order(self) -> Answer:
        event = self._dice.choice(self._crowd.plan.events)
        held = self._dice.random() >= NOT_HELD
        units = ALTERNATIVE.join(self._units() for _ in range(1 + (self._dice.random() < HAS_ALTERNATIVE)))
        gates = [gate_pass for counter, gate_pass in GATES.items() if counter in units]
        return Answer(
            kind=Kind.BOOK,
            buyer=self._account,
            event=event.id,
            key=uuid4().hex,
            quantity=min(self._dice.randint(1, 2), event.max_per_user),
            hold_ms=self._dice.randint(*self._crowd.plan.hold_ms) if held else 0,
            units=units,
            gate_pass=gates[0] if gates and self._dice.random() >= WITHOUT_PASS else "",
        )

    def _units(self) -> str:
        chosen = self._dice.sample(sorted(COUNTERS), self._dice.randint(0, 3))
        return " ".join(f"{name}={min(COUNTERS[name], self._dice.randint(1, 2))}" for name in chosen)

    async def _trade(self, order: Answer) -> None:
        accepted = await self._crowd.insist(order)
        if accepted is None or accepted.booking is None:
            return
        await asyncio.gather(self._reduce(accepted), self._follow(accepted))

    async def _follow(self, accepted: Answer) -> None:
        if accepted.state == "held":
            await self._decide(accepted)
        elif self._dice.random() < CANCELLED_AFTER:
            await self._crowd.insist(about(Kind.CANCEL, accepted))

    async def _reduce(self, accepted: Answer) -> None:
        """Reduce it to one ticket at any time of its hold, or soon, beside all else that happens to it."""
        if accepted.quantity > 1 and self._dice.random() < REDUCED:
            await self._crowd.pause(max(accepted.hold_ms / 1000, RIVAL_SECONDS) * self._dice.random())
            await self._crowd.insist(structs.replace(about(Kind.REDUCE, accepted), kept=1))

    async def _decide(self, hold: Answer) -> None:
        """Let a fate befall a hold. Its deadline is estimated; the engine's clock decides."""
        (fate,) = self._dice.choices(list(SHARES), list(SHARES.values()))
        left_s = hold.hold_ms / 1000 - hold.took_ms / 2000
        match fate:
            case Fate.IN_TIME:
                await self._crowd.pause(left_s * self._dice.random() / 2)
                await self._confirm(hold)
            case Fate.RACED:
                edge_s = self._dice.uniform(-EDGE_SECONDS, EDGE_SECONDS)
                await asyncio.gather(self._rival(hold, left_s), self._confirm(hold, after_s=left_s + edge_s))
            case Fate.LATE:
                await self._confirm(hold, after_s=left_s + self._dice.random() * LATE_SECONDS)
            case Fate.EXTENDED:
                await self._crowd.pause(left_s * self._dice.random())
                await self._crowd.insist(about(Kind.EXTEND, hold))
                await self._confirm(hold, after_s=left_s)
            case Fate.GIVEN_BACK:
                await self._crowd.pause(left_s * self._dice.random())
                await self._crowd.insist(about(Kind.CANCEL, hold))
            case Fate.LEFT_TO_RIVAL:
                await self._rival(hold, left_s)
            case Fate.LEFT:
                await self._crowd.pause(left_s + self._dice.random() * LATE_SECONDS)
                await self._crowd.insist(about(Kind.POLL, hold))

    async def _confirm(self, hold: Answer, *, after_s: float = 0.0) -> None:
        await self._crowd.pause(after_s)
        request = about(Kind.CONFIRM, hold)
        if self._dice.random() < WITHOUT_PASS:
            request = structs.replace(request, gate_pass="")
        confirmed = await self._crowd.insist(request)
        if confirmed and confirmed.state == "pending" and self._dice.random() < CANCELLED_AFTER:
            await self._crowd.insist(about(Kind.CANCEL, hold))

    async def _rival(self, hold: Answer, left_s: float) -> None:
        """Another account orders the same at the deadline, without a hold."""
        await self._crowd.pause(left_s + self._dice.random() * RIVAL_SECONDS)
        account = self._dice.choice(self._crowd.plan.accounts)
        order = structs.replace(about(Kind.BOOK, hold), buyer=account, key=uuid4().hex, hold_ms=0)
        await self._trade(order)


def _answered(sent: Answer, **fields: object) -> Answer:
    """`sent` with its answer."""
    return structs.replace(sent, took_ms=(time.monotonic() - sent.sent_s) * 1000, **fields)


def _subject(request: Answer) -> UUID:
    if request.subject is None:
        message = "the request names no booking"
        raise ValueError(message)
    return request.subject


def _status(refusal: Refusal) -> int:
    """The HTTP status of a refusal, by the kinds that the engine has."""
    match refusal:
        case Unavailable():
            return 503
        case Missing():
            return 404
        case Conflict():
            return 409
        case _:
            return 400
