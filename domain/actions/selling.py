"""The actions of callers on what an event sells: its ticket types, pools and promo codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.kernel.counters import pool_counter, promo_counter
from domain.kernel.times import from_ms
from domain.sales.refusals import promo_code_invalid
from domain.sales.ticket_types import code_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from domain.accounts.accounts import Caller
    from domain.actions.terms import TermsCache
    from domain.sales.events import Event, Terms
    from domain.sales.ticket_types import NewPromoCodes, NewTicketType, PromoCode, TicketPool, TicketType
    from domain.store.postgres.events.promo_codes import PromoCodes
    from domain.store.postgres.events.reads import EventReads
    from domain.store.postgres.events.selling import Selling
    from domain.store.redis.inventory import Inventory


class SellingActions:
    """Shows and changes what events sell. One per process.

    Changes take effect on sales at once. `caller` is the account that acts; `Selling` names what each may raise.
    """

    def __init__(
        self,
        selling: Selling,
        promo_codes: PromoCodes,
        *,
        events: EventReads,
        inventory: Inventory,
        terms: TermsCache,
    ) -> None:
        self._events = events
        self._selling = selling
        self._promo_codes = promo_codes
        self._inventory = inventory
        self._terms = terms

    async def find(self, event_id: UUID) -> Event:
        """An event with its catalogue; raises EventNotFound."""
        return await self._events.find(event_id)

    async def types_shown(self, event_id: UUID, *, promo_code: str | None = None) -> list[TicketType]:
        """The ticket types that buyers see, in their order; with a promo code also those that it unlocks.

        Raises:
            EventNotFound.
            PromoCodeInvalid: there is no such code, or it cannot be used now.
        """
        terms = await self._in_force(event_id)
        code = None if promo_code is None else await self._usable(terms, promo_code)
        types = [terms.general_admission] if terms.catalogue is None else list(terms.catalogue.types.values())
        return [each for each in types if not each.hidden or (code and code.unlocks(each.id))]

    async def add_type(self, event_id: UUID, new: NewTicketType, *, caller: Caller) -> TicketType:
        """Add a ticket type to an event."""
        event, made = await self._selling.add_type(event_id, new, caller=caller, now=await self._now(event_id))
        self._terms.put(event.terms)
        return made

    async def change_type(
        self, event_id: UUID, type_id: UUID, changes: dict[str, Any], *, caller: Caller, expected_version: int | None
    ) -> TicketType:
        """Change a ticket type."""
        now = await self._now(event_id)
        event, changed = await self._selling.change_type(
            event_id, type_id, changes, caller=caller, expected_version=expected_version, now=now
        )
        self._terms.put(event.terms)
        return changed

    async def archive_type(
        self, event_id: UUID, type_id: UUID, *, caller: Caller, expected_version: int | None
    ) -> None:
        """Take a ticket type off sale for good."""
        now = await self._now(event_id)
        event = await self._selling.archive_type(
            event_id, type_id, caller=caller, expected_version=expected_version, now=now
        )
        self._terms.put(event.terms)

    async def add_pool(
        self, event_id: UUID, *, name: str, size: int, parent_id: UUID | None, caller: Caller
    ) -> tuple[Event, TicketPool]:
        """Add a pool to an event."""
        now = await self._now(event_id)
        event, made = await self._selling.add_pool(
            event_id, name=name, size=size, parent_id=parent_id, caller=caller, now=now
        )
        self._terms.put(event.terms)
        return event, made

    async def change_pool(
        self, event_id: UUID, pool_id: UUID, changes: dict[str, Any], *, caller: Caller, expected_version: int | None
    ) -> tuple[Event, TicketPool]:
        """Change a pool, or its `size`."""
        now = await self._now(event_id)
        event, changed = await self._selling.change_pool(
            event_id, pool_id, changes, caller=caller, expected_version=expected_version, now=now
        )
        self._terms.put(event.terms)
        return event, changed

    async def remove_pool(self, event_id: UUID, pool_id: UUID, *, caller: Caller, expected_version: int | None) -> None:
        """Remove a pool that nothing uses."""
        now = await self._now(event_id)
        event = await self._selling.remove_pool(
            event_id, pool_id, caller=caller, expected_version=expected_version, now=now
        )
        self._terms.put(event.terms)

    async def states_of_pools(self, event: Event, pools: Sequence[TicketPool]) -> list[tuple[int, int]]:
        """The size of each pool, and what is taken of it at this moment."""
        names = {each.id: pool_counter(each.id) for each in pools}
        taken = await self._taken(event, names)
        return [(event.counters[name], taken[pool_id]) for pool_id, name in names.items()]

    async def add_codes(self, event_id: UUID, new: NewPromoCodes, *, caller: Caller) -> list[PromoCode]:
        """Add one promo code, or as many as are to be generated."""
        event, made = await self._promo_codes.add(event_id, new, caller=caller, now=await self._now(event_id))
        self._terms.put(event.terms)
        return made

    async def change_code(
        self, event_id: UUID, code_id: UUID, changes: dict[str, Any], *, caller: Caller, expected_version: int | None
    ) -> PromoCode:
        """Change a promo code."""
        now = await self._now(event_id)
        event, changed = await self._promo_codes.change(
            event_id, code_id, changes, caller=caller, expected_version=expected_version, now=now
        )
        self._terms.put(event.terms)
        return changed

    async def archive_code(
        self, event_id: UUID, code_id: UUID, *, caller: Caller, expected_version: int | None
    ) -> None:
        """End a promo code."""
        now = await self._now(event_id)
        event = await self._promo_codes.archive(
            event_id, code_id, caller=caller, expected_version=expected_version, now=now
        )
        self._terms.put(event.terms)

    async def page_of_codes(
        self, event_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None, search: str | None
    ) -> list[PromoCode]:
        """Promo codes of an event, oldest first."""
        return await self._promo_codes.page(event_id, limit=limit, after=after, search=search)

    async def uses(self, event: Event, codes: Sequence[PromoCode]) -> dict[UUID, int]:
        """How often each promo code is used at this moment, by bookings and holds."""
        return await self._taken(event, {each.id: promo_counter(each.id) for each in codes})

    async def _in_force(self, event_id: UUID) -> Terms:
        """The terms of an event at this moment."""
        cached = self._terms.cached(event_id)
        return await self._terms.load(event_id) if cached is None else await self._terms.in_force(cached)

    async def _usable(self, terms: Terms, promo_code: str) -> PromoCode:
        """A promo code that can be used now; raises PromoCodeInvalid."""
        found = terms.catalogue and terms.catalogue.codes.get(code_key(promo_code))
        now_ms = (await self._inventory.installed(terms.event_id)).now_ms
        if not found or not found.window_ms[0] <= now_ms < found.window_ms[1]:
            raise promo_code_invalid()
        return found

    async def _taken(self, event: Event, counters: dict[UUID, str]) -> dict[UUID, int]:
        """What is taken of counters: by Redis, or by PostgreSQL for an event that is closed."""
        if not counters:
            return {}
        names = list(counters.values())
        taken = (
            await self._inventory.taken_of(event.id, names)
            if event.closed_at is None
            else await self._selling.taken_of(event.id, names)
        )
        return {thing_id: taken.get(name, 0) for thing_id, name in counters.items()}

    async def _now(self, event_id: UUID) -> datetime:
        """The time of an event, as in `EventActions`."""
        (taken,) = await self._inventory.taken_tickets([event_id])
        return from_ms(taken.now_ms)
