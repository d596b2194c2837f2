"""The actions on payments: take them, apply them to bookings, begin and close them at a provider, send refunds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.refusals import (
    AlreadyPaid,
    AmountMismatch,
    BookingNotFound,
    EventNotFound,
    HoldExpired,
    InventoryUnavailable,
    NotPayable,
    PaymentNotFound,
    PaymentReferenceUsed,
    PaymentStarted,
    Refusal,
    Unavailable,
)
from domain.kernel.unpersisted import Unpersisted
from domain.platform.failpoints import Failpoint, reach
from domain.sales.events import Payment
from domain.sales.payments import PaymentState, Price, RefundCause, price_of, returned
from domain.store.payment_providers.demonstration import paid_of
from domain.store.payment_providers.port import Opened, PaymentProvider, ProviderUnavailable, signature_invalid
from domain.store.postgres.epochs import EpochOver
from domain.store.postgres.ledger import LedgerRefused
from domain.store.postgres.payments.begun import BegunPayments, PaymentIntent
from domain.store.postgres.payments.payments import Payments
from domain.store.postgres.payments.refunds import Refunds

if TYPE_CHECKING:
    from uuid import UUID

    from domain.actions.bookings import BoxOffice
    from domain.sales.payments import Paid, StoredPayment
    from domain.store.postgres.events.reads import EventReads
    from domain.store.postgres.ledger import Ledger
    from domain.store.postgres.payments.payments import HeldPayment
    from domain.store.postgres.payments.refunds import Refund
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.scripts import Scripts

log = structlog.get_logger()

APPLIED_AT_ONCE_MAX = 3
"""Payments that one process applies at once. Each keeps a connection and may need a second one, of eight."""

_REFUSALS: dict[RefundCause, tuple[type[Refusal], str]] = {
    RefundCause.LATE: (HoldExpired, "The payment came too late, and the tickets could not be taken again."),
    RefundCause.ALREADY_PAID: (AlreadyPaid, "Another payment has paid for the booking."),
    RefundCause.NOT_PAYABLE: (NotPayable, "The booking is cancelled or rejected."),
    RefundCause.AMOUNT_MISMATCH: (NotPayable, "The payment was not what the booking costs."),
    RefundCause.BOOKING_LOST: (NotPayable, "The booking was lost before it was stored."),
}
"""The refusal of a payment that goes back, by its cause. Each says also that the money goes back."""


class MoneyStores(Struct, frozen=True):
    """What the engine knows of money, and the providers of this deployment by the events' name for them."""

    payments: Payments
    refunds: Refunds
    begun: BegunPayments
    providers: dict[Payment, PaymentProvider]

    async def disconnect(self) -> None:
        """Close the connections to providers."""
        for provider in self.providers.values():
            await provider.disconnect()


class Confirmed(Struct, frozen=True):
    """A booking that a payment has confirmed, and whether an earlier call had told of that payment."""

    booking: Booking
    repeated: bool


class Begun(Struct, frozen=True):
    """A payment that a buyer can make at a provider."""

    intent: PaymentIntent
    opened: Opened


class PaymentActions:
    """Takes and applies payments. One per process."""

    def __init__(  # noqa: PLR0913, PLR0917  (one per store, called in one place)
        self,
        money: MoneyStores,
        box_office: BoxOffice,
        events: EventReads,
        inventory: Inventory,
        ledger: Ledger,
        scripts: Scripts,
    ) -> None:
        self._payments, self._refunds, self._begun = money.payments, money.refunds, money.begun
        self._providers = money.providers
        self._box_office = box_office
        self._events = events
        self._inventory = inventory
        self._ledger = ledger
        self._scripts = scripts
        self._free = asyncio.Semaphore(APPLIED_AT_ONCE_MAX)

    async def confirm(self, booking: Booking, paid: Paid) -> Confirmed:
        """Confirm a booking with a payment that the organizer's system has received.

        The payment stands in PostgreSQL before anything is answered for it. Safe to repeat.

        Raises:
            AmountMismatch, PaymentReferenceUsed: nothing was recorded.
            HoldExpired, AlreadyPaid, NotPayable: the money goes back; the booking's `refund_due_minor` has it.
            Unavailable, InventoryUnavailable: repeat the request.
        """
        price = price_of(booking.body)
        if price.total_minor == 0:
            detail = "The booking is free."
            raise NotPayable(detail)
        asked = (paid.amount_minor, paid.currency) == (price.total_minor, price.currency)
        if not asked and await self._payments.find(paid) is None:
            raise _mismatch(price.total_minor, price.currency)
        await self._persist(booking.id)
        taken = await self._payments.take(paid)
        reach(Failpoint.PAYMENT_STORED)
        if taken.payment.booking_id != booking.id:
            detail = "Another booking of the event was paid with this reference."
            raise PaymentReferenceUsed(detail)
        if (paid.amount_minor, paid.currency) != (taken.payment.amount_minor, taken.payment.currency):
            raise _mismatch(taken.payment.amount_minor, taken.payment.currency)
        return Confirmed(await self._apply(taken.payment), taken.repeated)

    async def confirm_free(self, booking: Booking) -> Confirmed:
        """Confirm a hold that costs nothing. Safe to repeat.

        Raises:
            NotPayable: it is cancelled or rejected.
            HoldExpired, InventoryUnavailable.
        """
        if booking.status in _ENDED:
            detail = f"The booking is {booking.status}."
            raise NotPayable(detail)
        repeated = booking.status in {BookingStatus.PENDING, BookingStatus.CONFIRMED}
        return Confirmed(booking if repeated else await self._box_office.confirm(booking.id), repeated)

    def read_message(self, provider: Payment, payload: bytes, signature: str) -> Paid | None:
        """The payment that a message of a provider tells of, None for any other message.

        Raises:
            SignatureInvalid: it does not come from the provider, or there is no such provider here.
        """
        asked = self._providers.get(provider)
        if asked is None:
            raise signature_invalid()
        return asked.read_message(payload, signature)

    async def receive(self, paid: Paid) -> None:
        """Store a payment that a provider tells of, and apply it if that can be done now; a worker does the rest.

        Raises:
            Unavailable: it is not stored; the provider must tell again.
        """
        try:
            await self._events.find(paid.event_id)
        except EventNotFound:
            log.warning("payment_of_unknown_event", provider=paid.provider, event_id=str(paid.event_id))
            return
        taken = await self._payments.take(paid)
        reach(Failpoint.PAYMENT_STORED)
        try:
            await self._persist(paid.booking_id)
            await self._apply(taken.payment)
            intent = await self._begun.open_of(paid.booking_id)
            if intent and intent.reference == paid.reference:
                await self._begun.closed(intent.id)
        except Refusal as refusal:
            log.info("payment_not_applied", booking_id=str(paid.booking_id), code=refusal.code)

    async def apply_again(self, payment: StoredPayment) -> None:
        """Apply a payment whose booking PostgreSQL does not have as confirmed; raises Unavailable.

        Another process that has it locked is left alone.
        """
        try:
            await self._apply(payment, waits=False)
        except Unavailable:
            raise
        except Refusal as refusal:
            log.info("payment_returned", booking_id=str(payment.booking_id), code=refusal.code)

    async def begin(self, booking: Booking) -> Begun:
        """Let the owner of a hold pay for it at the provider of its event. Safe to repeat.

        Raises:
            NotPayable, AlreadyPaid, HoldExpired, ProviderUnavailable.
        """
        price = price_of(booking.body)
        _check_may_be_paid(booking, price)
        event = await self._events.find(booking.event_id)
        provider = self._providers.get(Payment(event.payment))
        if provider is None:
            detail = "The event is paid in another way. Ask its organizer."
            raise NotPayable(detail)
        intent = await self._begun.begin(
            booking.id,
            event_id=booking.event_id,
            provider=Payment(event.payment),
            amount_minor=price.total_minor,
            currency=price.currency or "",
        )
        opened = await provider.open(intent)
        await self._begun.opened(intent.id, reference=opened.reference)
        return Begun(intent, opened)

    async def check_unpaid(self, booking: Booking) -> None:
        """Raise PaymentStarted if the owner of a hold has begun to pay for it, so that its price must not change."""
        if booking.status is BookingStatus.HELD and price_of(booking.body).total_minor:
            begun = await self._begun.open_of(booking.id)
            if begun is not None:
                detail = "The payment of the booking has begun. Change it when it is paid, or when its hold has ended."
                raise PaymentStarted(detail)

    async def close(self, intent: PaymentIntent) -> None:
        """Let a buyer not pay any more whose hold has ended; a payment that was made is taken.

        Raises:
            ProviderUnavailable, Unavailable: a later call tries again.
        """
        paid = await self._providers[intent.provider].close(intent)
        if paid is not None:
            await self.receive(paid)
        await self._begun.closed(intent.id)

    async def end_test_payment(self, intent_id: UUID, *, pays: bool) -> bool:
        """Make an open payment of the test provider, or decline it; returns whether it was made.

        Raises:
            PaymentNotFound: there is no such payment, or no such provider here.
        """
        intent = await self._begun.find_open(intent_id) if Payment.TEST in self._providers else None
        if intent is None or intent.provider is not Payment.TEST:
            detail = "No open payment has this id."
            raise PaymentNotFound(detail)
        if pays:
            await self.receive(paid_of(intent))
        await self._begun.closed(intent.id)
        return pays

    async def send(self, refund: Refund) -> bool:
        """Send a refund once: from the second attempt on, the provider is asked first whether it was made.

        Returns whether it is done.
        """
        provider = self._providers[refund.provider]
        async with self._refunds.hold(refund) as held:
            if held is None:
                return False
            try:
                made = await provider.find_refund(refund) if refund.attempt > 1 else None
                reference = made or await provider.refund(refund)
            except ProviderUnavailable:
                await held.put_off()
                return False
            reach(Failpoint.REFUND_SENT)
            await held.done(reference)
        return True

    async def report_refund(self, booking: Booking, *, amount_minor: int, currency: str, reference: str) -> None:
        """Record that the organizer's system has paid back all that is due of a booking. Safe to repeat.

        Raises:
            AmountMismatch: another amount is due.
        """
        report = await self._refunds.report(
            booking.id, amount_minor=amount_minor, currency=currency, reference=reference
        )
        if not report.known:
            raise _mismatch(report.due_minor, report.currency)

    async def _apply(self, payment: StoredPayment, *, waits: bool = True) -> Booking:
        """Confirm the booking of a payment, or decide that the payment goes back.

        The payment is locked meanwhile: two processes never decide it differently. It stays `received` until PostgreSQL
        has the booking as confirmed.

        Raises:
            HoldExpired, AlreadyPaid, NotPayable: it goes back.
            InventoryUnavailable, Unavailable: it is not decided.
        """
        async with self._free, self._payments.hold(payment.id, waits=waits) as held:
            if held is None:
                detail = "The payment is being applied."
                raise Unavailable(detail, retry_after_seconds=1)
            payment = held.payment
            if payment.state is PaymentState.RECEIVED:
                payment = await held.decide_by_row()
            late, booking = await self._confirm(held) if payment.state is PaymentState.RECEIVED else (None, None)
            payment = held.payment
        if late is not None:
            raise late
        if payment.cause is not None:
            raise _goes_back(payment.cause)
        booking = booking or await self._box_office.booking(payment.booking_id)
        if booking.status in _ENDED and payment.state is PaymentState.RECEIVED:
            # Its row decides about the money once it is persisted.
            detail = f"The booking is {booking.status}. The money goes back."
            raise NotPayable(detail)
        return booking

    async def _confirm(self, held: HeldPayment) -> tuple[HoldExpired | None, Booking | None]:
        """Confirm the booking of a locked payment; returns the refusal if it is too late, or else the booking.

        If the booking can never be confirmed, the decision that the payment goes back is written.
        """
        payment = held.payment
        try:
            booking = await self._box_office.booking(payment.booking_id)
            if not _covers(payment, price_of(booking.body)):
                await held.write(returned(payment, RefundCause.AMOUNT_MISMATCH))
                return None, booking
            booking = await self._box_office.confirm(payment.booking_id)
        except HoldExpired as late:
            await held.write(returned(payment, RefundCause.LATE))
            return late, None
        except BookingNotFound:
            await held.write(returned(payment, RefundCause.BOOKING_LOST))
            return None, None
        except InventoryUnavailable:
            if (await self._events.find(payment.event_id)).closed_at is None:
                raise
            await held.write(returned(payment, RefundCause.LATE))
            return None, None
        return None, booking

    async def _persist(self, booking_id: UUID) -> None:
        """Persist a booking that PostgreSQL does not have yet, so that the loss of Redis cannot lose a paid hold."""
        epoch = self._scripts.epoch
        if await self._payments.is_stored(booking_id):
            return
        record = await self._inventory.record(booking_id)
        if record is None:
            return
        try:
            await self._ledger.persist([Unpersisted.of(record, epoch=epoch)], epoch=epoch)
        except EpochOver:
            raise InventoryUnavailable.rebuilding() from None
        except LedgerRefused as error:
            # A worker writes it after the return that it has taken, or rejects it.
            log.info("hold_not_persisted", booking_id=str(booking_id), reason=error.reason)


_ENDED = frozenset({BookingStatus.CANCELLED, BookingStatus.REJECTED})


def _check_may_be_paid(booking: Booking, price: Price) -> None:
    if booking.status is BookingStatus.EXPIRED:
        detail = "The deadline of the hold has passed."
        raise HoldExpired(detail)
    if booking.status in {BookingStatus.PENDING, BookingStatus.CONFIRMED} and price.total_minor:
        detail = "The booking is paid."
        raise AlreadyPaid(detail)
    if booking.status is not BookingStatus.HELD or not price.total_minor:
        detail = f"The booking is {booking.status}." if price.total_minor else "The booking is free."
        raise NotPayable(detail)


def _covers(payment: StoredPayment, price: Price) -> bool:
    """Whether a payment is enough. What is too much goes back."""
    return payment.currency == price.currency and payment.amount_minor >= price.total_minor


def _goes_back(cause: RefundCause) -> Refusal:
    kind, detail = _REFUSALS[cause]
    return kind(f"{detail} The money goes back.")


def _mismatch(amount_minor: int, currency: str | None) -> AmountMismatch:
    detail = f"The right amount is {amount_minor} minor units of {currency}." if currency else "Nothing is due."
    return AmountMismatch(detail, amount_minor=amount_minor, currency=currency)
