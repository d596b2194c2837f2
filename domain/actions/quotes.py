"""Quotes: an order by the terms of its event, which a process caches and may have in an old version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from domain.kernel.bookings import HOLDING
from domain.kernel.refusals import Refusal
from domain.kernel.times import to_ms
from domain.sales.order_body import types_of
from domain.sales.orders import LineOrder
from domain.sales.refusals import requirement_missing

if TYPE_CHECKING:
    from uuid import UUID

    from domain.actions.terms import TermsCache
    from domain.kernel.bookings import Booking, NewBooking, Quote
    from domain.sales.events import Terms
    from domain.store.postgres.ledger import Ledger
    from domain.store.redis.unpersisted_sets import UnpersistedSets


class NotQuoted(Exception):
    """By the terms of the event an order cannot be taken. An earlier request with its key may have been."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal


class Quotes:
    """Makes quotes. A refusal that follows from the terms is only believed if they are in force.

    With `test_hold_ms`, every hold lasts so long: tests and load tests do not wait for those of real events.
    """

    def __init__(
        self, *, terms: TermsCache, ledger: Ledger, unpersisted: UnpersistedSets, test_hold_ms: int | None = None
    ) -> None:
        self._test_hold_ms = test_hold_ms
        self._terms = terms
        self._ledger = ledger
        self._unpersisted = unpersisted

    async def of(self, new: NewBooking, terms: Terms) -> tuple[Quote, Terms]:
        """The quote of an order by these terms, or by newer ones if these refuse it, and the terms.

        Raises:
            NotQuoted: the order cannot be taken, whatever is left.
        """
        try:
            return await self._by(new, terms), terms
        except Refusal:
            newer = await self._terms.in_force(terms)
        try:
            return await self._by(new, newer), newer
        except Refusal as refusal:
            raise NotQuoted(refusal) from None

    async def _by(self, new: NewBooking, terms: Terms) -> Quote:
        if isinstance(new.order, LineOrder) and new.order.promo_code is not None:
            new.order.check_code(terms, now_ms=to_ms(datetime.now(UTC)))
        quote = new.order.quote(terms, account_id=new.user_id)
        if isinstance(new.order, LineOrder) and terms.catalogue is not None:
            missing = new.order.missing_requirements(terms)
            if missing and not missing.keys() <= await self._types_held(new.user_id, new.event_id):
                raise requirement_missing(next(iter(missing.values())))
        if self._test_hold_ms is not None and quote.hold_ms:
            return structs.replace(quote, hold_ms=self._test_hold_ms)
        return quote

    async def _types_held(self, account_id: UUID, event_id: UUID) -> set[UUID]:
        """The ticket types of which an account has tickets.

        Redis is read before PostgreSQL: a booking that is persisted in between is seen twice, never missed.
        """
        fresh = await self._unpersisted.of_account(account_id)
        stored = await self._ledger.held_of_event(account_id, event_id)
        newest: dict[UUID, Booking] = {}
        for booking in (*stored, *(each for each in fresh if each.event_id == event_id)):
            if booking.id not in newest or newest[booking.id].version < booking.version:
                newest[booking.id] = booking
        return {type_id for booking in newest.values() if booking.status in HOLDING for type_id in types_of(booking)}
