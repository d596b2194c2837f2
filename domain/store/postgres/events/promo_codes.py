"""Promo codes of events in PostgreSQL, which is the truth of them. How often they were used is in their counters.

Every change holds the event's row and ends with new terms in Redis, as in `selling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs
from sqlalchemy import insert, select, tuple_, update

from domain.kernel.claims import SIZE_MAX
from domain.kernel.counters import promo_counter
from domain.kernel.refusals import CapacityBelowSold, MaxUsesBelowUsed, PromoCodeTaken
from domain.sales.catalogue_rules import broken_codes
from domain.sales.code_patterns import generate_codes
from domain.sales.ticket_types import PromoCode, changed_fields, code_key, next_version
from domain.store.postgres.events.selling import add_counters, hold_to_sell
from domain.store.postgres.events.writes import check_rules, check_version, note_of_admin
from domain.store.postgres.patterns import ESCAPE, literally
from domain.store.postgres.tables import promo_codes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.sales.events import Event
    from domain.sales.ticket_types import NewPromoCodes
    from domain.store.postgres.database import Database
    from domain.store.postgres.events.writes import EventWrites

_FIELDS = [promo_codes.c[name] for name in PromoCode.__struct_fields__]


class PromoCodes:
    """Promo codes of events, and the only code that changes them.

    Each change returns the event as it is then. What every change may raise: see `Selling`.
    """

    def __init__(self, database: Database, writes: EventWrites) -> None:
        self._database = database
        self._writes = writes

    async def add(
        self, event_id: UUID, new: NewPromoCodes, *, caller: Caller, now: datetime
    ) -> tuple[Event, list[PromoCode]]:
        """Add one promo code, or as many as are to be generated: all of them or none.

        Raises:
            PromoCodeTaken: the event has this code already.
        """
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            taken = {code_key(each.code) for each in catalogue.codes}
            made = new.of_event(event_id, _texts(new, taken), now=now)
            event = structs.replace(event, catalogue=catalogue.with_codes(made))
            check_rules(broken_codes(made, event.full_catalogue, event))
            await connection.execute(insert(promo_codes), [code_row(each) for each in made])
            event = await add_counters(connection, event, {promo_counter(each.id): _size(each) for each in made})
            facts = {"event_id": str(event_id), "codes": len(made)}
            await note_of_admin(connection, now, caller, "promo_codes.created", made[0].id, **facts)
            await self._writes.write(connection, event)
        return event, made

    async def change(  # noqa: PLR0913  (always called by name)
        self,
        event_id: UUID,
        code_id: UUID,
        changes: dict[str, Any],
        *,
        caller: Caller,
        expected_version: int | None,
        now: datetime,
    ) -> tuple[Event, PromoCode]:
        """Change a promo code. Bookings and holds keep their prices.

        Raises:
            PromoCodeNotFound.
            MaxUsesBelowUsed: it was used more often than the new limit.
        """
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            before = catalogue.code(code_id)
            check_version(before.version, expected_version, thing="promo code")
            changed = changed_fields(before, changes)
            after, counter = next_version(before, changed), promo_counter(code_id)
            size = {counter: _size(after)} if _size(after) != event.counters[counter] else {}
            event = structs.replace(event, catalogue=catalogue.with_codes([after]), counters=event.counters | size)
            check_rules(broken_codes([after], event.full_catalogue, event))
            await self._update(connection, after)
            await note_of_admin(connection, now, caller, "promo_code.changed", code_id, fields=sorted(changed))
            try:
                await self._writes.resize(connection, event, size)
                await self._writes.write(connection, event)
            except CapacityBelowSold as refusal:
                used = refusal.facts["sold"]
                detail = f"The code was used {used} times already."
                raise MaxUsesBelowUsed(detail, used=used) from refusal
        return event, after

    async def archive(
        self, event_id: UUID, code_id: UUID, *, caller: Caller, expected_version: int | None, now: datetime
    ) -> Event:
        """End a promo code. Its text may be used for another one. Bookings and holds keep their prices.

        Raises:
            PromoCodeNotFound.
        """
        async with self._database.begin() as connection:
            event, catalogue = await hold_to_sell(self._writes, connection, event_id, caller=caller, now=now)
            before = catalogue.code(code_id)
            check_version(before.version, expected_version, thing="promo code")
            after = structs.replace(before, archived_at=now, version=before.version + 1)
            await self._update(connection, after)
            await note_of_admin(connection, now, caller, "promo_code.archived", code_id, event_id=str(event_id))
            event = structs.replace(event, catalogue=catalogue.with_codes([after]))
            await self._writes.write(connection, event)
        return event

    async def page(
        self, event_id: UUID, *, limit: int, after: tuple[datetime, UUID] | None, search: str | None
    ) -> list[PromoCode]:
        """Promo codes of an event that are not archived, oldest first; `search` is a part of the code."""
        order = promo_codes.c.created_at, promo_codes.c.id
        statement = select(*_FIELDS).where(promo_codes.c.event_id == event_id, promo_codes.c.archived_at.is_(None))
        if after is not None:
            statement = statement.where(tuple_(*order) > tuple_(*after))
        if search is not None:
            statement = statement.where(promo_codes.c.code_key.contains(literally(code_key(search)), escape=ESCAPE))
        async with self._database.connect() as connection:
            rows = (await connection.execute(statement.order_by(*order).limit(limit))).all()
        return [_read(row) for row in rows]

    async def _update(self, connection: AsyncConnection, code: PromoCode) -> None:
        await connection.execute(update(promo_codes).where(promo_codes.c.id == code.id).values(code_row(code)))


def code_row(code: PromoCode) -> dict[str, Any]:
    """The columns of a promo code."""
    type_ids = None if code.ticket_type_ids is None else list(code.ticket_type_ids)
    return structs.asdict(code) | {"code_key": code_key(code.code), "ticket_type_ids": type_ids}


def _texts(new: NewPromoCodes, taken: set[str]) -> list[str]:
    """The texts of new promo codes; raises PromoCodeTaken."""
    if new.pattern is not None:
        return generate_codes(new.pattern, new.count, taken=taken)
    text = new.code or ""
    if code_key(text) in taken:
        detail = "The event has this promo code already."
        raise PromoCodeTaken(detail, promo_code=text)
    return [text]


def _size(code: PromoCode) -> int:
    return SIZE_MAX if code.max_uses is None else code.max_uses


def _read(row: Sequence[Any]) -> PromoCode:
    fields = dict(zip(PromoCode.__struct_fields__, row, strict=True))
    type_ids = fields["ticket_type_ids"]
    return PromoCode(**fields | {"ticket_type_ids": None if type_ids is None else tuple(type_ids)})
