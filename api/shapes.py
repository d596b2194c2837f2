"""The structs of answers. Ids are UUIDs, times are RFC 3339 in UTC, and local times have no offset."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Generic, Literal, TypeVar
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from domain.accounts.accounts import Account, AccountStatus, Role
from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.event_status import EventStatus
from domain.sales.events import Payment, RefundPolicy
from domain.sales.money import DECIMALS
from domain.sales.order_body import OrderLine, body_of

if TYPE_CHECKING:
    from domain.actions.membership import LoggedIn
    from domain.sales.events import Event
    from domain.sales.payments import Balance

Item = TypeVar("Item")


class Page(Struct, Generic[Item], frozen=True, kw_only=True):
    """A page of a list. `next_cursor` leads to the next page; it is None at the end."""

    items: list[Item]
    next_cursor: str | None


class CountedPage(Struct, Generic[Item], frozen=True, kw_only=True):
    """A page of a list whose length is known."""

    items: list[Item]
    next_cursor: str | None
    total: int


class Profile(Struct, frozen=True):
    """An account, as its owner and admins see it."""

    id: UUID
    email: str
    role: Role
    created_at: datetime

    @classmethod
    def of(cls, account: Account) -> Profile:
        """The public fields of an account."""
        return cls(account.id, account.email, account.role, account.created_at)


class UserBrief(Struct, frozen=True):
    """The account that logged in."""

    id: UUID
    email: str
    role: Role


class Session(Struct, frozen=True, kw_only=True):
    """The tokens of a session."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  (the name of a scheme)
    expires_in: int
    user: UserBrief

    @classmethod
    def of(cls, logged_in: LoggedIn) -> Session:
        """The session made by a login or a refresh."""
        account = logged_in.account
        return cls(
            access_token=logged_in.access_token,
            refresh_token=logged_in.refresh_token,
            expires_in=logged_in.expires_s,
            user=UserBrief(account.id, account.email, account.role),
        )


class NewRole(Struct, frozen=True, kw_only=True):
    """The account with its new role, and the tokens that replace the old ones."""

    id: UUID
    email: str
    role: Role
    created_at: datetime
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  (the name of a scheme)
    expires_in: int

    @classmethod
    def of(cls, logged_in: LoggedIn) -> NewRole:
        """The account and tokens of a session that was made for another role."""
        account = logged_in.account
        return cls(
            id=account.id,
            email=account.email,
            role=account.role,
            created_at=account.created_at,
            access_token=logged_in.access_token,
            refresh_token=logged_in.refresh_token,
            expires_in=logged_in.expires_s,
        )


class AccountState(Struct, frozen=True):
    """The status of an account."""

    id: UUID
    status: AccountStatus


LocalTime = Annotated[
    str,
    Meta(
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?$",
        examples=["2099-06-01T19:00:00"],
        description="The date and time that clocks at the venue show, without an offset.",
    ),
]


class EventShown(Struct, frozen=True, kw_only=True):
    """An event with its sale as it stands: `remaining` tickets of `capacity`, of which `booked` are taken.

    `suspended`: its organizer has lost the role or is banned. Such an event is `paused` until that changes.
    Tickets with a price are held for `hold_seconds` until they are paid. A hold can be extended until
    `hold_extend_until_seconds` after it began.
    """

    id: UUID
    organizer_id: UUID
    title: str
    description: str
    location: str
    time_zone: str
    starts_at: datetime
    starts_at_local: LocalTime
    ends_at: datetime | None
    capacity: int
    remaining: int
    booked: int
    max_per_user: int
    sales_open_at: datetime | None
    sales_close_at: datetime | None
    status: EventStatus
    suspended: bool
    series_id: UUID | None
    currency: str | None
    currency_decimals: int | None
    payment: Payment
    hold_seconds: int
    hold_extend_until_seconds: int
    max_holds_per_user: int
    refund_on_owner_cancel: RefundPolicy
    version: int
    created_at: datetime

    @classmethod
    def of(cls, event: Event, remaining: int, status: EventStatus) -> EventShown:
        """An event with its remaining tickets and its status."""
        return cls(
            id=event.id,
            organizer_id=event.organizer_id,
            title=event.title,
            description=event.description,
            location=event.location,
            time_zone=event.time_zone,
            starts_at=event.starts_at,
            starts_at_local=event.start.starts_at_local.isoformat(),
            ends_at=event.ends_at,
            capacity=event.capacity,
            remaining=remaining,
            booked=event.capacity - remaining,
            max_per_user=event.max_per_user,
            sales_open_at=event.sales_open_at,
            sales_close_at=event.sales_close_at,
            status=status,
            suspended=event.suspended,
            series_id=event.series_id,
            currency=event.currency,
            currency_decimals=None if event.currency is None else DECIMALS.get(event.currency),
            payment=event.payment,
            hold_seconds=event.hold_seconds,
            hold_extend_until_seconds=event.hold_cap_seconds,
            max_holds_per_user=event.max_holds_per_user,
            refund_on_owner_cancel=event.refund_on_owner_cancel,
            version=event.version,
            created_at=event.created_at,
        )


class EventShownPage(Struct, frozen=True, kw_only=True):
    """A page of events. `next_cursor` leads to the next page; it is None at the end.

    `total` is the number of events of the list. It is left out of lists that are not counted.
    """

    items: list[EventShown]
    next_cursor: str | None
    total: int | UnsetType = UNSET


class EventPlain(Struct, frozen=True, kw_only=True):
    """An event without the state of its sale."""

    id: UUID
    title: str
    location: str
    starts_at: datetime
    capacity: int
    paused: bool
    suspended: bool
    cancelled_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, event: Event) -> EventPlain:
        """An event as PostgreSQL has it."""
        return cls(
            id=event.id,
            title=event.title,
            location=event.location,
            starts_at=event.starts_at,
            capacity=event.capacity,
            paused=event.paused,
            suspended=event.suspended,
            cancelled_at=event.cancelled_at,
            created_at=event.created_at,
        )


class BookingShown(Struct, frozen=True, gc=False):
    """A booking, `pending` until it is in PostgreSQL. `reason` says why it was rejected, or cancelled for its owner.

    A hold is `held` until `expires_at`. Prices are minor units of `currency`, as they were when the booking was made.
    The fields from `expires_at` on are left out of bookings that were ordered by their number of tickets alone.
    `guest_email` and `guest_name` are those of the guest to whom an organizer gave the tickets. The last three fields
    are there once a booking with a price is not held any more: what was paid for it, what was paid back, and what is
    still to be paid back.
    """

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: BookingStatus
    created_at: datetime
    confirmed_at: datetime | None
    cancelled_at: datetime | None
    reason: str | None
    expires_at: datetime | UnsetType = UNSET
    items: tuple[OrderLine, ...] | UnsetType = UNSET
    total_minor: int | UnsetType = UNSET
    currency: str | UnsetType | None = UNSET
    promo_code: str | UnsetType | None = UNSET
    guest_email: str | UnsetType = UNSET
    guest_name: str | UnsetType = UNSET
    paid_minor: int | UnsetType = UNSET
    refunded_minor: int | UnsetType = UNSET
    refund_due_minor: int | UnsetType = UNSET

    @classmethod
    def of(cls, booking: Booking, balance: Balance | None = None) -> BookingShown:
        """A booking without the fields that only the engine needs, and what was paid for it."""
        shown = cls._with_prices(booking)
        return shown if balance is None else structs.replace(shown, **structs.asdict(balance))

    @classmethod
    def _with_prices(cls, booking: Booking) -> BookingShown:
        if booking.body is None and booking.due_at is None:
            return cls._plain(booking)
        body = body_of(booking)
        return structs.replace(
            cls._plain(booking),
            expires_at=booking.due_at or UNSET,
            items=body.items,
            total_minor=body.total_minor,
            currency=body.currency,
            promo_code=body.promo_code,
            guest_email=body.guest_email or UNSET,
            guest_name=body.guest_name or UNSET,
        )

    @classmethod
    def _plain(cls, booking: Booking) -> BookingShown:
        return cls(
            booking.id,
            booking.event_id,
            booking.user_id,
            booking.quantity,
            booking.status,
            booking.created_at,
            booking.confirmed_at,
            booking.cancelled_at,
            booking.reason,
        )
