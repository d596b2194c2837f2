"""What the machine does to the engine, and reads of its servers past it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from domain.background.closing import close_past_events_once
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.partitions import PARTITIONS, partition_of_booking
from domain.kernel.refusals import (
    BookingNotFound,
    CapacityBelowSold,
    HoldExpired,
    IdempotencyKeyReused,
    PerUserLimit,
    SoldOut,
    Unavailable,
)
from domain.sales.events import EventChanges
from domain.store.redis.keys import counters_key, record_key, unpersisted_key
from domain.store.redis.records import read_records
from tests.domain.background.drift import faults
from tests.domain.kernel.orders import AnyOrder
from tests.factories import ORGANIZED, make_due, pass_by, place_counters
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from domain.engine import Stores
    from domain.kernel.bookings import Order
    from domain.kernel.refusals import Refusal
    from domain.kernel.unpersisted import Unpersisted
    from tests.domain.kernel.model import Model

TABLES = ("bookings", "seats", "intents", "repairs", "counters", "events", "accounts")


class EngineAccess(RuleBasedStateMachine):
    """`run` runs a coroutine; `processes` are the stores of two processes; `durable` says that they write intents."""

    run: Callable[[Awaitable[Any]], Any]
    processes: tuple[Stores, Stores]
    durable: bool
    model: Model

    @property
    def stores(self) -> Stores:
        return self.processes[0]

    def teardown(self) -> None:
        self.run(self.stores.pipeline.redis.flushall())
        self.run(self.execute(*(f"DELETE FROM {table}" for table in TABLES)))
        self.begin_again_without_model()

    def begin_again(self, order: int) -> None:
        survived = [self.surviving(partition, order) for partition in range(PARTITIONS)]
        self.begin_again_without_model()
        self.model.rebuild(survived)

    def begin_again_without_model(self) -> None:
        self.run(rebuild(self.stores))
        self.run(self.processes[1].scripts.refresh())

    def unpersisted(self) -> list[UUID]:
        """Bookings that PostgreSQL has not heard of, in the order they were made in."""
        return [each for each in self.model.asked if each in self.model.unpersisted]

    def settled(self) -> list[UUID]:
        """Bookings whose record may retire, in the order they were made in."""
        settled = [
            each for each in self.model.asked if each in self.model.records and each not in self.model.unpersisted
        ]
        return [each for each in settled if self.model.records[each].status is not BookingStatus.HELD]

    def holds(self) -> list[UUID]:
        """Bookings that are held, or whose deadline nobody noticed."""
        return [each for each, record in self.model.records.items() if record.status is BookingStatus.HELD]

    def confirmable(self) -> list[UUID]:
        """Bookings that are held or have expired, in the order they were made in."""
        states = {BookingStatus.HELD, BookingStatus.EXPIRED}
        return [each for each in self.model.asked if (found := self.model.booking(each)) and found.status in states]

    def reducible(self) -> list[UUID]:
        """Bookings that hold more than one ticket, in the order they were made in."""
        found = ((each, self.model.booking(each)) for each in self.model.asked)
        return [each for each, copy in found if copy and copy.holds and copy.quantity > 1]

    def waiting(self, partition: int, order: int) -> list[Unpersisted]:
        """The unpersisted bookings of a partition, put into an order that clocks might have put them into."""
        self.reorder(partition, order)
        entries: list[Unpersisted] = self.run(self.stores.unpersisted.read(partition, limit=1_000))
        return entries

    def surviving(self, partition: int, order: int) -> list[UUID]:
        """What a rebuild finds of a partition, whatever the epoch."""
        self.reorder(partition, order)
        found = self.run(self.stores.unpersisted.bookings(partition, limit=1_000))
        return [booking.id for booking in found]

    def reorder(self, partition: int, order: int) -> None:
        ids = [each for each in self.unpersisted() if partition_of_booking(each) == partition]
        self.run(self.rank(partition, ids[order % 3 :] + ids[: order % 3]))

    def change(self, process: int, event_id: UUID, **changes: Any) -> str:
        """Change an event; answers in the model's words."""
        changed = self.processes[process].event_actions.change(
            event_id, EventChanges(**changes), caller=ORGANIZED, expected_version=None
        )
        try:
            self.run(changed)
        except CapacityBelowSold:
            return "below_sold"
        except Unavailable:
            return "later"
        return "changed"

    def place(self, event_id: UUID, counter: str, size: int) -> bool:
        """Give a counter a size by hand; whether it was accepted. What was half done is undone."""
        before = self.model.events[event_id].row_sizes.get(counter)
        try:
            self.run(place_counters(self.stores, event_id, **{counter: size}))
        except IntegrityError:
            return False
        except CapacityBelowSold:
            undone = "UPDATE counters SET size = :size WHERE event_id = :id AND counter = :counter"
            self.run(self.execute(undone, size=before, id=event_id, counter=counter))
            return False
        return True

    def resize_rows(self) -> None:
        """Give the rows of all counters the sizes that the model says."""
        for event_id, event in self.model.events.items():
            for counter, size in event.row_sizes.items():
                resized = "UPDATE counters SET size = :size WHERE event_id = :id AND counter = :counter"
                self.run(self.execute(resized, size=size, id=event_id, counter=counter))

    def reconciled(self, event_id: UUID | None = None) -> set[tuple[str, str]]:
        """What reconciliation finds at a moment after all changes; it must repair it."""
        self.run(self.next_millisecond())
        outcomes = self.run(reconcile(self.stores, event_id))
        assert all(outcome.repaired for outcome in outcomes)
        return faults(outcomes)

    def close(self, event_id: UUID) -> int:
        """Close an event that is moved into the past; answers how many were closed."""
        self.run(pass_by(self.stores, self.run(self.stores.event_actions.find(event_id))))
        done = self.run(close_past_events_once(self.stores))
        assert done.leftovers == 0
        return done.closed

    def changed(self, call: Awaitable[Any]) -> Any:
        """The status of a hold after a change, or the word for its refusal; None for an unknown booking."""
        try:
            return self.run(call).status
        except HoldExpired:
            return "expired"
        except BookingNotFound:
            return None

    @staticmethod
    def word(refusal: Refusal, order: Order, user_id: UUID) -> str:
        """The model's word for the refusal of an order."""
        match refusal:
            case IdempotencyKeyReused():
                return "mismatch"
            case PerUserLimit():
                left = refusal.facts["limit"] - refusal.facts["already_booked"]
                return f"{left} left of {user_counter(user_id)}"
            case SoldOut():
                counter = refusal.detail if isinstance(order, AnyOrder) else POOL_MAIN
                return f"{refusal.facts['remaining']} left of {counter}"
            case _:
                return repr(refusal)

    async def move(self, event_id: UUID, moves: dict[str, int]) -> None:
        """Move counters in Redis behind the engine's back."""
        for counter, by in moves.items():
            await self.stores.pipeline.redis.hincrby(counters_key(event_id), counter, by)

    async def rank(self, partition: int, booking_ids: list[UUID]) -> None:
        now_ms = await self.stores.inventory.now_ms()
        for number, booking_id in enumerate(booking_ids):
            await self.stores.pipeline.redis.zadd(unpersisted_key(partition), {str(booking_id): now_ms + number})

    async def due(self, booking_id: UUID) -> None:
        """Let the deadline of a hold pass, in every store."""
        booking = (await read_records(self.stores.pipeline, [booking_id]))[0]
        await make_due(self.stores, booking)
        for table in ("bookings", "intents"):
            await self.execute(f"UPDATE {table} SET due_at = now() WHERE id = :id AND status = 'held'", id=booking_id)

    async def forgotten(self, booking_id: UUID) -> None:
        await self.stores.pipeline.redis.delete(record_key(booking_id))

    async def next_millisecond(self) -> None:
        """Wait until Redis' clock is past every change: a reading in the millisecond of a change decides nothing."""
        now_ms = await self.stores.inventory.now_ms()
        await eventually(self.stores.inventory.now_ms, is_so=lambda later_ms: later_ms > now_ms)

    async def execute(self, *statements: str, **values: Any) -> None:
        async with self.stores.database.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement), values)

    async def fetch(self, *statements: str) -> list[list[Any]]:
        async with self.stores.database.connect() as connection:
            return [list((await connection.execute(text(statement))).all()) for statement in statements]
