"""The catalogue: events in PostgreSQL, and the installation of their terms in Redis.

PostgreSQL is the truth of events and their sales terms. Terms are written to Redis only while the event's row and the
epoch are locked, so that neither two changes nor a change and a rebuild can overtake each other.
"""

from __future__ import annotations

import secrets
from datetime import UTC
from functools import cache, reduce
from operator import add
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import UNSET, Struct, structs
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Interval,
    and_,
    bindparam,
    func,
    insert,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from domain.accounts.accounts import SELLERS, AccountStatus, Role
from domain.kernel.counters import POOL_MAIN
from domain.kernel.event_status import EventStatus
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import (
    CapacityBelowSold,
    EventCancelled,
    EventNotFound,
    EventOver,
    Invalid,
    InventoryUnavailable,
    Refusal,
    Unavailable,
    VersionMismatch,
)
from domain.kernel.times import to_ms
from domain.sales.events import TIMES, Event, EventChanges, NewEvent, broken_times
from domain.sales.search_text import fold
from domain.store.postgres.audit_log import note
from domain.store.postgres.event_rows import EVENT_FIELDS, SURELY_OVER, event_row, read_event
from domain.store.postgres.holding import hold_account, hold_caller
from domain.store.postgres.ledger import EpochOver, Holdings, Ledger, is_all_persisted, read_holdings, read_taken
from domain.store.postgres.patterns import ESCAPE, literally
from domain.store.postgres.tables import EVENT_OVER_AT, EVENT_SPAN, accounts, events, pools

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.accounts.accounts import Caller
    from domain.store.postgres.database import Database
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.scripts import Scripts

_SUSPENDED = events.c.paused_by_organizer.is_not(None)

_SELLS = and_(accounts.c.status == AccountStatus.ACTIVE, accounts.c.role.in_(sorted(SELLERS)))
"""Whether an account's events may be sold: `Account.sells` in SQL."""

_FIND = select(*EVENT_FIELDS).where(events.c.id == bindparam("event_id"))

_FILTERS: dict[str, ColumnElement[bool]] = {
    "starting_after": events.c.starts_at > bindparam("starting_after"),
    "organizer_id": events.c.organizer_id == bindparam("organizer_id"),
    "search": or_(
        *(
            column.contains(bindparam("search"), escape=ESCAPE)
            for column in (events.c.title_folded, events.c.location_folded)
        )
    ),
}
"""The filters of a list of events, by the name of their value."""

_SALES_END_AT = func.coalesce(events.c.sales_close_at, events.c.starts_at)
_SALES_GO_ON = func.now() - SURELY_OVER < _SALES_END_AT
_STANDS = events.c.cancelled_at.is_(None)

_MAY_BE: dict[EventStatus, ColumnElement[bool]] = {
    EventStatus.CANCELLED: events.c.cancelled_at.is_not(None),
    EventStatus.CLOSED: and_(_STANDS, func.now() + SURELY_OVER > _SALES_END_AT),
    EventStatus.PAUSED: and_(_STANDS, _SALES_GO_ON, events.c.paused),
    EventStatus.SCHEDULED: and_(
        _STANDS, _SALES_GO_ON, not_(events.c.paused), events.c.sales_open_at > func.now() - SURELY_OVER
    ),
    EventStatus.ON_SALE: and_(_STANDS, _SALES_GO_ON, not_(events.c.paused)),
    EventStatus.SOLD_OUT: and_(_STANDS, _SALES_GO_ON, not_(events.c.paused)),
}
"""The events that may have a status. The tickets left and Redis' clock decide which of them have it."""

_ORDER = (events.c.starts_at, events.c.id)

_BEGUN = EVENT_SPAN.op("@>")(bindparam("not_over_at", type_=DateTime(timezone=True)))
_TO_COME = events.c.starts_at > bindparam("not_over_at", type_=DateTime(timezone=True))
"""The two parts of a list of events that are not over. Each has an index, so no event that is over is read."""

_PAST = and_(
    events.c.closed_at.is_(None),
    func.greatest(EVENT_OVER_AT, events.c.opened_at) < func.now() - bindparam("kept", type_=Interval),
    or_(events.c.cancelled_at.is_(None), events.c.cleared_at.is_not(None)),
)
"""Whether an event can be closed: nothing of it changes any more, and all bookings of a cancelled event are cleared."""

CLOSED_PREFIX = "closed-"
"""The prefix of the terms token of a closed event.

PostgreSQL refuses other tokens for a closed event. So no process can put terms in force without the counters, which
would then begin at 0.
"""

COUNTERS_PER_STEP = 1_000
"""Counters that one script call refills."""

_AFTER = tuple_(events.c.starts_at, events.c.id) > tuple_(bindparam("after_start"), bindparam("after_id"))


class EventPage(Struct, frozen=True):
    """A page of a list of events, and the length of the list; None when it was not counted."""

    events: list[Event]
    total: int | None


class Catalog:
    """Events, and the only code that changes their terms. Actions of admins are written to the audit log."""

    def __init__(self, database: Database, inventory: Inventory, scripts: Scripts) -> None:
        self._database = database
        self._inventory = inventory
        self._scripts = scripts

    async def create(self, new: NewEvent, *, caller: Caller, now: datetime) -> Event:
        """Create an event of the caller and put its terms in force.

        Raises:
            Invalid: its times contradict each other.
            Unauthenticated: the caller's token is dead.
            InventoryUnavailable: nothing was created.
        """
        event = Event(
            id=uuid4(),
            organizer_id=caller.account_id,
            paused=False,
            suspended=False,
            cancelled_at=None,
            version=1,
            terms_token=_token(),
            created_at=now,
            **structs.asdict(new),
        )
        event = _checked(event, now=now, changed=TIMES)
        async with self._database.begin() as connection:
            organizer = (await hold_caller(connection, caller))[caller.account_id]
            event = structs.replace(event, suspended=not organizer.sells)
            await self._hold_epoch(connection)
            await connection.execute(insert(events).values(**event_row(event), partition=partition_of_event(event.id)))
            await connection.execute(
                insert(pools).values(event_id=event.id, counter=POOL_MAIN, size=event.capacity, taken=0)
            )
            await _note(connection, now, caller, "event.created", event.id)
            await self._inventory.install(event.terms)
        return event

    async def change(
        self,
        event_id: UUID,
        changes: EventChanges,
        *,
        caller: Caller,
        expected_version: int | None,
        now: datetime,
    ) -> Event:
        """Change an event; its terms are in force when this returns.

        Raises:
            EventNotFound, EventCancelled, VersionMismatch, Invalid, InventoryUnavailable.
            Unauthenticated: the caller's token is dead.
            CapacityBelowSold: carries `sold`.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id, caller=caller)
            if event.cancelled_at is not None:
                detail = "The event is cancelled and stays so."
                raise EventCancelled(detail)
            if expected_version is not None and event.version != expected_version:
                detail = f"The event is at version {event.version}."
                raise VersionMismatch(detail, version=event.version)
            changed = {
                name: value
                for name, value in structs.asdict(changes).items()
                if value is not UNSET and value != getattr(event, name)
            }
            if not changed and suspended is event.suspended:
                return event
            after = _checked(_next(event, **changed, suspended=suspended), now=now, changed=changed.keys())
            await _note(connection, now, caller, "event.changed", event_id, fields=sorted(changed))
            if after.closed_at is not None and after.over_at > now:
                after = structs.replace(after, closed_at=None, terms_token=_token())
                await self._open(connection, after)
            else:
                await self._write(connection, after)
            return after

    async def cancel(self, event_id: UUID, *, caller: Caller, now: datetime) -> Event:
        """Stop an event's sales for good; a repeated call returns the same event. `clear_event` cancels its bookings.

        Raises:
            EventOver: the event is over.
            EventNotFound, InventoryUnavailable.
            Unauthenticated: the caller's token is dead.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id, caller=caller)
            if event.cancelled_at is not None:
                return event
            if event.over_at <= now or event.closed_at is not None:
                detail = "The event is over."
                raise EventOver(detail)
            after = _next(event, cancelled_at=now, suspended=suspended)
            await _note(connection, now, caller, "event.cancelled", event_id)
            await self._write(connection, after)
            return after

    async def follow_organizer(self, event_id: UUID) -> Event:
        """Suspend an event if its organizer may not sell, otherwise end its suspension; no effect if that is done.

        Raises:
            EventNotFound, InventoryUnavailable, CapacityBelowSold.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id)
            done = suspended is event.suspended
            if done or event.cancelled_at is not None or event.closed_at is not None:
                return event
            after = _next(event, suspended=suspended)
            await self._write(connection, after)
            return after

    async def behind_organizer(self, organizer_id: UUID, *, after: UUID | None, limit: int) -> list[UUID]:
        """The organizer's events whose suspension does not match the organizer's right to sell, in order of id."""
        statement = (
            select(events.c.id)
            .join(accounts, accounts.c.id == events.c.organizer_id)
            .where(
                events.c.organizer_id == organizer_id,
                events.c.cancelled_at.is_(None),
                func.now() - SURELY_OVER < EVENT_OVER_AT,
                or_(and_(_SUSPENDED, _SELLS), and_(not_(_SUSPENDED), not_(_SELLS))),
            )
            .order_by(events.c.id)
            .limit(limit)
        )
        if after:
            statement = statement.where(events.c.id > after)
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def renew_terms(self, event_id: UUID, *, instead_of: str | None = None) -> Event:
        """Put PostgreSQL's terms in force with a new token.

        It is used when Redis and PostgreSQL differ: after a change that was interrupted, or a manual one. A closed
        event is left as it is, because none of its terms are in force. With `instead_of`, only if the terms still have
        that token: a change under way holds the row until both servers agree, and many processes that find a difference
        renew the terms once.

        Raises:
            EventNotFound, InventoryUnavailable.
            CapacityBelowSold: more is taken than the capacity that PostgreSQL has.
        """
        async with self._database.begin() as connection:
            event, suspended = await self._hold(connection, event_id)
            if instead_of not in {None, event.terms_token} or event.closed_at is not None:
                return event
            renewed = structs.replace(event, suspended=suspended, terms_token=_token())
            await self._write(connection, renewed)
            return renewed

    async def find(self, event_id: UUID) -> Event:
        """An event, cancelled or not; raises EventNotFound."""
        async with self._database.connect() as connection:
            row = (await connection.execute(_FIND, {"event_id": event_id})).one_or_none()
        if row is None:
            raise _not_found()
        return read_event(row)

    async def page(  # noqa: PLR0913  (the filters a list of events has)
        self,
        *,
        limit: int,
        skip: int = 0,
        after: tuple[datetime, UUID] | None = None,
        starting_after: datetime | None = None,
        not_over_at: datetime | None = None,
        search: str | None = None,
        organizer_id: UUID | None = None,
        cancelled_too: bool = False,
        may_be: EventStatus | None = None,
        counted: bool = True,
    ) -> EventPage:
        """A page of events, soonest first by (starts_at, id); with `counted`, also their number.

        The cost of a page does not depend on the length of the list; the cost of counting does. `may_be` selects the
        events whose rows allow the status; not all of them have it.
        """
        values = {
            "after_start": after and after[0],
            "after_id": after and after[1],
            "starting_after": starting_after,
            "not_over_at": not_over_at,
            "search": search and literally(fold(search)),
            "organizer_id": organizer_id,
        }
        given = {name: value for name, value in values.items() if value is not None}
        bounds = {"limit": limit, "skip": skip}
        async with self._database.connect() as connection:
            statement = _page(frozenset(given), counted=counted, cancelled_too=cancelled_too, may_be=may_be)
            rows = (await connection.execute(statement, given | bounds)).all()
        found = [read_event(row[1:]) for row in rows if row[1] is not None]
        return EventPage(found, rows[0][0] if counted else None)

    async def find_all(self, event_ids: Sequence[UUID]) -> dict[UUID, Event]:
        """The events that exist among these ids, cancelled or not."""
        statement = select(*EVENT_FIELDS).where(events.c.id.in_(event_ids))
        async with self._database.connect() as connection:
            return {row.id: read_event(row) for row in await connection.execute(statement)}

    async def number(self) -> int:
        """The number of events that have counters, cancelled ones included."""
        statement = select(func.count()).select_from(events).where(events.c.closed_at.is_(None))
        async with self._database.connect() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def after(self, event_id: UUID | None, *, limit: int, closed: bool = False) -> list[Event]:
        """A page of the events that have counters, in order of id: for rebuild and reconciliation.

        With `closed`, a page of all events: for an audit.
        """
        statement = select(*EVENT_FIELDS).order_by(events.c.id).limit(limit)
        if not closed:
            statement = statement.where(events.c.closed_at.is_(None))
        if event_id:
            statement = statement.where(events.c.id > event_id)
        async with self._database.connect() as connection:
            return [read_event(row) for row in await connection.execute(statement)]

    async def uncleared(self, *, limit: int) -> list[UUID]:
        """Cancelled events whose bookings may still hold tickets."""
        statement = (
            select(events.c.id)
            .where(events.c.cancelled_at.is_not(None), events.c.cleared_at.is_(None))
            .order_by(events.c.cancelled_at)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def mark_cleared(self, event_id: UUID, *, now: datetime) -> None:
        """Record that no booking of a cancelled event holds tickets any more."""
        async with self._database.statement() as connection:
            await connection.execute(update(events).where(events.c.id == event_id).values(cleared_at=now))

    async def closed_among(self, event_ids: Sequence[UUID]) -> list[UUID]:
        """The closed events among these ids."""
        statement = select(events.c.id).where(events.c.id.in_(event_ids), events.c.closed_at.is_not(None))
        if not event_ids:
            return []
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def past(self, *, kept: timedelta, after: UUID | None, limit: int) -> list[UUID]:
        """The next events to be closed, in order of id."""
        statement = select(events.c.id).where(_PAST).order_by(events.c.id).limit(bindparam("limit", type_=Integer))
        if after:
            statement = statement.where(events.c.id > after)
        async with self._database.connect() as connection:
            return list((await connection.execute(statement, {"kept": kept, "limit": limit})).scalars())

    async def mark_closed(self, event_id: UUID, *, kept: timedelta) -> Event | None:
        """Close an event that was over `kept` ago by PostgreSQL's and by Redis' clock.

        From then on, only PostgreSQL has its counts. Returns the event as it was; its counters may be removed after
        that. None when the event must stay open: it was changed, or the servers do not agree on its counts yet.

        Raises:
            InventoryUnavailable.
        """
        async with self._database.begin() as connection:
            await self._hold_epoch(connection)
            found = _FIND.where(_PAST).with_for_update(of=events)
            row = (await connection.execute(found, {"event_id": event_id, "kept": kept})).one_or_none()
            if row is None or not await self._is_at_rest(connection, event := read_event(row), kept=kept):
                return None
            closed = {"closed_at": func.now(), "terms_token": _token(closed=True)}
            await connection.execute(update(events).where(events.c.id == event_id).values(closed))
            return event

    async def remove_leftovers(self, event_id: UUID) -> bool:
        """Remove the remaining counters of a closed event; False when it is not closed, or has none.

        Such counters are left by an interrupted pass, or come back when Redis is restored from older data.

        Raises:
            InventoryUnavailable.
        """
        async with self._database.begin() as connection:
            await self._hold_epoch(connection)
            closed = select(events.c.id).where(events.c.id == event_id, events.c.closed_at.is_not(None))
            if (await connection.execute(closed.with_for_update())).one_or_none() is None:
                return False
            left = await self._inventory.installed(event_id)
            return await self._inventory.remove_counters(event_id, terms=left.terms or "")

    async def _is_at_rest(self, connection: AsyncConnection, event: Event, *, kept: timedelta) -> bool:
        """Whether Redis has the same terms and counts as PostgreSQL, and its clock agrees that the time is up."""
        installed = await self._inventory.installed(event.id)
        stored = (await read_taken(connection, [event.id]))[event.id]
        return (
            installed.terms == event.terms_token
            and installed.now_ms > to_ms(event.over_at + kept)
            and installed.taken == stored.pool == stored.booked
            and await is_all_persisted(connection, event.id)
            and await self._inventory.is_persisted(event.id)
        )

    async def _hold_epoch(self, connection: AsyncConnection) -> None:
        try:
            await Ledger.fence(connection, self._scripts.epoch)
        except EpochOver:
            await self._scripts.refresh()
            detail = "The inventory is being rebuilt."
            raise InventoryUnavailable(detail, retry_after_seconds=1) from None

    async def _hold(
        self, connection: AsyncConnection, event_id: UUID, *, caller: Caller | None = None
    ) -> tuple[Event, bool]:
        """Lock the event's row until the transaction ends; returns the event and whether it must be suspended.

        The accounts of its organizer and of the caller are locked before it. The caller is None for the engine itself.
        """
        found = select(events.c.organizer_id).where(events.c.id == event_id)
        organizer_id = (await connection.execute(found)).scalar_one_or_none()
        if organizer_id is None:
            raise _not_found()
        if caller is None:
            organizer = await hold_account(connection, organizer_id, shared=True)
        else:
            organizer = (await hold_caller(connection, caller, reading=[organizer_id]))[organizer_id]
        await self._hold_epoch(connection)
        # FOR NO KEY UPDATE: a worker that persists bookings refers to the event while it holds the pool.
        found_row = _FIND.with_for_update(of=events, key_share=True)
        row = (await connection.execute(found_row, {"event_id": event_id})).one()
        return read_event(row), not organizer.sells

    async def _write(self, connection: AsyncConnection, event: Event) -> None:
        """Write the row and the pool first, Redis last: a failure before the commit leaves PostgreSQL unchanged."""
        await self._write_row(connection, event, **event_row(event))
        if event.closed_at is None:
            await self._inventory.install(event.terms)

    async def _write_row(self, connection: AsyncConnection, event: Event, **values: object) -> None:
        await connection.execute(update(events).where(events.c.id == event.id).values(**values))
        try:
            await connection.execute(update(pools).where(pools.c.event_id == event.id).values(size=event.capacity))
        except IntegrityError as error:
            raise await self._below_sold(event) from error

    async def _open(self, connection: AsyncConnection, event: Event) -> None:
        """Open a closed event again: make its counters from PostgreSQL, then put its terms in force.

        Until the terms are in force, Redis accepts no booking of the event, and PostgreSQL has all of its bookings.
        """
        await self._write_row(connection, event, **event_row(event), opened_at=func.now())
        persisted = await is_all_persisted(connection, event.id) and await self._inventory.is_persisted(event.id)
        if not persisted:
            detail = "Bookings of the event are still being saved."
            raise Unavailable(detail, retry_after_seconds=1)
        held = (await read_holdings(connection, [event.id], counters_max=COUNTERS_PER_STEP)).get(event.id, Holdings())
        left = (await self._inventory.installed(event.id)).terms or ""
        await self._inventory.reopen("begin", event.terms, left=left)
        for chunk in held.chunks:
            await self._inventory.reopen("fill", event.terms, fields=chunk)
            # PostgreSQL ends a transaction that is idle for IDLE_MS_MAX, as if its process were frozen.
            await connection.execute(select(1))
        last = [POOL_MAIN, held.places, f"size:{POOL_MAIN}", event.capacity]
        await self._inventory.reopen("finish", event.terms, fields=last)

    async def _below_sold(self, event: Event) -> Refusal:
        """The reason why the pool refused its new size: more is taken, or returned tickets are not yet persisted."""
        (taken,) = await self._inventory.taken([event.id])
        if taken is None:
            # Redis has no counters of a closed event.
            async with self._database.connect() as connection:
                taken = (await read_taken(connection, [event.id]))[event.id].pool
        if taken <= event.capacity:
            return Unavailable("Cancelled places are still being written off.", retry_after_seconds=1)
        detail = f"{taken} places are taken; the capacity cannot be less."
        return CapacityBelowSold(detail, sold=taken)


def _checked(event: Event, *, now: datetime, changed: Collection[str]) -> Event:
    """The event with its times in UTC; raises Invalid if the changed fields break a rule of time."""
    errors = [
        {"pointer": f"/{name}", "message": message} for name, message in broken_times(event, now=now, changed=changed)
    ]
    if errors:
        detail = f"{errors[0]['pointer']}: {errors[0]['message']}"
        raise Invalid(detail, errors=errors)
    moments = {name: getattr(event, name) for name in TIMES}
    return structs.replace(event, **{name: moment.astimezone(UTC) for name, moment in moments.items() if moment})


@cache
def _page(
    given: frozenset[str], *, counted: bool, cancelled_too: bool, may_be: EventStatus | None
) -> Select[*tuple[Any, ...]]:
    """The statement for a page and the length of the list. It is built once per set of given values.

    The first column is the length. When it is counted, an empty page is one row without an event.
    """
    standing: list[ColumnElement[bool]] = [] if cancelled_too else [_STANDS]
    if may_be:
        standing = [_MAY_BE[may_be]]
    filters = and_(true(), *standing, *(_FILTERS[name] for name in sorted(given & _FILTERS.keys())))
    parts = [and_(filters, part) for part in (_BEGUN, _TO_COME)] if "not_over_at" in given else [filters]
    limit, skip = bindparam("limit", type_=Integer), bindparam("skip", type_=Integer)
    after = [_AFTER] if "after_start" in given else []
    found = union_all(
        *(
            select(select(*EVENT_FIELDS).where(part, *after).order_by(*_ORDER).limit(limit + skip).subquery())
            for part in parts
        )
    ).subquery()
    page = select(found).order_by(found.c.starts_at, found.c.id).limit(limit).offset(skip).subquery()
    if not counted:
        return select(null(), *page.c).order_by(page.c.starts_at, page.c.id)
    lengths = [select(func.count()).select_from(events).where(part).scalar_subquery() for part in parts]
    length = select(reduce(add, lengths).label("total")).subquery()
    return (
        select(length.c.total, *page.c)
        .select_from(length.outerjoin(page, true()))
        .order_by(page.c.starts_at, page.c.id)
    )


def _next(event: Event, **changed: Any) -> Event:  # noqa: ANN401  (fields of an event)
    """The event's next version, with a new terms token."""
    token = _token(closed=event.closed_at is not None)
    return structs.replace(event, **changed, version=event.version + 1, terms_token=token)


async def _note(
    connection: AsyncConnection, now: datetime, caller: Caller, action: str, event_id: UUID, **detail: object
) -> None:
    """Add an audit entry if the caller is an admin; organizers manage their own events without one.

    It is called before the terms are written to Redis, like everything else that may fail.
    """
    if caller.role is Role.ADMIN:
        await note(connection, now, actor_id=caller.account_id, action=action, target_id=event_id, **detail)


def _token(*, closed: bool = False) -> str:
    """A unique terms token. Terms with the token of a closed event are never in force."""
    return f"{CLOSED_PREFIX if closed else ''}{secrets.token_hex(8)}"


def _not_found() -> EventNotFound:
    return EventNotFound("There is no event with this id.")
