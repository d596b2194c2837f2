"""The catalogue: events in PostgreSQL, and their terms put in force in the inventory.

Truth of what an event is and how it is sold. Terms reach Redis only while the event's row and the
epoch are held, so that neither two changes nor a change and a rebuild can cross.
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
"""What narrows a list of events, by the name of the value that does."""

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
"""Rows of events that may have a status. Which of them have it is decided by the tickets left and Redis' clock."""

_ORDER = (events.c.starts_at, events.c.id)

_BEGUN = EVENT_SPAN.op("@>")(bindparam("not_over_at", type_=DateTime(timezone=True)))
_TO_COME = events.c.starts_at > bindparam("not_over_at", type_=DateTime(timezone=True))
"""The two parts of a list of events that are not over, each in an index: nothing is read of those that are."""

_PAST = and_(
    events.c.closed_at.is_(None),
    func.greatest(EVENT_OVER_AT, events.c.opened_at) < func.now() - bindparam("kept", type_=Interval),
    or_(events.c.cancelled_at.is_(None), events.c.cleared_at.is_not(None)),
)
"""Whether an event is to be closed: nothing of it moves any more, not the bookings of a cancelled one either."""

CLOSED_PREFIX = "closed-"
"""What the names of a closed event's terms begin with. PostgreSQL refuses others, so that no process puts terms in
force without the counters: they would begin at 0."""

COUNTERS_PER_STEP = 1_000
"""Counters that one script call refills."""

_AFTER = tuple_(events.c.starts_at, events.c.id) > tuple_(bindparam("after_start"), bindparam("after_id"))


class EventPage(Struct, frozen=True):
    """Some events of a list, and how many it has in all, None when they were not counted."""

    events: list[Event]
    total: int | None


class Catalog:
    """Events, and the one way their terms change. What an admin does stands in the audit log."""

    def __init__(self, database: Database, inventory: Inventory, scripts: Scripts) -> None:
        self._database = database
        self._inventory = inventory
        self._scripts = scripts

    async def create(self, new: NewEvent, *, caller: Caller, now: datetime) -> Event:
        """Make an event of the caller's and put its terms in force.

        Raises:
            Invalid: its times contradict each other.
            Unauthenticated: the caller's token is dead.
            InventoryUnavailable: nothing was made.
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
        """Stop an event's sales for good; again, the same event. Its bookings are cancelled by `clear_event`.

        Raises:
            EventOver: it took place.
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
        """Suspend an event whose organizer may not sell, or end its suspension; nothing, when that is done.

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
        """The organizer's events that are to be suspended, or not any more, in order of id."""
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
        """Put the terms that PostgreSQL has in force under a new name.

        For when Redis and PostgreSQL disagree: after a change that died half way, or one made by hand.
        A closed event has none in force. With `instead_of` only if the terms still have that name: a change under way
        holds the row until both sides agree again, and a crowd that found them disagreeing renews them once.

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
        """Events, soonest first by (starts_at, id); if `counted`, how many there are in all.

        A page costs the same however long the list is, to count it does not. With `may_be` only those whose rows
        allow the status; not all of them have it.
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
        """Those of the events that there are, cancelled or not."""
        statement = select(*EVENT_FIELDS).where(events.c.id.in_(event_ids))
        async with self._database.connect() as connection:
            return {row.id: read_event(row) for row in await connection.execute(statement)}

    async def number(self) -> int:
        """How many events have counters, cancelled ones included."""
        statement = select(func.count()).select_from(events).where(events.c.closed_at.is_(None))
        async with self._database.connect() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def after(self, event_id: UUID | None, *, limit: int, closed: bool = False) -> list[Event]:
        """Every event that has counters, a page at a time in order of id: for rebuild and reconciliation.

        With `closed` every event there is: for an audit.
        """
        statement = select(*EVENT_FIELDS).order_by(events.c.id).limit(limit)
        if not closed:
            statement = statement.where(events.c.closed_at.is_(None))
        if event_id:
            statement = statement.where(events.c.id > event_id)
        async with self._database.connect() as connection:
            return [read_event(row) for row in await connection.execute(statement)]

    async def uncleared(self, *, limit: int) -> list[UUID]:
        """Cancelled events whose bookings may still hold places."""
        statement = (
            select(events.c.id)
            .where(events.c.cancelled_at.is_not(None), events.c.cleared_at.is_(None))
            .order_by(events.c.cancelled_at)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def mark_cleared(self, event_id: UUID, *, now: datetime) -> None:
        """Record that no booking of a cancelled event holds places any more."""
        async with self._database.statement() as connection:
            await connection.execute(update(events).where(events.c.id == event_id).values(cleared_at=now))

    async def closed_among(self, event_ids: Sequence[UUID]) -> list[UUID]:
        """Those of the events that are closed."""
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
        """Have PostgreSQL alone answer for an event that was over `kept` ago, by its clock and by Redis'.

        Answers the event as it was, whose counters may be removed from now on. None when the event is to stay as it
        is: it was changed, or the servers do not agree on it yet.

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
        """Remove whatever counters a closed event has; False when it is not closed, or has none.

        They are there when a pass died half way, or when Redis came back with older data.

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
        """Whether Redis has what PostgreSQL has, by the same terms, and its clock says too that the time is up."""
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
        """The event, its row locked until the transaction ends, and whether it is to be suspended.

        Its organizer's account and the caller's are locked before it. Without a caller the engine acts by itself.
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
        row = (await connection.execute(_FIND.with_for_update(of=events), {"event_id": event_id})).one()
        return read_event(row), not organizer.sells

    async def _write(self, connection: AsyncConnection, event: Event) -> None:
        """Row and pool first, Redis last: whatever fails before the commit leaves PostgreSQL as it was."""
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
        """Open a closed event again: its counters are made from PostgreSQL, then its terms are put in force.

        Until the terms are, Redis takes no booking of it, and there is none that PostgreSQL does not have.
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
            # A transaction that does nothing for long is taken for one whose process stands still.
            await connection.execute(select(1))
        last = [POOL_MAIN, held.places, f"size:{POOL_MAIN}", event.capacity]
        await self._inventory.reopen("finish", event.terms, fields=last)

    async def _below_sold(self, event: Event) -> Refusal:
        """Why the pool refused its new size: more is taken, or cancelled places are not yet written off."""
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
    """The event with its times in UTC; raises Invalid when what is changed breaks a rule of time."""
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
    """A page and its list's length in one statement, for the values that are given, built once for each of their sets.

    The length stands before the event; when it is counted, there is a row without an event for a page without any.
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
    """The event's next version, with terms of another name."""
    token = _token(closed=event.closed_at is not None)
    return structs.replace(event, **changed, version=event.version + 1, terms_token=token)


async def _note(
    connection: AsyncConnection, now: datetime, caller: Caller, action: str, event_id: UUID, **detail: object
) -> None:
    """Before the terms go to Redis, like all that may fail; organizers see to their events without an entry."""
    if caller.role is Role.ADMIN:
        await note(connection, now, actor_id=caller.account_id, action=action, target_id=event_id, **detail)


def _token(*, closed: bool = False) -> str:
    """A name for a set of terms that no other set will ever have; those of a closed event are never in force."""
    return f"{CLOSED_PREFIX if closed else ''}{secrets.token_hex(8)}"


def _not_found() -> EventNotFound:
    return EventNotFound("There is no event with this id.")
