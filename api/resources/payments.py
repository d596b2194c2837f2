"""Pay for bookings: confirmations by organizers, payments at a provider, refunds, and the webhook of Stripe."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Request, Response, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from api.access.declarations import ANYONE, EVERYBODY, ORGANIZERS, UNLIMITED, access
from api.access.guards import check_owns_event
from api.context import Process, process
from api.http.bodies import LINE_PATTERN, Body, Broken, read_body
from api.http.conditional import wait_s
from api.http.headers import field
from api.reads.booking_stream import waited_for
from api.resources.balances import shown
from api.resources.bookings import check_visible
from api.resources.holds import own_booking
from api.shapes import BookingShown
from domain.accounts.tokens import Token
from domain.kernel.bookings import BookingStatus
from domain.kernel.refusals import (
    AlreadyPaid,
    AmountMismatch,
    BookingNotFound,
    HoldExpired,
    Invalid,
    NotPayable,
    PaymentNotFound,
    PaymentReferenceUsed,
    RateLimited,
    SignatureInvalid,
    Unavailable,
)
from domain.sales.events import Payment
from domain.sales.money import TOTAL_MINOR_MAX
from domain.sales.payments import REFERENCE_CHARS_MAX, Paid, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.actions.payments import Confirmed
    from domain.kernel.bookings import Booking

SIGNATURE = "Stripe-Signature"

Reference = Annotated[str, Meta(min_length=1, max_length=REFERENCE_CHARS_MAX, pattern=LINE_PATTERN)]
Amount = Annotated[int, Meta(ge=1, le=TOTAL_MINOR_MAX)]
CurrencyCode = Annotated[str, Meta(pattern="^[A-Z]{3}$")]


class PaymentReport(Body):
    """A payment that the caller has received for the booking. For a booking that costs nothing, leave all out."""

    payment_reference: Reference | None = None
    amount_minor: Amount | None = None
    currency: CurrencyCode | None = None

    def broken_rules(self) -> Iterable[Broken]:
        """The fields that are missing beside others."""
        fields = {
            "payment_reference": self.payment_reference,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
        }
        missing = [name for name, value in fields.items() if value is None]
        if len(missing) < len(fields):
            yield from (Broken(f"/{name}", "is required with the other fields") for name in missing)


class RefundReport(Body):
    """A refund that the caller has paid: all that is due of the booking."""

    refund_reference: Reference
    amount_minor: Amount
    currency: CurrencyCode


class PaymentBegun(Struct, frozen=True, kw_only=True):
    """What a buyer needs to pay: the secret for a client of the provider, or the URL of a page."""

    provider: Payment
    reference: str
    client_secret: str | None
    url: str | None
    amount_minor: int
    currency: str
    expires_at: datetime | None


class ProviderOutcome(Body):
    """What the test provider is to answer."""

    outcome: Literal["pay", "decline"]


class MessageTaken(Struct, frozen=True):
    """The message of a provider stands. `payment` says whether it was a payment for a booking."""

    payment: bool


class PaymentController(Controller):
    """Payments of bookings."""

    path = "/bookings"
    tags = ("Payments",)

    @post(
        "/{booking_id:uuid}/confirm",
        status_code=202,
        **access(
            EVERYBODY,
            limit="payment_confirm",
            reads=("Prefer",),
            sends={
                200: ("ETag", "Preference-Applied", "Retry-After"),
                201: ("ETag", "Preference-Applied"),
                202: ("ETag", "Preference-Applied", "Retry-After"),
            },
            refuses=(
                BookingNotFound,
                HoldExpired,
                AlreadyPaid,
                AmountMismatch,
                NotPayable,
                PaymentReferenceUsed,
            ),
        ),
    )
    async def confirm(
        self, request: Request[Token, Any, Any], booking_id: FromPath[UUID], data: JSONBody[PaymentReport]
    ) -> Response[BookingShown]:
        """Confirm a hold: its owner if it costs nothing, otherwise the event's organizer or an admin, once it is paid.

        The payment stands before this answers. The same reference again is the same payment. After the deadline, the
        tickets are taken again if they are free; otherwise the answer is `hold_expired`, and `refund_due_minor` of the
        booking has the money. So it has that of a second payment. With `Prefer: wait=N`, the answer is 201 and
        `confirmed` if that happens within N seconds.
        """
        booking = await _visible(request, booking_id)
        confirmed = await _confirm(request, booking, data)
        latest, seconds = confirmed.booking, wait_s(request.scope)
        if seconds:
            waiting = process(request).stores.box_office.wait_until_final(latest, seconds=seconds)
            latest = await waited_for(request.scope, waiting, known=latest)
        in_time = seconds > 0 and latest.status is BookingStatus.CONFIRMED
        status = 200 if confirmed.repeated else 201 if in_time else 202
        return await shown(process(request), latest, status_code=status, waited_s=seconds)

    @post(
        "/{booking_id:uuid}/pay",
        status_code=200,
        **access(EVERYBODY, limit="booking_change", refuses=(BookingNotFound, HoldExpired, AlreadyPaid, NotPayable)),
    )
    async def pay(self, request: Request[Token, Any, Any], booking_id: FromPath[UUID]) -> PaymentBegun:
        """Begin to pay for a hold, as its owner. A repeated request is the same payment.

        With Stripe, `client_secret` is for its client: confirm the PaymentIntent with it. While the payment is open,
        the tickets of the hold cannot be changed. A payment that arrives after the deadline takes the tickets again if
        they are free, and otherwise goes back.
        """
        booking = await own_booking(request, booking_id)
        begun = await process(request).stores.payment_actions.begin(booking)
        return PaymentBegun(
            provider=begun.intent.provider,
            reference=begun.opened.reference,
            client_secret=begun.opened.client_secret,
            url=begun.opened.url,
            amount_minor=begun.intent.amount_minor,
            currency=begun.intent.currency,
            expires_at=booking.due_at,
        )

    @post(
        "/{booking_id:uuid}/refund-paid",
        status_code=200,
        **access(
            ORGANIZERS, limit="payment_confirm", sends={200: ("ETag",)}, refuses=(BookingNotFound, AmountMismatch)
        ),
    )
    async def refund_paid(
        self, request: Request[Token, Any, Any], booking_id: FromPath[UUID], data: JSONBody[RefundReport]
    ) -> Response[BookingShown]:
        """Report that `refund_due_minor` of a booking was paid back. The same reference again changes nothing."""
        booking = await _visible(request, booking_id)
        check_owns_event(request.user, await process(request).stores.event_actions.find(booking.event_id))
        await process(request).stores.payment_actions.report_refund(
            booking, amount_minor=data.amount_minor, currency=data.currency, reference=data.refund_reference
        )
        return await shown(process(request), booking)


class WebhookController(Controller):
    """Messages of payment providers."""

    path = "/payments"
    tags = ("Payments",)

    @post(
        "/stripe/webhook",
        status_code=200,
        **access(
            ANYONE,
            limit=UNLIMITED,
            limit_address="webhook_refused",
            reads=(SIGNATURE,),
            refuses=(SignatureInvalid, Invalid, RateLimited, Unavailable),
        ),
    )
    async def stripe(self, request: Request[Any, Any, Any]) -> MessageTaken:
        """Take a message of Stripe, signed with the secret of the webhook and at most five minutes old.

        A payment stands before this answers with 200. It may be told of any number of times, in any order. Messages
        with a wrong signature are limited by address, others are not.
        """
        at, scope = process(request), request.scope
        payload, signature = await read_body(scope, request.receive), field(scope, b"stripe-signature") or ""
        try:
            paid = at.stores.payment_actions.read_message(Payment.STRIPE, payload, signature)
        except SignatureInvalid:
            await _count_refused(request, at)
            raise
        if paid is not None:
            await at.stores.payment_actions.receive(paid)
        return MessageTaken(payment=paid is not None)

    @post("/test/{intent_id:uuid}", status_code=200, **access(ANYONE, refuses=(PaymentNotFound,)))
    async def test(
        self, request: Request[Any, Any, Any], intent_id: FromPath[UUID], data: JSONBody[ProviderOutcome]
    ) -> MessageTaken:
        """Make or decline a payment of the test provider, which moves no money. Only with `TEST_PAYMENTS=on`."""
        actions = process(request).stores.payment_actions
        return MessageTaken(payment=await actions.end_test_payment(intent_id, pays=data.outcome == "pay"))


async def _visible(request: Request[Token, Any, Any], booking_id: UUID) -> Booking:
    """The booking; raises BookingNotFound unless the caller may see it."""
    booking = await process(request).stores.box_office.booking(booking_id)
    await check_visible(process(request), request.user, booking)
    return booking


async def _confirm(request: Request[Token, Any, Any], booking: Booking, data: PaymentReport) -> Confirmed:
    stores, free = process(request).stores, price_of(booking.body).total_minor == 0
    if free and data.payment_reference is None:
        return await stores.payment_actions.confirm_free(booking)
    check_owns_event(request.user, await stores.event_actions.find(booking.event_id))
    if data.payment_reference is None or data.amount_minor is None or data.currency is None:
        pointer = "/payment_reference"
        raise Invalid.at(pointer, "is required: the booking has a price")
    paid = Paid(
        provider=Payment.EXTERNAL,
        reference=data.payment_reference,
        booking_id=booking.id,
        event_id=booking.event_id,
        amount_minor=data.amount_minor,
        currency=data.currency,
    )
    return await stores.payment_actions.confirm(booking, paid)


async def _count_refused(request: Request[Any, Any, Any], at: Process) -> None:
    """Count a message with a wrong signature; raises RateLimited, Unavailable."""
    rule = at.rule("webhook_refused")
    if rule is not None:
        await at.stores.admission.admit_address(at.proxies.client_of(request.scope), rule)
