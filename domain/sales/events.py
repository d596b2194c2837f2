"""Events and their sales terms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from domain.kernel.counters import POOL_MAIN
from domain.kernel.event_status import EventStatus
from domain.kernel.times import to_ms, to_ms_up
from domain.sales.starts import Start
from domain.sales.ticket_types import Catalogue, CatalogueIndex, NewTicketType, TicketType, general_admission
from domain.sales.zones import DEFAULT_ZONE, local_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ROOM = POOL_MAIN
"""The counter of all tickets of an event."""

OVER_AFTER_START = timedelta(hours=24)
"""The time after its start at which an event without an end is over."""

MOMENT_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
MOMENT_LAST = datetime(2100, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
"""The first and the last accepted time; times outside are typing errors."""

TIMES = frozenset({"starts_at", "ends_at", "sales_open_at", "sales_close_at"})


class Deadline(Enum):
    """The deadline for a cancellation, which depends on the canceller."""

    BEGIN = "begin"
    """The start of the event: for an account that is closed."""
    ATTENDANCE = "attendance"
    """The start of the event or the end of its sales, whichever is later: for the booking's owner."""
    OVER = "over"
    """The end of the event: for the event's owner and admins."""


class Payment(StrEnum):
    """How the bookings of an event are paid."""

    NONE = "none"
    """It has no prices."""
    EXTERNAL = "external"
    """The organizer's own system takes the money, and confirms holds."""
    STRIPE = "stripe"
    TEST = "test"
    """A provider for demonstrations; no money is moved."""


class RefundPolicy(StrEnum):
    """What an owner gets back who cancels a paid booking."""

    NONE = "none"
    FULL = "full"


HOLD_SECONDS_DEFAULT = 600
HOLD_SECONDS_MIN = 60
HOLD_SECONDS_MAX = 3_600
HOLDS_PER_USER_DEFAULT = 3


class NewEvent(Struct, frozen=True, kw_only=True):
    """The organizer's description of a new event. Without `ticket_types` it has one free type."""

    title: str
    location: str
    starts_at: datetime
    capacity: int
    description: str = ""
    ends_at: datetime | None = None
    max_per_user: int = 8
    sales_open_at: datetime | None = None
    sales_close_at: datetime | None = None
    time_zone: str = DEFAULT_ZONE
    series_id: UUID | None = None
    currency: str | None = None
    payment: Payment = Payment.NONE
    hold_seconds: int = HOLD_SECONDS_DEFAULT
    hold_extend_until_seconds: int | None = None
    max_holds_per_user: int = HOLDS_PER_USER_DEFAULT
    refund_on_owner_cancel: RefundPolicy = RefundPolicy.NONE
    ticket_types: tuple[NewTicketType, ...] = ()


class EventChanges(Struct, frozen=True, kw_only=True):
    """An organizer's changes of an event; UNSET leaves a field as it is."""

    title: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
    starts_at: datetime | UnsetType = UNSET
    starts_at_local: datetime | UnsetType = UNSET
    ends_at: datetime | UnsetType | None = UNSET
    capacity: int | UnsetType = UNSET
    max_per_user: int | UnsetType = UNSET
    sales_open_at: datetime | UnsetType | None = UNSET
    sales_close_at: datetime | UnsetType | None = UNSET
    series_id: UUID | UnsetType | None = UNSET
    currency: str | UnsetType | None = UNSET
    payment: Payment | UnsetType = UNSET
    hold_seconds: int | UnsetType = UNSET
    hold_extend_until_seconds: int | UnsetType | None = UNSET
    max_holds_per_user: int | UnsetType = UNSET
    refund_on_owner_cancel: RefundPolicy | UnsetType = UNSET
    paused: bool | UnsetType = UNSET


class Event(Struct, frozen=True, kw_only=True):
    """An event as PostgreSQL has it. `terms_token` identifies this version of its sales terms.

    `paused` is set by the organizer. `suspended` is set while the organizer may not sell or has lost the role.
    `closed_at` is the time at which the event was closed; since then it has no counters in Redis. `counters` are the
    sizes of its counters in PostgreSQL, `gates` the passes of those with a gate. `catalogue` is None for an event whose
    only ticket type is free (`general_admission`), and for events of lists.
    """

    id: UUID
    organizer_id: UUID
    title: str
    description: str
    location: str
    starts_at: datetime
    ends_at: datetime | None
    capacity: int
    max_per_user: int
    sales_open_at: datetime | None
    sales_close_at: datetime | None
    paused: bool
    suspended: bool
    cancelled_at: datetime | None
    version: int
    terms_token: str
    created_at: datetime
    closed_at: datetime | None = None
    time_zone: str = DEFAULT_ZONE
    starts_at_local: datetime | None = None
    currency: str | None = None
    hold_seconds: int = HOLD_SECONDS_DEFAULT
    hold_extend_until_seconds: int | None = None
    max_holds_per_user: int = HOLDS_PER_USER_DEFAULT
    payment: Payment = Payment.NONE
    refund_on_owner_cancel: RefundPolicy = RefundPolicy.NONE
    series_id: UUID | None = None
    catalogue: Catalogue | None = None
    counters: dict[str, int] = {}
    gates: dict[str, str] = {}

    @property
    def start(self) -> Start:
        """When it starts. An event that was made before there were time zones has no local time of its own."""
        local = self.starts_at_local or local_time(self.starts_at, self.time_zone)
        return Start(self.time_zone, self.starts_at, local)

    @property
    def sizes(self) -> dict[str, int]:
        """The size that each counter of the event must have."""
        return {**self.counters, POOL_MAIN: self.capacity}

    @property
    def full_catalogue(self) -> Catalogue:
        """What the event sells, with the implicit ticket type if it has no other. Not for events of lists."""
        return self.catalogue or Catalogue((general_admission(self.id, self.created_at),))

    @property
    def hold_cap_seconds(self) -> int:
        """How long a hold can last with all extensions."""
        return self.hold_extend_until_seconds or 2 * self.hold_seconds

    @property
    def over_at(self) -> datetime:
        """The time at which the event is over."""
        return over_at(self.starts_at, self.ends_at)

    @property
    def terms(self) -> Terms:
        """The fields of an event that decide about its sales."""
        starts_ms = to_ms(self.starts_at)
        return Terms(
            event_id=self.id,
            token=self.terms_token,
            sizes=self.sizes,
            gates=self.gates,
            max_per_user=self.max_per_user,
            opens_ms=to_ms_up(self.sales_open_at) if self.sales_open_at else 0,
            closes_ms=to_ms(self.sales_close_at) if self.sales_close_at else starts_ms,
            starts_ms=starts_ms,
            over_ms=to_ms(self.over_at),
            paused=self.paused or self.suspended,
            cancelled=self.cancelled_at is not None,
            closed=self.closed_at is not None,
            sales_open_at=self.sales_open_at,
            catalogue=None if self.catalogue is None else self.catalogue.index(),
            currency=self.currency,
            payment=self.payment,
            hold_seconds=self.hold_seconds,
            hold_cap_seconds=self.hold_cap_seconds,
            max_holds_per_user=self.max_holds_per_user,
            created_at=self.created_at,
        )


class Terms(Struct, frozen=True, kw_only=True, gc=False):
    """The terms of a sale, as API processes cache them and the inventory verifies them by `token`.

    Tickets are sold from `opens_ms` inclusive to `closes_ms` exclusive, in milliseconds since 1970 on Redis' clock. The
    clock is read in whole milliseconds, rounded down; so `opens_ms` is rounded up and `closes_ms` down. `sizes` are
    those of the event's counters, `gates` the passes of those of which only a request with the pass may take. Without a
    `catalogue` the event has one free ticket type. `claimed` are the counters of ticket types that were asked for.
    """

    event_id: UUID
    token: str
    sizes: dict[str, int]
    gates: dict[str, str]
    max_per_user: int
    opens_ms: int
    closes_ms: int
    starts_ms: int
    over_ms: int
    paused: bool
    cancelled: bool
    closed: bool
    sales_open_at: datetime | None
    catalogue: CatalogueIndex | None
    currency: str | None
    payment: Payment
    hold_seconds: int
    hold_cap_seconds: int
    max_holds_per_user: int
    created_at: datetime
    claimed: dict[UUID, list[str]] = {}

    @property
    def general_admission(self) -> TicketType:
        """The only ticket type of an event without a catalogue."""
        return general_admission(self.event_id, self.created_at)

    @property
    def window_ms(self) -> tuple[int, int]:
        """The beginning and the end of sales; empty for a sale that is paused, cancelled or closed."""
        return (0, 0) if self.paused or self.cancelled or self.closed else (self.opens_ms, self.closes_ms)

    def deadline_ms(self, deadline: Deadline) -> int:
        """The first millisecond of Redis' clock at which it is too late to cancel; release_tickets.lua compares it."""
        match deadline:
            case Deadline.BEGIN:
                return self.starts_ms
            case Deadline.ATTENDANCE:
                return max(self.starts_ms, self.closes_ms)
            case Deadline.OVER:
                return self.over_ms

    def status(self, *, now_ms: int, remaining: int) -> EventStatus:
        """The state of the sale at `now_ms` with `remaining` tickets."""
        if self.cancelled:
            return EventStatus.CANCELLED
        if self.closed or now_ms >= self.closes_ms:
            return EventStatus.CLOSED
        if self.paused:
            return EventStatus.PAUSED
        if now_ms < self.opens_ms:
            return EventStatus.SCHEDULED
        return EventStatus.ON_SALE if remaining > 0 else EventStatus.SOLD_OUT


def over_at(starts_at: datetime, ends_at: datetime | None) -> datetime:
    """The time at which an event is over."""
    return ends_at or starts_at + OVER_AFTER_START


def broken_times(
    event: Event | NewEvent, *, now: datetime, changed: Collection[str] = TIMES
) -> Iterator[tuple[str, str]]:
    """The rules of time that an event breaks: the name of a field, and what is wrong with it.

    A rule is checked only if one of its fields is in `changed`: a value that is sent back unchanged, or was accepted
    under other rules, must not cause a refusal.
    """
    moments: dict[str, Any] = {name: getattr(event, name) for name in sorted(TIMES)}
    outside = [
        name
        for name, moment in moments.items()
        if name in changed and moment is not None and not MOMENT_FIRST <= moment <= MOMENT_LAST
    ]
    if outside:
        yield from ((name, f"must be in {MOMENT_FIRST.year} to {MOMENT_LAST.year}, in UTC") for name in outside)
        return
    if "starts_at" in changed and event.starts_at <= now:
        yield "starts_at", "must be in the future"
    if event.ends_at and event.ends_at <= event.starts_at and {"starts_at", "ends_at"} & set(changed):
        yield "ends_at", "must be after starts_at"
    yield from _broken_sales(event, set(changed))


def _broken_sales(event: Event | NewEvent, changed: set[str]) -> Iterator[tuple[str, str]]:
    closes, ends = event.sales_close_at, over_at(event.starts_at, event.ends_at)
    if closes and closes > ends and {"starts_at", "ends_at", "sales_close_at"} & changed:
        yield "sales_close_at", "must not be after the event is over: at ends_at, or 24 hours after starts_at"
    opens, until = event.sales_open_at, closes or event.starts_at
    if opens and opens >= until and {"starts_at", "sales_open_at", "sales_close_at"} & changed:
        yield "sales_open_at", "must be before sales close"


def broken_payment(event: Event | NewEvent) -> Iterator[tuple[str, str]]:
    """The rules of payment that an event breaks: the name of a field, and what is wrong with it."""
    catalogue = event.catalogue if isinstance(event, Event) else None
    priced = catalogue is not None and any(each.price_minor for each in catalogue.types)
    if priced and event.payment is Payment.NONE:
        yield "payment", "needed, because ticket types have prices"
    if event.currency is None and (priced or event.payment is not Payment.NONE):
        yield "currency", "needed for prices"
    if event.hold_extend_until_seconds is not None and event.hold_extend_until_seconds < event.hold_seconds:
        yield "hold_extend_until_seconds", "must not be less than hold_seconds"
